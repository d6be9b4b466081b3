"""The generator: labels, depth and noise in, a street photograph out.

A U-shaped network with SPADE blocks (see `spade`) at five levels, level 0 at 1/2 of the resolution
and level 4 at 1/32:

    input --> space-to-depth --> embedding at 1/2 ... 1/32      (SPADE maps of each level)
    embedding at 1/32 + style --> blocks, upsample --> ... --> blocks at 1/2 --> pixel shuffle

* Style (see `style`): weights of SPADE that depend on it, class features, and attention to the
  exemplars at 1/16.
* History: what was painted before, warped along the motion. It is a SPADE map at 1/2 and 1/4, and
  the new image is blended with it (see `blend`).
* Canvas: photographic textures on the surfaces. It adds to the first embedding, and the painted
  image is harmonised with it (see `harmonise`).

`build` has the sizes, `baselines` the generators that this one is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim2street.neural_renderer.networks.blend import blend_history
from sim2street.neural_renderer.networks.harmonise import Harmoniser
from sim2street.neural_renderer.networks.initial_weights import initialise
from sim2street.neural_renderer.networks.interface import (
    GEOMETRY_CHANNELS,
    LAYOUT_CHANNELS,
    NOISE_CHANNELS,
    WEATHER_CHANNELS,
    CompiledStyle,
    FrameGenerator,
    GeneratorInput,
    GeneratorOutput,
    History,
)
from sim2street.neural_renderer.networks.resampling import (
    cell_offsets,
    downsample2x,
    pixel_shuffle2x,
    smoothing_before_shuffle,
    unshuffle_weight,
    upsample2x,
)
from sim2street.neural_renderer.networks.spade import SpadeBlock, coverage_weights
from sim2street.neural_renderer.networks.style import (
    CLASS_CHANNELS,
    CODE_CHANNELS,
    VALUE_CHANNELS,
    LabelKey,
    StyleCode,
    StyleEncoder,
    apply_colours,
    attend,
    attention_tokens,
    colour_table,
)

LEVELS = 5
HISTORY_LEVELS = 2
"""The history is a SPADE map at level 0 and level 1."""
ATTENTION_LEVEL = 3
GRID_LEVEL = 2
"""Features of this level, at 1/8, decide gain and offset of the canvas."""
REPLICATE_FROM_LEVEL = 2
"""From this level on, blocks pad by replication. Zero padding at coarse levels would affect half of
a training image; on larger images the edge of that zone would show as streaks."""

STYLE_MAP_CHANNELS = 24
HISTORY_CHANNELS = 16

MAX_HISTORY_WEIGHT = 0.7
"""Upper bound on the blend weight of the previous frame; higher values grey out facades."""


class Generator(FrameGenerator):
    """Few-shot vid2vid generator (Wang et al., NeurIPS 2019) with a SPADE decoder.

    Args:
        groups: G, number of label groups.
        widths: channels of each level.
        blocks: number of SPADE blocks of each level.
        slots: the slot of each label group in the canvas (`harmonise.slot_of_groups`); None: a
            generator that uses neither canvas nor weather.
    """

    def __init__(
        self,
        groups: int,
        widths: tuple[int, ...],
        blocks: tuple[int, ...],
        slots: Sequence[int] | None = None,
    ) -> None:
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
                SpadeBlock(
                    width,
                    _map_channels(level, width),
                    CODE_CHANNELS,
                    "replicate" if level >= REPLICATE_FROM_LEVEL else "zeros",
                )
                for _ in range(blocks[level])
            )
            for level, width in enumerate(widths)
        )
        self.ups = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.to_pixels = nn.Conv2d(widths[0], 4 * 4, 3, padding=1)
        self.smooth = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.widths = widths
        self.offsets: Tensor
        self.register_buffer("offsets", cell_offsets(), persistent=False)
        self.binomial: Tensor
        binomial = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("binomial", binomial[:, None] * binomial, persistent=False)
        self.harmoniser: Harmoniser | None = None
        self.weather: nn.Linear | None = None
        if slots is not None:
            self.harmoniser = Harmoniser(slots, widths[0], widths[GRID_LEVEL], widths[0])
            self.weather = nn.Linear(WEATHER_CHANNELS, widths[-1], bias=False)
        initialise(self, groups)

    def history_weights(self) -> list[Tensor]:
        """Weights (out, in, 1, 1) whose last `HISTORY_CHANNELS` inputs are the history map."""
        blocks = [block for level in range(HISTORY_LEVELS) for block in self.blocks_of(level)]
        spades = [spade for block in blocks for spade in (block.spade_0, block.spade_1)]
        return [conv.weight for spade in spades for conv in (spade.modulation, spade.down)]

    @property
    def dtype(self) -> torch.dtype:
        return self.stem.weight.dtype

    def blocks_of(self, level: int) -> list[SpadeBlock]:
        """The SPADE blocks of a level."""
        return cast(list[SpadeBlock], list(cast(nn.ModuleList, self.blocks[level])))

    def encode_style(self, rgb: Tensor, groups: Tensor) -> StyleCode:
        style: StyleCode = self.style_encoder(rgb, groups)
        return style

    def compile_style(self, style: StyleCode) -> CompiledStyle:
        features = [to_map(style.classes) for to_map in self.class_maps]
        modulation = tuple(
            tuple(
                tuple(
                    coverage_weights(weights, features[level], width)
                    for weights in block.weights(style.code)
                )
                for block in self.blocks_of(level)
            )
            for level, width in enumerate(self.widths)
        )
        start = self.start_from_code(style.code)[:, :, None, None]
        return CompiledStyle(modulation, start, *attention_tokens(style), colour_table(style))

    def forward(
        self, x: GeneratorInput, style: CompiledStyle, history: History | None = None
    ) -> GeneratorOutput:
        embeddings = self._embed(x)
        coverage = downsample2x(x.groups.to(self.dtype))
        maps = self._spade_maps(x, coverage, style, embeddings, history)
        h = coarse = self._start(embeddings[-1], x, style)
        for level in reversed(range(LEVELS)):
            for block, weights in zip(self.blocks_of(level), style.modulation[level], strict=True):
                h = block(h, maps[level], weights)
            coarse = h if level == GRID_LEVEL else coarse
            if level > 0:
                h = upsample2x(self.ups[level - 1](h))
        fine = functional.leaky_relu_(h, 0.2)
        pixels = self._to_pixels(fine)
        raw = apply_colours(torch.tanh(pixels[:, :3]), coverage, style.colour)
        painted, weight = raw, torch.zeros_like(raw[:, :1])
        if history is not None:
            weight = torch.sigmoid(pixels[:, 3:]).clamp_max(MAX_HISTORY_WEIGHT) * history.validity
            painted = blend_history(raw, history.rgb, weight)
        if self.harmoniser is None or x.canvas is None:
            return GeneratorOutput(raw, weight, painted)
        harmonised = self.harmoniser(x.canvas, x.groups, coarse, fine, painted)
        return GeneratorOutput(raw, weight, painted, harmonised)

    def _start(self, embedding: Tensor, x: GeneratorInput, style: CompiledStyle) -> Tensor:
        """The coarsest embedding with what style and weather add to it."""
        h = embedding + style.start.to(embedding.dtype)
        if self.weather is None or x.weather is None:
            return h
        added: Tensor = self.weather(x.weather.flatten(1).to(embedding.dtype))
        return h + added[:, :, None, None]

    def _to_pixels(self, h: Tensor) -> Tensor:
        """RGB and history weight before tanh and sigmoid: float32 (B, 4, H, W).

        Computes `binomial(smooth(pixel_shuffle(to_pixels(h), 2)))`. The fixed binomial is zero at a
        period of two pixels, where losses through strided features favour a lattice; learned
        smoothing alone does not suppress it.
        """
        weight = smoothing_before_shuffle(self.smooth.weight, self.binomial, self.offsets)
        assert self.smooth.bias is not None
        bias = self.smooth.bias.repeat_interleave(4)
        return pixel_shuffle2x(functional.conv2d(self.to_pixels(h), weight, bias, padding=1))

    def _embed(self, x: GeneratorInput) -> list[Tensor]:
        """Embeddings of the input at 1/2 ... 1/32; space-to-depth keeps thin labels."""
        groups = x.groups.shape[1]
        depth_flag = x.has_depth.expand_as(x.geometry[:, :1])
        planes = (x.layout, x.geometry, depth_flag, x.noise)
        rest = torch.cat([plane.to(self.dtype) for plane in planes], dim=1)
        # Two convolutions, because groups are stored channels last and the rest is not.
        weight = unshuffle_weight(self.stem)
        h = functional.conv2d(x.groups.to(self.dtype), weight[:, :groups], self.stem.bias, stride=2)
        h = h + functional.conv2d(rest, weight[:, groups:], stride=2)
        if self.harmoniser is not None and x.canvas is not None:
            h = h + self.harmoniser.embed(x.canvas)
        h = functional.leaky_relu_(h, 0.2)
        embeddings = [h]
        for down in self.downs:
            h = functional.leaky_relu_(down(h), 0.2)
            embeddings.append(h)
        return embeddings

    def _spade_maps(
        self,
        x: GeneratorInput,
        coverage: Tensor,
        style: CompiledStyle,
        embeddings: list[Tensor],
        history: History | None,
    ) -> list[Tensor]:
        """Maps of each level: embedding, label coverage (given at 1/2), attention, history."""
        history_maps = self._history_maps(x, history)
        maps = []
        for level, embedding in enumerate(embeddings):
            coverage = downsample2x(coverage) if level else coverage
            parts = [embedding, coverage]
            if level == ATTENTION_LEVEL:
                parts.append(self.attended(attend(self.query(coverage), style.keys, style.values)))
            if level < HISTORY_LEVELS:
                parts.append(history_maps[level])
            maps.append(torch.cat([part.to(embedding.dtype) for part in parts], dim=1))
        return maps

    def _history_maps(self, x: GeneratorInput, history: History | None) -> tuple[Tensor, Tensor]:
        """Embedded history at 1/2 and 1/4; zeros for samples without any valid pixel."""
        b, _, h, w = x.groups.shape
        if history is None:
            zeros = x.groups.new_zeros(b, HISTORY_CHANNELS, h // 2, w // 2)
            return zeros, zeros[:, :, : h // 4, : w // 4]
        valid = history.validity.to(self.dtype)
        age = valid * history.age.to(self.dtype)
        stack = torch.cat([history.rgb.to(self.dtype) * valid, valid, age], dim=1)
        weight, bias = unshuffle_weight(self.history_stem), self.history_stem.bias
        half = functional.leaky_relu_(functional.conv2d(stack, weight, bias, stride=2), 0.2)
        quarter = functional.leaky_relu_(self.history_down(half), 0.2)
        # The biases alone would make a sample without history differ from `history=None`.
        has_history = (valid.amax(dim=(1, 2, 3), keepdim=True) > 0).to(self.dtype)
        return half * has_history, quarter * has_history


def _map_channels(level: int, width: int) -> int:
    channels = width + STYLE_MAP_CHANNELS
    if level == ATTENTION_LEVEL:
        channels += STYLE_MAP_CHANNELS
    if level < HISTORY_LEVELS:
        channels += HISTORY_CHANNELS
    return channels
