"""Memory that the child writes pictures into and this process reads them from.

A pipe copies every picture twice and wakes both sides for every piece of it; a few
megabytes a tick go through a shared file in memory instead.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from pathlib import Path

_IN_MEMORY = Path("/dev/shm")


class Scratch:
    """`size` bytes shared with whoever opens `path` before `hide`."""

    def __init__(self, size: int) -> None:
        folder = str(_IN_MEMORY) if os.access(_IN_MEMORY, os.W_OK) else None
        descriptor, self.path = tempfile.mkstemp(prefix="sim2street-", dir=folder)
        try:
            os.truncate(descriptor, size)
            self._map = mmap.mmap(descriptor, size)
        except OSError:
            self.hide()
            raise
        finally:
            os.close(descriptor)

    def part(self, start: int, size: int) -> memoryview:
        """These bytes, as they are until the next request."""
        return memoryview(self._map)[start : start + size]

    def hide(self) -> None:
        """Take the name away: the memory goes with its last user, however that ends."""
        with contextlib.suppress(OSError):  # it is gone; or Windows, where it is in use
            os.unlink(self.path)

    def close(self) -> None:
        """Let go of it. Allowed more than once."""
        self.hide()
        self._map.close()
