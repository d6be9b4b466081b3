"""From CARLA's pictures (BGRA bytes) to labels, metres and instances."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bridge.frame import SKY_DEPTH_M, ByteArray, FloatArray, IdArray
from bridge.labels import Tag

Data = bytes | bytearray | memoryview
DEPTH_STEPS = 2**24 - 1
ACTOR_TAGS = (*range(Tag.PEDESTRIAN, Tag.BICYCLE + 1),)
OTHERS_FROM = 1 << 16
"""Instances that are no actors of the frame get ids from here."""

_METRES = SKY_DEPTH_M / DEPTH_STEPS
_SAME = np.arange(len(Tag), dtype=np.uint8)


def tags_of(data: Data, size_px: tuple[int, int], primary: ByteArray) -> ByteArray:
    """Labels uint8 (H, W). `primary`: the server's tag to ours, uint8 (256,)."""
    width, height = size_px
    red = np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(height, width, 4)[..., 2])
    if red.max() < len(_SAME) and np.array_equal(primary[: len(_SAME)], _SAME):
        return red  # tags of 0.9.14 and later are ours already
    return primary.take(red, mode="clip")


def depth_of(data: Data, size_px: tuple[int, int]) -> FloatArray:
    """Depth float32 (H, W) in metres, planar; exact to half of CARLA's own 0.06 mm steps."""
    words = _words(data, size_px)
    depth_m = np.empty(words.shape, np.float32)
    np.multiply(words, _METRES, out=depth_m, dtype=np.float64, casting="same_kind")
    return depth_m


def instances_of(data: Data, size_px: tuple[int, int], ids: IdArray) -> IdArray:
    """Instances uint32 (H, W). `ids`: from CARLA's 16 bits to ours, see `id_table`.

    What carries an actor's number but the tag of something that never moves is not that
    actor: 16 bits wrap.
    """
    found = _words(data, size_px) >> np.uint32(8)
    tags = np.ascontiguousarray(np.frombuffer(data, np.uint8)[2::4])
    first, count = np.uint8(ACTOR_TAGS[0]), np.uint8(len(ACTOR_TAGS))
    actors = np.flatnonzero(tags - first < count)  # unsigned: what is below wraps far above
    numbers, something = found.reshape(-1)[actors], found != 0
    found += np.uint32(OTHERS_FROM)
    found *= something
    found.reshape(-1)[actors] = ids[numbers]
    return found


def id_table(carla_ids: dict[int, int]) -> IdArray:
    """uint32 (65536,): for `instances_of`, from CARLA's actor ids to those of the frame."""
    table = np.arange(OTHERS_FROM, 2 * OTHERS_FROM, dtype=np.uint32)
    table[0] = 0
    for carla_id, ours in carla_ids.items():
        table[carla_id & 0xFFFF] = ours
    return table


def rgb_of(data: Data, size_px: tuple[int, int]) -> ByteArray:
    """Colours uint8 (H, W, 3)."""
    width, height = size_px
    bgra = np.frombuffer(data, np.uint8).reshape(height, width, 4)
    return np.ascontiguousarray(bgra[..., 2::-1])


def _words(data: Data, size_px: tuple[int, int]) -> npt.NDArray[np.uint32]:
    """Blue, green, red as one number 0xBBGGRR: uint32 (H, W)."""
    width, height = size_px
    words: npt.NDArray[np.uint32] = np.frombuffer(data, ">u4").reshape(height, width)
    return words >> np.uint32(8)
