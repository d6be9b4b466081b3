"""Serves a Renderer to other processes. Views of several clients share one batch.

One request's failure is that request's error. Requests are checked before the renderer sees them.
If the renderer raises an error of any kind all the same, the views of a batch are rendered again
request by request, and only the one at fault is answered with an error. The server ends only if
the renderer then fails on a picture of the server's own as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.errors import ProtocolError, RendererError, RendererLost, UnknownSession
from sim2street.bridge.frame import Camera, View
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.renderer import (
    DEFAULT_STYLE,
    Renderer,
    Rendering,
    RenderRequest,
    SessionConfig,
)
from sim2street.bridge.transport.config import ServerConfig
from sim2street.bridge.transport.render_checks import (
    Session,
    check_config,
    check_requests,
    check_room,
    check_style_room,
    style_bytes,
)
from sim2street.bridge.transport.request_server import (
    POLL_INTERVAL_S,
    Request,
    RequestServer,
    ServerStats,
)
from sim2street.bridge.transport.signals import stop_on_signals
from sim2street.bridge.wire.codec import read_body
from sim2street.bridge.wire.renderer_messages import (
    error_body,
    read_render,
    read_restyle,
    read_session,
    rendered_parts,
)
from sim2street.bridge.wire.schema import EmptyBody, SessionRefBody
from sim2street.configs import Sim2StreetError

_ACTIVE_WITHIN_S = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _RenderJob:
    """A "render" request and its views, with the renderer's own session numbers."""

    request: Request
    views: list[RenderRequest]
    sessions: list[Session]


