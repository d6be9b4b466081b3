"""Options that every socket of the project shares."""

from __future__ import annotations

import zmq

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

_SEND_QUEUE = 8
_RECEIVE_QUEUE = 32
"""Messages. A client has one request in flight, plus its retries."""

_UNLIMITED = 0
_HANDSHAKE_MS = 10_000
_KEEPALIVE_IDLE_S = 5
_KEEPALIVE_INTERVAL_S = 1
_KEEPALIVE_PROBES = 5
_RECONNECT_MS = 50
_RECONNECT_MAX_MS = 500

_LISTENING = (zmq.ROUTER, zmq.PUB)


def make_socket(context: Context, kind: int, endpoint: str, max_part_bytes: int) -> Socket:
    """A socket that closes without waiting and that notices when its peer's machine is gone.

    The latter is up to TCP, within 10 s. ZeroMQ's own heartbeats must stay off: libzmq 4.3 aborts
    the process when one is due while a receive queue is full and the peer has disconnected
    (https://github.com/zeromq/libzmq/issues/4364). A peer that hangs is noticed by the deadline of
    each request.

    Listening sockets have unlimited receive queues; `ConnectionGuard` bounds them.

    Args:
        kind: socket type, such as `zmq.ROUTER`.
        max_part_bytes: a larger message part ends the connection that brings it.
    """
    socket = context.socket(kind)
    socket.linger = 0
    socket.sndhwm = _SEND_QUEUE
    socket.rcvhwm = _UNLIMITED if kind in _LISTENING else _RECEIVE_QUEUE
    socket.maxmsgsize = max_part_bytes
    socket.handshake_ivl = _HANDSHAKE_MS
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle = _KEEPALIVE_IDLE_S
    socket.tcp_keepalive_intvl = _KEEPALIVE_INTERVAL_S
    socket.tcp_keepalive_cnt = _KEEPALIVE_PROBES
    socket.reconnect_ivl = _RECONNECT_MS
    socket.reconnect_ivl_max = _RECONNECT_MAX_MS
    socket.ipv6 = "[" in endpoint  # such as tcp://[::1]:5555
    return socket
