"""Baselines of the few-shot generator, with about the same cost as the generator of each size.

* `UnstyledGenerator`: the same generator without exemplars, that is SPADE from labels alone.
* `PlainGenerator`: an encoder, residual blocks and a decoder with instance normalisation, like the
  global generator of pix2pixHD (Wang et al., CVPR 2018, section 3.1). It has space-to-depth at the
  input and pixel shuffle at the output in place of 7x7 convolutions at full resolution, which alone
  would exceed the cost.
* `ImageUnet`: an image-to-image U-Net of about 15 GMAC at 512x256, the typical cost of a network
  that enhances rendered images. It is only timed.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim2street.neural_renderer.networks.generator import Generator
from sim2street.neural_renderer.networks.interface import (
    LAYOUT_CHANNELS,
    CompiledStyle,
    FrameGenerator,
    GeneratorInput,
    GeneratorOutput,
    History,
)
from sim2street.neural_renderer.networks.style import (
    CLASS_CHANNELS,
    CODE_CHANNELS,
    COLOUR_CHANNELS,
    KEY_CHANNELS,
    VALUE_CHANNELS,
    StyleCode,
    colour_table,
)


class UnstyledGenerator(Generator):
    """SPADE from labels alone; the style is fixed by training."""

    styled = False

    def encode_style(self, rgb: Tensor, groups: Tensor) -> StyleCode:
        """The learned fallback features of all label groups; exemplars are ignored."""
        b, encoder = rgb.shape[0], self.style_encoder
        code = rgb.new_zeros(b, CODE_CHANNELS)
        classes = encoder.fallback + encoder.fallback_from_code(code)[:, None]
        return StyleCode(
            classes,
            code,
            rgb.new_zeros(b, 1, KEY_CHANNELS),
            rgb.new_zeros(b, 1, VALUE_CHANNELS),
            rgb.new_zeros(b, 1),
            rgb.new_zeros(b, groups.shape[2], COLOUR_CHANNELS),
        )


class PlainGenerator(FrameGenerator):
    """From labels and layout to an image; uses no style, depth or history."""

    styled = False

    def __init__(self, groups: int, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.groups = groups
        self.stem = nn.Conv2d(4 * (groups + LAYOUT_CHANNELS), widths[0], 3, padding=1)
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.residuals = nn.ModuleList(_Residual(widths[-1]) for _ in range(blocks))
        self.ups = nn.ModuleList(
            nn.Conv2d(b, a, 3, padding=1) for a, b in reversed(list(pairwise(widths)))
        )
        self.to_pixels = nn.Conv2d(widths[0], 3 * 4, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.2)
        with torch.no_grad():
            self.to_pixels.weight.mul_(0.1)

    @property
    def dtype(self) -> torch.dtype:
        return self.stem.weight.dtype

    def encode_style(self, rgb: Tensor, groups: Tensor) -> StyleCode:
        """Zeros of the right shapes; exemplars are ignored."""
        b = rgb.shape[0]
        return StyleCode(
            rgb.new_zeros(b, self.groups, CLASS_CHANNELS),
            rgb.new_zeros(b, CODE_CHANNELS),
            rgb.new_zeros(b, 1, KEY_CHANNELS),
            rgb.new_zeros(b, 1, VALUE_CHANNELS),
            rgb.new_zeros(b, 1),
            rgb.new_zeros(b, groups.shape[2], COLOUR_CHANNELS),
        )

    def compile_style(self, style: StyleCode) -> CompiledStyle:
        start = style.code[:, :, None, None]
        return CompiledStyle((), start, style.keys, style.values, colour_table(style))

    def forward(
        self, x: GeneratorInput, style: CompiledStyle, history: History | None = None
    ) -> GeneratorOutput:
        labels = functional.pixel_unshuffle(torch.cat([x.groups, x.layout], dim=1), 2)
        h = functional.relu(_instance_norm(self.stem(labels)))
        for down in self.downs:
            h = functional.relu(_instance_norm(down(h)))
        for block in self.residuals:
            h = block(h)
        for up in self.ups:
            h = functional.interpolate(h, scale_factor=2.0)
            h = functional.relu(_instance_norm(up(h)))
        raw = torch.tanh(functional.pixel_shuffle(self.to_pixels(h), 2).float())
        return GeneratorOutput(raw, torch.zeros_like(raw[:, :1]), raw)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_0 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(_instance_norm(self.conv_0(x)))
        return x + _instance_norm(self.conv_1(h))


class ImageUnet(nn.Module):
    """Image to image: convolutions at full resolution, skip connections, five scales."""

    def __init__(self, widths: tuple[int, ...] = (24, 56, 128, 256, 384)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.middle = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.ups = nn.ModuleList(
            nn.Conv2d(a + b, a, 3, padding=1) for a, b in reversed(list(pairwise(widths)))
        )
        self.to_pixels = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) to the same shape; H and W divisible by 16."""
        h, skips = functional.relu(self.stem(rgb)), []
        for down in self.downs:
            skips.append(h)
            h = functional.relu(down(h))
        h = functional.relu(self.middle(h))
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            h = functional.interpolate(h, scale_factor=2.0)
            h = functional.relu(up(torch.cat([h, skip], dim=1)))
        return torch.tanh(self.to_pixels(h))


def _instance_norm(x: Tensor) -> Tensor:
    return functional.instance_norm(x, eps=1e-3)
