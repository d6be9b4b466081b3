"""A ZMTP 3.1 peer made by hand, which may break every rule that libzmq keeps."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from sim2street.bridge.closing import Closing

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
_MORE, _LONG, _COMMAND = 1, 2, 4


def frame(data: bytes, more: bool = False, command: bool = False) -> bytes:
    """One message part, or a command, as it goes over the connection."""
    flags = _MORE * more + _COMMAND * command
    if len(data) < 256:
        return bytes([flags, len(data)]) + data
    return bytes([flags | _LONG]) + struct.pack(">Q", len(data)) + data


def ping(ttl_ds: int = 0) -> bytes:
    """A PING command; `ttl_ds`: after so many tenths of a second of silence we are gone."""
    return frame(b"\x04PING" + struct.pack(">H", ttl_ds), command=True)


def header(kind: str, seq: int = 1, sender: str = "raw", **body: Any) -> bytes:
    """The header of a request without buffers."""
    fields = {"protocol": "sim2street/1", "kind": kind, "seq": seq, "sender": sender}
    return json.dumps({**fields, "episode": 0, "body": body, "buffers": []}).encode()


class RawPeer(Closing):
    """A TCP connection to a listening socket, past the handshake."""

    def __init__(self, endpoint: str, kind: str = "DEALER") -> None:
        host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
        self.tcp = socket.create_connection((host, int(port)), timeout=20.0)
        self.tcp.sendall(GREETING)
        properties = b"\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind.encode()
        self.tcp.sendall(frame(b"\x05READY" + properties, command=True))
        self._receive(len(GREETING))
        _, size = self._receive(2)
        self._receive(size)

    def send(self, data: bytes) -> bool:
        """Send bytes; False if the server has closed the connection."""
        try:
            self.tcp.sendall(data)
        except (ConnectionError, TimeoutError):
            return False
        return True

    def is_closed(self) -> bool:
        """Whether the server closes the connection, waiting for it. Reads what it sends."""
        try:
            while self.tcp.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True

    def reset(self) -> None:
        """End the connection by a TCP reset, as if the process died with data unread."""
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.tcp.close()

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.tcp.recv(size - len(data))
            if not part:
                raise ConnectionError("the server closed the connection during the handshake")
            data += part
        return data

    def close(self) -> None:
        self.tcp.close()
