"""Blending of the new image with the history, without ghosts and without loss of texture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from sim2street.neural_renderer.images import LUMA

CELL_PX = 4
"""Texture is what a blur over 3x3 cells of this size removes; its energy is averaged over 5x5."""

MAX_GAIN = 1.6
"""Largest factor on the texture; the smallest is its inverse."""

FLAT_ENERGY = 1e-4
"""Added to both energies, so that texture below 0.01 is not amplified."""


def blend_history(raw: Tensor, history: Tensor, weight: Tensor) -> Tensor:
    """Mix the new image with the clamped history and restore the strength of its texture.

    Args:
        raw, history: (B, 3, H, W) in [-1, 1].
        weight: (B, 1, H, W) in [0, 1], share of the history.

    Returns:
        (B, 3, H, W) in [-1, 1].
    """
    mixed = torch.lerp(raw, clamp_to_neighbourhood(history, raw), weight)
    return with_texture_of(raw, mixed).clamp(-1.0, 1.0)


def clamp_to_neighbourhood(history: Tensor, raw: Tensor, slack: float = 0.25) -> Tensor:
    """Clamp the history to the 5x5 range of the new image, widened by `slack`.

    Prevents ghosts, as in temporal antialiasing. Both are (B, 3, H, W) in [-1, 1].
    """
    padded = functional.pad(raw, (2, 2, 2, 2), mode="replicate")
    low = _extremum_5x5(torch.minimum, padded).sub_(slack)
    return torch.clamp(history, low, _extremum_5x5(torch.maximum, padded).add_(slack))


def with_texture_of(raw: Tensor, mixed: Tensor) -> Tensor:
    """Scale the fine luminance of `mixed` to the local strength it has in `raw`.

    The mean of images with different textures is flatter than each of them, so repeated blending
    would turn brick into fog. The scaled texture still comes mostly from the history and moves
    with the street. This restores the variance of a mixture as in Heitz & Neyret, "High-Performance
    By-Example Noise using a Histogram-Preserving Blending Operator", HPG 2018, section 3.

    Args:
        raw, mixed: (B, 3, H, W) in [-1, 1]; H and W divisible by 4.
    """
    luma = torch.cat([_luma(raw), _luma(mixed)])
    fine = luma - _enlarge_cells(_box_mean(functional.avg_pool2d(luma, CELL_PX), 3))
    energy = _box_mean(functional.avg_pool2d(fine.square(), CELL_PX), 5)
    raw_energy, mixed_energy = energy.chunk(2)
    gain = ((raw_energy + FLAT_ENERGY) / (mixed_energy + FLAT_ENERGY)).sqrt()
    gain = _enlarge_cells(gain.clamp(1.0 / MAX_GAIN, MAX_GAIN))
    return mixed + (gain - 1.0) * fine.chunk(2)[1]


def _extremum_5x5(extremum: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
    """Minimum or maximum over 5x5 neighbourhoods: (..., H + 4, W + 4) to (..., H, W).

    Shifted comparisons are much faster than pooling on CPUs.
    """
    pairs = extremum(x[..., :-1], x[..., 1:])
    rows = extremum(extremum(pairs[..., :-3], pairs[..., 2:-1]), x[..., 4:])
    pairs = extremum(rows[..., :-1, :], rows[..., 1:, :])
    return extremum(extremum(pairs[..., :-3, :], pairs[..., 2:-1, :]), rows[..., 4:, :])


def _luma(rgb: Tensor) -> Tensor:
    return functional.conv2d(rgb, rgb.new_tensor(LUMA)[None, :, None, None])


def _box_mean(cells: Tensor, size: int) -> Tensor:
    """Mean over `size` x `size` neighbourhoods, border replicated."""
    padded = functional.pad(cells, (size // 2,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, size, stride=1)


def _enlarge_cells(cells: Tensor) -> Tensor:
    """From cells to pixels, bilinear."""
    return functional.interpolate(cells, scale_factor=CELL_PX, mode="bilinear")
