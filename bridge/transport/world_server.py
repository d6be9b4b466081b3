"""Serves a World to other processes. One client at a time holds it.

A request may carry options of `reset` that make the world raise an error of any kind: the server
then closes the world, opens it again and goes on. An error of any other kind than `Sim2StreetError`
in a step is a bug of the world, and ends the server.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from sim2street.bridge.errors import ProtocolError, WorldBusy, WorldError, WorldLost
from sim2street.bridge.frame import SensorFrame
from sim2street.bridge.transport.config import ServerConfig
from sim2street.bridge.transport.request_server import (
    POLL_INTERVAL_S,
    Request,
    RequestServer,
    ServerStats,
)
from sim2street.bridge.transport.signals import stop_on_signals
from sim2street.bridge.wire.codec import read_body, shorten
from sim2street.bridge.wire.schema import EmptyBody, OpenBody, ResetBody
from sim2street.bridge.wire.world_messages import frame_parts, read_control, spec_body
from sim2street.bridge.world import World
from sim2street.configs import Sim2StreetError

_LOG = logging.getLogger(__name__)

_MAX_CONNECTION_CHECKS = 8
"""Each check puts a notice into the holder's queue, which has a limited length."""


class _WorldLock:
    """Which client holds the world, and whether that client is still there."""

    def __init__(self, server: RequestServer, lease_s: float) -> None:
        self.holder: str | None = None
        self._server = server
        self._lease_s = lease_s
        self._connection_checks = 0

    def acquire(self, client: str) -> bool:
        """Give the world to `client`. False if this client holds it already.

        Raises:
            WorldBusy: another client holds it and is still there.
        """
        if client == self.holder:
            return False
        if self.holder is not None and self._is_alive(self.holder):
            silent_s = time.monotonic() - self._server.last_heard_s(self.holder)
            raise WorldBusy(
                f"this world is held by another client (last heard {silent_s:.1f} s ago); "
                f"it is free once that one closes or is silent for {self._lease_s:g} s"
            )
        self.holder, self._connection_checks = client, 0
        self._server.kept_clients = {client}
        return True

    def release(self, client: str) -> bool:
        """Free the world. False if `client` does not hold it."""
        if client != self.holder:
            return False
        self.holder = None
        self._server.kept_clients = set()
        return True

    def require(self, client: str) -> None:
        """Raise WorldLost if `client` does not hold the world."""
        if client == self.holder:
            self._connection_checks = 0
            return
        reason = "nobody has opened it" if self.holder is None else "another client has it now"
        raise WorldLost(f"this server knows no episode of yours ({reason}): open and reset")

    def _is_alive(self, client: str) -> bool:
        """Whether `client` sent something within its lease and is still connected."""
        if time.monotonic() - self._server.last_heard_s(client) > self._lease_s:
            return False
        self._connection_checks += 1
        if self._connection_checks > _MAX_CONNECTION_CHECKS:
            return True  # no more checks: its lease decides
        return self._server.is_connected(client)


class _WorldRequestHandler:
    """Carries out the requests of clients by calling the world."""

    def __init__(self, world: World, server: RequestServer, config: ServerConfig) -> None:
        self._world = world
        self._server = server
        self._lock = _WorldLock(server, config.lease_s)
        self._sensors: bool | None = True
        self._episode: int | None = None
        self._handlers: dict[str, Callable[[Request], None]] = {
            "hello": self._on_status,
            "status": self._on_status,
            "open": self._on_open,
            "reset": self._on_reset,
            "step": self._on_step,
            "close": self._on_close,
        }

    def handle(self, request: Request) -> None:
        """Carry out one request and reply to it. The reply to an invalid request is an error.

        Raises:
            Exception: the world crashed. The client has been told.
        """
        try:
            handler = self._handlers.get(request.message.kind)
            if handler is None:
                raise ProtocolError(
                    f"a world answers {sorted(self._handlers)}, not '{request.message.kind}'"
                )
            if request.message.arrays:
                raise ProtocolError("requests to a world carry no buffers")
            handler(request)
        except Sim2StreetError as error:
            self._server.reply_with_error(request, error)
        except Exception as error:  # a bug in the world: tell the client, then end
            crash = WorldLost(f"the world crashed: {type(error).__name__}: {error}")
            self._server.reply_with_error(request, crash)
            raise

    def _on_status(self, request: Request) -> None:
        spec = self._world.spec
        body = self._server.status(spec.name, spec.version)
        self._server.reply(request, "status", {**body, "held": self._lock.holder is not None})

    def _on_open(self, request: Request) -> None:
        body = read_body(OpenBody, request.message.body, "open")
        if self._lock.acquire(request.client):
            self._episode = None
        if body.sensors != self._sensors:
            self._episode, self._sensors = None, None
            self._world.close()
            self._world.open(body.sensors)
            self._sensors = body.sensors
        self._server.reply(request, "spec", spec_body(self._world.spec))

    def _on_reset(self, request: Request) -> None:
        self._lock.require(request.client)
        body = read_body(ResetBody, request.message.body, "reset")
        self._episode = None
        try:
            frame = self._world.reset(body.seed, body.options)
        except Sim2StreetError:
            raise
        except Exception as error:  # these options may have caused it: others may work
            _LOG.exception("the world failed to reset with %s", shorten(body.options))
            self._reopen()
            raise WorldError(
                f"the world failed to reset: {type(error).__name__}: {error}; try other options"
            ) from error
        self._episode = frame.episode
        self._send_frame(request, frame)

    def _reopen(self) -> None:
        """Open the world afresh after an error of which nobody knows what it left behind."""
        self._world.close()
        self._world.open(self._sensors is not False)

    def _on_step(self, request: Request) -> None:
        self._lock.require(request.client)
        episode = request.message.episode
        if episode != self._episode:
            raise WorldLost(f"episode {episode} is over: reset to begin another one")
        control = read_control(request.message.body)
        control.validate()
        try:
            frame = self._world.step(control)
        except WorldError:
            self._episode = None
            raise
        self._send_frame(request, frame)

    def _on_close(self, request: Request) -> None:
        read_body(EmptyBody, request.message.body, "close")
        if self._lock.release(request.client):
            self._episode = None
        self._server.reply(request, "ok")

    def _send_frame(self, request: Request, frame: SensorFrame) -> None:
        body, arrays = frame_parts(frame)
        body["stamps"]["serve"] = time.perf_counter() - request.received_s
        self._server.reply(request, "frame", body, arrays, frame.episode)


def serve_world(
    world: World,
    config: ServerConfig,
    stop: threading.Event | None = None,
    on_bound: Callable[[str], None] | None = None,
) -> ServerStats:
    """Open `world` and serve it until SIGINT, SIGTERM or `stop`, then close it.

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
        server = RequestServer(config, "world")
        stack.callback(server.close)
        stack.callback(world.close)
        world.open()
        handler = _WorldRequestHandler(world, server, config)
        if on_bound is not None:
            on_bound(server.endpoint)
        while not should_stop.is_set():
            for request in server.receive(POLL_INTERVAL_S):
                handler.handle(request)
        return server.stats
