"""Exemplar photographs as generator input: their labels, as a world's view would show them."""

from __future__ import annotations

import torch
from torch import Tensor

from sim2street.bridge.geometry import level_pose
from sim2street.neural_renderer.conditions.assemble import assemble, pad_to_multiple
from sim2street.neural_renderer.conditions.facade_windows import place_windows
from sim2street.neural_renderer.conditions.guessed_geometry import USUAL_HORIZON
from sim2street.neural_renderer.conditions.layout import layout
from sim2street.neural_renderer.conditions.pseudo_depth import (
    USUAL_FOV_DEG,
    USUAL_HEIGHT_M,
    GroundCamera,
    estimate_horizon,
    pseudo_depth,
)
from sim2street.neural_renderer.networks.interface import GeneratorInput


def exemplar_input(groups: Tensor, tags: Tensor) -> GeneratorInput:
    """The generator's input for an exemplar's labels, with pseudo-depth.

    The generator paints other colours with depth than without, and the views that a style is used
    for have depth.

    Args:
        groups: (1, G, H, W), padded to a size that the generator accepts.
        tags: (29, h, w), sets of tags, not padded.
    """
    single = tags.argmax(dim=0).byte().numpy()
    height, width = single.shape
    horizon = estimate_horizon(single)
    horizon = USUAL_HORIZON if horizon is None else horizon
    camera = GroundCamera.of_picture((width, height), USUAL_FOV_DEG, horizon, USUAL_HEIGHT_M)
    depth = pseudo_depth(single, camera)
    intrinsics = (camera.focal_px, camera.focal_px, width / 2, camera.horizon_px)
    pose = level_pose(USUAL_HEIGHT_M)
    windows = place_windows(single, None, depth, intrinsics, pose)
    return assemble(
        groups,
        pad_to_multiple(torch.from_numpy(layout(single, None, windows))[None]),
        pad_to_multiple(torch.from_numpy(depth)[None, None])[0],
        torch.tensor([intrinsics]),
        torch.from_numpy(pose).float()[None, None],
        torch.ones(1, dtype=torch.bool),
        torch.zeros(1, dtype=torch.int64),
    )
