"""Any Renderer behind a socket: many clients, their views in one batch."""

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
from sim2street.bridge.transport.channel import Request, RequestChannel, ServerStats
from sim2street.bridge.transport.config import ServerConfig
from sim2street.bridge.transport.signals import stop_on_signals
from sim2street.bridge.transport.world_server import POLL_S
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


@dataclass(frozen=True, slots=True)
class _Session:
    client: str
    local: int  # the renderer's own number


@dataclass(frozen=True, slots=True)
class _Job:
    """One client's render: its views, with the renderer's own session numbers."""

    request: Request
    views: list[RenderRequest]


class _RendererService:
    """Turns requests into calls of the renderer's contract."""

    def __init__(self, renderer: Renderer, channel: RequestChannel, config: ServerConfig) -> None:
        self._renderer = renderer
        self._channel = channel
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
        """Take what waits, answer it, and render all that is to be rendered together."""
        waiting = self._channel.receive(POLL_S)
        jobs = self._sort(waiting)
        end_s = time.monotonic() + self._config.batch_wait_s
        while jobs and self._is_more_likely(jobs) and time.monotonic() < end_s:
            jobs += self._sort(self._channel.receive(end_s - time.monotonic()))
        if jobs:
            self._render(jobs)
        self._end_leases()

    def _sort(self, requests: Sequence[Request]) -> list[_Job]:
        jobs = []
        for request in requests:
            try:
                if request.message.kind == "render":
                    jobs.append(_Job(request, self._localise(request)))
                    continue
                handler = self._handlers.get(request.message.kind)
                if handler is None:
                    known = sorted([*self._handlers, "render"])
                    raise ProtocolError(f"a renderer answers {known}, not '{request.message.kind}'")
                handler(request)
            except Sim2StreetError as error:
                self._channel.refuse(request, error)
            except Exception as error:  # any bug: tell the client, then fail
                self._channel.refuse(request, _crash(error))
                raise
        return jobs

    def _is_more_likely(self, jobs: Sequence[_Job]) -> bool:
        """Whether another client, active of late, has not asked yet."""
        recent_s = time.monotonic() - 1.0
        clients = {session.client for session in self._sessions.values()}
        active = {client for client in clients if self._channel.heard_s(client) > recent_s}
        return bool(active - {job.request.client for job in jobs})

    def _localise(self, request: Request) -> list[RenderRequest]:
        views = read_render(request.message)
        for view in views:
            view.view.validate()
            for actor in view.actors:
                actor.validate()
        sessions = [self._session(request, view.session) for view in views]
        return [
            dataclasses.replace(view, session=session.local)
            for view, session in zip(views, sessions, strict=True)
        ]

    def _session(self, request: Request, number: int) -> _Session:
        session = self._sessions.get(number)
        if session is None or session.client != request.client:
            raise UnknownSession(f"this server has no session {number} of yours: open it again")
        return session

    def _render(self, jobs: Sequence[_Job]) -> None:
        batch = [view for job in jobs for view in job.views]
        try:
            renderings = self._renderer.render(batch)
        except Sim2StreetError as error:
            if len(jobs) == 1:
                self._channel.refuse(jobs[0].request, error)
                return
            for job in jobs:  # one client's mistake is not to hurt the others
                self._render([job])
            return
        except Exception as error:  # any bug: tell the clients, then fail
            for job in jobs:
                self._channel.refuse(job.request, _crash(error))
            raise
        self._channel.stats.batches += 1
        self._channel.stats.rendered += len(batch)
        self._deliver(jobs, renderings)

    def _deliver(self, jobs: Sequence[_Job], renderings: Sequence[Rendering]) -> None:
        rest = iter(renderings)
        for job in jobs:
            body, arrays = rendered_parts([next(rest) for _ in job.views])
            self._channel.reply(job.request, "rendered", body, arrays)

    def _on_status(self, request: Request) -> None:
        version = importlib.metadata.version("sim2street")
        name = type(self._renderer).__name__
        self._channel.reply(request, "status", self._channel.status(name, version))

    def _on_styles(self, request: Request) -> None:
        self._channel.reply(request, "styles", {"styles": list(self._renderer.styles())})

    def _on_open(self, request: Request) -> None:
        if len(self._sessions) >= _MAX_SESSIONS:
            raise RendererError(f"this server keeps at most {_MAX_SESSIONS} sessions")
        config = read_session(request.message)
        config.camera.validate()
        number = secrets.randbits(48)
        local = self._renderer.open_session(config)
        self._sessions[number] = _Session(request.client, local)
        self._channel.reply(request, "session", {"session": number})

    def _on_restyle(self, request: Request) -> None:
        number, style = read_restyle(request.message)
        self._renderer.restyle(self._session(request, number).local, style)
        self._channel.reply(request, "ok")

    def _on_close_session(self, request: Request) -> None:
        body = read_body(SessionRefBody, request.message.body, "close_session")
        session = self._session(request, body.session)
        del self._sessions[body.session]
        self._renderer.close_session(session.local)
        self._channel.reply(request, "ok")

    def _on_close(self, request: Request) -> None:
        read_body(EmptyBody, request.message.body, "close")
        self._close_sessions_of({request.client})
        self._channel.reply(request, "ok")

    def _end_leases(self) -> None:
        oldest_s = time.monotonic() - self._config.lease_s
        clients = {session.client for session in self._sessions.values()}
        self._close_sessions_of({c for c in clients if self._channel.heard_s(c) < oldest_s})

    def _close_sessions_of(self, clients: set[str]) -> None:
        for number, session in list(self._sessions.items()):
            if session.client in clients:
                del self._sessions[number]
                self._renderer.close_session(session.local)


def serve_renderer(
    renderer: Renderer,
    config: ServerConfig,
    stop: threading.Event | None = None,
    on_bound: Callable[[str], None] | None = None,
) -> ServerStats:
    """Serve `renderer` until SIGINT, SIGTERM or `stop`; then close it.

    Args:
        on_bound: called with the real endpoint as soon as clients may connect.

    Raises:
        ConfigError: the endpoint cannot be had, or is public without keys.
    """
    with contextlib.ExitStack() as stack:
        ending = stop or stack.enter_context(stop_on_signals())
        stack.callback(renderer.close)
        channel = RequestChannel(config, "renderer")
        stack.callback(channel.close)
        service = _RendererService(renderer, channel, config)
        if on_bound is not None:
            on_bound(channel.endpoint)
        while not ending.is_set():
            service.serve_once()
        return channel.stats


def _crash(error: Exception) -> RendererLost:
    return RendererLost(f"the renderer crashed: {type(error).__name__}: {error}")
