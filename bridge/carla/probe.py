"""Asks a port whether a CARLA server answers there, without CARLA's client.

The client library reports everything that goes wrong there as a time-out or as `bad_cast`.
"""

from __future__ import annotations

import re
import socket
import time

from sim2street.bridge.errors import WorldLost
from sim2street.configs import ConfigError

PROBE_S = 5.0
"""How long a server may take to tell its version. It answers even while it loads a map."""

_REQUEST = b"\x94\x00\x01\xa7version\x91\x91\xc2"
"""The call `version` in MessagePack: [request, id 1, "version", [[answer wanted]]]."""

_ANSWER = b"\x94\x01\x01\xc0"
"""How an answer without an error begins: [answer, id 1, no error, ...]."""

_VERSION = re.compile(rb"\d+\.\d+\.\d+[-\w.]*")
_MAX_ANSWER_BYTES = 4096
_SHOWN_BYTES = 24
_RETRY_S = 0.5
_ZEROMQ_GREETING = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f"


def server_version(host: str, port: int, timeout_s: float = PROBE_S) -> str:
    """The version of the CARLA server at a port.

    Raises:
        WorldLost: nothing listens or answers there.
        ConfigError: the host is not known, or something else than CARLA answers.
    """
    where = f"{host}:{port}"
    deadline_s = time.monotonic() + timeout_s
    try:
        with socket.create_connection((host, port), timeout_s) as peer:
            peer.sendall(_REQUEST)
            answer = _read(peer, deadline_s)
    except socket.gaierror as error:
        raise ConfigError(
            f"{where}: the host '{host}' is not known ({error.strerror}); check its name"
        ) from error
    except TimeoutError as error:
        raise WorldLost(
            f"{where} did not accept a connection within {timeout_s:.1f} s; is the host up, and "
            "does a firewall let this port and the two after it through?"
        ) from error
    except ConnectionResetError as error:
        raise WorldLost(_closed(where)) from error
    except OSError as error:
        raise WorldLost(
            f"{where}: {error.strerror or error}; is the server up, was it started with this "
            "-carla-rpc-port, and are this port and the two after it open (Docker: --net=host)?"
        ) from error
    return _version(where, answer, timeout_s)


def wait_for_server(host: str, port: int, timeout_s: float, patience_s: float) -> str:
    """The server's version; asks once, and again until it answers or `patience_s` are over.

    Raises what `server_version` raises.
    """
    until_s = time.monotonic() + patience_s
    while True:
        try:
            return server_version(host, port, min(timeout_s, PROBE_S))
        except WorldLost:
            if time.monotonic() >= until_s:
                raise
            time.sleep(_RETRY_S)


def _read(peer: socket.socket, deadline_s: float) -> bytes | None:
    """What comes, until it contains a version or the connection ends; None if nothing comes."""
    data = b""
    while len(data) < _MAX_ANSWER_BYTES:
        peer.settimeout(max(0.01, deadline_s - time.monotonic()))
        try:
            part = peer.recv(_MAX_ANSWER_BYTES)
        except TimeoutError:
            return data or None
        data += part
        if not part or not data.startswith(_ANSWER[: len(data)]) or _VERSION.search(data):
            return data
    return data


def _version(where: str, answer: bytes | None, timeout_s: float) -> str:
    if answer is None:
        raise WorldLost(
            f"{where} accepts connections, but did not answer within {timeout_s:.1f} s: the "
            "server hangs or still starts, or something else listens there (a tunnel without a "
            "server behind it, or CARLA's data streams, whose port is one above); wait, or "
            "restart the server"
        )
    if not answer:
        raise WorldLost(_closed(where))
    version = _VERSION.search(answer)
    if answer.startswith(_ANSWER) and version:
        return version[0].decode()
    if answer.startswith(b"HTTP/"):
        what = "a web server"
    elif answer.startswith(_ZEROMQ_GREETING[:1]) and b"\x7f" in answer[:10]:
        what = f"a ZeroMQ socket, such as a served world (use the world tcp://{where})"
    else:
        what = f"something that is not CARLA ({answer[:_SHOWN_BYTES]!r})"
    raise ConfigError(f"at {where} answers {what}; give the host and RPC port of a CARLA server")


def _closed(where: str) -> str:
    return (
        f"{where} closed the connection without an answer: the server is ending, or this is the "
        "port of its data streams, which is one above that of its calls"
    )
