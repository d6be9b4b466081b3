"""Memory that the client process writes images into and this process reads them from.

A pipe would copy every image twice and wake both processes for every piece of it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import tempfile
from pathlib import Path

_RAM_DISK = Path("/dev/shm")


class SharedMemory:
    """A file of `size` bytes, mapped into this process and into those that open `path`.

    It is on the RAM disk `/dev/shm` if there is room, else in the folder for temporary files.
    """

    def __init__(self, size: int) -> None:
        in_ram = os.access(_RAM_DISK, os.W_OK) and _free_bytes(_RAM_DISK) > 2 * size
        folder = str(_RAM_DISK) if in_ram else None
        descriptor, self.path = tempfile.mkstemp(prefix="sim2street-", dir=folder)
        try:
            os.truncate(descriptor, size)
            self._map = mmap.mmap(descriptor, size)
        except OSError:
            self.unlink()
            raise
        finally:
            os.close(descriptor)
        self.memory = memoryview(self._map)

    def unlink(self) -> None:
        """Remove the file's name. The system frees the memory once no process maps it."""
        with contextlib.suppress(OSError):  # already removed, or in use on Windows
            os.unlink(self.path)

    def close(self) -> None:
        """Unmap the memory. Can be called again."""
        self.unlink()
        with contextlib.suppress(BufferError):  # an exception's traceback still holds an image
            self.memory.release()
            self._map.close()


def _free_bytes(folder: Path) -> int:
    """Free bytes. Containers have few in /dev/shm, and kill a process that writes more."""
    return shutil.disk_usage(folder).free
