"""The child's pictures as this side keeps them."""

from __future__ import annotations

from typing import Any

import numpy as np

from bridge.carla.child.pictures import space
from bridge.frame import ByteArray
from bridge.labels import Tag

_SAME = np.arange(len(Tag), dtype=np.uint8)


def picture_of(memory: Any, start: int, kind: str, size_px: tuple[int, int]) -> np.ndarray:
    """A copy of the picture at `start`: the child writes over it before long.

    uint8 (H, W) of the server's tags, float32 (H, W) metres, uint32 (H, W) with the numbers
    of actors and all else from 65536 up, or uint8 (H, W, 3).
    """
    return space(memory, start, kind, *size_px).copy()


def tags_of(tags: ByteArray, primary: ByteArray) -> ByteArray:
    """Our labels of a server's tags. `primary`: the one to the other, uint8 (256,)."""
    if tags.max() < len(_SAME) and np.array_equal(primary[: len(_SAME)], _SAME):
        return tags  # those of 0.9.14 and later are ours already
    return primary.take(tags, mode="clip")
