"""Views of the bridge to tensors on a device, batch of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sim2street.bridge.frame import Actor, FloatArray, IdArray, View
from sim2street.bridge.geometry import inverse_pose, relative_transforms
from sim2street.neural_renderer.conditions.facade_windows import place_windows
from sim2street.neural_renderer.conditions.reprojection import Movers, Moves, movers_in

NOWHERE_PX = -1e6

SLOT_TABLE = 1 << 16
"""Entries of the table from the lower bits of an instance id to the actor's slot."""


def as_plane(array: npt.NDArray[Any], scale: int, device: torch.device) -> Tensor:
    """(..., H, W) to a tensor (1, ..., k*H, k*W), nearest."""
    plane = torch.from_numpy(array.copy()).to(device)
    if scale > 1:
        plane = plane.repeat_interleave(scale, -2).repeat_interleave(scale, -1)
    return plane[None]


def view_intrinsics(view: View, scale: int, device: torch.device) -> Tensor:
    """fx, fy, cx, cy of the view at `scale` times its size, float32 (1, 4)."""
    camera = view.camera.resized(view.camera.width_px * scale, view.camera.height_px * scale)
    values = (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px)
    return torch.tensor([values], dtype=torch.float32, device=device)


def world_windows(view: View) -> npt.NDArray[np.bool_] | None:
    """Windows of the view's facades, bool (H, W); None without labels or depth."""
    if view.labels is None or view.depth_m is None:
        return None
    camera = (view.camera.fx_px, view.camera.fy_px, view.camera.cx_px, view.camera.cy_px)
    return place_windows(view.labels, view.instances, view.depth_m, camera, view.pose)


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """x and y of every pixel, float32 (H, W, 2)."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    return torch.stack([x, y], dim=-1).float()


def engine_motion(view: View, scale: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the engine says that pixels were: (1, kH, kW, 2), and bool (1, kH, kW) in the frame.

    What is no number is nowhere.
    """
    assert view.motion_px is not None
    moved = torch.from_numpy(np.nan_to_num(view.motion_px, nan=NOWHERE_PX)).to(device) * scale
    moved = moved.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    height, width = moved.shape[:2]
    source = pixel_grid(height, width, device) + moved
    inside = (source >= -0.5).all(-1) & (source[..., 0] < width - 0.5)
    return source[None], (inside & (source[..., 1] < height - 0.5))[None]


def instance_ids(instances: IdArray) -> npt.NDArray[np.int32]:
    """uint32 ids as int32: those above 2^31 turn negative, equal ones stay equal."""
    return instances.astype(np.uint32, copy=False).view(np.int32)


def movers_among(ids: Tensor, actors: Sequence[Actor]) -> Movers | None:
    """The pixels of `actors`; slots count them in ascending order of their ids.

    Args:
        ids: int32 (1, H, W) `instance_ids`.
    """
    if not actors:
        return None
    actor_ids = np.array(sorted(actor.actor_id for actor in actors), np.uint32)
    known = torch.from_numpy(instance_ids(actor_ids)).to(ids.device)
    places = actor_ids % SLOT_TABLE
    if len(np.unique(places)) < len(places):
        numbers = torch.arange(1, len(known) + 1, device=ids.device)
        return movers_in(((ids[..., None] == known) * numbers).sum(dim=-1))
    # One look-up by the lower bits finds candidates, a comparison the real ones.
    table = np.zeros(SLOT_TABLE, np.int32)
    table[places] = np.arange(1, len(places) + 1)
    slots = torch.from_numpy(table).to(ids.device)[ids & (SLOT_TABLE - 1)]
    found = movers_in(slots)
    real = known[found.slot - 1] == ids[found.sample, found.row, found.column]
    return Movers(found.sample[real], found.row[real], found.column[real], found.slot[real])


def moves_between(
    view: View,
    actors: tuple[Actor, ...],
    previous_pose: FloatArray,
    previous_actors: tuple[Actor, ...],
    device: torch.device,
) -> Moves:
    """Matrices from the current view to an earlier one, slots as in `movers_among`."""
    transforms = relative_transforms(view.pose, previous_pose, actors, previous_actors)
    matrices = np.concatenate([transforms.static[None], transforms.actors])
    known = np.concatenate([[True], transforms.known])
    return Moves(
        torch.from_numpy(matrices)[None].to(device), torch.from_numpy(known)[None].to(device)
    )


def anchors(view: View, actors: tuple[Actor, ...], device: torch.device) -> Tensor:
    """Camera to world, and to each actor's own frame: float32 (1, A + 1, 4, 4)."""
    ordered = sorted(actors, key=lambda actor: actor.actor_id)
    pose = view.pose.astype(np.float64)
    poses = np.array([actor.pose for actor in ordered], np.float64).reshape(-1, 4, 4)
    matrices = np.concatenate([pose[None], inverse_pose(poses) @ pose])
    return torch.from_numpy(matrices.astype(np.float32))[None].to(device)
