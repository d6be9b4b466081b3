"""The frame stream: a publisher sends every frame, and each subscriber receives the newest one.

A slow subscriber misses frames, which are counted, and never slows the publisher down. ZeroMQ's
option CONFLATE keeps only the newest message, but does not support messages of several parts.
Therefore each frame is packed into one part (`sim2street.bridge.wire.codec.pack`).
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from typing import Any

import zmq

from sim2street.bridge.closing import Closing
from sim2street.bridge.errors import PeerTimeout, ProtocolError
from sim2street.bridge.frame import Control, SensorFrame, WorldSpec
from sim2street.bridge.transport.config import ClientConfig, ServerConfig
from sim2street.bridge.transport.connection_guard import ConnectionGuard
from sim2street.bridge.transport.endpoints import bind, check_endpoint
from sim2street.bridge.transport.keys import enable_client_encryption, enable_server_encryption
from sim2street.bridge.transport.sockets import Context, make_socket
from sim2street.bridge.wire.codec import Message, decode, encode, pack, unpack
from sim2street.bridge.wire.world_messages import frame_parts, read_frame
from sim2street.bridge.world import World

_MAX_SUBSCRIPTION_BYTES = 1024
_MAX_BYTES_OF_SUBSCRIBER = 64 << 10
_MAX_BYTES_OF_SUBSCRIBERS = 4 << 20
"""What subscribers may send: only subscriptions, which ZeroMQ remembers."""


class FramePublisher(Closing):
    """A PUB socket that sends frames to all connected subscribers and never waits for them.

    Attributes:
        endpoint: the endpoint that subscribers connect to, with the real port.
    """

    def __init__(self, config: ServerConfig) -> None:
        """Bind `config.endpoint`.

        Raises:
            ConfigError: the endpoint cannot be bound, is public without keys, or a key file
                cannot be read.
        """
        self._instance = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._context: Context = zmq.Context()
        self._authenticator = self._guard = None
        try:
            self._socket = make_socket(
                self._context, zmq.PUB, config.endpoint, _MAX_SUBSCRIPTION_BYTES
            )
            self._socket.conflate = 1
            self._authenticator = enable_server_encryption(self._context, self._socket, config)
            self._guard = ConnectionGuard(
                self._socket, _MAX_BYTES_OF_SUBSCRIBER, _MAX_BYTES_OF_SUBSCRIBERS
            )
            self.endpoint = bind(self._socket, config.endpoint, config.secret_key is not None)
            self._guard.start(self.endpoint)
        except BaseException:  # also on Ctrl-C: leave no socket open
            self.close()
            raise

    def publish(self, frame: SensorFrame) -> None:
        """Send `frame` to everybody who is connected now; while nobody is, only count it."""
        number = next(self._numbers)
        if self._guard is not None and not self._guard.connections:
            return
        body, arrays = frame_parts(frame)
        message = Message("frame", number, self._instance, frame.episode, body, arrays)
        self._socket.send(pack(encode(message)), zmq.NOBLOCK)

    def close(self) -> None:
        """Close the socket. Allowed more than once."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        self._context.destroy(linger=0)


class PublishedWorld(World):
    """A World that publishes every frame of the world it wraps, and returns it unchanged.

    The publisher is not closed with the world, because a world may be opened again.
    """

    def __init__(self, world: World, publisher: FramePublisher) -> None:
        self.world = world
        self._publisher = publisher

    @property
    def spec(self) -> WorldSpec:
        return self.world.spec

    @property
    def option_names(self) -> frozenset[str] | None:
        return self.world.option_names

    def open(self, sensors: bool = True) -> None:
        self.world.open(sensors)

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        return self._published(self.world.reset(seed, options))

    def step(self, control: Control) -> SensorFrame:
        return self._published(self.world.step(control))

    def get_state(self) -> Any:
        return self.world.get_state()

    def set_state(self, state: Any) -> SensorFrame:
        return self._published(self.world.set_state(state))

    def close(self) -> None:
        self.world.close()

    def _published(self, frame: SensorFrame) -> SensorFrame:
        self._publisher.publish(frame)
        return frame


class FrameSubscriber(Closing):
    """A SUB socket that receives the newest frame of a publisher.

    Attributes:
        received: frames that `latest` returned.
        dropped: frames that were published between two frames that `latest` returned.
        refused: messages that were not valid frames.
    """

    def __init__(self, config: ClientConfig | str) -> None:
        """Start to connect. The connection is made in the background.

        Args:
            config: settings, or only an endpoint.

        Raises:
            ConfigError: the endpoint is malformed, or a key file cannot be read.
        """
        self._config = ClientConfig(endpoint=config) if isinstance(config, str) else config
        check_endpoint(self._config.endpoint)
        self.received = 0
        self.dropped = 0
        self.refused = 0
        self._publisher = ""
        self._number = 0
        self._context: Context = zmq.Context()
        try:
            limit = self._config.limits.max_message_bytes
            self._socket = make_socket(self._context, zmq.SUB, self._config.endpoint, limit)
            self._socket.conflate = 1
            enable_client_encryption(self._socket, self._config)
            self._socket.subscribe(b"")
            self._socket.connect(self._config.endpoint)
        except BaseException:  # also on Ctrl-C: leave no socket open
            self.close()
            raise

    def latest(self, timeout_s: float | None = None) -> SensorFrame:
        """Wait for a frame that has not been returned yet, and return the newest one.

        The ranges of its values are not checked; see `SensorFrame.validate`.

        Args:
            timeout_s: how long to wait; `config.deadline_s` if None.

        Raises:
            PeerTimeout: no new frame arrived.
            ProtocolError: what arrived is not a valid frame message.
        """
        wait_s = self._config.deadline_s if timeout_s is None else timeout_s
        if not self._socket.poll(int(wait_s * 1000)):
            raise PeerTimeout(
                f"no frame from {self._config.endpoint} within {wait_s:g} s. Is it publishing "
                "(--publish), is somebody driving its world, and are the keys right?"
            )
        try:
            blob = self._socket.recv(copy=False)
            message = decode(unpack(blob.buffer, self._config.limits), self._config.limits)
            if message.kind != "frame":
                raise ProtocolError(f"stream: expected a 'frame', got {message.kind!r}")
            frame = read_frame(message)
        except ProtocolError:
            self.refused += 1
            raise
        self._count(message)
        return frame

    def close(self) -> None:
        """Close the socket. Allowed more than once."""
        self._context.destroy(linger=0)

    def _count(self, message: Message) -> None:
        same_publisher = message.sender == self._publisher  # a restarted one has a new name
        if same_publisher:  # one that repeats its numbers breaks the protocol; nothing is dropped
            self.dropped += max(0, message.seq - self._number - 1)
        self._publisher, self._number = message.sender, message.seq
        self.received += 1
