"""A view's arrays as tensors on a device, as a batch of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sim2street.bridge.frame import Actor, FloatArray, IdArray, View
from sim2street.bridge.geometry import inverse_pose, relative_transforms
from sim2street.neural_renderer.conditions.reprojection import Movers, Moves, movers_in

OUTSIDE_PX = -1e6
"""Coordinate for motion vectors that are NaN: far outside every image."""

SLOT_TABLE = 1 << 16
"""Entries of the look-up table from the low bits of an instance id to the actor's slot."""


def image_tensor(array: npt.NDArray[Any], scale: int, device: torch.device) -> Tensor:
    """(..., H, W) to a tensor (1, ..., k*H, k*W), enlarged k = `scale` times by repetition."""
    tensor = torch.from_numpy(array.copy()).to(device)
    if scale > 1:
        tensor = tensor.repeat_interleave(scale, -2).repeat_interleave(scale, -1)
    return tensor[None]


def intrinsics_tensor(view: View, scale: int, device: torch.device) -> Tensor:
    """fx, fy, cx, cy in pixels of the view at `scale` times its size: float32 (1, 4)."""
    camera = view.camera.resized(view.camera.width_px * scale, view.camera.height_px * scale)
    values = (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px)
    return torch.tensor([values], dtype=torch.float32, device=device)


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """Coordinates x and y of every pixel: float32 (H, W, 2)."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    return torch.stack([x, y], dim=-1).float()


def engine_motion(view: View, scale: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The engine's own motion vectors (`View.motion_px`).

    Returns:
        The earlier position of every pixel, float32 (1, k*H, k*W, 2), and whether it lies inside
        the image, bool (1, k*H, k*W).
    """
    assert view.motion_px is not None
    moved = torch.from_numpy(np.nan_to_num(view.motion_px, nan=OUTSIDE_PX)).to(device) * scale
    moved = moved.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    height, width = moved.shape[:2]
    source = pixel_grid(height, width, device) + moved
    inside = (source >= -0.5).all(-1) & (source[..., 0] < width - 0.5)
    return source[None], (inside & (source[..., 1] < height - 0.5))[None]


def signed_ids(instances: IdArray) -> npt.NDArray[np.int32]:
    """The bits of uint32 ids as int32, because torch compares no uint32. Equal ids stay equal."""
    return instances.astype(np.uint32, copy=False).view(np.int32)


def movers_among(ids: Tensor, actors: Sequence[Actor]) -> Movers | None:
    """The pixels of `actors`. Slot i > 0 is the i-th actor in ascending order of ids.

    Args:
        ids: int32 (1, H, W), see `signed_ids`.
    """
    if not actors:
        return None
    actor_ids = np.array(sorted(actor.actor_id for actor in actors), np.uint32)
    known = torch.from_numpy(signed_ids(actor_ids)).to(ids.device)
    entries = actor_ids % SLOT_TABLE
    if len(np.unique(entries)) < len(entries):  # two actors share an entry: compare them all
        numbers = torch.arange(1, len(known) + 1, device=ids.device)
        return movers_in(((ids[..., None] == known) * numbers).sum(dim=-1))
    table = np.zeros(SLOT_TABLE, np.int32)
    table[entries] = np.arange(1, len(entries) + 1)
    slots = torch.from_numpy(table).to(ids.device)[ids & (SLOT_TABLE - 1)]
    candidates = movers_in(slots)
    pixel_ids = ids[candidates.sample, candidates.row, candidates.column]
    real = known[candidates.slot - 1] == pixel_ids  # the table knows the low bits only
    return Movers(
        candidates.sample[real],
        candidates.row[real],
        candidates.column[real],
        candidates.slot[real],
    )


def moves_between(
    view: View,
    actors: tuple[Actor, ...],
    previous_pose: FloatArray,
    previous_actors: tuple[Actor, ...],
    device: torch.device,
) -> Moves:
    """Matrices from the current camera to an earlier one. Slots: see `movers_among`."""
    transforms = relative_transforms(view.pose, previous_pose, actors, previous_actors)
    matrices = np.concatenate([transforms.static[None], transforms.actors])
    known = np.concatenate([[True], transforms.known])
    return Moves(
        torch.from_numpy(matrices)[None].to(device), torch.from_numpy(known)[None].to(device)
    )


def camera_to_anchors(view: View, actors: tuple[Actor, ...], device: torch.device) -> Tensor:
    """Camera axes to the world (index 0) and to each actor: float32 (1, A + 1, 4, 4)."""
    ordered = sorted(actors, key=lambda actor: actor.actor_id)
    pose = view.pose.astype(np.float64)
    poses = np.array([actor.pose for actor in ordered], np.float64).reshape(-1, 4, 4)
    matrices = np.concatenate([pose[None], inverse_pose(poses) @ pose])
    return torch.from_numpy(matrices.astype(np.float32))[None].to(device)
