"""The values that a generator's weights have before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from sim2street.neural_renderer.networks.interface import LAYOUT_CHANNELS

if TYPE_CHECKING:
    from sim2street.neural_renderer.networks.generator import Generator


def initialise(net: Generator, groups: int) -> None:
    """Scale all weights so that activations start near unit variance.

    * Layout edges and windows get the scale of a label group. All other dense inputs, such as
      the noise, get less: with one scale for all, they drown the sparse labels.
    * The four sub-pixels of a cell start equal (ICNR, Aitken et al., 2017), so that the pixel
      shuffle starts without a lattice, and `smooth` undoes most of the blur of `binomial`.
    * Canvas and weather start without any effect on the layers they share with a generator that
      has neither.
    * The history weight starts high, at sigmoid(2), or training would not raise it, while the
      weights that read the history map start at zero.
    """
    history = net.history_stem.out_channels
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=0.2)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    weight = net.to_pixels.weight
    cell = torch.empty(4, *weight.shape[1:])
    nn.init.normal_(cell, std=0.2 / (9 * weight.shape[1]) ** 0.5)
    with torch.no_grad():
        net.start_from_code.weight.mul_(0.3)
        net.stem.weight.normal_(std=0.7)
        windows = 4 * (groups + LAYOUT_CHANNELS - 1)  # the last layout channel
        net.stem.weight[:, 4 * (groups + 1) : windows].normal_(std=0.15)
        net.stem.weight[:, windows + 4 :].normal_(std=0.15)
        weight.copy_(cell.repeat_interleave(4, dim=0))
        assert net.to_pixels.bias is not None
        net.to_pixels.bias[12:] = 2.0
        sharpen = torch.tensor([-0.25, 1.5, -0.25])
        net.smooth.weight.copy_(sharpen[:, None] * sharpen)
        for level in range(len(net.widths)):
            for block in net.blocks_of(level):
                block.conv_1.weight.mul_(0.5)
                for spade in (block.spade_0, block.spade_1):
                    spade.modulation.weight.mul_(0.5)
        for weight in net.history_weights():
            weight[:, -history:] = 0.0
    if net.harmoniser is not None and net.weather is not None:
        net.harmoniser.start_at_zero()
        nn.init.zeros_(net.weather.weight)
