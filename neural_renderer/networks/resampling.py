"""Changes of resolution by a factor of two, written so that they are fast on CPUs.

The generator works at half resolution and finer details are channels there: four pixels of a 2x2
cell are four channels until `pixel_shuffle2x` puts them in place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def upsample2x(x: Tensor) -> Tensor:
    """Twice as high and wide, bilinear.

    Nearest-neighbour cells have straight edges, which the following convolutions turn into lines
    on even surfaces such as roads.
    """
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear")


def downsample2x(coverage: Tensor) -> Tensor:
    """Means over 2x2 pixels; as a convolution, three times as fast as pooling on CPUs."""
    groups = coverage.shape[1]
    quarter = torch.eye(groups, device=coverage.device, dtype=coverage.dtype) / 4.0
    weight = quarter[:, :, None, None].expand(-1, -1, 2, 2)
    return functional.conv2d(
        coverage, weight.contiguous(memory_format=torch.channels_last), stride=2
    )


def pixel_shuffle2x(cells: Tensor) -> Tensor:
    """`pixel_shuffle(cells, 2)` as contiguous float32, in one pass instead of three."""
    sub = cells.unflatten(1, (-1, 2, 2))
    rows = [torch.stack([sub[:, :, y, 0], sub[:, :, y, 1]], dim=-1) for y in range(2)]
    return torch.stack(rows, dim=3).flatten(4).flatten(2, 3).float()


def unshuffle_weight(conv: nn.Conv2d) -> Tensor:
    """Weight (out, in, 2, 2) that does `conv(pixel_unshuffle(x, 2))` with stride 2.

    Gives the sums of the 1x1 convolution `conv` without a rearranged copy of x.
    """
    weight = conv.weight
    return weight.view(len(weight), -1, 2, 2).contiguous(memory_format=torch.channels_last)


def cell_offsets() -> Tensor:
    """Where the neighbours of a pixel lie once pixels are stored in 2-pixel cells, along one axis.

    Returns:
        (2, 5, 3, 2): entry [y, s, c, t] is 1 where the neighbour s - 2 pixels away from sub-pixel y
        lies in the cell c - 1 further on, as its sub-pixel t; else 0.
    """
    offsets = torch.zeros(2, 5, 3, 2)
    for y in range(2):
        for step in range(5):
            cell, sub = divmod(y + step, 2)
            offsets[y, step, cell, sub] = 1.0
    return offsets


def smoothing_before_shuffle(smooth: Tensor, binomial: Tensor, offsets: Tensor) -> Tensor:
    """One 3x3 convolution on cells that smooths the pixels they hold.

    Equals the depthwise 3x3 convolution `smooth`, then the 3x3 `binomial`, both after the pixel
    shuffle. Before it, four pixels are four channels, and a 4-channel convolution at full
    resolution would be slow.

    Args:
        smooth: (4, 1, 3, 3), one kernel per output channel.
        binomial: (3, 3).
        offsets: `cell_offsets`.

    Returns:
        (16, 16, 3, 3), channels last.
    """
    kernel = functional.conv2d(smooth, binomial[None, None], padding=2)[:, 0]
    one = torch.eye(4, device=kernel.device, dtype=kernel.dtype)
    weight = torch.einsum("cuv,yuas,xvbt,cd->cyxdstab", kernel, offsets, offsets, one)
    return weight.reshape(16, 16, 3, 3).contiguous(memory_format=torch.channels_last)
