"""The frame stream: any number of watchers, each sees the newest frame.

A slow watcher skips frames, which are counted, and never holds the publisher up.
ZeroMQ's CONFLATE keeps one part only, hence a frame travels packed as one
(`sim2street.bridge.wire.codec.pack`).
"""

from __future__ import annotations

import itertools
import secrets

import zmq

from sim2street.bridge.errors import PeerTimeout, ProtocolError
from sim2street.bridge.frame import SensorFrame
from sim2street.bridge.transport.config import ClientConfig, ServerConfig
from sim2street.bridge.transport.endpoints import bind, check_endpoint
from sim2street.bridge.transport.keys import secure_client, secure_server
from sim2street.bridge.transport.sockets import Context, make_socket
from sim2street.bridge.wire.codec import Message, decode, encode, pack, unpack
from sim2street.bridge.wire.world_messages import frame_parts, read_frame


class FramePublisher:
    """Publishes frames to whoever listens; never waits for anybody."""

    def __init__(self, config: ServerConfig) -> None:
        """Bind `config.endpoint`; `endpoint` is then the real one."""
        self._instance = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._context: Context = zmq.Context()
        self._authenticator = None
        try:
            self._socket = make_socket(self._context, zmq.PUB, config.limits, config.endpoint)
            self._socket.conflate = 1
            self._authenticator = secure_server(self._context, self._socket, config)
            self.endpoint = bind(self._socket, config.endpoint, config.secret_key is not None)
        except BaseException:  # Ctrl-C too: no socket stays open
            self.close()
            raise

    def publish(self, frame: SensorFrame) -> None:
        """Send `frame` to all who listen now."""
        body, arrays = frame_parts(frame)
        number = next(self._numbers)
        message = Message("frame", number, self._instance, frame.episode, body, arrays)
        self._socket.send(pack(encode(message)), zmq.NOBLOCK)

    def close(self) -> None:
        """Release the socket. Allowed more than once."""
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        self._context.destroy(linger=0)


class FrameSubscriber:
    """Watches a stream: `latest` waits for a frame newer than the last one seen.

    Attributes:
        received: frames returned. dropped: frames that were published between two
            returned ones. refused: messages that were no frames.
    """

    def __init__(self, config: ClientConfig | str) -> None:
        """`config`: settings, or only an endpoint. Connects in the background."""
        self._config = ClientConfig(endpoint=config) if isinstance(config, str) else config
        check_endpoint(self._config.endpoint)
        self.received = 0
        self.dropped = 0
        self.refused = 0
        self._publisher = ""
        self._number = 0
        self._context: Context = zmq.Context()
        try:
            self._socket = make_socket(
                self._context, zmq.SUB, self._config.limits, self._config.endpoint
            )
            self._socket.conflate = 1
            self._socket.maxmsgsize = self._config.limits.max_packed_bytes
            secure_client(self._socket, self._config)
            self._socket.subscribe(b"")
            self._socket.connect(self._config.endpoint)
        except BaseException:  # Ctrl-C too: no socket stays open
            self.close()
            raise

    def latest(self, timeout_s: float | None = None) -> SensorFrame:
        """The newest frame, waiting for it at most `timeout_s` (default: the deadline).

        Raises:
            PeerTimeout: no new frame came. ProtocolError: what came is not one.
        """
        wait_s = self._config.deadline_s if timeout_s is None else timeout_s
        if not self._socket.poll(int(wait_s * 1000)):
            raise PeerTimeout(
                f"no frame from {self._config.endpoint} within {wait_s:g} s: is it publishing, "
                "and are the keys right?"
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
        """Release the socket. Allowed more than once."""
        self._context.destroy(linger=0)

    def _count(self, message: Message) -> None:
        if message.sender == self._publisher:
            self.dropped += message.seq - self._number - 1
        self._publisher, self._number = message.sender, message.seq
        self.received += 1
