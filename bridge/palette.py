"""The palette renderer: label colours shaded by depth, without a neural network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sim2street.bridge.errors import RendererError, UnknownSession
from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, View
from sim2street.bridge.labels import PALETTE
from sim2street.bridge.renderer import (
    Renderer,
    Rendering,
    RenderRequest,
    SessionConfig,
    StyleChoice,
    named_style,
    out_scale,
)

STYLE = "palette"
"""Name of the palette renderer's only style."""

_SHADE_RANGE_M = 40.0
"""Distance at which half of the darkening is reached."""

_DARKEST = 0.55
"""Factor on the colours of very distant surfaces."""

_CacheEntry = tuple[tuple[int, int], ByteArray]
"""(episode, tick) and the image rendered for it."""


class PaletteRenderer(Renderer):
    """Paints every label in its palette colour, darker with distance.

    Needs only numpy, so it is always available. It serves previews, tests and agents that learn
    from label colours.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, SessionConfig] = {}
        self._cache: dict[int, _CacheEntry] = {}
        self._next_session = 1

    def styles(self) -> tuple[str, ...]:
        return (STYLE,)

    def open_session(self, config: SessionConfig) -> int:
        self._check_style(config.style)
        out_scale(config)
        session = self._next_session
        self._next_session += 1
        self._sessions[session] = config
        return session

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        return [Rendering(self._render_one(request)) for request in requests]

    def restyle(self, session: int, style: StyleChoice) -> None:
        self._check_style(style)
        if session not in self._sessions:
            raise UnknownSession(f"no session {session} is open: call open_session")

    def close_session(self, session: int) -> None:
        self._sessions.pop(session, None)
        self._cache.pop(session, None)

    def save_session(self, session: int) -> _CacheEntry | tuple[()]:
        return self._cache.get(session, ())

    def load_session(self, session: int, saved: Any) -> None:
        self._cache.pop(session, None)
        if saved:
            self._cache[session] = saved

    def close(self) -> None:
        self._sessions.clear()
        self._cache.clear()

    def _check_style(self, style: StyleChoice) -> None:
        if not isinstance(style, str):
            raise RendererError(f"the palette renderer has only the style '{STYLE}', got {style!r}")
        named_style(style, self.styles())

    def _render_one(self, request: RenderRequest) -> ByteArray:
        config = self._sessions.get(request.session)
        if config is None:
            raise UnknownSession(f"no session {request.session} is open: call open_session")
        key = (request.episode, request.tick)
        cached = self._cache.get(request.session)
        if cached is not None and cached[0] == key and not request.restart:
            return cached[1].copy()
        rgb = paint_labels(request.view)
        scale = out_scale(config)
        if scale > 1:
            rgb = rgb.repeat(scale, axis=0).repeat(scale, axis=1)
        self._cache[request.session] = (key, rgb)
        return rgb.copy()


def paint_labels(view: View) -> ByteArray:
    """Palette colours of `view.labels`, darker with distance if there is depth: uint8 (H, W, 3).

    Raises:
        RendererError: the view has no labels.
    """
    if view.labels is None:
        raise RendererError("view.labels is missing: configure a label camera in the world")
    if view.depth_m is None:
        return PALETTE[view.labels]
    shade = _DARKEST + (1.0 - _DARKEST) / (1.0 + view.depth_m / _SHADE_RANGE_M)
    shade[view.depth_m >= SKY_DEPTH_M - 1.0] = 1.0  # the sky is not darkened
    rgb = np.empty((*view.labels.shape, 3), np.uint8)
    # Channel by channel: numpy is slow on a last axis of length 3.
    for channel, values in enumerate(PALETTE.T.astype(np.float32)):
        rgb[..., channel] = values[view.labels] * shade
    return rgb
