"""CARLA's data streams: one TCP connection each, every message with its size in front."""

from __future__ import annotations

import asyncio
import struct

_SIZE = struct.Struct("<I")
_WAIT_S = 5.0
_CROWDED_BYTES = 8 << 20


class Streams:
    """Who listens to which stream."""

    def __init__(self) -> None:
        self._listeners: dict[int, list[asyncio.StreamWriter]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One listener: it says which stream it wants, then only reads."""
        try:
            (stream_id,) = _SIZE.unpack(await reader.readexactly(_SIZE.size))
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()
            return
        writer.transport.set_write_buffer_limits(high=_CROWDED_BYTES)
        listeners = self._listeners.setdefault(stream_id, [])
        listeners.append(writer)
        try:
            await reader.read()  # until it goes
        except ConnectionError:
            pass
        finally:
            if writer in listeners:
                listeners.remove(writer)
            writer.close()

    def wanted(self, stream_id: int) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners.get(stream_id))

    def close(self, stream_id: int) -> None:
        """End a stream for all who listen."""
        for writer in self._listeners.pop(stream_id, []):
            writer.close()

    async def send(self, stream_id: int, payload: bytes, wait: bool) -> None:
        """To all listeners. `wait`: until a slow one has room (else it misses this one)."""
        for writer in list(self._listeners.get(stream_id, ())):
            crowded = writer.transport.get_write_buffer_size() > _CROWDED_BYTES
            if writer.is_closing() or (crowded and not wait):
                continue
            writer.writelines((_SIZE.pack(len(payload)), payload))
            if wait and writer.transport.get_write_buffer_size() > _CROWDED_BYTES:
                try:
                    await asyncio.wait_for(writer.drain(), _WAIT_S)
                except (ConnectionError, asyncio.TimeoutError):
                    writer.close()
