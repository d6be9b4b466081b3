"""From one view of a world to the generator's input."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sim2street.bridge.errors import RendererError
from sim2street.bridge.frame import Actor, View, Weather
from sim2street.neural_renderer.canvas.source import CanvasSource
from sim2street.neural_renderer.conditions.assemble import assemble, padded
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.conditions.facade_windows import place_windows
from sim2street.neural_renderer.conditions.guessed_geometry import (
    guess_horizon,
    with_guessed_depth,
)
from sim2street.neural_renderer.conditions.layout import layout
from sim2street.neural_renderer.conditions.reprojection import Movers
from sim2street.neural_renderer.conditions.view_tensors import (
    camera_to_anchors,
    image_tensor,
    intrinsics_tensor,
    movers_among,
    signed_ids,
)
from sim2street.neural_renderer.networks.interface import GeneratorInput


@dataclass(frozen=True)
class ViewInput:
    """One view as tensors, a batch of one, at the size of the output image.

    Attributes:
        x: the generator's input, padded to a size that it accepts.
        depth_m: float32 (1, H, W), the world's depth; None where it sends none.
        horizon: the guessed horizon of a view without depth, as a share of the height.
        ids: int32 (1, H, W) instance ids (`signed_ids`), 0 where there are none.
        movers: the pixels that belong to actors, or None.
        intrinsics: float32 (1, 4), fx, fy, cx, cy in pixels.
    """

    x: GeneratorInput
    depth_m: Tensor | None
    horizon: float | None
    ids: Tensor
    movers: Movers | None
    intrinsics: Tensor


def view_input(
    view: View,
    actors: tuple[Actor, ...],
    class_map: ClassMap,
    scale: int,
    noise_seed: int,
    device: torch.device,
    dtype: torch.dtype,
    horizon: float | None = None,
    canvas: CanvasSource | None = None,
    weather: Weather | None = None,
) -> ViewInput:
    """Everything that the generator and the motion between frames need of a view.

    A view without depth gets pseudo-depth (`guessed_geometry`).

    Args:
        scale: size of the output image over the size of the labels.
        horizon: of the session's last view without depth; None: it is estimated from this view.
        dtype: of the label groups, that of the generator's weights.
        canvas: of a generator that uses one.
        weather: of the canvas; None: the default.

    Raises:
        RendererError: the view has no labels.
    """
    if view.labels is None:
        raise RendererError("this view has no labels: ask the world for a semantic camera")
    tensor = partial(image_tensor, scale=scale, device=device)
    has_depth = view.depth_m is not None
    if not has_depth:
        horizon = guess_horizon(view) if horizon is None else horizon
        view = with_guessed_depth(view, horizon)
    assert view.labels is not None
    assert view.depth_m is not None
    depth_m = tensor(view.depth_m)
    ids, movers = torch.zeros_like(depth_m, dtype=torch.int32), None
    if view.instances is not None:
        ids = tensor(signed_ids(view.instances))
        movers = movers_among(ids, actors)
    intrinsics = intrinsics_tensor(view, scale, device)
    x = assemble(
        class_map.groups_from_tags(tensor(view.labels), dtype),
        tensor(layout(view.labels, view.instances, _windows(view))),
        depth_m,
        intrinsics,
        camera_to_anchors(view, actors, device),
        torch.ones(1, dtype=torch.bool, device=device),
        torch.tensor([noise_seed], device=device),
        movers,
        _canvas(canvas, view, actors, scale, noise_seed, weather, device),
    )
    exact_depth_m = depth_m if has_depth else None
    return ViewInput(padded(x), exact_depth_m, horizon, ids, movers, intrinsics)


def _canvas(
    source: CanvasSource | None,
    view: View,
    actors: tuple[Actor, ...],
    scale: int,
    seed: int,
    weather: Weather | None,
    device: torch.device,
) -> Tensor | None:
    if source is None:
        return None
    planes = source.planes(view, seed, actors, weather, scale)
    return torch.from_numpy(planes).to(device)[None]


def _windows(view: View) -> npt.NDArray[np.bool_]:
    """Windows of facades and vehicles, bool (H, W)."""
    assert view.labels is not None
    assert view.depth_m is not None
    camera = (view.camera.fx_px, view.camera.fy_px, view.camera.cx_px, view.camera.cy_px)
    return place_windows(view.labels, view.instances, view.depth_m, camera, view.pose)
