"""Bounds what the peers of a listening socket may send and keep open, and counts connections.

ZeroMQ limits the size of one message part (MAXMSGSIZE). It limits neither the number of parts of a
message that is not complete yet, nor the number of connections. Its limit on complete messages
(RCVHWM) cannot be used: while a receive queue is full, a peer that sends a ZMTP PING and
disconnects makes libzmq 4.3 abort the process (https://github.com/zeromq/libzmq/issues/4364).
Listening sockets therefore have unlimited receive queues, and this guard ends the connections that
make them grow: it compares the bytes that the kernel received on each connection with those of the
messages that the server took from it.

Byte counts come from Linux (TCP_INFO). Elsewhere, and on ipc endpoints, only the number of
connections is limited.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket as os_socket
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils.monitor import recv_monitor_message

from sim2street.bridge.transport.sockets import Socket

MAX_CONNECTIONS = 256
"""Connections that one listening socket keeps open."""

REFUSED_HANDSHAKES = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)

_CHECK_INTERVAL_S = 0.01
_IDLE_INTERVAL_S = 0.05
"""Interval of checks while nobody is connected."""

_TCP_INFO: int | None = getattr(os_socket, "TCP_INFO", None)
_RECEIVED = struct.Struct("=Q")
_RECEIVED_OFFSET = 128
"""Place of `tcpi_bytes_received` in Linux's `struct tcp_info`."""

_HANDSHAKE_BYTES = 4096
_COMMAND_BYTES_PER_S = 64
"""Allowance for what is not part of a message: the handshake, and PINGs of peers that send them."""

_UNREAD_WITHOUT_NOTICE = 1 << 20
"""Unread bytes of all connections that need no look at this process's memory."""

_SMALL_REQUEST_BYTES = 16 << 10
"""Connections with fewer unread bytes are kept while others have sent too many."""

_MEMORY_FACTOR = 4
_MEMORY_SLACK_BYTES = 128 << 20
"""This process may grow by that factor of the unread bytes, and the slack. Parts of a few bytes
take 64 bytes of memory each."""

_INT = struct.Struct("i")
_RESET = struct.pack("ii", 1, 0)

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Connection:
    """One accepted connection; `peer` is our own handle of its kernel socket."""

    peer: os_socket.socket
    accepted_s: float = field(default_factory=time.monotonic)
    heard_s: float | None = None
    route: bytes = b""
    received_bytes: int = 0
    taken_bytes: int = 0
    is_cut: bool = False

    def update(self) -> int:
        """Read the kernel's counters. Returns the bytes that the server has not taken yet."""
        received = _received_bytes(self.peer)
        if received is None:
            return 0
        self.received_bytes = received
        # Messages of an earlier connection with the same file descriptor may have been added.
        self.taken_bytes = min(self.taken_bytes, received)
        age_s = time.monotonic() - self.accepted_s
        allowed = int(_HANDSHAKE_BYTES + _COMMAND_BYTES_PER_S * age_s)
        return max(0, received - self.taken_bytes - allowed)

    def name(self) -> str:
        try:
            address = self.peer.getpeername()
        except OSError:
            return "a peer that is gone"
        return ":".join(map(str, address[:2])) if isinstance(address, tuple) else "an ipc peer"


