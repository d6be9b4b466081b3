"""The generator: labels, depth and noise in, a street photograph out.

    groups, layout, depth, noise --1/2--> label embedding 1/2 ... 1/32
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
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim2street.neural_renderer.networks.motion import blend_history
from sim2street.neural_renderer.networks.spade import (
    ModulationWeights,
    SpadeBlock,
    doubled,
    halved,
    padding_at,
    spread,
)
from sim2street.neural_renderer.networks.style import (
    CLASS_CHANNELS,
    CODE_CHANNELS,
    VALUE_CHANNELS,
    LabelKey,
    StyleCode,
    StyleEncoder,
    attend,
    attention_tokens,
    colour_table,
    in_colours,
)

NOISE_CHANNELS = 3
LAYOUT_CHANNELS = 8
GEOMETRY_CHANNELS = 2
STYLE_MAP_CHANNELS = 24
HISTORY_CHANNELS = 16
LEVELS = 5
MOST_KEPT = 0.7
"""Of a pixel's history: with more, facades are means of ten drawings that differ, and so grey."""

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
        layout: float (B, 8, H, W), edges between things, places in them and windows of facades,
            see `layout.layout`.
        geometry: float (B, 2, H, W), `inputs.inverse_depth` and `inputs.height_over_camera`;
            zeros where the sample has no depth.
        has_depth: float (B, 1, 1, 1), 1 where the sample has depth.
        noise: float (B, 3, H, W) world-anchored, in [-1, 1].
    """

    groups: Tensor
    layout: Tensor
    geometry: Tensor
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
        modulation: per level, per block, the weights of its two SPADEs; they take the
            coverage by groups in place of the class features of the style.
        start: (B, C, 1, 1) added to the start tensor.
        keys, values: the exemplars' tokens, see `style.attention_tokens`.
        colour: see `style.colour_table`.
    """

    modulation: tuple[tuple[tuple[ModulationWeights, ...], ...], ...]
    start: Tensor
    keys: Tensor
    values: Tensor
    colour: Tensor


@dataclass(frozen=True)
class GeneratorOutput:
    """rgb and raw float (B, 3, H, W) in [-1, 1]; keep (B, 1, H, W) share of the history."""

    rgb: Tensor
    raw: Tensor
    keep: Tensor


