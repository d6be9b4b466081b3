"""The generator: labels, depth and noise in, a street photograph out.

    groups, boundaries, depth, noise --1/2--> label embedding 1/2 ... 1/32
                                                  |      (maps for SPADE at each level)
    start from the 1/32 embedding --> SPADE block, up --> ... --> 1/2 --> pixel shuffle
    style: class features looked up per pixel, attention at 1/16, generated SPADE weights
    history: own last output, warped by exact motion: SPADE map at 1/2 and 1/4, and blend

Plain arguments, no modes: without history pass none, without style there is
`baselines.UnstyledGenerator`. Cost and sizes: `SIZES`, counted by a test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from neural_renderer.networks.motion import blend_history
from neural_renderer.networks.spade import SpadeBlock
from neural_renderer.networks.style import (
    CLASS_CHANNELS,
    CODE_CHANNELS,
    VALUE_CHANNELS,
    LabelKey,
    StyleCode,
    StyleEncoder,
    attend,
)

NOISE_CHANNELS = 3
STYLE_MAP_CHANNELS = 24
HISTORY_CHANNELS = 16
LEVELS = 5

SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "tiny": ((24, 48, 88, 160, 160), (1, 1, 1, 1, 1)),
    "small": ((32, 64, 128, 256, 256), (1, 1, 1, 1, 1)),
    "base": ((56, 112, 208, 288, 288), (1, 2, 2, 1, 1)),
}
"""Per size: channels at 1/2, 1/4, 1/8, 1/16, 1/32, and SPADE blocks at each."""


@dataclass(frozen=True)
class GeneratorInput:
    """What one frame gives the generator; batch dimension first, one device.

    Attributes:
        groups: float (B, G, H, W) multi-hot label groups; H and W divisible by 32.
        boundaries: float (B, 1, H, W), 1 on edges between instances of a class.
        inverse_depth: float (B, 1, H, W) in [0, 1], see `inputs.inverse_depth`; zeros
            where there is none.
        has_depth: float (B, 1, 1, 1), 1 where the sample has depth.
        noise: float (B, 3, H, W) world-anchored, in [-1, 1].
    """

    groups: Tensor
    boundaries: Tensor
    inverse_depth: Tensor
    has_depth: Tensor
    noise: Tensor


@dataclass(frozen=True)
class History:
    """The own last output as seen from the current camera.

    Attributes:
        rgb: float (B, 3, H, W) in [-1, 1], warped by exact motion.
        validity: float (B, 1, H, W), 0 where disoccluded or outside.
        age: float (B, 1, 1, 1), frames since the restart / 8, clipped to [0, 1].
    """

    rgb: Tensor
    validity: Tensor
    age: Tensor


@dataclass(frozen=True)
class CompiledStyle:
    """All that a style contributes and no frame changes; made once by `Generator.compile_style`.

    Attributes:
        modulation: per level, per block, the weights of its two SPADEs.
        class_maps: per level, (B, G, 24) class features as SPADE maps.
        start: (B, C, 1, 1) added to the start tensor.
        code: the style itself, for the attention.
    """

    modulation: tuple[tuple[tuple[Tensor, Tensor], ...], ...]
    class_maps: tuple[Tensor, ...]
    start: Tensor
    code: StyleCode


@dataclass(frozen=True)
class GeneratorOutput:
    """rgb and raw float (B, 3, H, W) in [-1, 1]; keep (B, 1, H, W) share of the history."""

    rgb: Tensor
    raw: Tensor
    keep: Tensor


class FrameGenerator(nn.Module, ABC):
    """What trainer and session ask of a generator."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of what `forward` takes outside autocast."""

    @abstractmethod
    def encode_style(self, rgb: Tensor, groups: Tensor) -> StyleCode:
        """E_F: exemplars (B, K, 3, H, W) in [-1, 1] and their groups (B, K, G, H, W)."""

    @abstractmethod
    def compile_style(self, style: StyleCode) -> CompiledStyle:
        """E_P: everything that does not depend on the current frame."""

    @abstractmethod
    def forward(
        self, x: GeneratorInput, style: CompiledStyle, history: History | None = None
    ) -> GeneratorOutput:
        """One frame. All spatial inputs share (B, H, W), H and W divisible by 32."""


