"""What goes into a generator and comes out of it, the same for every kind of generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sim2street.neural_renderer.networks.harmonise import Harmonised
from sim2street.neural_renderer.networks.spade import ModulationWeights
from sim2street.neural_renderer.networks.style import StyleCode

LAYOUT_CHANNELS = 8
GEOMETRY_CHANNELS = 2
NOISE_CHANNELS = 3
WEATHER_CHANNELS = 5


@dataclass(frozen=True)
class GeneratorInput:
    """The conditions of one frame; batch dimension first, all on one device.

    Attributes:
        groups: float (B, G, H, W), 1 where a pixel carries the label group, else 0; H and W are
            divisible by 32.
        layout: float (B, 8, H, W): object edges, position within the object, its size, and
            windows of facades; see `conditions.layout`.
        geometry: float (B, 2, H, W): inverse depth, and height over the camera; zeros where the
            sample has no depth.
        has_depth: float (B, 1, 1, 1), 1 where the sample has depth, else 0.
        noise: float (B, 3, H, W) in [-1, 1], fixed to world coordinates, three cell sizes.
        canvas: float (B, 4, H, W), the textures that lie on the surfaces (see `harmonise`): RGB in
            [-1, 1] times coverage, and coverage in [0, 1]; None: no canvas.
        weather: float (B, 5, 1, 1) in [0, 1]: fog, rain, wetness, cloud, darkness; None: all 0.
    """

    groups: Tensor
    layout: Tensor
    geometry: Tensor
    has_depth: Tensor
    noise: Tensor
    canvas: Tensor | None = None
    weather: Tensor | None = None


@dataclass(frozen=True)
class History:
    """What the generator painted before, resampled into the current camera.

    Attributes:
        rgb: float (B, 3, H, W) in [-1, 1], `GeneratorOutput.painted` of the previous frame.
        validity: float (B, 1, H, W), 0 where the previous frame did not show the surface.
        age: float (B, 1, 1, 1), frames since the last restart divided by 8, at most 1.
    """

    rgb: Tensor
    validity: Tensor
    age: Tensor


@dataclass(frozen=True)
class CompiledStyle:
    """The part of the network that depends on the style only; reused for every frame.

    Attributes:
        modulation: weights of both SPADE layers of each block, per level. They apply to maps that
            hold the label coverage where the paper's hold class features of the style.
        start: (B, C, 1, 1), added to the coarsest embedding.
        keys, values: tokens of the exemplars, see `style.attention_tokens`.
        colour: see `style.colour_table`.
    """

    modulation: tuple[tuple[tuple[ModulationWeights, ...], ...], ...]
    start: Tensor
    keys: Tensor
    values: Tensor
    colour: Tensor


@dataclass(frozen=True)
class GeneratorOutput:
    """One rendered frame.

    Attributes:
        raw: float (B, 3, H, W) in [-1, 1], the new image alone.
        history_weight: float (B, 1, H, W) in [0, 1], share of the history in `painted`.
        painted: float (B, 3, H, W) in [-1, 1], the new image blended with the history: the
            history of the next frame.
        harmonised: `painted` with the canvas put in; None without a canvas.
    """

    raw: Tensor
    history_weight: Tensor
    painted: Tensor
    harmonised: Harmonised | None = None

    @property
    def rgb(self) -> Tensor:
        """The frame: float (B, 3, H, W) in [-1, 1]."""
        return self.painted if self.harmonised is None else self.harmonised.rgb


class FrameGenerator(nn.Module, ABC):
    """Interface of all generators.

    Attributes:
        styled: whether the exemplars of a style change the output.
    """

    styled: ClassVar[bool] = True

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Dtype of the weights, and of what `forward` takes outside autocast."""

    @abstractmethod
    def encode_style(self, rgb: Tensor, groups: Tensor) -> StyleCode:
        """Encode K exemplars: (B, K, 3, H, W) in [-1, 1] with label groups (B, K, G, H, W)."""

    @abstractmethod
    def compile_style(self, style: StyleCode) -> CompiledStyle:
        """Compute everything that does not depend on the current frame."""

    @abstractmethod
    def forward(
        self, x: GeneratorInput, style: CompiledStyle, history: History | None = None
    ) -> GeneratorOutput:
        """Render one frame per sample."""
