"""Options that every socket of the project shares."""

from __future__ import annotations

import zmq

from sim2street.bridge.wire.codec import Limits

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

_QUEUE_LENGTH = 32  # messages; a client has one request in flight, plus its retries
_HEARTBEAT_MS = 1000
_HEARTBEAT_TIMEOUT_MS = 5000
_RECONNECT_MS = 50
_RECONNECT_MAX_MS = 500


def make_socket(context: Context, kind: int, limits: Limits, endpoint: str) -> Socket:
    """A socket with bounded queues and a bounded message size, which closes without waiting.

    Heartbeats detect a peer whose machine or network is gone. A peer that hangs is detected
    by the deadline of each request.

    Args:
        kind: socket type, such as `zmq.ROUTER`.
    """
    socket = context.socket(kind)
    socket.linger = 0
    socket.sndhwm = _QUEUE_LENGTH
    socket.rcvhwm = _QUEUE_LENGTH
    socket.maxmsgsize = limits.max_part_bytes
    socket.heartbeat_ivl = _HEARTBEAT_MS
    socket.heartbeat_timeout = _HEARTBEAT_TIMEOUT_MS
    socket.reconnect_ivl = _RECONNECT_MS
    socket.reconnect_ivl_max = _RECONNECT_MAX_MS
    socket.ipv6 = "[" in endpoint  # such as tcp://[::1]:5555
    return socket
