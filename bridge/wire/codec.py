"""Encodes messages as byte strings and decodes them: a JSON header plus raw buffers.

A message is a list of byte strings: first the header (UTF-8 JSON), then one part per
buffer in the order of `header["buffers"]`. The header is checked against its schema, and every
length against the header, before a buffer is read. Nothing is ever pickled.
`docs/protocol.md` describes the same for other languages.
"""

from __future__ import annotations

import difflib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import numpy as np
import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sim2street.bridge.errors import ProtocolError

PROTOCOL = "sim2street/1"
"""Name and version of the protocol; both ends must have the same."""

Buffer = bytes | bytearray | memoryview

DTYPES: Mapping[str, np.dtype[Any]] = {
    "uint8": np.dtype("<u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}
"""Every dtype that a buffer may have; little-endian."""

MAX_INT = 2**53 - 1
"""Largest integer that every JSON reader reads exactly."""

MAX_STYLE_BYTES = 16 << 20
"""Largest style file that a renderer accepts."""

_PACK_MAGIC = b"S2S1"
_MAX_EXPLAINED = 3
_MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper limits on one message. A listening socket refuses larger parts before reading them.

    Attributes:
        max_pixels: pixels of one image.
        max_parts: number of parts, the header included.
        max_header_bytes: size of the header.
    """

    max_pixels: int = 4096 * 2304
    max_parts: int = 256
    max_header_bytes: int = 1 << 20

    @property
    def max_part_bytes(self) -> int:
        """Size of the largest part: `motion_px` has 8 bytes per pixel, more than other images."""
        return max(8 * self.max_pixels, self.max_header_bytes, MAX_STYLE_BYTES)

    @property
    def max_message_bytes(self) -> int:
        """Size of a whole message, all parts together."""
        return 4 * self.max_part_bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One request, reply or streamed frame.

    Attributes:
        kind: what the message is ("step", "frame", "error", ...).
        seq: number of the request, counted by the client; the reply repeats it.
        sender: a random name that a process chooses once; a restarted process has another.
        episode: of the world; 0 where there is none.
        body: JSON object, see `bodies` and `schema`.
        arrays: buffers by name: C-contiguous, a dtype of `DTYPES`, read-only after decoding.
    """

    kind: str
    seq: int
    sender: str
    episode: int = 0
    body: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


class Body(BaseModel):
    """Base class of all body schemas: strict types, finite numbers, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Name = Annotated[str, Field(min_length=1, max_length=128)]
Count = Annotated[int, Field(ge=0, le=MAX_INT)]
BodyModel = TypeVar("BodyModel", bound=Body)


class BufferHeader(Body):
    """Describes one buffer: shape in C order, `nbytes` = product of shape x item size."""

    name: Name
    dtype: Name
    shape: Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(max_length=4)]
    nbytes: Count


class Header(Body):
    """The first part of every message."""

    protocol: Name
    kind: Name
    seq: Count
    sender: Name
    episode: Count
    body: dict[str, Any]
    buffers: list[BufferHeader]


def encode(message: Message) -> list[Buffer]:
    """The parts of `message`. Buffers are not copied: do not write to them afterwards.

    Raises:
        ProtocolError: an array's dtype is not in `DTYPES`, or the body is not JSON.
    """
    buffers, parts = [], []
    for name, array in message.arrays.items():
        if array.dtype.name not in DTYPES:
            raise ProtocolError(f"buffer {name}: expected one of {list(DTYPES)}, got {array.dtype}")
        whole = np.ascontiguousarray(array, DTYPES[array.dtype.name])
        buffers.append(
            {
                "name": name,
                "dtype": array.dtype.name,
                "shape": list(array.shape),
                "nbytes": whole.nbytes,
            }
        )
        parts.append(whole.data.cast("B") if whole.size else b"")
    header = {
        "protocol": PROTOCOL,
        "kind": message.kind,
        "seq": message.seq,
        "sender": message.sender,
        "episode": message.episode,
        "body": message.body,
        "buffers": buffers,
    }
    try:
        text = json.dumps(header, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"message {message.kind}: not JSON: {error}") from error
    return [text.encode(), *parts]


def decode(parts: Sequence[Buffer], limits: Limits) -> Message:
    """Decode a message. All checks come before any buffer is read.

    Raises:
        ProtocolError: the message is malformed. No other exception is raised.
    """
    header = _read_header(parts, limits)
    names = [buffer.name for buffer in header.buffers]
    if len(set(names)) != len(names):
        raise ProtocolError(f"buffer names must differ, got {shorten(names)}")
    if len(parts) != 1 + len(names):
        raise ProtocolError(
            f"the header announces {len(names)} buffers, {len(parts) - 1} came with it"
        )
    for buffer, part in zip(header.buffers, parts[1:], strict=True):
        _check_buffer(buffer, len(part), limits)
    arrays = {
        buffer.name: _view(part, buffer)
        for buffer, part in zip(header.buffers, parts[1:], strict=True)
    }
    return Message(header.kind, header.seq, header.sender, header.episode, header.body, arrays)


def read_body(model: type[BodyModel], data: Any, what: str) -> BodyModel:
    """Check `data` against a schema. Raises a ProtocolError that names the keys at fault."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ProtocolError(f"{what}: {_explain(error)}") from error


def pack(parts: Sequence[Buffer]) -> bytes:
    """Join parts into one byte string: `S2S1`, u32 count, u64 lengths, the parts; little-endian.

    For the frame stream (ZeroMQ's conflate option keeps single-part messages only) and for
    recordings.
    """
    lengths = [len(part) for part in parts]
    head = struct.pack(f"<4sI{len(parts)}Q", _PACK_MAGIC, len(parts), *lengths)
    return b"".join([head, *parts])


def unpack(blob: Buffer, limits: Limits) -> list[memoryview]:
    """Split what `pack` joined, without copying. Raises ProtocolError for wrong lengths."""
    view = memoryview(blob)
    if len(view) < 8 or view[:4] != _PACK_MAGIC:
        raise ProtocolError("packed message: expected 'S2S1' and a count at its beginning")
    (count,) = struct.unpack_from("<I", view, 4)
    start = 8 + 8 * count
    if not 1 <= count <= limits.max_parts or len(view) < start:
        raise ProtocolError(f"packed message: {count} parts announced, {len(view)} bytes came")
    lengths = struct.unpack_from(f"<{count}Q", view, 8)
    if sum(lengths) != len(view) - start:
        raise ProtocolError(
            f"packed message: expected {start + sum(lengths)} bytes, got {len(view)}"
        )
    parts = []
    for length in lengths:
        parts.append(view[start : start + length])
        start += length
    return parts


def shorten(value: object) -> str:
    """`repr` of a value that a peer sent, cut to fit an error message."""
    text = repr(value)
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."


def _read_header(parts: Sequence[Buffer], limits: Limits) -> Header:
    if not 1 <= len(parts) <= limits.max_parts:
        raise ProtocolError(f"a message has 1..{limits.max_parts} parts, got {len(parts)}")
    whole_bytes = sum(len(part) for part in parts)
    if whole_bytes > limits.max_message_bytes:
        raise ProtocolError(
            f"a message has at most {limits.max_message_bytes} bytes, got {whole_bytes}"
        )
    if len(parts[0]) > limits.max_header_bytes:
        raise ProtocolError(f"header: at most {limits.max_header_bytes} bytes, got {len(parts[0])}")
    try:
        data = pydantic_core.from_json(bytes(parts[0]), allow_inf_nan=False)
    except ValueError as error:
        raise ProtocolError(f"header: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ProtocolError(f"header: expected a JSON object, got {type(data).__name__}")
    spoken = data.get("protocol")
    if spoken != PROTOCOL:
        raise ProtocolError(f"the peer speaks {shorten(spoken)}, this is '{PROTOCOL}'")
    return read_body(Header, data, "header")


def _plain(value: object) -> object:
    """A numpy scalar as the Python number that JSON can hold."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _check_buffer(buffer: BufferHeader, came_bytes: int, limits: Limits) -> None:
    dtype = DTYPES.get(buffer.dtype)
    if dtype is None:
        raise ProtocolError(
            f"buffer {buffer.name}: expected one of {list(DTYPES)}, got dtype {buffer.dtype!r}"
        )
    expected = dtype.itemsize
    for size in buffer.shape:
        expected *= size
    if not expected == buffer.nbytes == came_bytes:
        raise ProtocolError(
            f"buffer {buffer.name}: {buffer.dtype} {buffer.shape} needs {expected} bytes, "
            f"the header says {buffer.nbytes}, {came_bytes} came"
        )
    if came_bytes > limits.max_part_bytes:
        raise ProtocolError(
            f"buffer {buffer.name}: at most {limits.max_part_bytes} bytes, got {came_bytes}"
        )
    if len(buffer.shape) >= 2 and buffer.shape[0] * buffer.shape[1] > limits.max_pixels:
        raise ProtocolError(
            f"buffer {buffer.name}: at most {limits.max_pixels} pixels, got {buffer.shape}; "
            "raise max_pixels on this end to allow it"
        )


def _view(part: Buffer, buffer: BufferHeader) -> np.ndarray:
    dtype = DTYPES[buffer.dtype]
    array = np.frombuffer(part, dtype) if buffer.nbytes else np.zeros(0, dtype)
    array = np.require(
        array.reshape(buffer.shape), requirements="A"
    )  # copies only where the offset is not aligned
    array.setflags(write=False)
    return array


def _explain(error: ValidationError) -> str:
    items = error.errors(include_url=False, include_context=False)
    lines = []
    for item in items[:_MAX_EXPLAINED]:
        where = shorten(".".join(str(part) for part in item["loc"]))
        if item["type"] == "extra_forbidden":
            lines.append(f"unknown key {where}{_close_key(str(item['loc'][-1]))}")
        else:
            lines.append(f"{where}: {item['msg']}, got {shorten(item.get('input'))}")
    if len(items) > _MAX_EXPLAINED:
        lines.append(f"and {len(items) - _MAX_EXPLAINED} more")
    return "; ".join(lines)


def _close_key(word: str) -> str:
    known = [name for model in Body.__subclasses__() for name in model.model_fields]
    close = difflib.get_close_matches(word[:64], known, n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
