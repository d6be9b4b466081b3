"""Using the previous output: warping without blur, and blending it with the new picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def catmull_rom_warp(image: Tensor, coords_px: Tensor) -> Tensor:
    """Sample `image` at `coords_px` with the Catmull-Rom kernel (a = -0.5).

    Bilinear sampling blurs a picture that is fed back within ten frames; this kernel keeps
    it. Separable 4x4 taps, border replicated.

    Args:
        image: (B, C, H, W). coords_px: float32 (B, H', W', 2), x and y in pixels of `image`
            (0 = centre of the first pixel).

    Returns:
        (B, C, H', W').
    """
    b, c, h, w = image.shape
    base = coords_px.floor()
    frac = coords_px - base
    weights_x, weights_y = _catmull_rom(frac[..., 0]), _catmull_rom(frac[..., 1])
    base = base.int()
    columns = [(base[..., 0] + i).clamp(0, w - 1) for i in range(-1, 3)]
    first = torch.arange(b, dtype=torch.int32, device=image.device)[:, None, None] * h
    rows = [((base[..., 1] + j).clamp(0, h - 1) + first) * w for j in range(-1, 3)]
    # Channels last, so that a tap is one row of a table.
    table = image.permute(0, 2, 3, 1).reshape(b * h * w, c)
    out = torch.zeros(*coords_px.shape[:3], c, dtype=image.dtype, device=image.device)
    for row, weight_y in zip(rows, weights_y, strict=True):
        for column, weight_x in zip(columns, weights_x, strict=True):
            weight = (weight_y * weight_x)[..., None].to(out.dtype)
            out.addcmul_(functional.embedding(row + column, table), weight)
    return out.permute(0, 3, 1, 2)


def _catmull_rom(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    t2, t3 = t * t, t * t * t
    return (
        -0.5 * t + t2 - 0.5 * t3,
        1.0 - 2.5 * t2 + 1.5 * t3,
        0.5 * t + 2.0 * t2 - 1.5 * t3,
        -0.5 * t2 + 0.5 * t3,
    )


def clamp_to_neighbourhood(history: Tensor, raw: Tensor, slack: float = 0.25) -> Tensor:
    """Keep the history within the 5x5 range of the raw picture (+- slack): no ghosts.

    Both (B, 3, H, W) in [-1, 1].
    """
    high = _running_max(raw) + slack
    low = -_running_max(-raw) - slack
    return torch.minimum(torch.maximum(history, low), high)


def _running_max(x: Tensor) -> Tensor:
    """Maximum over 5x5 neighbourhoods; shifted maxima, much faster than pooling on CPUs."""
    x = functional.pad(x, (2, 2, 2, 2), mode="replicate")
    pairs = torch.maximum(x[..., :-1], x[..., 1:])
    rows = torch.maximum(torch.maximum(pairs[..., :-3], pairs[..., 2:-1]), x[..., 4:])
    pairs = torch.maximum(rows[..., :-1, :], rows[..., 1:, :])
    return torch.maximum(torch.maximum(pairs[..., :-3, :], pairs[..., 2:-1, :]), rows[..., 4:, :])


def blend_history(raw: Tensor, history: Tensor, keep: Tensor) -> Tensor:
    """`keep` (B, 1, H, W) in [0, 1] of the clamped history, the rest of `raw`."""
    return raw + keep * (clamp_to_neighbourhood(history, raw) - raw)
