"""The client's end of the request/reply connection.

One request is in flight at a time. It is sent again until its reply arrives or its deadline passes.
"""

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
from sim2street.bridge.transport.error_replies import UNREADABLE_SEQ
from sim2street.bridge.transport.keys import enable_client_encryption
from sim2street.bridge.transport.sockets import Context, Socket, make_socket
from sim2street.bridge.wire.codec import Buffer, Message, decode, encode, read_body, shorten
from sim2street.bridge.wire.renderer_messages import read_error
from sim2street.bridge.wire.schema import StatusBody
from sim2street.configs import ConfigError, Sim2StreetError

_RECONNECT_POLL_S = 0.02

_LARGE_REQUEST_BYTES = 1 << 20
"""Larger requests are repeated more and more rarely: a busy server would have to keep them all."""

_LONGEST_RETRY_FACTOR = 8.0


class RequestClient:
    """A DEALER socket that sends one request at a time and returns its reply.

    Use it from one thread. Replies to earlier requests are ignored. After a timeout the
    connection is closed and the next request opens a new one, so that no old reply can arrive.
    """

    def __init__(self, config: ClientConfig, role: str) -> None:
        """`role`: what the server must be, "world" or "renderer"; "" accepts both.

        Raises:
            ConfigError: the endpoint is malformed.
        """
        check_endpoint(config.endpoint)
        self._config = config
        self._role = role
        self._name = secrets.token_hex(8)
        self._seq = 0
        self._server_max_part_bytes = config.limits.max_part_bytes
        self._server_max_message_bytes = config.limits.max_message_bytes
        self._context: Context | None = None
        self._socket: Socket | None = None
        self._last_request: tuple[int, Sequence[Buffer]] | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> RequestClient:
        """Refuse: pyzmq would give the copy the same connection."""
        raise TypeError("a connection to a server cannot be copied")

    def hello(self, deadline_s: float) -> StatusBody:
        """Ask the server what it is and how large a message part it accepts.

        Raises:
            PeerTimeout: no server answers at the endpoint.
            ConfigError: the server has another role.
        """
        reply = self.request("hello", deadline_s=deadline_s)
        status = read_body(StatusBody, reply.body, "status")
        if self._role and status.role != self._role:
            raise ConfigError(
                f"{self._config.endpoint} is a {shorten(status.role)}, expected a {self._role}: "
                "are the two endpoints swapped?"
            )
        self._server_max_part_bytes = status.max_part_bytes
        self._server_max_message_bytes = status.max_message_bytes
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

        Args:
            deadline_s: how long to wait for the reply; `config.deadline_s` if None.

        Raises:
            PeerTimeout: no reply within the deadline.
            ProtocolError: the reply breaks the protocol, or the request is too large.
            Sim2StreetError: the server replied with an error. It is raised as the class that
                the reply names.
        """
        self._seq += 1
        message = Message(kind, self._seq, self._name, episode, body or {}, arrays or {})
        parts = encode(message)
        self._check_size(kind, parts)
        self._last_request = (self._seq, parts)
        return self._exchange(self._seq, parts, deadline_s or self._config.deadline_s)

    def repeat(self) -> Message:
        """Send the last request once more, unchanged, and return the reply to it.

        Raises:
            ProtocolError: nothing has been requested yet.
        """
        if self._last_request is None:
            raise ProtocolError("there is no request to repeat yet")
        return self._exchange(*self._last_request, self._config.deadline_s)

    def close(self) -> None:
        """Close the socket. A later request opens a new connection."""
        if self._context is not None:
            self._context.destroy(linger=0)
        self._context = self._socket = None

    def _check_size(self, kind: str, parts: Sequence[Buffer]) -> None:
        """Raise ProtocolError for a request that the server would end the connection for."""
        largest, whole = max(len(part) for part in parts), sum(len(part) for part in parts)
        where = f"{self._config.endpoint} accepts at most"
        if largest > self._server_max_part_bytes:
            raise ProtocolError(
                f"{kind}: a message part has {largest} bytes, but {where} "
                f"{self._server_max_part_bytes}: send smaller images, or raise max_pixels of that "
                "server (`serve renderer --max-pixels`)"
            )
        if whole > self._server_max_message_bytes:
            raise ProtocolError(
                f"{kind}: the message has {whole} bytes, but {where} "
                f"{self._server_max_message_bytes}: send fewer or smaller images, or raise "
                "max_pixels of that server (`serve renderer --max-pixels`)"
            )

    def _exchange(self, seq: int, parts: Sequence[Buffer], deadline_s: float) -> Message:
        now_s = time.monotonic()
        end_s, next_send_s, connected = now_s + deadline_s, now_s, False
        retry_s = self._config.retry_s
        is_large = sum(len(part) for part in parts) > _LARGE_REQUEST_BYTES
        while now_s < end_s:
            if now_s >= next_send_s:
                connected = self._send(parts)
                next_send_s = now_s + (retry_s if connected else _RECONNECT_POLL_S)
                if connected and is_large:
                    retry_s = min(2.0 * retry_s, _LONGEST_RETRY_FACTOR * self._config.retry_s)
            reply = self._receive(seq, min(end_s, next_send_s))
            if reply is not None:
                return reply
            now_s = time.monotonic()
        self.close()
        raise PeerTimeout(self._timeout_message(connected, deadline_s))

    def _timeout_message(self, connected: bool, deadline_s: float) -> str:
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
            f"{where}: no connection. Is the server running there? A server that asks for keys "
            "does not answer without them: then give secret_key and server_key"
        )

    def _send(self, parts: Sequence[Buffer]) -> bool:
        """Send without waiting; False if there is no connection yet."""
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
            limit = self._config.limits.max_part_bytes
            socket = make_socket(self._context, zmq.DEALER, endpoint, limit)
            socket.immediate = 1  # queue messages only once there is a connection
            enable_client_encryption(socket, self._config)
            socket.connect(endpoint)
        except BaseException:  # also on Ctrl-C: leave no socket open
            self.close()
            raise
        return socket

    def _receive(self, seq: int, until_s: float) -> Message | None:
        """The reply to request `seq`, or None at `until_s`. Other messages are ignored."""
        while self._socket is not None:
            left_s = until_s - time.monotonic()
            if not self._socket.poll(max(0, int(left_s * 1000) + 1)):
                return None
            frames = self._socket.recv_multipart(copy=False)
            reply = decode([frame.buffer for frame in frames], self._config.limits)
            could_not_read = reply.kind == "error" and reply.seq == UNREADABLE_SEQ
            if reply.seq == seq or could_not_read:
                if reply.kind == "error":
                    raise read_error(reply.body, Sim2StreetError)
                return reply
            if time.monotonic() >= until_s:
                return None
        return None


def query_status(config: ClientConfig | str) -> dict[str, Any]:
    """Ask a server for its role, name, version and counters: the fields of `StatusBody`.

    Args:
        config: settings, or only an endpoint.

    Raises:
        PeerTimeout: no server answers within `open_deadline_s`.
    """
    if isinstance(config, str):
        config = ClientConfig(endpoint=config)
    client = RequestClient(config, role="")
    try:
        return client.hello(config.open_deadline_s).model_dump()
    finally:
        client.close()