class Generator(FrameGenerator):
    """Few-shot vid2vid generator with a SPADE decoder."""

    def __init__(self, groups: int, widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.style_encoder = StyleEncoder(groups)
        self.query = LabelKey(groups)
        inputs = 4 * (groups + 3 + NOISE_CHANNELS)
        self.stem = nn.Conv2d(inputs, widths[0], 1)
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.history_stem = nn.Conv2d(4 * 5, HISTORY_CHANNELS, 1)
        self.history_down = nn.Conv2d(HISTORY_CHANNELS, HISTORY_CHANNELS, 2, stride=2)
        self.class_maps = nn.ModuleList(
            nn.Linear(CLASS_CHANNELS, STYLE_MAP_CHANNELS) for _ in range(LEVELS)
        )
        self.attended = nn.Conv2d(VALUE_CHANNELS, STYLE_MAP_CHANNELS, 1)
        self.start_from_code = nn.Linear(CODE_CHANNELS, widths[-1])
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                SpadeBlock(width, _map_channels(level, width), CODE_CHANNELS)
                for _ in range(blocks[level])
            )
            for level, width in enumerate(widths)
        )
        self.ups = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.to_pixels = nn.Conv2d(widths[0], 4 * 4, 3, padding=1)
        self.smooth = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self._initialise(groups)

    def _initialise(self, groups: int) -> None:
        """Signals of size one everywhere, no lattice to start with, history columns zero.

        ICNR and a binomial blur behind the pixel shuffle: strided features in the losses
        pull towards a 2x2 lattice, which this takes hundreds of steps to let through.

        The label groups are sparse and the noise is not: with one scale for both, the noise
        drowns the labels for hundreds of steps.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, a=0.2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        weight = self.to_pixels.weight
        seed = torch.empty(4, *weight.shape[1:])
        nn.init.normal_(seed, std=0.2 / (9 * weight.shape[1]) ** 0.5)
        with torch.no_grad():
            self.start_from_code.weight.mul_(0.3)
            self.stem.weight.normal_(std=0.7)
            self.stem.weight[:, 4 * (groups + 1) :].normal_(std=0.15)
            weight.copy_(seed.repeat_interleave(4, dim=0))
            assert self.to_pixels.bias is not None
            self.to_pixels.bias[12:] = -1.0
            binomial = torch.tensor([0.25, 0.5, 0.25])
            self.smooth.weight.copy_(binomial[:, None] * binomial)
            for level in range(LEVELS):
                for block in self._level(level):
                    block.conv_1.weight.mul_(0.5)
                    for spade in (block.spade_0, block.spade_1):
                        spade.modulation.weight.mul_(0.5)
                        if level < 2:
                            spade.modulation.weight[:, -HISTORY_CHANNELS:] = 0.0
                            spade.down.weight[:, -HISTORY_CHANNELS:] = 0.0

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of what `forward` takes outside autocast."""
        return self.stem.weight.dtype

    def _level(self, level: int) -> list[SpadeBlock]:
        return cast(list[SpadeBlock], list(cast(nn.ModuleList, self.blocks[level])))

    def encode_style(self, rgb: Tensor, groups: Tensor) -> StyleCode:
        """E_F: exemplars (B, K, 3, H, W) in [-1, 1] and their groups (B, K, G, H, W)."""
        style: StyleCode = self.style_encoder(rgb, groups)
        return style

    def compile_style(self, style: StyleCode) -> CompiledStyle:
        """E_P: everything that does not depend on the current frame."""
        return CompiledStyle(
            tuple(
                tuple(block.weights(style.code) for block in self._level(level))
                for level in range(LEVELS)
            ),
            tuple(to_map(style.classes) for to_map in self.class_maps),
            self.start_from_code(style.code)[:, :, None, None],
            style,
        )

    def forward(
        self, x: GeneratorInput, style: CompiledStyle, history: History | None = None
    ) -> GeneratorOutput:
        """One frame. All spatial inputs share (B, H, W), H and W divisible by 32."""
        embeddings = self._embed(x)
        maps = self._maps(x, style, embeddings, history)
        h = embeddings[-1] + style.start.to(embeddings[-1].dtype)
        for level in reversed(range(LEVELS)):
            for block, weights in zip(self._level(level), style.modulation[level], strict=True):
                h = block(h, maps[level], weights)
            if level > 0:
                h = functional.interpolate(self.ups[level - 1](h), scale_factor=2.0)
        pixels = self.to_pixels(functional.leaky_relu(h, 0.2))
        pixels = self.smooth(functional.pixel_shuffle(pixels, 2)).float()
        raw = torch.tanh(pixels[:, :3])
        if history is None:
            return GeneratorOutput(raw, raw, torch.zeros_like(raw[:, :1]))
        keep = torch.sigmoid(pixels[:, 3:]) * history.validity
        return GeneratorOutput(blend_history(raw, history.rgb, keep), raw, keep)

    def _embed(self, x: GeneratorInput) -> list[Tensor]:
        """Label embedding at 1/2 ... 1/32. Space-to-depth first: no thin label is lost."""
        depth_flag = x.has_depth.expand_as(x.boundaries)
        stack = torch.cat([x.groups, x.boundaries, x.inverse_depth, depth_flag, x.noise], dim=1)
        h = functional.leaky_relu(_space_to_depth_conv(self.stem, stack), 0.2)
        embeddings = [h]
        for down in self.downs:
            h = functional.leaky_relu(down(h), 0.2)
            embeddings.append(h)
        return embeddings

    def _maps(
        self,
        x: GeneratorInput,
        style: CompiledStyle,
        embeddings: list[Tensor],
        history: History | None,
    ) -> list[Tensor]:
        """SPADE's maps per level: label embedding, style at this pixel's class, history."""
        attended = self.attended(attend(self.query(x.groups), style.code))
        past = self._history_maps(x, history)
        coverage = x.groups
        maps = []
        for level, embedding in enumerate(embeddings):
            coverage = functional.avg_pool2d(coverage, 2)
            looks = _look_up(coverage, style.class_maps[level])
            parts = [embedding, looks]
            if level == 3:
                parts.append(attended)
            if level < 2:
                parts.append(past[level])
            maps.append(torch.cat([part.to(embedding.dtype) for part in parts], dim=1))
        return maps

    def _history_maps(self, x: GeneratorInput, history: History | None) -> tuple[Tensor, Tensor]:
        b, _, h, w = x.groups.shape
        if history is None:
            zeros = x.groups.new_zeros(b, HISTORY_CHANNELS, h // 2, w // 2)
            return zeros, zeros[:, :, : h // 4, : w // 4]
        rgb = history.rgb * history.validity
        age = history.age.expand_as(history.validity) * history.validity
        stack = torch.cat([rgb, history.validity, age], dim=1)
        half = functional.leaky_relu(_space_to_depth_conv(self.history_stem, stack), 0.2)
        return half, functional.leaky_relu(self.history_down(half), 0.2)


def _space_to_depth_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`conv(pixel_unshuffle(x, 2))` of a 1x1 convolution, one copy instead of several.

    Rearranges pixels with channels last, and the weight's columns to match.
    """
    b, c, h, w = x.shape
    cells = x.permute(0, 2, 3, 1).reshape(b, h // 2, 2, w // 2, 2, c).transpose(2, 3)
    cells = cells.reshape(b, h // 2, w // 2, 4 * c).permute(0, 3, 1, 2)
    weight = conv.weight.view(-1, c, 4).transpose(1, 2).reshape(-1, 4 * c, 1, 1)
    return functional.conv2d(cells, weight, conv.bias)


def _look_up(coverage: Tensor, class_maps: Tensor) -> Tensor:
    """Class features (B, G, C) weighted by class coverage (B, G, h, w): (B, C, h, w)."""
    b, _, h, w = coverage.shape
    pixels = coverage.permute(0, 2, 3, 1).reshape(b, h * w, -1)
    looks = torch.bmm(pixels, class_maps.to(pixels.dtype))
    return looks.view(b, h, w, -1).permute(0, 3, 1, 2)


def _map_channels(level: int, width: int) -> int:
    channels = width + STYLE_MAP_CHANNELS
    if level == 3:
        channels += STYLE_MAP_CHANNELS
    if level < 2:
        channels += HISTORY_CHANNELS
    return channels


def build_generator(size: str, groups: int) -> Generator:
    """The generator of one of `SIZES`."""
    widths, blocks = SIZES[size]
    return Generator(groups, widths, blocks)
