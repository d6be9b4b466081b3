"""RemoteRenderer: a Renderer that another process serves."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim2street.bridge.errors import (
    PeerTimeout,
    ProtocolError,
    RendererError,
    RendererLost,
    UnknownSession,
)
from sim2street.bridge.renderer import (
    Renderer,
    Rendering,
    RenderRequest,
    SessionConfig,
    StyleChoice,
)
from sim2street.bridge.transport.config import ClientConfig
from sim2street.bridge.transport.request_client import RequestClient
from sim2street.bridge.wire.codec import Message, read_body
from sim2street.bridge.wire.renderer_messages import (
    read_rendered,
    render_parts,
    restyle_parts,
    session_parts,
)
from sim2street.bridge.wire.schema import SessionRefBody, StylesBody

_MAX_REOPENS = 3

logger = logging.getLogger(__name__)


class _RendererCrashed(RendererLost):
    """The server reported that its renderer crashed. Another server may take its place."""


@dataclass(slots=True)
class _Session:
    """A session of ours. `remote_number` is the server's number for it, drawn at random."""

    config: SessionConfig
    remote_number: int


class RemoteRenderer(Renderer):
    """A Renderer that another process serves, possibly to several clients.

    If the server dies and another one takes its place, `render` opens its sessions there with
    the same style and seed, renders the same views again and marks them as `reopened`, so that
    no tick of the world is lost. If no server answers within the deadline, it raises
    RendererLost. A server that refuses requests with weather and accepts them without it, because
    it is older than this field, gets none.
    """

    def __init__(self, config: ClientConfig | str) -> None:
        """`config`: settings, or only an endpoint."""
        self._config = ClientConfig(endpoint=config) if isinstance(config, str) else config
        self._client = RequestClient(self._config, role="renderer")
        self._sessions: dict[int, _Session] = {}
        self._numbers = itertools.count(1)
        self._said_hello = False
        self._knows_weather = True

    def styles(self) -> tuple[str, ...]:
        reply = self._request("styles")
        return tuple(read_body(StylesBody, reply.body, "styles").styles)

    def open_session(self, config: SessionConfig) -> int:
        number = next(self._numbers)
        self._sessions[number] = _Session(config, self._open(config))
        return number

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        if not requests:
            return []
        for request in requests:
            if request.weather is not None:
                request.weather.validate()
        reopened: set[int] = set()
        for _ in range(_MAX_REOPENS):
            remote_requests = [
                dataclasses.replace(request, session=self._session(request.session).remote_number)
                for request in requests
            ]
            try:
                reply = self._render(remote_requests)
            except (UnknownSession, _RendererCrashed):
                reopened |= self._reopen({request.session for request in requests})
                continue
            return self._check_and_mark(requests, read_rendered(reply, len(requests)), reopened)
        raise RendererLost(
            f"{self._config.endpoint} lost the sessions {_MAX_REOPENS} times during one render"
        )

    def restyle(self, session: int, style: StyleChoice) -> None:
        known = self._session(session)
        body, arrays = restyle_parts(known.remote_number, style)
        config = dataclasses.replace(known.config, style=style)
        try:
            self._request("restyle", body, arrays)
        except UnknownSession:
            known.remote_number = self._open(config)
        known.config = config

    def close_session(self, session: int) -> None:
        known = self._sessions.pop(session, None)
        if known is not None:
            self._request_if_possible("close_session", {"session": known.remote_number})

    def close(self) -> None:
        if self._said_hello:
            self._said_hello = False
            self._sessions.clear()
            self._request_if_possible("close", {})
        self._client.close()

    def _render(self, requests: Sequence[RenderRequest]) -> Message:
        """The reply to a "render", without the weather if the server does not know it."""
        plain = [dataclasses.replace(request, weather=None) for request in requests]
        if not self._knows_weather or all(request.weather is None for request in requests):
            return self._request("render", *render_parts(plain))
        try:
            return self._request("render", *render_parts(requests))
        except ProtocolError as error:
            reply = self._request("render", *render_parts(plain))
            logger.warning(
                "%s renders without the weather: %s; update sim2street there",
                self._config.endpoint,
                error,
            )
        self._knows_weather = False
        return reply

    def _session(self, session: int) -> _Session:
        if session not in self._sessions:
            raise UnknownSession(f"no session {session}: open it first")
        return self._sessions[session]

    def _check_and_mark(
        self, requests: Sequence[RenderRequest], renderings: Sequence[Rendering], reopened: set[int]
    ) -> list[Rendering]:
        """Check the size of each picture, and mark those of the sessions in `reopened`."""
        checked = []
        for request, rendering in zip(requests, renderings, strict=True):
            width_px, height_px = self._session(request.session).config.out_size_px
            if rendering.rgb.shape != (height_px, width_px, 3):
                raise ProtocolError(
                    f"rendered: expected {width_px}x{height_px} pixels, "
                    f"got {rendering.rgb.shape[1]}x{rendering.rgb.shape[0]}"
                )
            is_reopened = rendering.reopened or request.session in reopened
            checked.append(dataclasses.replace(rendering, reopened=is_reopened))
        return checked

    def _open(self, config: SessionConfig) -> int:
        body, arrays = session_parts(config)
        reply = self._request("open_session", body, arrays, self._config.open_deadline_s)
        return read_body(SessionRefBody, reply.body, "session").session

    def _reopen(self, sessions: Iterable[int]) -> set[int]:
        self._knows_weather = True
        for number in sorted(sessions):
            known = self._session(number)
            known.remote_number = self._open(known.config)
        return set(sessions)

    def _request(
        self,
        kind: str,
        body: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        deadline_s: float | None = None,
    ) -> Message:
        try:
            if not self._said_hello:
                self._client.hello(self._config.open_deadline_s)
                self._said_hello = True
            return self._client.request(kind, body, arrays, deadline_s=deadline_s)
        except PeerTimeout as error:
            raise RendererLost(str(error)) from error
        except RendererLost as error:  # the server is about to end: leave it time to restart
            time.sleep(min(self._config.retry_s, self._config.deadline_s))
            raise _RendererCrashed(str(error)) from error

    def _request_if_possible(self, kind: str, body: Mapping[str, Any]) -> None:
        """Request something that is of no importance if the server is gone."""
        deadline_s = min(1.0, self._config.deadline_s)
        try:
            self._client.request(kind, body, deadline_s=deadline_s)
        except (PeerTimeout, RendererError, ProtocolError):
            return
