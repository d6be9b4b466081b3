"""Shared memory between a vector env and its worlds: arrays go through it, words do not.

The vector makes a block, the world's process attaches to it by name, and the name is
forgotten as soon as both hold it: however the processes end, nothing stays behind.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory

import numpy as np

_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a block an array lies."""

    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + math.prod(self.shape) * np.dtype(self.dtype).itemsize


def place_after(offset: int, shape: tuple[int, ...], dtype: np.dtype) -> Place:
    """The next well aligned place for such an array."""
    return Place(-(-offset // _ALIGNMENT) * _ALIGNMENT, shape, dtype.str)


def places_for(arrays: Mapping[str, np.ndarray], offset: int = 0) -> dict[str, Place]:
    """One place after another, by name."""
    places: dict[str, Place] = {}
    for name, array in arrays.items():
        places[name] = place_after(offset, array.shape, array.dtype)
        offset = places[name].end
    return places


class Block:
    """A piece of memory that two processes see."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory
        self._named = False

    @classmethod
    def create(cls, size: int) -> Block:
        """A new one of `size` bytes, to be attached to by its name."""
        block = cls(SharedMemory(create=True, size=max(size, 1)))
        block._named = True
        return block

    @classmethod
    def attach(cls, name: str) -> Block:
        """The one that the other process created."""
        return cls(SharedMemory(name=name))

    @property
    def name(self) -> str:
        """What the other process attaches by."""
        return self._memory.name

    @property
    def size(self) -> int:
        """Bytes, at least as many as were asked for."""
        return self._memory.size

    def array(self, place: Place) -> np.ndarray:
        """A window on the memory itself: not to be kept."""
        return np.ndarray(place.shape, place.dtype, buffer=self._memory.buf, offset=place.offset)

    def forget_name(self) -> None:
        """From here on the memory lives as long as the processes that hold it."""
        if self._named:
            self._named = False
            self._memory.unlink()

    def close(self) -> None:
        """Let go of it. Allowed more than once."""
        self.forget_name()
        with contextlib.suppress(BufferError):  # a window was kept: freed along with it
            self._memory.close()
