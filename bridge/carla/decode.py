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
_MAY_BE_ACTOR = np.isin(np.arange(256), ACTOR_TAGS)


def tags_of(data: Data, size_px: tuple[int, int], primary: ByteArray) -> ByteArray:
    """Labels uint8 (H, W). `primary`: the server's tag to ours, uint8 (256,)."""
    width, height = size_px
    red = np.frombuffer(data, np.uint8).reshape(height, width, 4)[..., 2]
    return primary.take(np.ascontiguousarray(red), mode="clip")


def depth_of(data: Data, size_px: tuple[int, int]) -> FloatArray:
    """Depth float32 (H, W) in metres, planar; exact to half of CARLA's own 0.06 mm steps."""
    return (_words(data, size_px) * _METRES).astype(np.float32)


def instances_of(data: Data, size_px: tuple[int, int], ids: IdArray) -> IdArray:
    """Instances uint32 (H, W). `ids`: from CARLA's 16 bits to ours, see `id_table`.

    What carries an actor's number but the tag of something that never moves is not that
    actor: 16 bits wrap.
    """
    words = _words(data, size_px)
    found = ids.take(words >> np.uint32(8), mode="clip")
    flat, all_words = found.reshape(-1), words.reshape(-1)
    actors = np.flatnonzero(flat - np.uint32(1) < np.uint32(OTHERS_FROM - 1))
    strange = actors[~_MAY_BE_ACTOR[all_words[actors] & np.uint32(0xFF)]]
    flat[strange] = (all_words[strange] >> np.uint32(8)) + np.uint32(OTHERS_FROM)
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
