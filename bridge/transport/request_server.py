"""The server's end of the request/reply connection, shared by worlds and renderers.

A client numbers its requests and has one of them in flight. When no reply arrives it sends the
same request again. The server keeps the last reply to each client and answers a repeated request
from there, so that no request is carried out twice. Everything that clients can make the server
keep is bounded: what they send (`ConnectionGuard`), their names, and the replies to them.
"""

from __future__ import annotations

import errno
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import zmq

from sim2street.bridge.errors import ProtocolError
from sim2street.bridge.transport.config import ServerConfig
from sim2street.bridge.transport.connection_guard import ConnectionGuard
from sim2street.bridge.transport.endpoints import bind
from sim2street.bridge.transport.error_replies import (
    dropped_reply,
    failed_request_reply,
    malformed_message_reply,
    outdated_request_reply,
)
from sim2street.bridge.transport.keys import enable_server_encryption
from sim2street.bridge.transport.sockets import Context, make_socket
from sim2street.bridge.wire.codec import PROTOCOL, Buffer, Message, decode, encode
from sim2street.configs import Sim2StreetError

POLL_INTERVAL_S = 0.1
"""An idle server checks this often whether it has been told to stop."""

Role = Literal["world", "renderer"]

_MAX_REMEMBERED_CLIENTS = 2048
_MAX_MESSAGES_PER_CALL = 256
_DROP_INTERVAL_S = 1.0
_LARGE_REPLY_BYTES = 64 << 10
_CLOSE_LINGER_MS = 500

_STATELESS_KINDS = ("hello", "status")
"""Requests that any client may repeat without harm: their replies are not kept."""


@dataclass(slots=True)
class ServerStats:
    """Counters of a server since its start. They travel in the reply to "status".

    Attributes:
        requests: new requests, each counted once.
        retries: repeated requests that were answered with the kept reply.
        stale: requests older than the client's newest one.
        refused: malformed messages.
        errors: well-formed requests that were answered with an error.
        unroutable: replies that could not be sent because the client was gone, or because it
            had not read the ones before.
        disconnects: connections that ended. A message part above the size limit ends one too.
        handshakes_refused: connections with missing or wrong keys, or of another protocol.
        cut: connections that were ended because they sent too much, or were too many.
        batches: calls of a renderer's `render`.
        rendered: views rendered in those batches.
    """

    requests: int = 0
    retries: int = 0
    stale: int = 0
    refused: int = 0
    errors: int = 0
    unroutable: int = 0
    disconnects: int = 0
    handshakes_refused: int = 0
    cut: int = 0
    batches: int = 0
    rendered: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """A decoded message and what is needed to reply to it.

    Attributes:
        route: the ZeroMQ routing id of the connection it came from.
        received_s: `time.perf_counter` at its arrival.
    """

    route: bytes
    message: Message
    received_s: float

    @property
    def client(self) -> str:
        """The name that the client drew at its start. It survives reconnections."""
        return self.message.sender


@dataclass(slots=True)
class _ClientRecord:
    """The newest request of one client, and the reply to it while that is kept."""

    seq: int
    is_answered: bool = False
    reply: Sequence[Buffer] | None = None
    reply_bytes: int = 0
    route: bytes = b""
    last_heard_s: float = field(default_factory=time.monotonic)


