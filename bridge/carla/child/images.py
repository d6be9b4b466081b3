"""Decodes CARLA's camera images into memory that the child and the parent process share.

Both processes import this file, so it uses numpy and the standard library only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BUFFERS_PER_CAMERA = 4
"""One that the parent reads, one that is being written, and two complete images that wait."""

FIRST_OTHER_ID = 1 << 16
"""Instance ids of everything but actors start here; ids of actors are smaller."""

ACTOR_TAGS = (12, 19)
"""First and last semantic tag (CARLA 0.9.14 and later) of pedestrians, riders and vehicles."""

_KINDS = {
    "labels": (np.uint8, ()),
    "depth_m": (np.float32, ()),
    "instances": (np.uint32, ()),
    "rgb": (np.uint8, (3,)),
}
_ALIGNMENT_BYTES = 64
_FAR_M = 1000.0
_METRES_PER_STEP = _FAR_M / (2**24 - 1)


def image_bytes(kind: str, width_px: int, height_px: int) -> int:
    """Size of a decoded image, rounded up to 64 bytes so that the next one is aligned."""
    dtype, channels = _KINDS[kind]
    size = int(np.prod((height_px, width_px, *channels))) * np.dtype(dtype).itemsize
    return -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def camera_bytes(kind: str, width_px: int, height_px: int) -> int:
    """Size of all buffers of one camera in the shared memory."""
    return BUFFERS_PER_CAMERA * image_bytes(kind, width_px, height_px)


def image_at(memory: Any, offset: int, kind: str, width_px: int, height_px: int) -> np.ndarray:
    """The image at a byte offset, not copied: `labels` uint8 (H, W), `depth_m` float32 (H, W)
    in metres, `instances` uint32 (H, W), `rgb` uint8 (H, W, 3).
    """
    dtype, channels = _KINDS[kind]
    return np.ndarray((height_px, width_px, *channels), dtype, buffer=memory, offset=offset)


class ActorNumbers:
    """Numbers the actors of an episode from 1, in the order of the calls to `assign`.

    Attributes:
        version: grows after every change of the numbers.
    """

    def __init__(self) -> None:
        self.version = 0
        self.clear()

    def clear(self) -> None:
        """Forget all numbers."""
        self._number_by_carla_id = {}  # type: dict[int, int]
        self._number_by_pixel_id = np.zeros(FIRST_OTHER_ID, np.uint32)
        self._lowest, self._highest = FIRST_OTHER_ID - 1, 0
        self.version += 1

    def assign(self, carla_id: int, id_in_images: bool) -> int:
        """The actor's number; a new one at the first call.

        `id_in_images`: instance images carry the lower 16 bits of this CARLA id, and are to
        show the number instead.
        """
        number = self._number_by_carla_id.setdefault(carla_id, len(self._number_by_carla_id) + 1)
        if id_in_images:
            pixel_id = carla_id & (FIRST_OTHER_ID - 1)
            self._number_by_pixel_id[pixel_id] = number
            self._lowest, self._highest = min(self._lowest, pixel_id), max(self._highest, pixel_id)
            self.version += 1
        return number

    def decode(self, data: Any, out: np.ndarray) -> None:
        """Decode an instance image (BGRA bytes) into uint32 (H, W), with actors' numbers."""
        flat = out.reshape(-1)
        np.right_shift(np.frombuffer(data, ">u4"), np.uint32(16), out=flat)
        candidates = np.flatnonzero(_within(flat, self._lowest, self._highest))
        pixel_ids = flat[candidates]
        offset = flat + np.uint32(FIRST_OTHER_ID - 1)
        offset &= np.uint32(FIRST_OTHER_ID)  # stays 0 where the id is 0
        flat |= offset
        numbers = self._number_by_pixel_id[pixel_ids]
        moving = _within(np.frombuffer(data, np.uint8)[2::4][candidates], *ACTOR_TAGS)
        actors = np.flatnonzero(moving & (numbers > 0))
        flat[candidates[actors]] = numbers[actors]


def _within(values: np.ndarray, first: int, last: int) -> np.ndarray:
    """Where unsigned values lie in first..last. Smaller values wrap around to large ones, so
    one comparison is enough.
    """
    inside = values - values.dtype.type(first) <= max(last - first, -1)  # type: np.ndarray
    return inside


def decode(kind: str, data: Any, out: np.ndarray, numbers: ActorNumbers) -> None:
    """Decode a camera image of CARLA (BGRA bytes) into `out`, which `image_at` describes.

    - `labels`: the server's semantic tags.
    - `depth_m`: planar depth in metres, 0 to 1000, with an error below half of CARLA's steps
      of 0.06 mm.
    - `instances`: 0 for nothing, the numbers of actors, and CARLA's 16 bits plus
      `FIRST_OTHER_ID` for everything else. Because 16 bits wrap, a pixel with the id of an
      actor but the tag of something that never moves is not taken for that actor.
    """
    if kind == "instances":
        numbers.decode(data, out)
    elif kind == "depth_m":
        steps = np.right_shift(np.frombuffer(data, ">u4").reshape(out.shape), np.uint32(8))
        np.multiply(steps, _METRES_PER_STEP, out=out, dtype=np.float64, casting="same_kind")
    else:
        bgra = np.frombuffer(data, np.uint8).reshape((*out.shape[:2], 4))
        out[...] = bgra[..., 2] if kind == "labels" else bgra[..., 2::-1]
