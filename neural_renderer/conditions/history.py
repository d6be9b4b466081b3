"""The previous output moved onto the current view: the generator's recurrent input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sim2street.bridge.frame import Actor, FloatArray
from sim2street.bridge.renderer import RenderRequest
from sim2street.neural_renderer.conditions.assemble import SIZE_MULTIPLE, pad_to_multiple
from sim2street.neural_renderer.conditions.reprojection import (
    Reprojection,
    reproject,
    visible_before,
)
from sim2street.neural_renderer.conditions.view_input import ViewInput
from sim2street.neural_renderer.conditions.view_tensors import engine_motion, moves_between
from sim2street.neural_renderer.networks.interface import History
from sim2street.neural_renderer.networks.motion import catmull_rom_warp

CUT_DISTANCE_M = 5.0
CUT_TICKS = 10
"""Temporal state restarts when the camera moved farther or more ticks passed than this."""

FULL_AGE_FRAMES = 8.0
"""From this many frames since the restart on, the generator's age input is 1."""


@dataclass(frozen=True)
class RenderState:
    """What a session keeps of the last view that it rendered; tensors are batches of one.

    Attributes:
        rgb: float32 (1, 3, H, W) in [-1, 1], the painted image, without the canvas.
        depth_m: float32 (1, H, W), or None where the view had no depth.
        horizon: the guessed horizon of a view without depth, as a share of the height.
        ids: int32 (1, H, W) instance ids, 0 where there are none.
        pose: float32 (4, 4), camera to world.
        actors: the actors of that tick.
        tick, episode: of the view.
        age: frames rendered since the last restart.
    """

    rgb: Tensor
    depth_m: Tensor | None
    horizon: float | None
    ids: Tensor
    pose: FloatArray
    actors: tuple[Actor, ...]
    tick: int
    episode: int
    age: int


def history_for(
    state: RenderState, request: RenderRequest, current: ViewInput, scale: int
) -> History | None:
    """The last output as seen from the current camera; None where its motion is not known."""
    view, device = request.view, state.rgb.device
    height, width = state.rgb.shape[-2:]
    if view.motion_px is not None and view.motion_from_tick == state.tick:
        source_px, visible = engine_motion(view, scale, device)
    elif view.motion_px is None and current.depth_m is not None and state.depth_m is not None:
        moves = moves_between(view, request.actors, state.pose, state.actors, device)
        motion: Reprojection = reproject(current.depth_m, current.intrinsics, moves, current.movers)
        visible = visible_before(motion, state.depth_m, current.ids, state.ids)
        source_px = motion.source_px
    else:
        return None
    warped = warp(state.rgb, source_px)
    age = torch.full((1, 1, 1, 1), min(state.age / FULL_AGE_FRAMES, 1.0), device=device)
    outside = (0, -width % SIZE_MULTIPLE, 0, -height % SIZE_MULTIPLE)
    validity = functional.pad(visible[:, None].float(), outside)
    return History(pad_to_multiple(warped), validity, age)


def warp(rgb: Tensor, source_px: Tensor) -> Tensor:
    """Sample an image in [-1, 1] at `source_px`; overshoot of the kernel is clipped."""
    return catmull_rom_warp(rgb, source_px).clamp_(-1.0, 1.0)


def is_same_tick(state: RenderState | None, request: RenderRequest) -> bool:
    """Whether the request repeats the view that was rendered last."""
    return (
        state is not None
        and not request.restart
        and (state.episode, state.tick) == (request.episode, request.tick)
    )


def is_cut(state: RenderState, request: RenderRequest) -> bool:
    """Whether the view cannot follow the last one: another episode, a jump, too long a gap."""
    jump_m = float(np.linalg.norm(request.view.pose[:3, 3] - state.pose[:3, 3]))
    ticks = request.tick - state.tick
    other = request.episode != state.episode
    return other or jump_m > CUT_DISTANCE_M or not 0 < ticks <= CUT_TICKS
