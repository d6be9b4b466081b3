"""The renderer that always works: label colours, shaded by depth. No network, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sim2street.bridge.errors import RendererError, UnknownSession
from sim2street.bridge.frame import ByteArray, View
from sim2street.bridge.labels import PALETTE
from sim2street.bridge.renderer import (
    Renderer,
    Rendering,
    RenderRequest,
    SessionConfig,
    StyleChoice,
    out_scale,
)


class PaletteRenderer(Renderer):
    """Paints every tag in its palette colour, shaded by depth where there is one.

    No network, no torch: the renderer that always works, and the reference of the
    contract suite.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, SessionConfig] = {}
        self._cache: dict[int, tuple[tuple[int, int], ByteArray]] = {}
        self._next_session = 1

    def styles(self) -> tuple[str, ...]:
        return ("palette",)

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
            raise UnknownSession(f"no session {session}: open it again")

    def close_session(self, session: int) -> None:
        self._sessions.pop(session, None)
        self._cache.pop(session, None)

    def save_session(self, session: int) -> tuple[tuple[int, int], ByteArray] | tuple[()]:
        return self._cache.get(session, ())

    def load_session(self, session: int, saved: Any) -> None:
        self._cache.pop(session, None)
        if saved:
            self._cache[session] = saved

    def close(self) -> None:
        self._sessions.clear()
        self._cache.clear()

    def _check_style(self, style: StyleChoice) -> None:
        if style not in ("palette", "default"):
            raise RendererError(f"the palette renderer knows the style 'palette', not {style!r}")

    def _render_one(self, request: RenderRequest) -> ByteArray:
        config = self._sessions.get(request.session)
        if config is None:
            raise UnknownSession(f"no session {request.session}: open it again")
        key = (request.episode, request.tick)
        cached = self._cache.get(request.session)
        if cached is not None and cached[0] == key and not request.restart:
            return cached[1].copy()
        rgb = paint_labels(request.view)
        k = out_scale(config)
        if k > 1:
            rgb = rgb.repeat(k, axis=0).repeat(k, axis=1)
        self._cache[request.session] = (key, rgb)
        return rgb.copy()


def paint_labels(view: View) -> ByteArray:
    """Palette colours of `view.labels`, darker with distance: uint8 (H, W, 3)."""
    if view.labels is None:
        raise RendererError("this view has no labels: ask the world for a semantic camera")
    if view.depth_m is None:
        return PALETTE[view.labels]
    shade = 0.55 + 0.45 / (1.0 + view.depth_m / 40.0)
    shade[view.depth_m >= 999.0] = 1.0
    rgb = np.empty((*view.labels.shape, 3), np.uint8)
    for channel, values in enumerate(
        PALETTE.T.astype(np.float32)
    ):  # numpy is slow on last axes of 3
        rgb[..., channel] = values[view.labels] * shade
    return rgb
