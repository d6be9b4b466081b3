"""Arrays in shared memory between a vector env and the processes of its envs.

The vector creates a block, the process attaches to it by name, and the name is removed as
soon as both hold the block. So nothing stays behind, however the processes end.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class ArrayLocation:
    """Where an array lies in a block.

    Attributes:
        offset: its first byte.
        dtype: as `numpy.dtype.str`.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def end(self) -> int:
        """The first byte after the array."""
        return self.offset + math.prod(self.shape) * np.dtype(self.dtype).itemsize


def next_location(offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> ArrayLocation:
    """The first aligned location at or after `offset`."""
    aligned = -(-offset // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
    return ArrayLocation(aligned, shape, dtype.str)


def locate_arrays(arrays: Mapping[str, Array], offset: int = 0) -> dict[str, ArrayLocation]:
    """Locations for all arrays, one after the other from `offset`."""
    locations: dict[str, ArrayLocation] = {}
    for name, array in arrays.items():
        locations[name] = next_location(offset, array.shape, array.dtype)
        offset = locations[name].end
    return locations


class SharedBlock:
    """A block of memory that two processes share."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory
        self._has_name = False

    @classmethod
    def create(cls, size_bytes: int) -> SharedBlock:
        """A new block of at least `size_bytes`."""
        block = cls(SharedMemory(create=True, size=max(size_bytes, 1)))
        block._has_name = True
        return block

    @classmethod
    def attach(cls, name: str) -> SharedBlock:
        """The block that the other process created."""
        return cls(SharedMemory(name=name))

    @property
    def name(self) -> str:
        """The name to attach by."""
        return self._memory.name

    @property
    def size_bytes(self) -> int:
        """Its size, which may be larger than what was asked for."""
        return self._memory.size

    def array(self, location: ArrayLocation) -> Array:
        """A view of the shared memory itself; copy it instead of keeping it."""
        return np.ndarray(
            location.shape, location.dtype, buffer=self._memory.buf, offset=location.offset
        )

    def remove_name(self) -> None:
        """Remove the name: from now on the block lives as long as the processes that hold it."""
        if self._has_name:
            self._has_name = False
            self._memory.unlink()

    def close(self) -> None:
        """Release the block. May be called more than once."""
        self.remove_name()
        with contextlib.suppress(BufferError):  # an array still points here: freed with it
            self._memory.close()
