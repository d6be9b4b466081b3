"""Exact motion between views on the network's device: `bridge/geometry.py` in torch, batched.

Conventions and tolerances are the same, and a test compares the two. Matrices are composed in
float64, because world coordinates are large and their differences small. Pixels are moved in
float32. A pixel's viewing ray is affine in its column and row, so a matrix that includes the
camera's intrinsics acts on pixels directly, and no rays are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sim2street.bridge.frame import SKY_DEPTH_M
from sim2street.bridge.geometry import DEPTH_TOLERANCE, DEPTH_TOLERANCE_M


@dataclass(frozen=True)
class Moves:
    """Transforms from the current camera to the previous camera, for each sample of a batch.

    Attributes:
        matrices: float32 (B, A + 1, 4, 4). Index 0 is for everything static, index i > 0 for
            points fixed to the actor in slot i.
        known: bool (B, A + 1), False for an actor that did not exist in the previous view.
    """

    matrices: Tensor
    known: Tensor


@dataclass(frozen=True)
class Movers:
    """The N pixels of a batch that belong to actors; all int64 (N,).

    Attributes:
        sample, row, column: position of the pixel in the batch.
        slot: the actor it belongs to, from 1; see `Moves`.
    """

    sample: Tensor
    row: Tensor
    column: Tensor
    slot: Tensor


@dataclass(frozen=True)
class Reprojection:
    """Where the current view's surface points were in the previous view.

    Attributes:
        source_px: float32 (B, H, W, 2), x and y in pixels of the previous view.
        depth_m: float32 (B, H, W), depth there; 0 where the point was behind the camera or its
            actor did not exist.
    """

    source_px: Tensor
    depth_m: Tensor


def clip_moves(
    pose: Tensor, previous_pose: Tensor, actor: Tensor, previous_actor: Tensor, known: Tensor
) -> Moves:
    """Moves of a batch, from poses of cameras (B, 4, 4) and actors (B, A, 4, 4), bool (B, A)."""
    to_previous = torch.linalg.inv(previous_pose.double())
    to_world = pose.double()
    static = to_previous @ to_world
    moved = previous_actor.double() @ torch.linalg.inv(actor.double())
    actors = to_previous[:, None] @ moved @ to_world[:, None]
    everything = torch.cat([static[:, None], actors], dim=1).float()
    return Moves(everything, functional.pad(known, (1, 0), value=True))


def movers_in(slots: Tensor) -> Movers:
    """The movers of a map of slots, int (B, H, W), where 0 is static."""
    sample, row, column = torch.nonzero(slots, as_tuple=True)
    return Movers(sample, row, column, slots[sample, row, column].long())


def surface_points(
    depth_m: Tensor, intrinsics: Tensor, matrices: Tensor, movers: Movers | None = None
) -> Tensor:
    """Every pixel's surface point, transformed by the matrix of its slot: float32 (B, 3, H, W).

    In metres. Points of the sky are directions times 1000 m, and are rotated only.

    Args:
        depth_m: (B, H, W). intrinsics: (B, 4) fx, fy, cx, cy.
        matrices: (B, A + 1, 4, 4) from camera axes, in the order of `Moves.matrices`.
    """
    return _moved_pixels(depth_m, _from_pixels(matrices, intrinsics).float(), movers)


def reproject(
    depth_m: Tensor, intrinsics: Tensor, moves: Moves, movers: Movers | None = None
) -> Reprojection:
    """Move every pixel to the previous view.

    Args:
        depth_m: (B, H, W). intrinsics: (B, 4) fx, fy, cx, cy of both views.
        movers: the pixels that belong to actors.
    """
    # A matrix of zeros puts points of new actors at depth 0, that is, behind the camera.
    x, y, z = _from_pixels(moves.matrices * moves.known[..., None, None], intrinsics).unbind(-2)
    fx, fy, cx, cy = (value[:, None, None] for value in intrinsics.double().unbind(dim=1))
    to_pixels = torch.stack([x * fx + z * cx, y * fy + z * cy, z], dim=-2)
    moved = _moved_pixels(depth_m, to_pixels.float(), movers)
    z_m = moved[:, 2]
    near = (depth_m < SKY_DEPTH_M).float()
    seen_m = torch.maximum(z_m * near, (1.0 - near).mul_(SKY_DEPTH_M))
    seen_m.mul_((z_m > 1e-3).float())
    source = moved[:, :2] * z_m.clamp_min(1e-3).reciprocal_()[:, None]
    return Reprojection(source.permute(0, 2, 3, 1), seen_m)


def _from_pixels(matrices: Tensor, intrinsics: Tensor) -> Tensor:
    """Matrices that act on (column * z, row * z, z, 1): float64 (B, A + 1, 3, 4)."""
    fx, fy, cx, cy = (value[:, None, None] for value in intrinsics.double().unbind(dim=1))
    column, row, ahead, shift = matrices[..., :3, :].double().unbind(dim=-1)
    column, row = column / fx, row / fy
    return torch.stack([column, row, ahead - column * cx - row * cy, shift], dim=-1)


def _moved_pixels(depth_m: Tensor, matrices: Tensor, movers: Movers | None) -> Tensor:
    """`_from_pixels` matrices applied to all pixels: (B, 3, H, W)."""
    h, w = depth_m.shape[1:]
    columns = torch.arange(w, device=depth_m.device, dtype=torch.float32)
    rows = torch.arange(h, device=depth_m.device, dtype=torch.float32)
    column, row, one, shift = (part[..., None] for part in matrices[:, 0].unbind(dim=-1))
    points = (column * columns + one)[:, :, None] + (row * rows)[..., None]
    points *= depth_m[:, None]
    points.addcmul_((depth_m < SKY_DEPTH_M).float()[:, None], shift[..., None])
    if movers is None or not len(movers.slot):
        return points
    pixel = movers.row * w + movers.column
    z = depth_m.reshape(-1)[movers.sample * (h * w) + pixel]
    own = matrices.flatten(0, 1).flatten(1).t()[:, movers.sample * matrices.shape[1] + movers.slot]
    u, v = movers.column.float(), movers.row.float()
    for axis, (column, row, one, shift) in enumerate(own.view(3, 4, -1)):
        place = (movers.sample * 3 + axis) * (h * w) + pixel
        points.view(-1)[place] = (column * u + row * v + one) * z + shift
    return points


def visible_before(
    motion: Reprojection,
    previous_depth_m: Tensor,
    ids: Tensor | None = None,
    previous_ids: Tensor | None = None,
) -> Tensor:
    """bool (B, H, W): the point was visible in the previous view; see `sim2street.bridge.geometry`.

    Ids (or slots), if given, must be the same for the same object in both views. They are
    compared as float32, which is exact below 2^24.
    """
    h, w = previous_depth_m.shape[1:]
    x, y = motion.source_px.unbind(dim=-1)
    # Signed distance to the image border, negative inside; faster than four comparisons.
    beside = torch.maximum(
        (x - (w - 1) / 2.0).abs_().sub_(w / 2.0), (y - (h - 1) / 2.0).abs_().sub_(h / 2.0)
    )
    grid = _grid(motion.source_px, (h, w))
    plane_m = _sampled(1.0 / previous_depth_m.clamp_min(1e-3)[:, None], grid, "bilinear")[:, 0]
    nearest_m = _sampled(previous_depth_m[:, None], grid, "nearest")[:, 0]
    plane_m = plane_m.reciprocal_().sub_(motion.depth_m).abs_()
    off_m = torch.minimum(plane_m, nearest_m.sub_(motion.depth_m).abs_())
    off_m.sub_(motion.depth_m, alpha=DEPTH_TOLERANCE).sub_(DEPTH_TOLERANCE_M)
    visible = (torch.maximum(beside, off_m) <= 0.0) & (motion.depth_m > 0.0)
    if ids is not None and previous_ids is not None:
        earlier = _sampled(previous_ids.float()[:, None], grid, "nearest")[:, 0]
        visible &= earlier == ids.float()
    return visible


def sample(image: Tensor, source_px: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample (B, C, H, W) at pixel coordinates (B, h, w, 2), clamped to the border."""
    return _sampled(image, _grid(source_px, image.shape[-2:]), mode)


def _grid(source_px: Tensor, size: Sequence[int]) -> Tensor:
    """Pixel coordinates as the [-1, 1] of `grid_sample`, from the first pixel to the last."""
    h, w = size
    scale = torch.tensor([2.0 / max(w - 1, 1), 2.0 / max(h - 1, 1)], device=source_px.device)
    planes = source_px.permute(0, 3, 1, 2) * scale[:, None, None]
    return planes.sub_(1.0).permute(0, 2, 3, 1)


def _sampled(image: Tensor, grid: Tensor, mode: str) -> Tensor:
    return functional.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=True)
