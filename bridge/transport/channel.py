"""The serving end of the step channel: requests in, replies out, nothing done twice.

A client has one request in flight and numbers them. It sends a request again when no reply
came; the last reply of each client is kept, so that a retry is answered from there.
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
from sim2street.bridge.transport.keys import secure_server
from sim2street.bridge.transport.sockets import Context, make_socket
from sim2street.bridge.wire.codec import PROTOCOL, Buffer, Message, decode, encode
from sim2street.bridge.wire.renderer_messages import error_body
from sim2street.configs import Sim2StreetError

_MAX_CLIENTS = 1024
_LAST_WORDS_MS = 500
_UNKEPT = ("hello", "status")  # asked by passers-by, and harmless to answer twice
_REFUSED_HANDSHAKES = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


@dataclass(slots=True)
class ServerStats:
    """What a server counted since it started.

    Attributes:
        requests: served for the first time. retries: answered from the reply cache.
        stale: older than the client's last request. refused: not understood.
        errors: understood, but answered with an error. unroutable: the client was gone.
        disconnects: connections that ended (an oversized part also ends its connection).
        handshakes_refused: wrong or missing keys. batches: renders, with `rendered` views.
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
    """A message that came, and the way back to its sender."""

    route: bytes
    message: Message
    received_s: float

    @property
    def client(self) -> str:
        """The sender's name: the same over reconnections of one client."""
        return self.message.sender


@dataclass(slots=True)
class _Client:
    seq: int
    parts: Sequence[Buffer] | None = None  # None: being worked on
    heard_s: float = field(default_factory=time.monotonic)


class RequestChannel:
    """A ROUTER socket that decodes, refuses, counts and remembers the last replies."""

    def __init__(self, config: ServerConfig, role: str) -> None:
        """`role`: "world" or "renderer", told to clients that ask."""
        self.role = role
        self.instance = secrets.token_hex(8)
        self.stats = ServerStats()
        self._limits = config.limits
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._routes: dict[str, bytes] = {}
        self._started_s = time.monotonic()
        self._context: Context = zmq.Context()
        self._authenticator = None
        try:
            self._socket = make_socket(self._context, zmq.ROUTER, self._limits, config.endpoint)
            self._socket.router_mandatory = 1
            self._authenticator = secure_server(self._context, self._socket, config)
            self._monitor = self._socket.get_monitor_socket(
                zmq.EVENT_DISCONNECTED | _REFUSED_HANDSHAKES
            )
            self.endpoint = bind(self._socket, config.endpoint, config.secret_key is not None)
        except BaseException:  # Ctrl-C too: no socket stays open
            self.close()
            raise

    def receive(self, timeout_s: float) -> list[Request]:
        """New requests, all that wait; [] after `timeout_s` without any."""
        if not self._socket.poll(int(timeout_s * 1000)):
            self._count_events()
            return []
        requests: list[Request] = []
        while len(requests) < _MAX_CLIENTS:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            request = self._admit(frames[0].bytes, [frame.buffer for frame in frames[1:]])
            if request is not None:
                requests.append(request)
        self._count_events()
        return requests

    def reply(
        self,
        request: Request,
        kind: str,
        body: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        episode: int = 0,
    ) -> None:
        """Answer `request` and keep the answer for its retries.

        Raises:
            ProtocolError: the answer itself cannot travel.
        """
        seq = request.message.seq
        parts = encode(Message(kind, seq, self.instance, episode, body or {}, arrays or {}))
        client = self._clients.get(request.client)
        if client is not None and client.seq == seq and request.message.kind not in _UNKEPT:
            client.parts = parts
        self._send(request.route, parts)

    def refuse(self, request: Request, error: Sim2StreetError) -> None:
        """Answer `request` with an error."""
        self.stats.errors += 1
        self.reply(request, "error", error_body(error))

    def is_connected(self, client: str) -> bool:
        """Whether the client's connection stands, by sending it a notice to ignore."""
        notice = encode(Message("notice", 0, self.instance))
        return self._send(self._routes.get(client, b""), notice)

    def heard_s(self, client: str) -> float:
        """`time.monotonic` of the client's last message; -inf for one unknown."""
        known = self._clients.get(client)
        return known.heard_s if known else float("-inf")

    def status(self, name: str, version: str) -> dict[str, Any]:
        """Body of the replies to "hello" and "status"."""
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
        """Release the socket, its threads and its context; replies under way get a moment, or
        nobody would hear why a world crashed."""
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        self._context.destroy(linger=_LAST_WORDS_MS)

    def _admit(self, route: bytes, parts: list[memoryview]) -> Request | None:
        try:
            message = decode(parts, self._limits)
        except ProtocolError as error:
            self.stats.refused += 1
            self._send(route, encode(Message("error", 0, self.instance, 0, error_body(error))))
            return None
        request = Request(route, message, time.perf_counter())
        if message.kind in _UNKEPT:
            self.stats.requests += 1
            return request
        client = self._clients.setdefault(message.sender, _Client(seq=-1))
        self._clients.move_to_end(message.sender)
        self._routes[message.sender] = route
        client.heard_s = time.monotonic()
        if message.seq > client.seq:
            self.stats.requests += 1
            client.seq, client.parts = message.seq, None
            self._forget_oldest()
            return request
        if message.seq < client.seq:
            self.stats.stale += 1
            self._send(route, self._too_old(message, client.seq))
        elif client.parts is not None:
            self.stats.retries += 1
            self._send(route, client.parts)
        return None

    def _too_old(self, message: Message, last: int) -> list[Buffer]:
        """Ignored as late by a good client; tells another what is wrong."""
        error = ProtocolError(
            f"request {message.seq} of '{message.sender}' is older than its last one, {last}: "
            "count upwards, and draw a new sender name at every start"
        )
        return encode(Message("error", message.seq, self.instance, 0, error_body(error)))

    def _forget_oldest(self) -> None:
        while len(self._clients) > _MAX_CLIENTS:
            gone, _ = self._clients.popitem(last=False)
            self._routes.pop(gone, None)

    def _send(self, route: bytes, parts: Sequence[Buffer]) -> bool:
        try:
            self._socket.send_multipart([route, *parts], zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            if error.errno not in (errno.EHOSTUNREACH, errno.EAGAIN):  # gone, reads nothing
                raise
            self.stats.unroutable += 1
            return False
        return True

    def _count_events(self) -> None:
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            if event == zmq.EVENT_DISCONNECTED:
                self.stats.disconnects += 1
            else:
                self.stats.handshakes_refused += 1
