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
        version: changes with the numbers, after them.
    """

    def __init__(self) -> None:
        self.version = 0
        self.clear()

    def clear(self) -> None:
        """Nobody has a number."""
        self._of = {}  # type: dict[int, int]
        self._by_pixel = np.zeros(OTHERS_FROM, np.uint32)
        self._lowest, self._highest = OTHERS_FROM - 1, 0
        self.version += 1

    def give(self, carla_id: int, in_pictures: bool) -> int:
        """Its number. `in_pictures`: its pixels carry its CARLA id, and shall carry this."""
        number = self._of.setdefault(carla_id, len(self._of) + 1)
        if in_pictures:
            carried = carla_id & (OTHERS_FROM - 1)
            self._by_pixel[carried] = number
            self._lowest, self._highest = min(self._lowest, carried), max(self._highest, carried)
            self.version += 1
        return number

    def put(self, data: Any, into: np.ndarray) -> None:
        """The ids of an instance picture (BGRA bytes), actors' numbers among them."""
        flat = into.reshape(-1)
        np.right_shift(np.frombuffer(data, ">u4"), np.uint32(16), out=flat)
        actors = np.flatnonzero(_within(flat, self._lowest, self._highest))
        carried = flat[actors]
        above = flat + np.uint32(OTHERS_FROM - 1)
        above &= np.uint32(OTHERS_FROM)  # 0 where nothing is
        flat |= above
        numbers = self._by_pixel[carried]
        moves = _within(np.frombuffer(data, np.uint8)[2::4][actors], *ACTOR_TAGS)
        known = np.flatnonzero(moves & (numbers > 0))
        flat[actors[known]] = numbers[known]


def _within(values: np.ndarray, first: int, last: int) -> np.ndarray:
    """Where unsigned numbers lie in first..last: what is below wraps and is too much."""
    return values - values.dtype.type(first) <= max(last - first, -1)


def decode(kind: str, data: Any, into: np.ndarray, numbers: Numbers) -> None:
    """Decode CARLA's picture (BGRA bytes).

    Labels: the server's own tags. Depth: planar metres, exact to half of CARLA's 0.06 mm
    steps. Instances: the numbers of actors; of all else CARLA's 16 bits from `OTHERS_FROM`
    up, 0 where there are none. What carries an actor's 16 bits but the tag of something that
    never moves is not that actor: 16 bits wrap.
    """
    if kind == "instances":
        numbers.put(data, into)
    elif kind == "depth_m":
        steps = np.right_shift(np.frombuffer(data, ">u4").reshape(into.shape), np.uint32(8))
        np.multiply(steps, _METRES, out=into, dtype=np.float64, casting="same_kind")
    else:
        bgra = np.frombuffer(data, np.uint8).reshape((*into.shape[:2], 4))
        into[...] = bgra[..., 2] if kind == "labels" else bgra[..., 2::-1]
