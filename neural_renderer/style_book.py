"""The styles of a renderer: looked up by name, read from bytes, blended, compiled for a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from sim2street.bridge.renderer import StyleBlob, StyleChoice, named_style
from sim2street.neural_renderer.batching import cast
from sim2street.neural_renderer.checkpoint import CheckpointInfo
from sim2street.neural_renderer.networks.interface import CompiledStyle, FrameGenerator
from sim2street.neural_renderer.networks.style import StyleCode, blend_styles, stack_styles
from sim2street.neural_renderer.styles.files import read_styles, style_from_bytes

MAX_CACHED_BATCHES = 16
"""Number of batches whose compiled styles are kept."""


class StyleBook:
    """Styles made with one checkpoint.

    Args:
        folders: folders of style files made with these weights; may be empty.
    """

    def __init__(
        self,
        generator: FrameGenerator,
        info: CheckpointInfo,
        folders: Sequence[Path],
        device: torch.device,
    ) -> None:
        self._generator, self._info, self._device = generator, info, device
        known = read_styles(folders, info.sha256)
        self._styles = {name: code.to(device) for name, code in known.items()}
        self._compiled: dict[tuple[int, ...], tuple[Sequence[StyleCode], CompiledStyle]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the styles in the folders."""
        return tuple(self._styles)

    def resolve(self, style: StyleChoice) -> StyleCode:
        """A style by name, from the bytes of a style file, or blended.

        Raises:
            RendererError: the name is unknown, or the bytes are no style for these weights.
        """
        if isinstance(style, StyleBlob):
            groups = len(self._info.class_map.names)
            code = style_from_bytes(style.data, self._info.sha256, style.name, groups)
            return code.to(self._device)
        if isinstance(style, Mapping):
            parts = [self.resolve(name) for name in style]
            return blend_styles(parts, list(style.values()))
        return self._styles[named_style(style, list(self._styles))]

    def compiled(self, styles: Sequence[StyleCode]) -> CompiledStyle:
        """Compiled styles of a batch; cached, because the same sessions come again each tick."""
        key = tuple(id(style) for style in styles)
        if key not in self._compiled:
            if len(self._compiled) >= MAX_CACHED_BATCHES:
                self._compiled.clear()
            stacked: StyleCode = cast(stack_styles(styles), self._generator.dtype)
            # The cache keeps the styles alive, so that no other object can get their id.
            self._compiled[key] = (styles, self._generator.compile_style(stacked))
        return self._compiled[key][1]

    def clear_cache(self) -> None:
        """Forget the compiled styles."""
        self._compiled.clear()
