"""Pictures decoded into memory that both processes see.

Imported on both sides: numpy and the standard library only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SPACES = 4
"""For one camera: a picture that the parent reads, one that is arriving, two that wait."""

OTHERS_FROM = 1 << 16
"""Instances that are no actors of the frame get ids from here."""

ACTOR_TAGS = (12, 19)
"""First and last tag of what moves (0.9.14 and later)."""

_KINDS = {
    "labels": (np.uint8, ()),
    "depth_m": (np.float32, ()),
    "instances": (np.uint32, ()),
    "rgb": (np.uint8, (3,)),
}
_ROUND = 64
_FAR_M = 1000.0
_METRES = _FAR_M / (2**24 - 1)


def picture_bytes(kind: str, width: int, height: int) -> int:
    """What a decoded picture takes, rounded up: every picture begins at a whole word."""
    dtype, more = _KINDS[kind]
    exactly = int(np.prod((height, width, *more))) * np.dtype(dtype).itemsize
    return -(-exactly // _ROUND) * _ROUND


def camera_bytes(kind: str, width: int, height: int) -> int:
    """Of all that a camera shares with the parent."""
    return SPACES * picture_bytes(kind, width, height)


def space(memory: Any, start: int, kind: str, width: int, height: int) -> np.ndarray:
    """The picture at `start`: uint8, float32 or uint32 (H, W), or uint8 (H, W, 3)."""
    dtype, more = _KINDS[kind]
    return np.ndarray((height, width, *more), dtype, buffer=memory, offset=start)


class Numbers:
    """Of the actors of an episode: from 1 in the order in which they are told.

    Attributes:
        table: uint32 (65536,): from the 16 bits of CARLA's pictures to the ids of ours.
        version: changes with the table, after it.
    """

    def __init__(self) -> None:
        self.version = 0
        self.clear()

    def clear(self) -> None:
        """Nobody has a number."""
        self._of = {}  # type: dict[int, int]
        self.table = np.arange(OTHERS_FROM, 2 * OTHERS_FROM, dtype=np.uint32)
        self.table[0] = 0
        self.version += 1

    def give(self, carla_id: int, in_pictures: bool) -> int:
        """Its number. `in_pictures`: its pixels carry its CARLA id, and shall carry this."""
        number = self._of.setdefault(carla_id, len(self._of) + 1)
        if in_pictures:
            self.table[carla_id & (OTHERS_FROM - 1)] = number
            self.version += 1
        return number


class Moving:
    """The pixels of an instance picture that carry the tag of something that moves."""

    def __init__(self, data: Any, picture: np.ndarray, numbers: Numbers) -> None:
        self._flat = picture.reshape(-1)
        self._numbers = numbers
        first, last = ACTOR_TAGS
        tags = np.frombuffer(data, np.uint8)[2::4] - np.uint8(first)
        self._where = np.flatnonzero(tags <= last - first)  # unsigned: what is below wraps
        self._carla_ids = self._flat[self._where] & np.uint32(OTHERS_FROM - 1)
        self._put()

    def renew(self) -> None:
        """Put their numbers again where somebody has got one since."""
        if self._version != self._numbers.version:
            self._put()

    def _put(self) -> None:
        self._version = self._numbers.version
        self._flat[self._where] = self._numbers.table[self._carla_ids]


def decode(kind: str, data: Any, into: np.ndarray) -> None:
    """Decode CARLA's picture (BGRA bytes).

    Labels: the server's own tags. Depth: planar metres, exact to half of CARLA's 0.06 mm
    steps. Instances: CARLA's 16 bits from `OTHERS_FROM` up, 0 where there are none; `Moving`
    puts the numbers of actors there. What carries an actor's 16 bits but the tag of something
    that never moves is not that actor: 16 bits wrap.
    """
    bgra = np.frombuffer(data, np.uint8).reshape((*into.shape[:2], 4))
    if kind == "labels":
        into[...] = bgra[..., 2]
    elif kind == "depth_m":
        steps = np.right_shift(_words(data, into), np.uint32(8))
        np.multiply(steps, _METRES, out=into, dtype=np.float64, casting="same_kind")
    elif kind == "instances":
        np.right_shift(_words(data, into), np.uint32(16), out=into)
        into += (into != 0) * np.uint32(OTHERS_FROM)
    else:
        into[...] = bgra[..., 2::-1]


def _words(data: Any, into: np.ndarray) -> np.ndarray:
    """Blue, green, red, alpha as one number 0xBBGGRRAA: uint32 (H, W)."""
    return np.frombuffer(data, ">u4").reshape(into.shape)
