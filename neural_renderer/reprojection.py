"""Exact motion on the network's device: the torch twin of `bridge.geometry`, batched.

Same conventions and tolerances; a parity test holds the two together. Matrices are composed
in float64 on the host (world coordinates are large, their differences small), pixels are
moved in float32 on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bridge.frame import SKY_DEPTH_M
from bridge.geometry import DEPTH_TOLERANCE, DEPTH_TOLERANCE_M


@dataclass(frozen=True)
class Moves:
    """Current camera to previous camera, for each sample of a batch.

    Attributes:
        matrices: float32 (B, A + 1, 4, 4); index 0 is all that stands still, index i > 0
            the actor in slot i.
        known: bool (B, A + 1), False for an actor that did not exist before.
    """

    matrices: Tensor
    known: Tensor


@dataclass(frozen=True)
class Reprojection:
    """Where the current pixels were: source_px (B, H, W, 2), depth_m (B, H, W), 0 = nowhere."""

    source_px: Tensor
    depth_m: Tensor


def clip_moves(
    pose: Tensor, previous_pose: Tensor, actor: Tensor, previous_actor: Tensor, known: Tensor
) -> Moves:
    """Moves from poses: (B, 4, 4) cameras, (B, A, 4, 4) actors, known bool (B, A)."""
    to_previous = torch.linalg.inv(previous_pose.double())
    to_world = pose.double()
    static = to_previous @ to_world
    moved = previous_actor.double() @ torch.linalg.inv(actor.double())
    actors = to_previous[:, None] @ moved @ to_world[:, None]
    everything = torch.cat([static[:, None], actors], dim=1).float()
    return Moves(everything, functional.pad(known, (1, 0), value=True))


def move_points(points: Tensor, matrices: Tensor, slots: Tensor | None, sky: Tensor) -> Tensor:
    """Apply to every point the matrix of its slot; the sky only turns.

    Args:
        points: (B, H, W, 3). matrices: (B, A + 1, 4, 4), see `Moves`.
        slots: int64 (B, H, W) or None (all 0). sky: bool (B, H, W).
    """
    b, h, w, _ = points.shape
    flat, static = points.view(b, h * w, 3), matrices[:, 0]
    moved = _turned(flat, static)
    moved += torch.where(sky.view(b, h * w, 1), 0.0, static[:, None, :3, 3])
    if slots is not None and matrices.shape[1] > 1:
        sample, pixel = torch.nonzero(slots.view(b, h * w), as_tuple=True)
        own = matrices[sample, slots.view(b, h * w)[sample, pixel]]
        at = flat[sample, pixel]
        moved[sample, pixel] = _turned(at[:, None], own)[:, 0] + own[:, :3, 3]
    return moved.view(b, h, w, 3)


def _turned(points: Tensor, matrices: Tensor) -> Tensor:
    """Rotation part of (..., 4, 4) applied to (..., 3).

    Outside autocast: in bfloat16 a coordinate of hundreds of metres has no centimetres.
    """
    with torch.autocast(points.device.type, enabled=False):
        return points @ matrices[..., :3, :3].transpose(-1, -2)


def reproject(
    depth_m: Tensor, rays: Tensor, slots: Tensor | None, moves: Moves, intrinsics: Tensor
) -> Reprojection:
    """Move every pixel to the previous view.

    Args:
        depth_m: (B, H, W). rays: (B, H, W, 3) with z = 1 (`inputs.pixel_rays`).
        slots: int64 (B, H, W), 0 = stands still, i = `moves.matrices[:, i]`; None: all 0.
        intrinsics: (B, 4) fx, fy, cx, cy of the previous view.
    """
    b, h, w = depth_m.shape
    sky = depth_m >= SKY_DEPTH_M
    moved = move_points(rays * depth_m[..., None], moves.matrices, slots, sky).view(b, h * w, 3)
    exists = torch.ones(b, h * w, dtype=torch.bool, device=depth_m.device)
    if slots is not None and moves.matrices.shape[1] > 1:
        sample, pixel = torch.nonzero(slots.view(b, h * w), as_tuple=True)
        exists[sample, pixel] = moves.known[sample, slots.view(b, h * w)[sample, pixel]]
    sky = sky.view(b, h * w)
    in_front = (moved[..., 2] > 1e-3) & exists
    depth = torch.where(in_front, moved[..., 2], 0.0)
    depth = torch.where(sky & in_front, SKY_DEPTH_M, depth)
    z = moved[..., 2].clamp_min(1e-3)
    fx, fy, cx, cy = (value[:, None] for value in intrinsics.unbind(dim=1))
    source = torch.stack([moved[..., 0] / z * fx + cx, moved[..., 1] / z * fy + cy], dim=-1).view(
        b, h, w, 2
    )
    return Reprojection(source, depth.view(b, h, w))


def visible_before(
    motion: Reprojection,
    previous_depth_m: Tensor,
    slots: Tensor | None = None,
    previous_slots: Tensor | None = None,
) -> Tensor:
    """bool (B, H, W): the point was visible in the previous view; see `bridge.geometry`.

    Slots, where given, must name the same actor with the same number in both views.
    """
    h, w = previous_depth_m.shape[1:]
    x, y = motion.source_px.unbind(dim=-1)
    visible = (x >= -0.5) & (x < w - 0.5) & (y >= -0.5) & (y < h - 0.5) & (motion.depth_m > 0.0)
    inverse = sample(1.0 / previous_depth_m.clamp_min(1e-3)[:, None], motion.source_px)[:, 0]
    nearest = sample(previous_depth_m[:, None], motion.source_px, "nearest")[:, 0]
    tolerance = DEPTH_TOLERANCE_M + DEPTH_TOLERANCE * motion.depth_m
    same = (motion.depth_m - 1.0 / inverse).abs() <= tolerance
    visible &= same | ((motion.depth_m - nearest).abs() <= tolerance)
    if slots is not None and previous_slots is not None:
        earlier = sample(previous_slots.float()[:, None], motion.source_px, "nearest")[:, 0]
        visible &= earlier == slots.float()
    return visible


def sample(image: Tensor, source_px: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample (B, C, H, W) at pixel coordinates (B, h, w, 2), clamped to the border."""
    h, w = image.shape[-2:]
    scale = torch.tensor([2.0 / max(w - 1, 1), 2.0 / max(h - 1, 1)], device=image.device)
    grid = source_px * scale - 1.0
    return functional.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=True)