class _RendererRequestHandler:
    """Carries out the requests of clients by calling the renderer."""

    def __init__(self, renderer: Renderer, server: RequestServer, config: ServerConfig) -> None:
        self._renderer = renderer
        self._server = server
        self._config = config
        self._version = _own_version()
        self._sessions: dict[int, Session] = {}
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
            Exception: the renderer renders nothing any more. The clients have been told.
        """
        jobs = self._answer_or_collect(self._server.receive(POLL_INTERVAL_S))
        end_s = time.monotonic() + self._config.batch_wait_s
        while jobs and self._expects_more(jobs) and time.monotonic() < end_s:
            jobs += self._answer_or_collect(self._server.receive(end_s - time.monotonic()))
        for batch in _batches(jobs):
            self._render(batch)
        self._close_expired_sessions()

    def _answer_or_collect(self, requests: Sequence[Request]) -> list[_RenderJob]:
        """Answer every request except those to render, which are returned."""
        jobs = []
        for request in requests:
            with self._answering_failures(request):
                if request.message.kind == "render":
                    jobs.append(self._read_job(request))
                    continue
                handler = self._handlers.get(request.message.kind)
                if handler is None:
                    known = sorted([*self._handlers, "render"])
                    raise ProtocolError(f"a renderer answers {known}, not '{request.message.kind}'")
                handler(request)
        return jobs

    @contextlib.contextmanager
    def _answering_failures(self, request: Request) -> Iterator[None]:
        """Reply to `request` with the error that its work raises.

        Raises:
            Exception: the renderer renders nothing any more.
        """
        try:
            yield
        except Sim2StreetError as error:
            self._server.reply_with_error(request, _protocol_error(error))
        except Exception as error:  # a bug of the renderer, or only of this request
            logger.exception("the renderer failed on a '%s'", request.message.kind)
            if not self._still_renders():
                self._server.reply_with_error(request, _crash_error(error))
                raise
            text = f"the renderer failed on this request: {type(error).__name__}: {error}"
            self._server.reply_with_error(request, RendererError(text))

    def _expects_more(self, jobs: Sequence[_RenderJob]) -> bool:
        """Whether a client that was active in the last second is missing in `jobs`."""
        recent_s = time.monotonic() - _ACTIVE_WITHIN_S
        clients = {session.client for session in self._sessions.values()}
        active = {client for client in clients if self._server.last_heard_s(client) > recent_s}
        return bool(active - {job.request.client for job in jobs})

    def _read_job(self, request: Request) -> _RenderJob:
        """The checked views of a "render" request, with the renderer's session numbers."""
        views = read_render(request.message)
        sessions = [self._session(request, view.session) for view in views]
        check_requests(views, sessions)
        own = [
            dataclasses.replace(view, session=session.local_number)
            for view, session in zip(views, sessions, strict=True)
        ]
        return _RenderJob(request, own, sessions)

    def _session(self, request: Request, number: int) -> Session:
        session = self._sessions.get(number)
        if session is None or session.client != request.client:
            raise UnknownSession(f"this server has no session {number} of yours: open it again")
        return session

    def _render(self, jobs: Sequence[_RenderJob]) -> None:
        """Render and reply. One client's mistake does not fail the others."""
        if len(jobs) > 1:
            try:
                self._render_and_reply(jobs)
            except Exception:  # of whichever request: below, each gets its own answer
                logger.info("a batch failed: its requests are rendered one by one", exc_info=True)
            else:
                return
        for index, job in enumerate(jobs):
            try:
                with self._answering_failures(job.request):
                    self._render_and_reply([job])
            except Exception as error:  # a fault of the renderer: nobody is left waiting for it
                for other in jobs[index + 1 :]:
                    self._server.reply_with_error(other.request, _crash_error(error))
                raise

    def _render_and_reply(self, jobs: Sequence[_RenderJob]) -> None:
        renderings = iter(self._rendered(jobs))
        for job in jobs:
            body, arrays = rendered_parts([next(renderings) for _ in job.views])
            self._server.reply(job.request, "rendered", body, arrays)

    def _rendered(self, jobs: Sequence[_RenderJob]) -> list[Rendering]:
        """Render in one batch, or in several of at most `max_pixels` pixels."""
        batch: list[RenderRequest] = []
        renderings: list[Rendering] = []
        pixels = 0
        for job in jobs:
            for view, session in zip(job.views, job.sessions, strict=True):
                if batch and pixels + session.out_pixels > self._config.max_pixels:
                    renderings += self._render_batch(batch)
                    batch, pixels = [], 0
                batch.append(view)
                pixels += session.out_pixels
        return renderings + self._render_batch(batch)

    def _render_batch(self, batch: Sequence[RenderRequest]) -> list[Rendering]:
        renderings = self._renderer.render(batch)
        self._server.stats.batches += 1
        self._server.stats.rendered += len(batch)
        return renderings

    def _still_renders(self) -> bool:
        """Whether the renderer can render a small picture of nothing in particular."""
        camera = Camera.from_fov(64, 32, 90.0)
        view = View(camera, level_pose(), np.zeros((32, 64), np.uint8))
        try:
            session = self._renderer.open_session(SessionConfig(DEFAULT_STYLE, camera, (64, 32)))
            try:
                self._renderer.render([RenderRequest(session, view, tick=0, episode=0)])
            finally:
                self._renderer.close_session(session)
        except Sim2StreetError:
            return True  # it has no style of its own, but it answers
        except Exception:  # of any kind, raised by somebody's network
            logger.exception("the renderer fails on every request")
            return False
        return True

    def _on_status(self, request: Request) -> None:
        name = type(self._renderer).__name__
        self._server.reply(request, "status", self._server.status(name, self._version))

    def _on_styles(self, request: Request) -> None:
        self._server.reply(request, "styles", {"styles": list(self._renderer.styles())})

    def _on_open(self, request: Request) -> None:
        config = read_session(request.message)
        check_config(config, self._config.max_pixels)
        check_room(self._sessions.values(), request.client, config, self._config.max_pixels)
        number = secrets.randbits(48)
        self._sessions[number] = Session(
            request.client,
            self._renderer.open_session(config),
            (config.camera.width_px, config.camera.height_px),
            config.out_size_px,
            style_bytes(config.style),
        )
        self._note_clients()
        self._server.reply(request, "session", {"session": number})

    def _on_restyle(self, request: Request) -> None:
        number, style = read_restyle(request.message)
        session = self._session(request, number)
        check_style_room(self._sessions.values(), style)
        self._renderer.restyle(session.local_number, style)
        session.style_bytes = style_bytes(style)
        self._server.reply(request, "ok")

    def _on_close_session(self, request: Request) -> None:
        body = read_body(SessionRefBody, request.message.body, "close_session")
        session = self._session(request, body.session)
        del self._sessions[body.session]
        self._note_clients()
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
        self._note_clients()

    def _note_clients(self) -> None:
        self._server.kept_clients = {session.client for session in self._sessions.values()}


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


def _batches(jobs: Sequence[_RenderJob]) -> Iterator[list[_RenderJob]]:
    """The jobs in order, so that no session occurs twice in a batch."""
    batch: list[_RenderJob] = []
    used: set[int] = set()
    for job in jobs:
        numbers = {view.session for view in job.views}
        if used & numbers:
            yield batch
            batch, used = [], set()
        batch.append(job)
        used |= numbers
    if batch:
        yield batch


def _own_version() -> str:
    try:
        return importlib.metadata.version("sim2street")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _protocol_error(error: Sim2StreetError) -> Sim2StreetError:
    """`error`, as a RendererError if it is of a class that the protocol does not know."""
    is_known = error_body(error)["error"] != Sim2StreetError.__name__
    return error if is_known else RendererError(str(error))


def _crash_error(error: Exception) -> RendererLost:
    return RendererLost(f"the renderer crashed: {type(error).__name__}: {error}")
