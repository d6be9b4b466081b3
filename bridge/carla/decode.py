"""Copies the images of the client process out of the shared memory."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from sim2street.bridge.carla.child.images import image_at
from sim2street.bridge.frame import ByteArray
from sim2street.bridge.labels import Tag

_IDENTITY = np.arange(len(Tag), dtype=np.uint8)


class ImageCopier:
    """Copies images into the memory of earlier copies that nobody refers to any more.

    New memory costs more than the copy, because the system maps it page by page. A view of a
    copy keeps the copy alive, because the memory below it is a bytearray and not an array.
    """

    def __init__(self, max_spare: int) -> None:
        """`max_spare`: how many unused buffers of one size to keep."""
        self._max_spare = max_spare
        self._free: dict[int, list[bytearray]] = {}

    def copy(self, image: np.ndarray) -> np.ndarray:
        """A copy of the image."""
        free = self._free.setdefault(image.nbytes, [])
        memory = free.pop() if free else bytearray(image.nbytes)
        copied: np.ndarray = np.ndarray(image.shape, image.dtype, buffer=memory)
        copied[...] = image
        weakref.finalize(copied, self._take_back, memory).atexit = False
        return copied

    def _take_back(self, memory: bytearray) -> None:
        free = self._free[len(memory)]
        if len(free) < self._max_spare:
            free.append(memory)


def copied_image(
    memory: Any, offset: int, kind: str, size_px: tuple[int, int], copier: ImageCopier
) -> np.ndarray:
    """A copy of the image at a byte offset; the client process reuses the original's memory.

    Shapes and types are those of `sim2street.bridge.carla.child.images.image_at`; labels are
    the server's tags. `size_px`: width, height.
    """
    return copier.copy(image_at(memory, offset, kind, *size_px))


def converted_tags(tags: ByteArray, tag_table: ByteArray) -> ByteArray:
    """Our tags for a server's tags, both uint8 (H, W).

    `tag_table`: uint8 (256,), our tag for each of the server's.
    """
    if tags.max() < len(_IDENTITY) and np.array_equal(tag_table[: len(_IDENTITY)], _IDENTITY):
        return tags  # CARLA 0.9.14 and later: its tags are ours
    return tag_table.take(tags, mode="clip")
