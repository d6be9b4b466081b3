"""The server's end of the request/reply connection, shared by worlds and renderers.

A client numbers its requests and has one of them in flight. When no reply arrives it sends the
same request again. The server keeps the last reply to each client and answers a repeated request
from there, so that no request is carried out twice.
"""

from __future__ import annotations

import errno
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

from sim2street.bridge.errors import ProtocolError
from sim2street.bridge.transport.config import ServerConfig
from sim2street.bridge.transport.endpoints import bind
from sim2street.bridge.transport.error_replies import (
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

_MAX_REMEMBERED_CLIENTS = 1024
_CLOSE_LINGER_MS = 500

_STATELESS_KINDS = ("hello", "status")
"""Requests that any client may repeat without harm: their replies are not kept."""

_REFUSED_HANDSHAKES = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


@dataclass(slots=True)
class ServerStats:
    """Counters of a server since its start. They travel in the reply to "status".

    Attributes:
        requests: new requests, each counted once.
        retries: repeated requests that were answered with the kept reply.
        stale: requests older than the client's newest one.
        refused: malformed messages.
        errors: well-formed requests that were answered with an error.
        unroutable: replies that could not be sent because the client was gone.
        disconnects: connections that ended. A message part above the size limit ends one too.
        handshakes_refused: connections with missing or wrong keys.
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
    """The newest request of one client. `reply` is None until the request is answered."""

    seq: int
    reply: Sequence[Buffer] | None = None
    last_heard_s: float = field(default_factory=time.monotonic)


class RequestServer:
    """A ROUTER socket that receives requests and sends each reply to its client.

    It answers malformed, outdated and repeated messages itself and counts them, so that
    `receive` returns each request once.

    Attributes:
        role: "world" or "renderer".
        instance: random name of this server, sent as `sender` with every reply.
        endpoint: the endpoint that clients connect to, with the real port.
    """

    def __init__(self, config: ServerConfig, role: str) -> None:
        """Bind `config.endpoint`.

        Raises:
            ConfigError: the endpoint cannot be bound, is public without keys, or a key file
                cannot be read.
        """
        self.role = role
        self.instance = secrets.token_hex(8)
        self.stats = ServerStats()
        self._limits = config.limits
        self._clients: OrderedDict[str, _ClientRecord] = OrderedDict()
        self._routes: dict[str, bytes] = {}
        self._started_s = time.monotonic()
        self._context: Context = zmq.Context()
        self._authenticator = None
        try:
            self._socket = make_socket(self._context, zmq.ROUTER, self._limits, config.endpoint)
            self._socket.router_mandatory = 1
            self._authenticator = enable_server_encryption(self._context, self._socket, config)
            self._monitor = self._socket.get_monitor_socket(
                zmq.EVENT_DISCONNECTED | _REFUSED_HANDSHAKES
            )
            self.endpoint = bind(self._socket, config.endpoint, config.secret_key is not None)
        except BaseException:  # also on Ctrl-C: leave no socket open
            self.close()
            raise

    def receive(self, timeout_s: float) -> list[Request]:
        """All new requests that are waiting; an empty list if none arrives in `timeout_s`."""
        if not self._socket.poll(int(timeout_s * 1000)):
            self._count_connection_events()
            return []
        requests: list[Request] = []
        while len(requests) < _MAX_REMEMBERED_CLIENTS:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            request = self._read_request(frames[0].bytes, [frame.buffer for frame in frames[1:]])
            if request is not None and self._is_new(request):
                requests.append(request)
        self._count_connection_events()
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
        notice = encode(Message("notice", 0, self.instance))
        return self._send(self._routes.get(client, b""), notice)

    def last_heard_s(self, client: str) -> float:
        """`time.monotonic` of the client's last message; -inf for an unknown client."""
        record = self._clients.get(client)
        return record.last_heard_s if record else float("-inf")

    def status(self, name: str, version: str) -> dict[str, Any]:
        """Body of the reply to "hello" and "status". `name`, `version`: of what is served."""
        return {
            "role": self.role,
            "name": name,
            "version": version,
            "protocol": PROTOCOL,
            "instance": self.instance,
            "max_part_bytes": self._limits.max_part_bytes,
            "uptime_s": time.monotonic() - self._started_s,
            "clients": len(self._clients),
            "counters": asdict(self.stats),
        }

    def close(self) -> None:
        """Close the socket. Allowed more than once.

        Waits up to half a second for replies that are still being sent: one of them may tell
        a client why the world crashed.
        """
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        self._context.destroy(linger=_CLOSE_LINGER_MS)

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
        self._routes[message.sender] = request.route
        client.last_heard_s = time.monotonic()
        if message.seq > client.seq:
            self.stats.requests += 1
            client.seq, client.reply = message.seq, None
            self._forget_oldest_clients()
            return True
        if message.seq < client.seq:
            self.stats.stale += 1
            self._send(request.route, outdated_request_reply(message, client.seq, self.instance))
        elif client.reply is not None:
            self.stats.retries += 1
            self._send(request.route, client.reply)
        return False

    def _forget_oldest_clients(self) -> None:
        while len(self._clients) > _MAX_REMEMBERED_CLIENTS:
            client, _ = self._clients.popitem(last=False)
            self._routes.pop(client, None)

    def _send_and_keep(self, request: Request, parts: Sequence[Buffer]) -> None:
        message = request.message
        client = self._clients.get(request.client)
        kept = message.kind not in _STATELESS_KINDS
        if client is not None and client.seq == message.seq and kept:
            client.reply = parts
        self._send(request.route, parts)

    def _send(self, route: bytes, parts: Sequence[Buffer]) -> bool:
        """Send without waiting; False if the client is gone or does not read its messages."""
        try:
            self._socket.send_multipart([route, *parts], zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            if error.errno not in (errno.EHOSTUNREACH, errno.EAGAIN):
                raise
            self.stats.unroutable += 1
            return False
        return True

    def _count_connection_events(self) -> None:
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            if event == zmq.EVENT_DISCONNECTED:
                self.stats.disconnects += 1
            else:
                self.stats.handshakes_refused += 1
