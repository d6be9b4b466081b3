"""Any World behind a socket: one client at a time holds it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from sim2street.bridge.errors import ProtocolError, WorldBusy, WorldError, WorldLost
from sim2street.bridge.frame import SensorFrame
from sim2street.bridge.transport.channel import Request, RequestChannel, ServerStats
from sim2street.bridge.transport.config import ServerConfig
from sim2street.bridge.transport.signals import stop_on_signals
from sim2street.bridge.wire.codec import read_body
from sim2street.bridge.wire.schema import EmptyBody, OpenBody, ResetBody
from sim2street.bridge.wire.world_messages import frame_parts, read_control, spec_body
from sim2street.bridge.world import World
from sim2street.configs import Sim2StreetError

POLL_S = 0.1
"""How soon an idle server notices that it is to stop."""

_MAX_PROBES = 8


class _Holder:
    """Which client holds the world, and whether it still does."""

    def __init__(self, channel: RequestChannel, lease_s: float) -> None:
        self.client: str | None = None
        self._channel = channel
        self._lease_s = lease_s
        self._probes = 0

    def take(self, client: str) -> bool:
        """Give the world to `client`; True where it had not held it already.

        Raises:
            WorldBusy: another client holds it and is alive.
        """
        if client == self.client:
            return False
        if self.client is not None and self._is_alive(self.client):
            silent_s = time.monotonic() - self._channel.heard_s(self.client)
            raise WorldBusy(
                f"this world is held by another client (last heard {silent_s:.1f} s ago); "
                f"it is free once that one closes or is silent for {self._lease_s:g} s"
            )
        self.client, self._probes = client, 0
        return True

    def check(self, client: str) -> None:
        """Raise WorldLost where `client` does not hold the world."""
        if client == self.client:
            self._probes = 0
            return
        reason = "nobody has opened it" if self.client is None else "another client has it now"
        raise WorldLost(f"this server knows no episode of yours ({reason}): open and reset")

    def _is_alive(self, client: str) -> bool:
        """Heard within its lease, and (tried a few times, not to fill its queue) there."""
        if time.monotonic() - self._channel.heard_s(client) > self._lease_s:
            return False
        self._probes += 1
        return self._probes > _MAX_PROBES or self._channel.is_connected(client)


class _WorldService:
    """Turns requests into calls of the world's contract."""

    def __init__(self, world: World, channel: RequestChannel, config: ServerConfig) -> None:
        self._world = world
        self._channel = channel
        self._holder = _Holder(channel, config.lease_s)
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
        """Serve one request; every mistake of the client's gets its typed refusal."""
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
            self._channel.refuse(request, error)
        except Exception as error:  # any bug of the world: tell the client, then fail
            crash = WorldLost(f"the world crashed: {type(error).__name__}: {error}")
            self._channel.refuse(request, crash)
            raise

    def _on_status(self, request: Request) -> None:
        spec = self._world.spec
        body = self._channel.status(spec.name, spec.version)
        self._channel.reply(request, "status", {**body, "held": self._holder.client is not None})

    def _on_open(self, request: Request) -> None:
        body = read_body(OpenBody, request.message.body, "open")
        if self._holder.take(request.client):
            self._episode = None
        if body.sensors != self._sensors:
            self._episode, self._sensors = None, None
            self._world.close()
            self._world.open(body.sensors)
            self._sensors = body.sensors
        self._channel.reply(request, "spec", spec_body(self._world.spec))

    def _on_reset(self, request: Request) -> None:
        self._holder.check(request.client)
        body = read_body(ResetBody, request.message.body, "reset")
        self._episode = None
        frame = self._world.reset(body.seed, body.options)
        self._episode = frame.episode
        self._send_frame(request, frame)

    def _on_step(self, request: Request) -> None:
        self._holder.check(request.client)
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
        if request.client == self._holder.client:
            self._holder.client, self._episode = None, None
        self._channel.reply(request, "ok")

    def _send_frame(self, request: Request, frame: SensorFrame) -> None:
        body, arrays = frame_parts(frame)
        body["stamps"]["serve"] = time.perf_counter() - request.received_s
        self._channel.reply(request, "frame", body, arrays, frame.episode)


def serve_world(
    world: World,
    config: ServerConfig,
    stop: threading.Event | None = None,
    on_bound: Callable[[str], None] | None = None,
) -> ServerStats:
    """Open `world` and serve it until SIGINT, SIGTERM or `stop`; then close it.

    Args:
        on_bound: called with the real endpoint as soon as clients may connect.

    Raises:
        ConfigError: the endpoint cannot be had, or is public without keys.
    """
    with contextlib.ExitStack() as stack:
        ending = stop or stack.enter_context(stop_on_signals())
        channel = RequestChannel(config, "world")
        stack.callback(channel.close)
        stack.callback(world.close)
        world.open()
        service = _WorldService(world, channel, config)
        if on_bound is not None:
            on_bound(channel.endpoint)
        while not ending.is_set():
            for request in channel.receive(POLL_S):
                service.handle(request)
        return channel.stats
