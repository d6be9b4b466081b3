"""Views of the bridge to tensors on a device, batch of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bridge.frame import SKY_DEPTH_M, Actor, FloatArray, View
from bridge.geometry import relative_transforms
from neural_renderer.reprojection import Moves, move_points


def upscaled(x: Tensor, scale: int) -> Tensor:
    """(H, W) to (1, k*H, k*W), nearest."""
    return x.repeat_interleave(scale, 0).repeat_interleave(scale, 1)[None]


def view_intrinsics(view: View, scale: int, device: torch.device) -> Tensor:
    """fx, fy, cx, cy of the view at `scale` times its size, float32 (1, 4)."""
    camera = view.camera.resized(view.camera.width_px * scale, view.camera.height_px * scale)
    values = (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px)
    return torch.tensor([values], dtype=torch.float32, device=device)


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """x and y of every pixel, float32 (H, W, 2)."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    return torch.stack([x, y], dim=-1).float()


def actor_slots(ids: Tensor, actor_ids: Sequence[int]) -> Tensor | None:
    """Instance ids (1, H, W) to indices + 1 into ascending `actor_ids`, 0 elsewhere."""
    if not actor_ids:
        return None
    known = torch.tensor(list(actor_ids), device=ids.device)
    index = torch.searchsorted(known, ids).clamp_max(len(actor_ids) - 1)
    return torch.where(known[index] == ids, index + 1, 0)


def moves_between(
    view: View,
    actors: tuple[Actor, ...],
    previous_pose: FloatArray,
    previous_actors: tuple[Actor, ...],
    ids: Tensor,
) -> tuple[Tensor | None, Moves]:
    """Per-pixel slots and the matrices from the current view to an earlier one."""
    transforms = relative_transforms(view.pose, previous_pose, actors, previous_actors)
    matrices = np.concatenate([transforms.static[None], transforms.actors])
    known = np.concatenate([[True], transforms.known])
    to_previous = Moves(
        torch.from_numpy(matrices)[None].to(ids.device),
        torch.from_numpy(known)[None].to(ids.device),
    )
    return actor_slots(ids, transforms.actor_ids.tolist()), to_previous


def anchored_points(
    view: View, actors: tuple[Actor, ...], rays: Tensor, depth_m: Tensor, ids: Tensor
) -> Tensor:
    """World points; on an actor's pixels points of its own frame; directions in the sky."""
    ordered = sorted(actors, key=lambda actor: actor.actor_id)
    pose = view.pose.astype(np.float64)
    own = [np.linalg.inv(actor.pose.astype(np.float64)) @ pose for actor in ordered]
    matrices = np.stack([pose, *own]).astype(np.float32)
    slots = actor_slots(ids, [actor.actor_id for actor in ordered])
    return move_points(
        rays * depth_m[..., None], torch.from_numpy(matrices)[None].to(depth_m.device), slots,
        depth_m >= SKY_DEPTH_M,
    )  # fmt: skip
