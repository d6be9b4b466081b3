"""The requesting end of the step channel: one request in flight, retried, with a deadline."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zmq

from sim2street.bridge.errors import PeerTimeout, ProtocolError
from sim2street.bridge.transport.config import ClientConfig
from sim2street.bridge.transport.endpoints import check_endpoint
from sim2street.bridge.transport.keys import secure_client
from sim2street.bridge.transport.sockets import Context, Socket, make_socket
from sim2street.bridge.wire.codec import Buffer, Message, decode, encode, read_body, shorten
from sim2street.bridge.wire.renderer_messages import read_error
from sim2street.bridge.wire.schema import StatusBody
from sim2street.configs import ConfigError, Sim2StreetError

_NO_CONNECTION_POLL_S = 0.02


class StepClient:
    """A DEALER socket that sends a request until its reply comes or its time is up.

    To be used from one thread. Replies to earlier requests are ignored; after a timeout
    the connection is made anew, so that nothing old can arrive later.
    """

    def __init__(self, config: ClientConfig, role: str) -> None:
        """`role`: what the peer must be, "world", "renderer" or "" for any."""
        check_endpoint(config.endpoint)
        self._config = config
        self._role = role
        self._name = secrets.token_hex(8)
        self._seq = 0
        self._peer_limit_bytes = config.limits.max_part_bytes
        self._context: Context | None = None
        self._socket: Socket | None = None
        self._last: tuple[int, Sequence[Buffer]] | None = None

    def hello(self, deadline_s: float) -> StatusBody:
        """Meet the peer: learn who and what it is, and how much it takes.

        Raises:
            PeerTimeout: nobody answers there. ConfigError: somebody else does.
        """
        reply = self.request("hello", deadline_s=deadline_s)
        status = read_body(StatusBody, reply.body, "status")
        if self._role and status.role != self._role:
            raise ConfigError(
                f"{self._config.endpoint} is a {shorten(status.role)}, expected a {self._role}: "
                "are the two endpoints swapped?"
            )
        self._peer_limit_bytes = status.max_part_bytes
        return status

    def request(
        self,
        kind: str,
        body: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        episode: int = 0,
        deadline_s: float | None = None,
    ) -> Message:
        """Send a request and return its reply.

        Raises:
            PeerTimeout: no reply within the deadline.
            ProtocolError: the reply breaks the protocol, or the request is too large.
            Sim2StreetError: what the peer answered, as its own class.
        """
        self._seq += 1
        message = Message(kind, self._seq, self._name, episode, body or {}, arrays or {})
        parts = encode(message)
        largest = max(len(part) for part in parts)
        if largest > self._peer_limit_bytes:
            raise ProtocolError(
                f"{kind}: a part has {largest} bytes, {self._config.endpoint} takes "
                f"{self._peer_limit_bytes}: raise max_pixels there"
            )
        self._last = (self._seq, parts)
        return self._exchange(self._seq, parts, deadline_s or self._config.deadline_s)

    def repeat(self) -> Message:
        """Send the last request again, as a retry would, and return its reply."""
        if self._last is None:
            raise ProtocolError("there is no request to repeat yet")
        return self._exchange(*self._last, self._config.deadline_s)

    def close(self) -> None:
        """Release the socket and its context; a later request connects anew."""
        if self._context is not None:
            self._context.destroy(linger=0)
        self._context = self._socket = None

    def _exchange(self, seq: int, parts: Sequence[Buffer], deadline_s: float) -> Message:
        now_s = time.monotonic()
        end_s, next_send_s, connected = now_s + deadline_s, now_s, False
        while now_s < end_s:
            if now_s >= next_send_s:
                connected = self._send(parts)
                pause_s = self._config.retry_s if connected else _NO_CONNECTION_POLL_S
                next_send_s = now_s + pause_s
            reply = self._receive(seq, min(end_s, next_send_s))
            if reply is not None:
                return reply
            now_s = time.monotonic()
        self.close()
        raise PeerTimeout(self._why_silent(connected, deadline_s))

    def _why_silent(self, connected: bool, deadline_s: float) -> str:
        where = f"no answer from {self._config.endpoint} within {deadline_s:.3g} s"
        if connected:
            return f"{where}: it is reachable, but busy or frozen"
        if self._config.secret_key is not None:
            return (
                f"{where}: no connection. Is the server running there, does it have "
                f"{self._config.secret_key.stem}.key among its allowed clients, and is "
                f"{self._config.server_key} really its public key?"
            )
        return (
            f"{where}: no connection. Is the server running there? One that asks for keys "
            "stays silent: then give secret_key and server_key"
        )

    def _send(self, parts: Sequence[Buffer]) -> bool:
        """Whether there was a connection to send on."""
        if self._socket is None:
            self._socket = self._connect()
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        return True

    def _connect(self) -> Socket:
        self._context = zmq.Context()
        try:
            endpoint = self._config.endpoint
            socket = make_socket(self._context, zmq.DEALER, self._config.limits, endpoint)
            socket.immediate = 1  # no queue towards a peer that is not there
            secure_client(socket, self._config)
            socket.connect(endpoint)
        except BaseException:  # Ctrl-C too: no socket stays open
            self.close()
            raise
        return socket

    def _receive(self, seq: int, until_s: float) -> Message | None:
        """The reply to `seq`; what belongs to earlier requests is dropped."""
        while self._socket is not None:
            left_s = until_s - time.monotonic()
            if not self._socket.poll(max(0, int(left_s * 1000) + 1)):
                return None
            frames = self._socket.recv_multipart(copy=False)
            reply = decode([frame.buffer for frame in frames], self._config.limits)
            unread = reply.kind == "error" and reply.seq == 0  # it could not read our seq
            if reply.seq == seq or unread:
                if reply.kind == "error":
                    raise read_error(reply.body, Sim2StreetError)
                return reply
            if time.monotonic() >= until_s:
                return None
        return None


def query_status(config: ClientConfig | str) -> dict[str, Any]:
    """What the server at an endpoint says about itself: role, name, version, counters.

    Raises:
        PeerTimeout: nobody answers there within `open_deadline_s`.
    """
    if isinstance(config, str):
        config = ClientConfig(endpoint=config)
    client = StepClient(config, role="")
    try:
        return client.hello(config.open_deadline_s).model_dump()
    finally:
        client.close()
