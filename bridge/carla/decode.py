"""The child's pictures as this side keeps them."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from sim2street.bridge.carla.child.images import space
from sim2street.bridge.frame import ByteArray
from sim2street.bridge.labels import Tag

_SAME = np.arange(len(Tag), dtype=np.uint8)


class Copies:
    """Copies pictures, into the memory of earlier ones that nobody holds any more.

    Fresh memory costs more than the copy: the system hands it out page by page. A view of a
    picture holds the picture, because the memory below is no array itself.
    """

    def __init__(self, spare: int) -> None:
        """`spare`: how many pieces of memory of one size may wait for use."""
        self._spare = spare
        self._free: dict[int, list[bytearray]] = {}

    def copy(self, picture: np.ndarray) -> np.ndarray:
        """The same values, for good."""
        free = self._free.setdefault(picture.nbytes, [])
        memory = free.pop() if free else bytearray(picture.nbytes)
        kept = np.ndarray(picture.shape, picture.dtype, buffer=memory)
        kept[...] = picture
        weakref.finalize(kept, self._take_back, memory).atexit = False
        return kept

    def _take_back(self, memory: bytearray) -> None:
        free = self._free[len(memory)]
        if len(free) < self._spare:
            free.append(memory)


def picture_of(
    memory: Any, start: int, kind: str, size_px: tuple[int, int], copies: Copies
) -> np.ndarray:
    """A copy of the picture at `start`: the child writes over it before long.

    uint8 (H, W) of the server's tags, float32 (H, W) metres, uint32 (H, W) with the numbers
    of actors and all else from 65536 up, or uint8 (H, W, 3).
    """
    return copies.copy(space(memory, start, kind, *size_px))


def tags_of(tags: ByteArray, primary: ByteArray) -> ByteArray:
    """Our labels of a server's tags. `primary`: the one to the other, uint8 (256,)."""
    if tags.max() < len(_SAME) and np.array_equal(primary[: len(_SAME)], _SAME):
        return tags  # those of 0.9.14 and later are ours already
    return primary.take(tags, mode="clip")
