"""Exemplars as input: their labels painted as a world's would be, to see what a style misses."""

from __future__ import annotations

import torch
from torch import Tensor

from sim2street.bridge.geometry import level_pose
from sim2street.neural_renderer.conditions.facade_windows import place_windows
from sim2street.neural_renderer.conditions.generator_input import (
    anchored_noise,
    generator_input,
    pad_to_multiple,
)
from sim2street.neural_renderer.conditions.layout import layout
from sim2street.neural_renderer.conditions.pseudo_depth import (
    USUAL_FOV_DEG,
    USUAL_HEIGHT_M,
    GroundCamera,
    estimate_horizon,
    pseudo_depth,
)
from sim2street.neural_renderer.conditions.reprojection import surface_points
from sim2street.neural_renderer.networks.generator import GeneratorInput

USUAL_HORIZON = 0.45
"""Fraction of the height, where too little road is seen to tell."""

LEVEL_UP = torch.tensor([[0.0, -1.0, 0.0]])
"""Where the world's z axis points for a level camera, see `inputs.height_over_camera`."""


def exemplar_input(groups: Tensor, tags: Tensor) -> GeneratorInput:
    """What a generator is given for an exemplar: labels, and the depth that they suggest.

    A world's views have depth, and a generator paints with it in other colours than without.

    Args:
        groups: (1, G, H, W), H and W padded to what the generator divides by.
        tags: multi-hot (29, h, w), not padded.
    """
    single = tags.argmax(dim=0).byte().numpy()
    height, width = single.shape
    horizon = estimate_horizon(single)
    horizon = USUAL_HORIZON if horizon is None else horizon
    camera = GroundCamera.of_picture((width, height), USUAL_FOV_DEG, horizon, USUAL_HEIGHT_M)
    depth = pseudo_depth(single, camera)
    depth_m = pad_to_multiple(torch.from_numpy(depth)[None, None])[0]
    lens = (camera.focal_px, camera.focal_px, width / 2, camera.horizon_px)
    windows = place_windows(single, None, depth, lens, level_pose(USUAL_HEIGHT_M))
    planes = pad_to_multiple(torch.from_numpy(layout(single, None, windows))[None])
    intrinsics = torch.tensor([lens])
    points_m = surface_points(depth_m, intrinsics, torch.eye(4)[None, None])
    noise = anchored_noise(points_m, depth_m, intrinsics[:, 0], torch.zeros(1, dtype=torch.int64))
    return generator_input(
        groups, planes, depth_m, intrinsics, LEVEL_UP, torch.ones(1, dtype=torch.bool), noise
    )