class FrameGenerator(nn.Module, ABC):
    """What trainer and session ask of a generator; `styled`: whether exemplars matter to it."""

    styled: ClassVar[bool] = True

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
        inputs = 4 * (groups + LAYOUT_CHANNELS + GEOMETRY_CHANNELS + 1 + NOISE_CHANNELS)
        self.stem = nn.Conv2d(inputs, widths[0], 1)
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1, padding_mode="replicate")
            for a, b in pairwise(widths)
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
                SpadeBlock(width, _map_channels(level, width), CODE_CHANNELS, padding_at(level))
                for _ in range(blocks[level])
            )
            for level, width in enumerate(widths)
        )
        self.ups = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.to_pixels = nn.Conv2d(widths[0], 4 * 4, 3, padding=1)
        self.smooth = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.widths = widths
        self.taps: Tensor
        self.register_buffer("taps", _taps(), persistent=False)
        self.binomial: Tensor
        binomial = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("binomial", binomial[:, None] * binomial, persistent=False)
        self._initialise(groups)

    def _initialise(self, groups: int) -> None:
        """Signals of size one everywhere, no lattice to start with, history columns zero.

        ICNR behind the pixel shuffle, and smoothing that leaves the binomial's zero where it
        is and little else of its blur. Most of a frame is kept to begin with (sigmoid(2)):
        with less, nothing pulls the share of the history up.

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
            # As loud as a label group: edges, and windows, the last of the layout.
            windows = 4 * (groups + LAYOUT_CHANNELS - 1)
            self.stem.weight[:, 4 * (groups + 1) : windows].normal_(std=0.15)
            self.stem.weight[:, windows + 4 :].normal_(std=0.15)
            weight.copy_(seed.repeat_interleave(4, dim=0))
            assert self.to_pixels.bias is not None
            self.to_pixels.bias[12:] = 2.0
            sharpen = torch.tensor([-0.25, 1.5, -0.25])
            self.smooth.weight.copy_(sharpen[:, None] * sharpen)
            for level in range(LEVELS):
                for block in self._level(level):
                    block.conv_1.weight.mul_(0.5)
                    for spade in (block.spade_0, block.spade_1):
                        spade.modulation.weight.mul_(0.5)
            for weight in self.history_weights():
                weight[:, -HISTORY_CHANNELS:] = 0.0

    def history_weights(self) -> list[Tensor]:
        """Weights (out, in, 1, 1) whose last `HISTORY_CHANNELS` inputs are the history's map."""
        blocks = [block for level in range(2) for block in self._level(level)]
        spades = [spade for block in blocks for spade in (block.spade_0, block.spade_1)]
        return [conv.weight for spade in spades for conv in (spade.modulation, spade.down)]

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
        looks = [to_map(style.classes) for to_map in self.class_maps]
        modulation = tuple(
            tuple(
                tuple(
                    _of_coverage(weights, looks[level], width)
                    for weights in block.weights(style.code)
                )
                for block in self._level(level)
            )
            for level, width in enumerate(self.widths)
        )
        start = self.start_from_code(style.code)[:, :, None, None]
        return CompiledStyle(modulation, start, *attention_tokens(style), colour_table(style))

    def forward(
        self, x: GeneratorInput, style: CompiledStyle, history: History | None = None
    ) -> GeneratorOutput:
        """One frame. All spatial inputs share (B, H, W), H and W divisible by 32."""
        embeddings = self._embed(x)
        coverage = halved(x.groups.to(self.dtype))
        maps = self._maps(x, coverage, style, embeddings, history)
        h = embeddings[-1] + style.start.to(embeddings[-1].dtype)
        for level in reversed(range(LEVELS)):
            for block, weights in zip(self._level(level), style.modulation[level], strict=True):
                h = block(h, maps[level], weights)
            if level > 0:
                h = doubled(self.ups[level - 1](h))
        pixels = self._to_pixels(functional.leaky_relu_(h, 0.2))
        raw = in_colours(torch.tanh(pixels[:, :3]), coverage, style.colour)
        if history is None:
            return GeneratorOutput(raw, raw, torch.zeros_like(raw[:, :1]))
        keep = torch.sigmoid(pixels[:, 3:]).clamp_max(MOST_KEPT) * history.validity
        return GeneratorOutput(blend_history(raw, history.rgb, keep), raw, keep)

    def _to_pixels(self, h: Tensor) -> Tensor:
        """Picture and keep, before tanh and sigmoid: float32 (B, 4, H, W).

        `binomial(smooth(pixel_shuffle(to_pixels(h), 2)))`. The binomial is fixed: it is zero
        at two pixels a period, where losses through strided features pull pixel shuffles into
        a lattice. (Learned smoothing alone let one through: 6 to 10 times its surroundings in
        the spectrum.) All smoothing happens before the shuffle: there four pixels are four
        channels, and convolutions have no thin ones to be slow with.
        """
        taps, blur = self.taps, self.binomial
        kernel = functional.conv2d(self.smooth.weight, blur[None, None], padding=2)[:, 0]
        one = torch.eye(4, device=kernel.device, dtype=kernel.dtype)
        weight = torch.einsum("cuv,yuas,xvbt,cd->cyxdstab", kernel, taps, taps, one)
        assert self.smooth.bias is not None
        bias = self.smooth.bias.repeat_interleave(4)
        weight = weight.reshape(16, 16, 3, 3).contiguous(memory_format=torch.channels_last)
        return spread(functional.conv2d(self.to_pixels(h), weight, bias, padding=1))

    def _embed(self, x: GeneratorInput) -> list[Tensor]:
        """Label embedding at 1/2 ... 1/32. Space-to-depth first: no thin label is lost."""
        groups = x.groups.shape[1]
        depth_flag = x.has_depth.expand_as(x.geometry[:, :1])
        planes = (x.layout, x.geometry, depth_flag, x.noise)
        rest = torch.cat([plane.to(self.dtype) for plane in planes], dim=1)
        # Two convolutions: groups come with channels last, the rest plane by plane.
        weight = _strided(self.stem)
        h = functional.conv2d(x.groups.to(self.dtype), weight[:, :groups], self.stem.bias, stride=2)
        h = functional.leaky_relu_(h + functional.conv2d(rest, weight[:, groups:], stride=2), 0.2)
        embeddings = [h]
        for down in self.downs:
            h = functional.leaky_relu_(down(h), 0.2)
            embeddings.append(h)
        return embeddings

    def _maps(
        self,
        x: GeneratorInput,
        coverage: Tensor,
        style: CompiledStyle,
        embeddings: list[Tensor],
        history: History | None,
    ) -> list[Tensor]:
        """SPADE's maps per level: label embedding, coverage by groups (at 1/2), history."""
        past = self._history_maps(x, history)
        maps = []
        for level, embedding in enumerate(embeddings):
            coverage = halved(coverage) if level else coverage
            parts = [embedding, coverage]
            if level == 3:
                parts.append(self.attended(attend(self.query(coverage), style.keys, style.values)))
            if level < 2:
                parts.append(past[level])
            maps.append(torch.cat([part.to(embedding.dtype) for part in parts], dim=1))
        return maps

    def _history_maps(self, x: GeneratorInput, history: History | None) -> tuple[Tensor, Tensor]:
        b, _, h, w = x.groups.shape
        if history is None:
            zeros = x.groups.new_zeros(b, HISTORY_CHANNELS, h // 2, w // 2)
            return zeros, zeros[:, :, : h // 4, : w // 4]
        valid = history.validity.to(self.dtype)
        age = valid * history.age.to(self.dtype)
        stack = torch.cat([history.rgb.to(self.dtype) * valid, valid, age], dim=1)
        weight, bias = _strided(self.history_stem), self.history_stem.bias
        half = functional.leaky_relu_(functional.conv2d(stack, weight, bias, stride=2), 0.2)
        quarter = functional.leaky_relu_(self.history_down(half), 0.2)
        known = (valid.amax(dim=(1, 2, 3), keepdim=True) > 0).to(self.dtype)
        return half * known, quarter * known  # none in a batch is as none alone


def _strided(conv: nn.Conv2d) -> Tensor:
    """Weights of a 1x1 convolution behind `pixel_unshuffle(x, 2)` as 2x2 with stride 2.

    The same sums without the rearranged copy.
    """
    weight = conv.weight
    return weight.view(len(weight), -1, 2, 2).contiguous(memory_format=torch.channels_last)


def _of_coverage(weights: ModulationWeights, looks: Tensor, width: int) -> ModulationWeights:
    """Weights for maps with the coverage by groups behind the first `width` channels.

    The paper's maps hold the style's class features there, (B, G, 24) `looks` weighted by
    coverage: two linear steps in one.
    """
    after = weights.weight.shape[2] - width - STYLE_MAP_CHANNELS
    embedding, style, rest = weights.weight.split([width, STYLE_MAP_CHANNELS, after], dim=2)
    coverage = style @ looks.to(style.dtype).transpose(1, 2)
    return ModulationWeights(torch.cat([embedding, coverage, rest], dim=2), weights.bias)


def _taps() -> Tensor:
    """Where a pixel's neighbours are once pixels are in cells of two, along one axis.

    (2, 5, 3, 2): of sub-pixel y, the neighbour -2 to 2 further is in the cell -1, 0 or 1
    further, and there which sub-pixel.
    """
    taps = torch.zeros(2, 5, 3, 2)
    for y in range(2):
        for step in range(5):
            cell, sub = divmod(y + step, 2)
            taps[y, step, cell, sub] = 1.0
    return taps


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
