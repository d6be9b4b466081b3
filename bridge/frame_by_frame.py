"""Base class of renderers that look at one view at a time and keep no temporal state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from sim2street.bridge.errors import RendererError, UnknownSession
from sim2street.bridge.frame import ByteArray
from sim2street.bridge.renderer import (
    Renderer,
    Rendering,
    RenderRequest,
    SessionConfig,
    StyleChoice,
    named_style,
    out_scale,
)

_CacheEntry = tuple[tuple[int, int], ByteArray]
"""(episode, tick) and the image rendered for it."""


class FrameByFrameRenderer(Renderer):
    """Keeps sessions and the image of their last tick; a subclass paints single views."""

    def __init__(self) -> None:
        self._sessions: dict[int, SessionConfig] = {}
        self._cache: dict[int, _CacheEntry] = {}
        self._next_session = 1

    @abstractmethod
    def paint(self, request: RenderRequest, scale: int, seed: int) -> ByteArray:
        """The image of a request's view: uint8 (scale * H, scale * W, 3).

        Args:
            seed: of the session.

        Raises:
            RendererError: the view lacks data that is needed.
        """

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
            raise RendererError(f"this renderer has only the styles {self.styles()}, got {style!r}")
        named_style(style, self.styles())

    def _render_one(self, request: RenderRequest) -> ByteArray:
        config = self._sessions.get(request.session)
        if config is None:
            raise UnknownSession(f"no session {request.session} is open: call open_session")
        key = (request.episode, request.tick)
        cached = self._cache.get(request.session)
        if cached is not None and cached[0] == key and not request.restart:
            return cached[1].copy()
        rgb = self.paint(request, out_scale(config), config.seed)
        self._cache[request.session] = (key, rgb)
        return rgb.copy()
