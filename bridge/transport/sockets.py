"""Options that every socket of the project shares."""

from __future__ import annotations

import zmq

from sim2street.bridge.wire.codec import Limits

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

_HIGH_WATER = 32  # messages; the step channel has one in flight, retries and probes aside
_HEARTBEAT_MS = 1000
_HEARTBEAT_TIMEOUT_MS = 5000
_RECONNECT_MS = 50
_RECONNECT_MAX_MS = 500


def make_socket(context: Context, kind: int, limits: Limits, endpoint: str) -> Socket:
    """A socket that never lingers, never grows without bound and never eats oversize.

    Heartbeats find a peer whose machine or cable is gone; an application that hangs is
    found by the deadline of each request.
    """
    socket = context.socket(kind)
    socket.linger = 0
    socket.sndhwm = _HIGH_WATER
    socket.rcvhwm = _HIGH_WATER
    socket.maxmsgsize = limits.max_part_bytes
    socket.heartbeat_ivl = _HEARTBEAT_MS
    socket.heartbeat_timeout = _HEARTBEAT_TIMEOUT_MS
    socket.reconnect_ivl = _RECONNECT_MS
    socket.reconnect_ivl_max = _RECONNECT_MAX_MS
    socket.ipv6 = "[" in endpoint  # tcp://[::1]:5555
    return socket