class ConnectionGuard:
    """Watches the connections of a listening socket in a thread of its own, until `close`.

    Attributes:
        disconnects: connections that ended.
        handshakes_refused: connections with missing or wrong keys, or of another protocol.
        cut: connections that this guard ended.
    """

    def __init__(self, socket: Socket, unread_limit: int, unread_limit_of_all: int) -> None:
        """Call this before the socket is bound.

        Args:
            unread_limit: bytes that one connection may have sent and the server not yet taken.
            unread_limit_of_all: the same of all connections together.
        """
        self.disconnects = self.handshakes_refused = self.cut = 0
        self._unread_limit, self._unread_limit_of_all = unread_limit, unread_limit_of_all
        # Each connection has two file descriptors, and the rest of the process needs some too.
        self._max_connections = max(1, min(MAX_CONNECTIONS, _max_files() // 4))
        self._connections: dict[int, _Connection] = {}
        self._routes: dict[bytes, _Connection] = {}
        self._orphaned_bytes = 0
        self._quiet_memory_bytes = _memory_bytes()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._monitor: Socket = socket.get_monitor_socket(
            zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | REFUSED_HANDSHAKES
        )
        self._socket = socket
        self._addresses: tuple[str, str] = ("", "")
        self._thread = threading.Thread(target=self._run, name="connection guard", daemon=True)

    def start(self, endpoint: str) -> None:
        """Start to watch; `endpoint`: where the socket is bound."""
        self._addresses = (endpoint.removeprefix("ipc://"), endpoint.rsplit(":", 1)[-1])
        self._thread.start()

    @property
    def connections(self) -> int:
        """Number of open connections."""
        self.update()
        return len(self._connections)

    def update(self) -> None:
        """Note the connections that came and went until now."""
        with self._lock:
            self._note_events()

    def took(self, frames: Iterable[zmq.Frame], has_keys: bool) -> int:
        """Note that the server took a message; `frames` with the route first. Returns its size."""
        route, *parts = frames
        size = sum(_wire_bytes(len(part), has_keys) for part in parts)
        with self._lock:
            connection = self._connections.get(_descriptor(parts))
            if connection is not None:
                connection.taken_bytes += size
                connection.heard_s = time.monotonic()
                connection.route = route.bytes
                self._routes[connection.route] = connection
        return size

    def took_all(self) -> None:
        """Note that no complete message is left, also none of connections that are closed."""
        with self._lock:
            self._orphaned_bytes = 0

    def unread_bytes(self, route: bytes) -> int:
        """Bytes that were sent to the peer of `route` and wait for it to read; 0 if unknown."""
        with self._lock:
            connection = self._routes.get(route)
            return 0 if connection is None else _waiting_bytes(connection.peer)

    def close(self) -> None:
        """Stop the thread. Allowed more than once."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            for connection in self._connections.values():
                connection.peer.close()
            self._connections.clear()
            self._routes.clear()
            if not self._monitor.closed:
                self._socket.disable_monitor()
                self._monitor.close()

    def _run(self) -> None:
        while not self._stop.wait(_CHECK_INTERVAL_S if self._connections else _IDLE_INTERVAL_S):
            with self._lock:
                self._note_events()
                self._check_unread()
                self._check_number()

    def _note_events(self) -> None:
        while self._monitor.poll(0):
            message = recv_monitor_message(self._monitor)
            event, descriptor = message["event"], int(message["value"])
            if event == zmq.EVENT_ACCEPTED:
                self._remove(descriptor)
                self._add(descriptor)
            elif event == zmq.EVENT_DISCONNECTED:
                self.disconnects += 1
                self._remove(descriptor)
            else:
                self.handshakes_refused += 1

    def _add(self, descriptor: int) -> None:
        """Watch a connection, unless it is closed already and its number means something else."""
        own = -1
        try:
            own = os.dup(descriptor)
            peer = os_socket.socket(fileno=own)
        except OSError:
            if own >= 0:
                os.close(own)
            return
        if _local_address(peer) in self._addresses:
            self._connections[descriptor] = _Connection(peer)
        else:
            peer.close()

    def _remove(self, descriptor: int) -> None:
        connection = self._connections.pop(descriptor, None)
        if connection is not None:
            self._orphaned_bytes += connection.update()
            connection.peer.close()
            if self._routes.get(connection.route) is connection:
                del self._routes[connection.route]

    def _check_unread(self) -> None:
        unread = {key: one.update() for key, one in self._connections.items() if not one.is_cut}
        for key, count in unread.items():
            if count > self._unread_limit:
                self._cut(key, f"it sent {count} bytes that are no complete requests")
        total = self._orphaned_bytes + sum(unread.values())
        if total <= _UNREAD_WITHOUT_NOTICE:
            self._quiet_memory_bytes = _memory_bytes()
            return
        if total > self._unread_limit_of_all:
            for key in (key for key, count in unread.items() if count > _SMALL_REQUEST_BYTES):
                self._cut(key, f"{total} bytes of all connections wait to be read")
        grown_bytes = _memory_bytes() - self._quiet_memory_bytes
        largest = max(unread, key=lambda key: unread[key], default=-1)
        too_large = grown_bytes > _MEMORY_FACTOR * total + _MEMORY_SLACK_BYTES
        if too_large and unread.get(largest, 0) > 0:
            self._cut(largest, "its messages have too many parts")

    def _check_number(self) -> None:
        """Of too many connections, end those that were silent for longest; unused ones first."""
        open_ones = [key for key, one in self._connections.items() if not one.is_cut]
        excess = len(open_ones) - self._max_connections
        if excess > 0:
            open_ones.sort(key=self._last_use)
            for key in open_ones[:excess]:
                self._cut(key, f"more than {self._max_connections} connections are open")

    def _last_use(self, key: int) -> tuple[bool, float]:
        connection = self._connections[key]
        heard_s = connection.heard_s
        return (heard_s is not None, connection.accepted_s if heard_s is None else heard_s)

    def _cut(self, key: int, reason: str) -> None:
        connection = self._connections[key]
        if connection.is_cut:
            return
        _LOG.warning("ended the connection of %s: %s", connection.name(), reason)
        connection.is_cut = True
        self.cut += 1
        with contextlib.suppress(OSError):
            # The close that follows resets the connection. Otherwise a peer that is in the middle
            # of a large message would wait for a minute.
            connection.peer.setsockopt(os_socket.SOL_SOCKET, os_socket.SO_LINGER, _RESET)
            connection.peer.shutdown(os_socket.SHUT_RDWR)


def _wire_bytes(size: int, has_keys: bool) -> int:
    """Bytes of one part in ZMTP 3: flags and length, and with CURVE an encrypted envelope."""
    whole = size + 33 if has_keys else size
    return whole + (2 if whole < 256 else 9)


def _descriptor(parts: list[zmq.Frame]) -> int:
    """File descriptor of the connection that a message came from; -1 if unknown."""
    try:
        return int(parts[0].get(zmq.SRCFD))
    except (zmq.ZMQError, IndexError, ValueError):
        return -1


def _received_bytes(peer: os_socket.socket) -> int | None:
    """Bytes that the peer sent, as far as the kernel has received them; None if unknown."""
    if _TCP_INFO is None or peer.family == os_socket.AF_UNIX:
        return None
    try:
        info = peer.getsockopt(os_socket.IPPROTO_TCP, _TCP_INFO, 192)
    except OSError:
        return None
    if len(info) < _RECEIVED_OFFSET + _RECEIVED.size:
        return None
    received: int = _RECEIVED.unpack_from(info, _RECEIVED_OFFSET)[0]
    return received


def _waiting_bytes(peer: os_socket.socket) -> int:
    """Bytes in the kernel's send queue: not yet acknowledged, or not yet read from an ipc socket.

    As long as ZeroMQ has more to send, that queue is not empty.
    """
    try:
        import fcntl
        import termios

        answer = fcntl.ioctl(peer, termios.TIOCOUTQ, bytes(_INT.size))
    except (ImportError, OSError):  # Windows has no such modules
        return 0
    waiting: int = _INT.unpack(answer)[0]
    return waiting


def _local_address(peer: os_socket.socket) -> str:
    """The port, or the path, at which a connection was accepted."""
    address = peer.getsockname()
    return str(address[1]) if isinstance(address, tuple) else os.fsdecode(address)


def _max_files() -> int:
    """How many files this process may have open."""
    return os.sysconf("SC_OPEN_MAX") if hasattr(os, "sysconf") else MAX_CONNECTIONS


def _memory_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_bytes().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
