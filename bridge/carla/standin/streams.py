"""CARLA's data streams: one TCP connection for each, every message preceded by its size."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable

_UINT32 = struct.Struct("<I")
_DRAIN_S = 5.0
_MAX_BUFFERED_BYTES = 8 << 20


class Streams:
    """Accepts the listeners of streams and sends messages to them."""

    def __init__(self, exists: Callable[[int], bool]) -> None:
        """`exists`: whether there is a stream of this id; connections for others are closed."""
        self._exists = exists
        self._listeners: dict[int, list[asyncio.StreamWriter]] = {}
        self._expected: set[int] = set()
        self._arrived = asyncio.Event()

    def expect(self, stream_id: int) -> None:
        """A client is about to connect to this stream."""
        self._expected.add(stream_id)

    async def wait_for_expected(self, patience_s: float) -> None:
        """Wait until all expected listeners have connected; do not wait for the same ones again."""
        until_s = time.monotonic() + patience_s
        while self._expected:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), until_s - time.monotonic())
            except asyncio.TimeoutError:
                self._expected.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one listener, which sends the id of its stream and then only reads."""
        try:
            (stream_id,) = _UINT32.unpack(await reader.readexactly(_UINT32.size))
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()
            return
        if not self._exists(stream_id):
            self._expected.discard(stream_id)
            writer.close()
            return
        writer.transport.set_write_buffer_limits(high=_MAX_BUFFERED_BYTES)
        listeners = self._listeners.setdefault(stream_id, [])
        listeners.append(writer)
        self._expected.discard(stream_id)
        self._arrived.set()
        try:
            await reader.read()  # until the listener closes the connection
        except ConnectionError:
            pass
        finally:
            if writer in listeners:
                listeners.remove(writer)
            writer.close()

    def has_listener(self, stream_id: int) -> bool:
        """Whether anybody listens to this stream."""
        return bool(self._listeners.get(stream_id))

    def close(self, stream_id: int) -> None:
        """Close the connections of all its listeners."""
        for writer in self._listeners.pop(stream_id, []):
            writer.close()

    async def send(self, stream_id: int, payload: bytes, wait: bool) -> None:
        """Send a message to all listeners of a stream.

        `wait`: wait until slow listeners have room; otherwise they miss this message.
        """
        for writer in list(self._listeners.get(stream_id, ())):
            full = writer.transport.get_write_buffer_size() > _MAX_BUFFERED_BYTES
            if writer.is_closing() or (full and not wait):
                continue
            writer.writelines((_UINT32.pack(len(payload)), payload))
            if wait and writer.transport.get_write_buffer_size() > _MAX_BUFFERED_BYTES:
                try:
                    await asyncio.wait_for(writer.drain(), _DRAIN_S)
                except (ConnectionError, asyncio.TimeoutError):
                    writer.close()
