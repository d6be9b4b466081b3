"""Using the previous output: warping without blur, and blending it with the new picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from sim2street.neural_renderer.colour import LUMA

CELL_PX = 4
"""Texture is what a blur over 3x3 such cells takes away; its energy is compared over 5x5."""
MOST_GAIN = 1.6
FLAT_ENERGY = 1e-4
"""Texture weaker than a hundredth of the half range is none."""

HermiteMaps = tuple[Tensor, ...]
"""Values and slopes of a picture, see `_hermite_maps`."""


def catmull_rom_warp(image: Tensor, coords_px: Tensor) -> Tensor:
    """Sample `image` at `coords_px` with the Catmull-Rom kernel (a = -0.5).

    Bilinear sampling blurs a picture that is fed back within ten frames; this kernel keeps
    it. Separable 4x4 taps, border replicated.

    In Hermite form the kernel is, in each direction, `(1 - s) p0 + s p1` with
    `s = t^2 (3 - 2t)`, plus `t (1 - t) ((1 - t) m0 - t m1)` with the slopes m at both ends:
    two linear interpolations, the second of slopes whose sign alternates. So four bilinear
    samplings (of values, slopes in x, in y, in both) do the work of sixteen taps.

    Args:
        image: (B, C, H, W). coords_px: float32 (B, H', W', 2), x and y in pixels of `image`
            (0 = centre of the first pixel).

    Returns:
        (B, C, H', W').
    """
    b, c, h, w = image.shape
    height, width = coords_px.shape[1:3]
    maps, places = _hermite_maps(image), coords_px.permute(0, 3, 1, 2)
    bands = _bands(height) if b == 1 and image.device.type == "cpu" else 1
    if bands > 1:  # the library shares out samples among threads, never rows
        maps = tuple(each.expand(bands, -1, -1, -1) for each in maps)
        places = places.reshape(2, bands, -1, width).transpose(0, 1)
    out = _hermite(maps, places, (h, w))
    return out.transpose(0, 1).reshape(1, c, height, width) if bands > 1 else out


def _bands(height: int) -> int:
    """How many threads can have a share of the rows of their own."""
    threads = torch.get_num_threads()
    return threads if height % threads == 0 else 1


def _hermite(maps: HermiteMaps, at: Tensor, size: tuple[int, int]) -> Tensor:
    """`catmull_rom_warp` at (B, 2, H', W') of a picture of `size` (H, W)."""
    values, slopes_x, slopes_y, twists = maps
    h, w = size
    # -1 to 1 across two pixels: t from an odd pixel on, t - 1 from an even one.
    phase = torch.sub(at, (at * 0.5).floor_(), alpha=2.0).sub_(1.0)
    across = phase.abs()
    # t (1 - t), with the sign that the slopes to the left (above) have in the maps.
    bump = torch.addcmul(phase, phase, across, value=-1.0)
    smooth = torch.addcmul(at - bump, bump, across, value=2.0)
    # x before y, so that any pair of them is a view: (sx, x, sy, y), -1 to 1 in the maps.
    planes = torch.stack([smooth[:, 0], at[:, 0], smooth[:, 1], at[:, 1]], dim=1)
    scale = torch.tensor([2.0 / (w + 1)] * 2 + [2.0 / (h + 1)] * 2, device=at.device)
    planes.mul_(scale[:, None, None]).add_((scale - 1.0)[:, None, None])
    bump_x, bump_y = bump[:, :1], bump[:, 1:]
    out = _bilinear(values, planes[:, 0::2])
    out.addcmul_(bump_x, _bilinear(slopes_x, planes[:, 1:3]))
    out.addcmul_(bump_y, _bilinear(slopes_y, planes[:, 0::3]))
    return out.addcmul_(bump_x * bump_y, _bilinear(twists, planes[:, 1::2]))


def _hermite_maps(image: Tensor) -> HermiteMaps:
    """Values, slopes in x, in y and in both: (B, C, H + 2, W + 2), one pixel around.

    Slopes change their sign from column to column (row to row): minus at even ones.
    """
    wide = functional.pad(image, (2, 2, 2, 2), mode="replicate")
    columns = _alternating(image.shape[-1] + 2, image)
    rows = _alternating(image.shape[-2] + 2, image)[:, None]
    slopes_x = (wide[..., 2:] - wide[..., :-2]).mul_(columns)
    slopes_y = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]).mul_(rows)
    twists = (slopes_x[..., 2:, :] - slopes_x[..., :-2, :]).mul_(rows)
    return wide[..., 1:-1, 1:-1], slopes_x[..., 1:-1, :], slopes_y, twists


def _alternating(length: int, like: Tensor) -> Tensor:
    """0.5, -0.5, ...; index 0 is the padding, so that the picture's own even ones are minus."""
    return 0.5 - (torch.arange(length, device=like.device) % 2).to(like.dtype)


