"""The layout planes: instance edges, positions inside objects, windows.

A label map says "car" and nothing more. These planes tell the generator where one object ends and
the next begins, and where in its object a pixel lies, which it could not work out for objects
larger than its receptive field. Photographs (facades and windows found in the image) and
simulators (instance ids, windows placed by geometry) go through the same functions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.frame import MAX_TAG, ByteArray, FloatArray, IdArray
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.vehicle_windows import GLAZED
from sim2street.neural_renderer.networks.interface import LAYOUT_CHANNELS

OBJECT_KINDS: tuple[tuple[Tag, ...], ...] = (
    (Tag.CAR,),
    (Tag.TRUCK,),
    (Tag.BUS,),
    (Tag.TRAIN,),
    (Tag.PEDESTRIAN,),
    (Tag.RIDER, Tag.BICYCLE, Tag.MOTORCYCLE),
    (Tag.TRAFFIC_SIGN,),
    (Tag.TRAFFIC_LIGHT,),
)
"""Groups of tags that form objects; a rider and the bicycle are one object."""

POSITION_CHANNELS = LAYOUT_CHANNELS - 2
WINDOW = np.uint8(128)
"""The bit of `PreparedPhoto.facades` that marks a window pixel."""

_HAS_WINDOWS = np.zeros(MAX_TAG + 1, np.bool_)
_HAS_WINDOWS[[Tag.BUILDING, *GLAZED]] = True

_KIND = np.zeros(MAX_TAG + 1, dtype=np.uint8)
for _index, _tags in enumerate(OBJECT_KINDS, start=1):
    _KIND[list(_tags)] = _index


def layout(
    labels: ByteArray,
    instances: IdArray | ByteArray | None = None,
    windows: npt.NDArray[np.bool_] | None = None,
) -> FloatArray:
    """The layout planes, float32 (8, H, W).

    Plane 0: `boundaries`; planes 1 to 6: `fill_positions`; plane 7: windows (0 or 1).

    Args:
        labels: uint8 (H, W), tags.
        instances: (H, W), instance ids, 0 = none; or None.
        windows: bool (H, W), or None for no windows.
    """
    planes = np.zeros((LAYOUT_CHANNELS, *labels.shape), np.float32)
    planes[0] = boundaries(labels, instances)
    fill_positions(planes[1:-1], labels, instances)
    if windows is not None:
        planes[-1] = windows
    return planes


def photo_layout(tags: ByteArray, facades: ByteArray) -> FloatArray:
    """`layout` of a photograph, where only facades have instances (`PreparedPhoto.facades`)."""
    numbers = np.where(tags == Tag.BUILDING, facades & ~WINDOW, np.uint8(0))
    return layout(tags, numbers, (facades >= WINDOW) & _HAS_WINDOWS.take(tags))


def boundaries(labels: ByteArray, instances: IdArray | ByteArray | None = None) -> ByteArray:
    """Uint8 (H, W): 1 where the pixel to the right or below has another tag or instance.

    Road markings count as road, because they have a label group of their own.
    """
    surfaces = np.where(labels == Tag.ROAD_LINES, np.uint8(Tag.ROAD), labels)
    edges = np.zeros(labels.shape, np.bool_)
    for ids in [surfaces] if instances is None else [surfaces, instances]:
        edges[:, :-1] |= ids[:, :-1] != ids[:, 1:]
        edges[:-1] |= ids[:-1] != ids[1:]
    return edges.view(np.uint8)


def fill_positions(
    planes: FloatArray, labels: ByteArray, instances: IdArray | ByteArray | None = None
) -> None:
    """Write each pixel's position in its object into zeroed `planes`, float32 (6, H, W).

    With u and v in (0, 1) from left to right and from top to bottom of the object's bounding box:
    2u - 1, 2v - 1, cos 2 pi u, cos 2 pi v, then the box's width and height as shares of the
    image's. An object is an instance, or, where there is no instance id, a connected patch of
    one kind. Pixels outside `OBJECT_KINDS` stay zero.
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
    planes.reshape(POSITION_CHANNELS, -1)[:, pixels] = (
        2.0 * u - 1.0, 2.0 * v - 1.0, np.cos(turn * u), np.cos(turn * v),
        width / np.float32(full_width), height / np.float32(full_height),
    )  # fmt: skip


def _numbered(kinds: ByteArray, instances: IdArray | ByteArray | None) -> npt.NDArray[np.int32]:
    """Objects numbered from 1 without gaps, int32 (H, W); 0 where there is no object."""
    numbers = np.zeros(kinds.shape, np.int32)
    without_id = kinds
    if instances is not None:
        known = (instances > 0) & (kinds > 0)
        keys = instances[known].astype(np.int64) * (len(OBJECT_KINDS) + 1) + kinds[known]
        numbers[known] = np.unique(keys, return_inverse=True)[1] + 1
        without_id = np.where(known, np.uint8(0), kinds)
    count = int(numbers.max(initial=0))
    for kind in np.flatnonzero(np.bincount(without_id.ravel())[1:]) + 1:
        mask = without_id == kind
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        patches, more = ndimage.label(mask[box])
        np.add(patches, count, out=numbers[box], where=mask[box])
        count += more
    return numbers


def _ends(box: tuple[slice, slice]) -> tuple[int, int, int, int]:
    rows, columns = box
    return rows.start, rows.stop, columns.start, columns.stop
