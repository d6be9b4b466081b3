"""Endpoints: checked, and bound. Only loopback and ipc endpoints may be bound without keys."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket as os_socket
import time
from pathlib import Path

import zmq

from sim2street.configs import ConfigError

_TCP = re.compile(r"^tcp://(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:/\[\]]+):(?P<port>\d{1,5}|\*)$")
_MAX_PORT = 65535
_PROBE_TIMEOUT_S = 0.2

_IN_USE_WAIT_S = 1.0
"""How long to wait for an endpoint that is in use, as its server may be about to end."""

_IN_USE_POLL_S = 0.1


def check_endpoint(endpoint: str) -> None:
    """Raise ConfigError if `endpoint` is neither tcp://HOST:PORT nor ipc:///path."""
    tcp = _TCP.match(endpoint)
    if tcp and (tcp["port"] == "*" or int(tcp["port"]) <= _MAX_PORT):
        return
    if endpoint.startswith("ipc://") and len(endpoint) > len("ipc://"):
        return
    raise ConfigError(
        f"'{endpoint}' is not an endpoint: expected tcp://HOST:PORT such as "
        "tcp://127.0.0.1:5555, or ipc:///path/to/socket"
    )


def is_public(endpoint: str) -> bool:
    """True if another machine could connect: any tcp host that is not loopback."""
    check_endpoint(endpoint)
    tcp = _TCP.match(endpoint)
    if tcp is None:
        return False
    host = tcp["host"].strip("[]")
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True  # "*", an interface or a host name


def bind(socket: zmq.Socket[bytes], endpoint: str, has_keys: bool) -> str:
    """Bind `socket` and return the real endpoint: port 0 is replaced by a free port.

    Raises:
        ConfigError: the endpoint is public and there are no keys, or it cannot be bound.
    """
    if is_public(endpoint) and not has_keys:
        raise ConfigError(
            f"refusing to listen on {endpoint} without keys: anybody on the network could "
            "connect. Use tcp://127.0.0.1:PORT, or give secret_key and allowed_clients"
        )
    until_s = time.monotonic() + _IN_USE_WAIT_S
    while not _bound(socket, endpoint):
        if time.monotonic() > until_s:
            raise ConfigError(
                f"{endpoint} is in use by another process: stop it, or take another endpoint"
            )
        time.sleep(_IN_USE_POLL_S)
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def _bound(socket: zmq.Socket[bytes], endpoint: str) -> bool:
    """Bind `socket`; False if the endpoint is in use."""
    if _ipc_in_use(endpoint):
        return False
    try:
        socket.bind(re.sub(r":0$", ":*", endpoint) if endpoint.startswith("tcp") else endpoint)
    except zmq.ZMQError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise ConfigError(f"cannot listen on {endpoint}: {error}") from error
    return True


def _ipc_in_use(endpoint: str) -> bool:
    """Whether a process listens on this ipc path. ZeroMQ would take the path from it."""
    path = endpoint.removeprefix("ipc://")
    if path == endpoint or not Path(path).exists():
        return False
    with os_socket.socket(os_socket.AF_UNIX, os_socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        return probe.connect_ex(path) == 0