def _bilinear(maps: Tensor, places: Tensor) -> Tensor:
    """`maps` at `places` (B, 2, H, W), x and y in [-1, 1] from the first to the last pixel."""
    return functional.grid_sample(
        maps, places.permute(0, 2, 3, 1), padding_mode="border", align_corners=True
    )


def clamp_to_neighbourhood(history: Tensor, raw: Tensor, slack: float = 0.25) -> Tensor:
    """Keep the history within the 5x5 range of the raw picture (+- slack): no ghosts.

    Both (B, 3, H, W) in [-1, 1].
    """
    wide = functional.pad(raw, (2, 2, 2, 2), mode="replicate")
    low = _running(torch.minimum, wide).sub_(slack)
    return torch.clamp(history, low, _running(torch.maximum, wide).add_(slack))


def _running(most: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
    """Maximum or minimum over 5x5 neighbourhoods: (..., H + 4, W + 4) to (..., H, W).

    Shifted maxima, much faster than pooling on CPUs.
    """
    pairs = most(x[..., :-1], x[..., 1:])
    rows = most(most(pairs[..., :-3], pairs[..., 2:-1]), x[..., 4:])
    pairs = most(rows[..., :-1, :], rows[..., 1:, :])
    return most(most(pairs[..., :-3, :], pairs[..., 2:-1, :]), rows[..., 4:, :])


def blend_history(raw: Tensor, history: Tensor, keep: Tensor) -> Tensor:
    """`keep` (B, 1, H, W) of the clamped history, the rest of `raw`, and no flatter than that.

    raw, history: (B, 3, H, W) in [-1, 1], and so is the result; keep in [0, 1].
    """
    mixed = torch.lerp(raw, clamp_to_neighbourhood(history, raw), keep)
    return with_texture_of(raw, mixed).clamp(-1.0, 1.0)


def with_texture_of(raw: Tensor, mixed: Tensor) -> Tensor:
    """`mixed` with its fine luminance as strong as that of `raw` around each pixel.

    The mean of pictures whose textures differ is flatter than each of them: within a few
    frames a street of brick turns into one of fog. Scaled back, the texture still comes
    mostly from the history, so it moves with the street, and it is as strong as in a frame
    drawn alone (the variance of a mixture restored, as in Heitz & Neyret, "High-Performance
    By-Example Noise using a Histogram-Preserving Blending Operator", HPG 2018, section 3).

    Args:
        raw, mixed: (B, 3, H, W) in [-1, 1]; H and W divisible by 4.
    """
    luma = torch.cat([_luma(raw), _luma(mixed)])
    fine = luma - _enlarged(_mean(functional.avg_pool2d(luma, CELL_PX), 3))
    of_raw, of_mixed = _mean(functional.avg_pool2d(fine.square(), CELL_PX), 5).chunk(2)
    gain = ((of_raw + FLAT_ENERGY) / (of_mixed + FLAT_ENERGY)).sqrt()
    gain = _enlarged(gain.clamp(1.0 / MOST_GAIN, MOST_GAIN))
    return mixed + (gain - 1.0) * fine.chunk(2)[1]


def _luma(rgb: Tensor) -> Tensor:
    return functional.conv2d(rgb, rgb.new_tensor(LUMA)[None, :, None, None])


def _mean(cells: Tensor, size: int) -> Tensor:
    """Means over `size` x `size` neighbours."""
    wide = functional.pad(cells, (size // 2,) * 4, mode="replicate")
    return functional.avg_pool2d(wide, size, stride=1)


def _enlarged(cells: Tensor) -> Tensor:
    """Back to pixels, smoothly."""
    return functional.interpolate(cells, scale_factor=CELL_PX, mode="bilinear")
