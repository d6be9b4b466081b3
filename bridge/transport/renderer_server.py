"""Serves a Renderer to other processes. Views of several clients share one batch."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sim2street.bridge.errors import ProtocolError, RendererError, RendererLost, UnknownSession
from sim2street.bridge.renderer import Renderer, Rendering, RenderRequest
from sim2street.bridge.transport.config import ServerConfig
from sim2street.bridge.transport.request_server import (
    POLL_INTERVAL_S,
    Request,
    RequestServer,
    ServerStats,
)
from sim2street.bridge.transport.signals import stop_on_signals
from sim2street.bridge.wire.codec import read_body
from sim2street.bridge.wire.renderer_messages import (
    read_render,
    read_restyle,
    read_session,
    rendered_parts,
)
from sim2street.bridge.wire.schema import EmptyBody, SessionRefBody
from sim2street.configs import Sim2StreetError

_MAX_SESSIONS = 1024
_ACTIVE_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class _Session:
    """A session of a client. `local_number` is the renderer's own number for it."""

    client: str
    local_number: int


@dataclass(frozen=True, slots=True)
class _RenderJob:
    """A "render" request and its views, with the renderer's own session numbers."""

    request: Request
    views: list[RenderRequest]


class _RendererRequestHandler:
    """Carries out the requests of clients by calling the renderer."""

    def __init__(self, renderer: Renderer, server: RequestServer, config: ServerConfig) -> None:
        self._renderer = renderer
        self._server = server
        self._config = config
        self._sessions: dict[int, _Session] = {}
        self._handlers: dict[str, Callable[[Request], None]] = {
            "hello": self._on_status,
            "status": self._on_status,
            "styles": self._on_styles,
            "open_session": self._on_open,
            "restyle": self._on_restyle,
            "close_session": self._on_close_session,
            "close": self._on_close,
        }

    def serve_once(self) -> None:
        """Answer all waiting requests, and render the views of all of them in one batch.

        Raises:
            Exception: the renderer crashed. The clients have been told.
        """
        jobs = self._answer_or_collect(self._server.receive(POLL_INTERVAL_S))
        end_s = time.monotonic() + self._config.batch_wait_s
        while jobs and self._expects_more(jobs) and time.monotonic() < end_s:
            jobs += self._answer_or_collect(self._server.receive(end_s - time.monotonic()))
        if jobs:
            self._render(jobs)
        self._close_expired_sessions()

    def _answer_or_collect(self, requests: Sequence[Request]) -> list[_RenderJob]:
        """Answer every request except those to render, which are returned."""
        jobs = []
        for request in requests:
            try:
                if request.message.kind == "render":
                    jobs.append(_RenderJob(request, self._read_views(request)))
                    continue
                handler = self._handlers.get(request.message.kind)
                if handler is None:
                    known = sorted([*self._handlers, "render"])
                    raise ProtocolError(f"a renderer answers {known}, not '{request.message.kind}'")
                handler(request)
            except Sim2StreetError as error:
                self._server.reply_with_error(request, error)
            except Exception as error:  # a bug in the renderer: tell the client, then end
                self._server.reply_with_error(request, _crash_error(error))
                raise
        return jobs

    def _expects_more(self, jobs: Sequence[_RenderJob]) -> bool:
        """Whether a client that was active in the last second is missing in `jobs`."""
        recent_s = time.monotonic() - _ACTIVE_WITHIN_S
        clients = {session.client for session in self._sessions.values()}
        active = {client for client in clients if self._server.last_heard_s(client) > recent_s}
        return bool(active - {job.request.client for job in jobs})

    def _read_views(self, request: Request) -> list[RenderRequest]:
        """The checked views of a "render" request, with the renderer's session numbers."""
        views = read_render(request.message)
        for view in views:
            view.view.validate()
            for actor in view.actors:
                actor.validate()
        sessions = [self._session(request, view.session) for view in views]
        return [
            dataclasses.replace(view, session=session.local_number)
            for view, session in zip(views, sessions, strict=True)
        ]

    def _session(self, request: Request, number: int) -> _Session:
        session = self._sessions.get(number)
        if session is None or session.client != request.client:
            raise UnknownSession(f"this server has no session {number} of yours: open it again")
        return session

    def _render(self, jobs: Sequence[_RenderJob]) -> None:
        batch = [view for job in jobs for view in job.views]
        try:
            renderings = self._renderer.render(batch)
        except Sim2StreetError as error:
            if len(jobs) == 1:
                self._server.reply_with_error(jobs[0].request, error)
                return
            for job in jobs:  # one client's mistake must not fail the others
                self._render([job])
            return
        except Exception as error:  # a bug in the renderer: tell the clients, then end
            for job in jobs:
                self._server.reply_with_error(job.request, _crash_error(error))
            raise
        self._server.stats.batches += 1
        self._server.stats.rendered += len(batch)
        self._send_renderings(jobs, renderings)

    def _send_renderings(self, jobs: Sequence[_RenderJob], renderings: Sequence[Rendering]) -> None:
        rest = iter(renderings)
        for job in jobs:
            body, arrays = rendered_parts([next(rest) for _ in job.views])
            self._server.reply(job.request, "rendered", body, arrays)

    def _on_status(self, request: Request) -> None:
        version = importlib.metadata.version("sim2street")
        name = type(self._renderer).__name__
        self._server.reply(request, "status", self._server.status(name, version))

    def _on_styles(self, request: Request) -> None:
        self._server.reply(request, "styles", {"styles": list(self._renderer.styles())})

    def _on_open(self, request: Request) -> None:
        if len(self._sessions) >= _MAX_SESSIONS:
            raise RendererError(f"this server keeps at most {_MAX_SESSIONS} sessions")
        config = read_session(request.message)
        config.camera.validate()
        number = secrets.randbits(48)
        local_number = self._renderer.open_session(config)
        self._sessions[number] = _Session(request.client, local_number)
        self._server.reply(request, "session", {"session": number})

    def _on_restyle(self, request: Request) -> None:
        number, style = read_restyle(request.message)
        self._renderer.restyle(self._session(request, number).local_number, style)
        self._server.reply(request, "ok")

    def _on_close_session(self, request: Request) -> None:
        body = read_body(SessionRefBody, request.message.body, "close_session")
        session = self._session(request, body.session)
        del self._sessions[body.session]
        self._renderer.close_session(session.local_number)
        self._server.reply(request, "ok")

    def _on_close(self, request: Request) -> None:
        read_body(EmptyBody, request.message.body, "close")
        self._close_sessions_of({request.client})
        self._server.reply(request, "ok")

    def _close_expired_sessions(self) -> None:
        oldest_s = time.monotonic() - self._config.lease_s
        clients = {session.client for session in self._sessions.values()}
        self._close_sessions_of({c for c in clients if self._server.last_heard_s(c) < oldest_s})

    def _close_sessions_of(self, clients: set[str]) -> None:
        for number, session in list(self._sessions.items()):
            if session.client in clients:
                del self._sessions[number]
                self._renderer.close_session(session.local_number)


def serve_renderer(
    renderer: Renderer,
    config: ServerConfig,
    stop: threading.Event | None = None,
    on_bound: Callable[[str], None] | None = None,
) -> ServerStats:
    """Serve `renderer` until SIGINT, SIGTERM or `stop`, then close it.

    Args:
        stop: ends the server when set. If None, SIGINT and SIGTERM end it.
        on_bound: called with the real endpoint as soon as clients can connect.

    Returns:
        What the server counted.

    Raises:
        ConfigError: the endpoint cannot be bound, or is public without keys.
    """
    with contextlib.ExitStack() as stack:
        should_stop = stop or stack.enter_context(stop_on_signals())
        stack.callback(renderer.close)
        server = RequestServer(config, "renderer")
        stack.callback(server.close)
        handler = _RendererRequestHandler(renderer, server, config)
        if on_bound is not None:
            on_bound(server.endpoint)
        while not should_stop.is_set():
            handler.serve_once()
        return server.stats


def _crash_error(error: Exception) -> RendererLost:
    return RendererLost(f"the renderer crashed: {type(error).__name__}: {error}")
