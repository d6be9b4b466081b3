"""Memory that the child writes pictures into and this process reads them from.

A pipe copies every picture twice and wakes both sides for every piece of it; a few
megabytes a tick go through a shared file in memory instead.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import tempfile
from pathlib import Path

_IN_MEMORY = Path("/dev/shm")


class Scratch:
    """`size` bytes shared with whoever opens `path` before `hide`."""

    def __init__(self, size: int) -> None:
        in_memory = os.access(_IN_MEMORY, os.W_OK) and _room(_IN_MEMORY) > 2 * size
        folder = str(_IN_MEMORY) if in_memory else None
        descriptor, self.path = tempfile.mkstemp(prefix="sim2street-", dir=folder)
        try:
            os.truncate(descriptor, size)
            self._map = mmap.mmap(descriptor, size)
        except OSError:
            self.hide()
            raise
        finally:
            os.close(descriptor)
        self.memory = memoryview(self._map)

    def hide(self) -> None:
        """Take the name away: the memory goes with its last user, however that ends."""
        with contextlib.suppress(OSError):  # it is gone; or Windows, where it is in use
            os.unlink(self.path)

    def close(self) -> None:
        """Let go of it. Allowed more than once."""
        self.hide()
        with contextlib.suppress(BufferError):  # an error on its way still sees a picture in it
            self.memory.release()
            self._map.close()


def _room(folder: Path) -> int:
    """Bytes that are free there: a container has few, and who writes more is ended."""
    return shutil.disk_usage(folder).free
