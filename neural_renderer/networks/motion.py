"""Resampling of the previous frame along the motion, without blur."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

HermiteMaps = tuple[Tensor, ...]
"""Values and slopes of an image, see `_hermite_maps`."""


def catmull_rom_warp(image: Tensor, coords_px: Tensor) -> Tensor:
    """Sample `image` at `coords_px` with the Catmull-Rom kernel (a = -0.5), border replicated.

    Bilinear sampling blurs an image that is fed back within ten frames; this kernel keeps detail.

    In Hermite form the kernel is, in each direction, `(1 - s) p0 + s p1` with
    `s = t^2 (3 - 2t)`, plus `t (1 - t) ((1 - t) m0 - t m1)` with the slopes m at both ends.
    These are two linear interpolations, the second of slopes whose sign alternates. Four
    bilinear samplings (of values, slopes in x, in y, in both) therefore replace sixteen taps.

    Args:
        image: (B, C, H, W).
        coords_px: float32 (B, H', W', 2), x and y in pixels of `image`; 0 is the centre of the
            first pixel.

    Returns:
        (B, C, H', W').
    """
    b, c, h, w = image.shape
    height, width = coords_px.shape[1:3]
    maps, coords = _hermite_maps(image), coords_px.permute(0, 3, 1, 2)
    bands = _bands(height) if b == 1 and image.device.type == "cpu" else 1
    if bands > 1:  # grid_sample divides samples among threads, but not rows
        maps = tuple(each.expand(bands, -1, -1, -1) for each in maps)
        coords = coords.reshape(2, bands, -1, width).transpose(0, 1)
    out = _sample_hermite(maps, coords, (h, w))
    return out.transpose(0, 1).reshape(1, c, height, width) if bands > 1 else out


def _bands(height: int) -> int:
    """Number of bands of rows, one per thread; 1 if the rows cannot be divided equally."""
    threads = torch.get_num_threads()
    return threads if height % threads == 0 else 1


def _sample_hermite(maps: HermiteMaps, coords: Tensor, size: tuple[int, int]) -> Tensor:
    """`catmull_rom_warp` at `coords` (B, 2, H', W') in an image of `size` (H, W)."""
    values, slopes_x, slopes_y, twists = maps
    h, w = size
    # -1 to 1 across two pixels: t from an odd pixel on, t - 1 from an even one.
    phase = torch.sub(coords, (coords * 0.5).floor_(), alpha=2.0).sub_(1.0)
    across = phase.abs()
    # t (1 - t), with the sign that the slopes to the left (above) have in the maps.
    bump = torch.addcmul(phase, phase, across, value=-1.0)
    smooth = torch.addcmul(coords - bump, bump, across, value=2.0)
    # Order (smooth x, x, smooth y, y), x before y, so that each pair below is a view.
    planes = torch.stack([smooth[:, 0], coords[:, 0], smooth[:, 1], coords[:, 1]], dim=1)
    # From pixels to the range -1 to 1 of the maps, which are one pixel larger on each side.
    scale = torch.tensor([2.0 / (w + 1)] * 2 + [2.0 / (h + 1)] * 2, device=coords.device)
    planes.mul_(scale[:, None, None]).add_((scale - 1.0)[:, None, None])
    bump_x, bump_y = bump[:, :1], bump[:, 1:]
    out = _bilinear(values, planes[:, 0::2])
    out.addcmul_(bump_x, _bilinear(slopes_x, planes[:, 1:3]))
    out.addcmul_(bump_y, _bilinear(slopes_y, planes[:, 0::3]))
    return out.addcmul_(bump_x * bump_y, _bilinear(twists, planes[:, 1::2]))


def _hermite_maps(image: Tensor) -> HermiteMaps:
    """Values, slopes in x, in y and in both: (B, C, H + 2, W + 2), one pixel of border.

    The sign of slopes alternates from column to column (row to row): minus at even ones.
    """
    padded = functional.pad(image, (2, 2, 2, 2), mode="replicate")
    columns = _alternating_halves(image.shape[-1] + 2, image)
    rows = _alternating_halves(image.shape[-2] + 2, image)[:, None]
    slopes_x = (padded[..., 2:] - padded[..., :-2]).mul_(columns)
    slopes_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]).mul_(rows)
    twists = (slopes_x[..., 2:, :] - slopes_x[..., :-2, :]).mul_(rows)
    return padded[..., 1:-1, 1:-1], slopes_x[..., 1:-1, :], slopes_y, twists


def _alternating_halves(length: int, like: Tensor) -> Tensor:
    """0.5, -0.5, ...; index 0 is the border, so the even columns of the image itself are minus."""
    return 0.5 - (torch.arange(length, device=like.device) % 2).to(like.dtype)


def _bilinear(maps: Tensor, coords: Tensor) -> Tensor:
    """Sample at `coords` (B, 2, H, W): x and y in [-1, 1] from the first to the last pixel."""
    return functional.grid_sample(
        maps, coords.permute(0, 2, 3, 1), padding_mode="border", align_corners=True
    )