class RequestServer:
    """A ROUTER socket that receives requests and sends each reply to its client.

    It answers malformed, outdated and repeated messages itself and counts them, so that
    `receive` returns each request once.

    Attributes:
        role: "world" or "renderer".
        instance: random name of this server, sent as `sender` with every reply.
        endpoint: the endpoint that clients connect to, with the real port.
        kept_clients: names of clients that are never forgotten, because they hold something.
    """

    def __init__(self, config: ServerConfig, role: Role) -> None:
        """Bind `config.endpoint`.

        Raises:
            ConfigError: the endpoint cannot be bound, is public without keys, or a key file
                cannot be read.
        """
        self.role = role
        self.instance = secrets.token_hex(8)
        self.stats = ServerStats()
        self.kept_clients: set[str] = set()
        self._limits = config.limits
        self._part_bytes, self._whole_bytes = config.request_bytes(role)
        self._lease_s = config.lease_s
        self._has_keys = config.secret_key is not None
        self._clients: OrderedDict[str, _ClientRecord] = OrderedDict()
        self._kept_bytes = 0
        self._started_s = self._next_drop_s = time.monotonic()
        self._context: Context = zmq.Context()
        self._authenticator = self._guard = None
        try:
            self._socket = make_socket(self._context, zmq.ROUTER, config.endpoint, self._part_bytes)
            self._socket.router_mandatory = 1
            self._authenticator = enable_server_encryption(self._context, self._socket, config)
            self._guard = ConnectionGuard(
                self._socket, self._whole_bytes + self._part_bytes, 2 * self._whole_bytes
            )
            self.endpoint = bind(self._socket, config.endpoint, self._has_keys)
            self._guard.start(self.endpoint)
        except BaseException:  # also on Ctrl-C: leave no socket open
            self.close()
            raise

    def receive(self, timeout_s: float) -> list[Request]:
        """New requests that are waiting; an empty list if none arrives in `timeout_s`.

        There may be more of them: a flood of messages must not keep the server from its work.
        """
        self._drop_old_replies()
        if not self._socket.poll(max(0, int(timeout_s * 1000))):
            return []
        guard = self._running_guard()
        guard.update()
        requests: list[Request] = []
        came_bytes = 0
        for _ in range(_MAX_MESSAGES_PER_CALL):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                guard.took_all()
                break
            came_bytes += guard.took(frames, self._has_keys)
            request = self._read_request(frames[0].bytes, [frame.buffer for frame in frames[1:]])
            if request is not None and self._is_new(request):
                requests.append(request)
            if came_bytes > self._whole_bytes:
                break
        return requests

    def reply(
        self,
        request: Request,
        kind: str,
        body: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        episode: int = 0,
    ) -> None:
        """Send a reply to `request`, and keep it in case the request is repeated.

        Raises:
            ProtocolError: the reply cannot be encoded.
        """
        seq = request.message.seq
        message = Message(kind, seq, self.instance, episode, body or {}, arrays or {})
        self._send_and_keep(request, encode(message))

    def reply_with_error(self, request: Request, error: Sim2StreetError) -> None:
        """Send `error` as the reply to `request`, and keep it in case it is repeated."""
        self.stats.errors += 1
        parts = failed_request_reply(request.message, error, self.instance)
        self._send_and_keep(request, parts)

    def is_connected(self, client: str) -> bool:
        """Whether the client's connection still stands.

        Finds out by sending a message of kind "notice", which clients ignore.
        """
        record = self._clients.get(client)
        notice = encode(Message("notice", 0, self.instance))
        return record is not None and self._send(record.route, notice)

    def last_heard_s(self, client: str) -> float:
        """`time.monotonic` of the client's last message; -inf for an unknown client."""
        record = self._clients.get(client)
        return record.last_heard_s if record else float("-inf")

    def status(self, name: str, version: str) -> dict[str, Any]:
        """Body of the reply to "hello" and "status". `name`, `version`: of what is served."""
        self._count_connections()
        return {
            "role": self.role,
            "name": name,
            "version": version,
            "protocol": PROTOCOL,
            "instance": self.instance,
            "max_part_bytes": self._part_bytes,
            "max_message_bytes": self._whole_bytes,
            "uptime_s": time.monotonic() - self._started_s,
            "clients": len(self._clients),
            "counters": asdict(self.stats),
        }

    def close(self) -> None:
        """Close the socket. Allowed more than once.

        Waits up to half a second for replies that are still being sent: one of them may tell
        a client why the world crashed.
        """
        self._count_connections()
        if self._guard is not None:
            self._guard.close()
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        self._context.destroy(linger=_CLOSE_LINGER_MS)

    def _running_guard(self) -> ConnectionGuard:
        assert self._guard is not None, "this server is closed"
        return self._guard

    def _count_connections(self) -> None:
        if self._guard is not None:
            self.stats.disconnects = self._guard.disconnects
            self.stats.handshakes_refused = self._guard.handshakes_refused
            self.stats.cut = self._guard.cut

    def _read_request(self, route: bytes, parts: list[memoryview]) -> Request | None:
        """The decoded request; None for a malformed message, which is answered here."""
        try:
            message = decode(parts, self._limits)
        except ProtocolError as error:
            self.stats.refused += 1
            self._send(route, malformed_message_reply(error, self.instance))
            return None
        return Request(route, message, time.perf_counter())

    def _is_new(self, request: Request) -> bool:
        """Whether to carry `request` out. Answers repeated and outdated requests itself."""
        message = request.message
        if message.kind in _STATELESS_KINDS:
            self.stats.requests += 1
            return True
        client = self._clients.setdefault(message.sender, _ClientRecord(seq=-1))
        self._clients.move_to_end(message.sender)
        client.route = request.route
        client.last_heard_s = time.monotonic()
        if message.seq > client.seq:
            self.stats.requests += 1
            self._drop_reply(client)
            client.seq, client.is_answered = message.seq, False
            self._forget_oldest_clients()
            return True
        if message.seq < client.seq:
            self.stats.stale += 1
            self._send(request.route, outdated_request_reply(message, client.seq, self.instance))
        elif client.is_answered:
            self.stats.retries += 1
            self._send(request.route, client.reply or dropped_reply(message, self.instance))
        return False

    def _forget_oldest_clients(self) -> None:
        if len(self._clients) > _MAX_REMEMBERED_CLIENTS:
            for name in list(self._clients)[:-_MAX_REMEMBERED_CLIENTS]:
                if name not in self.kept_clients:
                    self._drop_reply(self._clients.pop(name))

    def _drop_old_replies(self) -> None:
        """Drop the replies to clients that were silent for longer than the lease."""
        now_s = time.monotonic()
        if now_s >= self._next_drop_s:
            self._next_drop_s = now_s + _DROP_INTERVAL_S
            for client in self._clients.values():
                if now_s - client.last_heard_s > self._lease_s:
                    self._drop_reply(client)

    def _drop_reply(self, client: _ClientRecord) -> None:
        self._kept_bytes -= client.reply_bytes
        client.reply, client.reply_bytes = None, 0

    def _send_and_keep(self, request: Request, parts: Sequence[Buffer]) -> None:
        message = request.message
        client = self._clients.get(request.client)
        kept = message.kind not in _STATELESS_KINDS
        if client is not None and client.seq == message.seq and kept:
            self._drop_reply(client)
            client.is_answered, client.reply = True, parts
            client.reply_bytes = sum(len(part) for part in parts)
            self._kept_bytes += client.reply_bytes
            self._drop_replies_beyond_limit(request.client)
        self._send(request.route, parts)

    def _drop_replies_beyond_limit(self, newest: str) -> None:
        """Of too many bytes of kept replies, drop those to the clients that are silent longest."""
        for name, client in self._clients.items():
            if self._kept_bytes <= self._limits.max_message_bytes:
                return
            if name != newest:
                self._drop_reply(client)

    def _send(self, route: bytes, parts: Sequence[Buffer]) -> bool:
        """Send without waiting; False if the client is gone or does not read its messages."""
        is_large = sum(len(part) for part in parts) > _LARGE_REPLY_BYTES
        if is_large and self._running_guard().unread_bytes(route) > _LARGE_REPLY_BYTES:
            self.stats.unroutable += 1
            return False
        try:
            self._socket.send_multipart([route, *parts], zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            if error.errno not in (errno.EHOSTUNREACH, errno.EAGAIN):
                raise
            self.stats.unroutable += 1
            return False
        return True
