"""What a label map leaves out, told to a network: edges, places in things, windows.

A label map says "car" and no more. Where one facade ends and the next begins, and whether a
pixel is the wheel or the window of its car, a network must otherwise guess from outlines,
which fails where the thing is larger than what it can see. Photographs (with facades and
windows found in the picture) and simulators (with instances, and windows placed by depth)
go through the same rules.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.frame import MAX_TAG, ByteArray, FloatArray, IdArray
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.vehicle_windows import GLAZED
from sim2street.neural_renderer.networks.generator import LAYOUT_CHANNELS

THINGS: tuple[tuple[Tag, ...], ...] = (
    (Tag.CAR,),
    (Tag.TRUCK,),
    (Tag.BUS,),
    (Tag.TRAIN,),
    (Tag.PEDESTRIAN,),
    (Tag.RIDER, Tag.BICYCLE, Tag.MOTORCYCLE),
    (Tag.TRAFFIC_SIGN,),
    (Tag.TRAFFIC_LIGHT,),
)
"""Tags whose pixels have a place in a thing; a rider and the bicycle are one thing."""

PLACE_CHANNELS = LAYOUT_CHANNELS - 2
WINDOW = np.uint8(128)
"""This bit of a photograph's facades says that there is a window."""

_HAS_WINDOWS = np.zeros(MAX_TAG + 1, np.bool_)
_HAS_WINDOWS[[Tag.BUILDING, *GLAZED]] = True

_KIND = np.zeros(MAX_TAG + 1, dtype=np.uint8)
for _index, _tags in enumerate(THINGS, start=1):
    _KIND[list(_tags)] = _index


def layout(
    labels: ByteArray,
    instances: IdArray | ByteArray | None = None,
    windows: npt.NDArray[np.bool_] | None = None,
) -> FloatArray:
    """Float32 (8, H, W): `boundaries`, then `fill_places`, then windows (0 or 1)."""
    planes = np.zeros((LAYOUT_CHANNELS, *labels.shape), np.float32)
    planes[0] = boundaries(labels, instances)
    fill_places(planes[1:-1], labels, instances)
    if windows is not None:
        planes[-1] = windows
    return planes


def photo_layout(tags: ByteArray, facades: ByteArray) -> FloatArray:
    """The same of a photograph, whose facades alone are numbered (`PreparedPhoto.facades`)."""
    numbers = np.where(tags == Tag.BUILDING, facades & ~WINDOW, np.uint8(0))
    return layout(tags, numbers, (facades >= WINDOW) & _HAS_WINDOWS.take(tags))


def boundaries(labels: ByteArray, instances: IdArray | ByteArray | None = None) -> ByteArray:
    """Uint8 (H, W): 1 where the pixel to the right or below belongs to something else.

    "Something else" is another tag or another instance; road markings count as road, for
    they have a plane of their own.
    """
    surfaces = np.where(labels == Tag.ROAD_LINES, np.uint8(Tag.ROAD), labels)
    things = [surfaces] if instances is None else [surfaces, instances]
    edges = np.zeros(labels.shape, np.bool_)
    for thing in things:
        edges[:, :-1] |= thing[:, :-1] != thing[:, 1:]
        edges[:-1] |= thing[:-1] != thing[1:]
    return edges.view(np.uint8)


def fill_places(
    planes: FloatArray, labels: ByteArray, instances: IdArray | ByteArray | None = None
) -> None:
    """Into zeros, float32 (6, H, W): where in its thing a pixel is; nothing outside `THINGS`.

    With u and v in (0, 1) from left to right and top to bottom of the box around what is
    seen of the thing: 2u - 1, 2v - 1, cos 2 pi u, cos 2 pi v, and the box's width and height
    as shares of the picture's. A thing is an instance, or where there are none (0) a
    connected patch of one kind.
    """
    full_height, full_width = labels.shape
    kinds = _KIND.take(labels)
    pixels = np.flatnonzero(kinds > 0)
    if not len(pixels):
        return
    numbers = _numbered(kinds, instances)
    boxes = [_ends(box) for box in ndimage.find_objects(numbers)]
    top, bottom, left, right = np.array(boxes, np.float32)[numbers.take(pixels) - 1].T
    height, width = bottom - top, right - left
    rows, columns = np.divmod(pixels, full_width)
    u = (columns.astype(np.float32) + np.float32(0.5) - left) / width
    v = (rows.astype(np.float32) + np.float32(0.5) - top) / height
    turn = np.float32(2.0 * np.pi)
    planes.reshape(PLACE_CHANNELS, -1)[:, pixels] = (
        2.0 * u - 1.0, 2.0 * v - 1.0, np.cos(turn * u), np.cos(turn * v),
        width / np.float32(full_width), height / np.float32(full_height),
    )  # fmt: skip


def _numbered(kinds: ByteArray, instances: IdArray | ByteArray | None) -> npt.NDArray[np.int32]:
    """Things numbered from 1 without gaps, int32 (H, W); 0 is no thing."""
    numbers = np.zeros(kinds.shape, np.int32)
    apart = kinds
    if instances is not None:
        known = (instances > 0) & (kinds > 0)
        keys = instances[known].astype(np.int64) * (len(THINGS) + 1) + kinds[known]
        numbers[known] = np.unique(keys, return_inverse=True)[1] + 1
        apart = np.where(known, np.uint8(0), kinds)
    count = int(numbers.max(initial=0))
    for kind in np.flatnonzero(np.bincount(apart.ravel())[1:]) + 1:
        mask = apart == kind
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        patches, more = ndimage.label(mask[box])
        np.add(patches, count, out=numbers[box], where=mask[box])
        count += more
    return numbers


def _ends(box: tuple[slice, slice]) -> tuple[int, int, int, int]:
    rows, columns = box
    return rows.start, rows.stop, columns.start, columns.stop
