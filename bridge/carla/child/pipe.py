"""Messages over a pipe: the header's length (uint32, little endian), a JSON header, buffers."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import IO, Any

_LENGTH = struct.Struct("<I")


def write_message(stream: IO[bytes], header: dict[str, Any], buffers: Sequence[Any] = ()) -> None:
    """Send a header and its buffers (bytes-like, contiguous)."""
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    text = json.dumps(dict(header, sizes=[view.nbytes for view in views])).encode()
    stream.write(_LENGTH.pack(len(text)) + text)
    for view in views:
        stream.write(view)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], list[bytearray]] | None:
    """The next header and its buffers; None if the stream has ended."""
    length = _read(stream, bytearray(_LENGTH.size))
    if length is None:
        return None
    text = _read(stream, bytearray(_LENGTH.unpack(length)[0]))
    if text is None:
        return None
    header = json.loads(bytes(text).decode())
    buffers = [bytearray(size) for size in header.pop("sizes")]
    if any(_read(stream, buffer) is None for buffer in buffers):
        return None
    return header, buffers


def _read(stream: IO[bytes], buffer: bytearray) -> bytearray | None:
    """Fill the buffer and return it; None if the stream ends first."""
    view, position = memoryview(buffer), 0
    while position < len(buffer):
        count = stream.readinto(view[position:])  # type: ignore[attr-defined]
        if not count:
            return None
        position += count
    return buffer
