"""Window panes of cars and buses, placed by geometry.

Labels say "car" and nothing more. Without panes the network cannot tell a car's flank from its
back, and paints lamps and number plates along the flank. The panes are a band below the roof,
placed by each pixel's height in world coordinates, so that the band follows the perspective
and is right when the image border cuts the vehicle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.frame import MAX_TAG, ByteArray, FloatArray, IdArray
from sim2street.bridge.labels import Tag

BoolArray = npt.NDArray[np.bool_]

GLAZED = (Tag.CAR, Tag.BUS)
"""Vehicles with a band of panes all around."""

BAND = (0.62, 0.91)
"""Lower and upper edge of the panes, from the wheels (0) to the roof (1)."""

PILLAR_M = 0.07
"""Panes keep this distance to the outline and to edges between two sides."""

TURN = 0.5
"""Two sides of a vehicle meet where the slope of the surface (metres of depth per metre
sideways) changes by more than this."""

MIN_HEIGHT_M = 1.2
"""Assumed least height of a vehicle whose wheels are below the image."""

MIN_DEPTH_M = 0.1
"""Lower bound on depth; some worlds give 0 where they saw nothing."""

_GLAZED = np.zeros(MAX_TAG + 1, np.bool_)
_GLAZED[list(GLAZED)] = True


def is_glazed(tags: ByteArray) -> BoolArray:
    """Bool (H, W): pixels of vehicles with panes."""
    return _GLAZED.take(tags)


def place_panes(
    labels: ByteArray,
    instances: IdArray | None,
    depth_m: FloatArray,
    camera: Sequence[float],
    pose: FloatArray,
) -> BoolArray:
    """Bool (H, W): a band around each car and bus, interrupted where two sides meet.

    Arguments: see `facade_windows.place_windows`.
    """
    panes = np.zeros(labels.shape, np.bool_)
    glazed = is_glazed(labels)
    rows, columns = np.flatnonzero(glazed.any(axis=1)), np.flatnonzero(glazed.any(axis=0))
    if not len(rows):
        return panes
    top, left = int(rows[0]), max(0, int(columns[0]) - 1)
    box = slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 2)
    mask, depth_m = glazed[box], depth_m[box]
    numbers = _numbered(mask, None if instances is None else instances[box])
    pixels = np.flatnonzero(mask)
    vehicle, depth_here_m = numbers.take(pixels), depth_m.take(pixels)
    row, column = np.divmod(pixels, mask.shape[1])
    fx, fy, cx, cy = camera
    x = ((column + (left - cx)) / fx).astype(np.float32)
    y = ((row + (top - cy)) / fy).astype(np.float32)
    up = pose[2].astype(np.float32)
    up_m = depth_here_m * (up[0] * x + up[1] * y + up[2]) + up[3]
    high = _height_in_vehicle(up_m, vehicle, row + top == labels.shape[0] - 1)
    beside_m = _body_beside(numbers, depth_m, fx).take(pixels) * depth_here_m / np.float32(fx)
    band = (high > BAND[0]) & (high < BAND[1]) & (beside_m > PILLAR_M)
    inside = np.zeros(mask.shape, np.bool_)
    inside.ravel()[pixels] = band
    panes[box] = ndimage.binary_opening(inside, np.ones((2, 2)))
    return panes


def _numbered(mask: BoolArray, instances: IdArray | None) -> npt.NDArray[np.int32]:
    """Vehicles numbered from 1 without gaps, int32 (H, W): by instance, else by patch."""
    if instances is None:
        patches: npt.NDArray[np.int32] = ndimage.label(mask)[0]
        return patches.astype(np.int32)
    numbers = np.zeros(mask.shape, np.int32)
    numbers[mask] = np.unique(instances[mask], return_inverse=True)[1].ravel() + 1
    return numbers


def _height_in_vehicle(
    up_m: FloatArray, vehicle: npt.NDArray[np.int32], at_border: BoolArray
) -> FloatArray:
    """Height of N pixels in their vehicles, 0 at the wheels, 1 at the roof: float32 (N,).

    Args:
        up_m: float32 (N,), height in the world.
        vehicle: int32 (N,), number of the vehicle from 1.
        at_border: bool (N,), whether the pixel lies on the lower image border.
    """
    order = np.argsort(vehicle, kind="stable")
    starts = np.flatnonzero(np.diff(vehicle[order], prepend=0))
    roof_m = np.maximum.reduceat(up_m[order], starts)
    wheels_m = np.minimum.reduceat(up_m[order], starts)
    cut = np.logical_or.reduceat(at_border[order], starts)
    wheels_m = np.where(cut, np.minimum(wheels_m, roof_m - np.float32(MIN_HEIGHT_M)), wheels_m)
    height_m = np.maximum(roof_m - wheels_m, np.float32(0.1))
    height: FloatArray = (up_m - wheels_m[vehicle - 1]) / height_m[vehicle - 1]
    return height


def _body_beside(
    numbers: npt.NDArray[np.int32], depth_m: FloatArray, focal_px: float
) -> FloatArray:
    """Float32 (H, W): pixels sideways to the vehicle's outline or to the end of this side.

    The image border does not count as an outline.
    """
    inverse = np.float32(1.0) / np.maximum(depth_m, np.float32(MIN_DEPTH_M))
    here = inverse[:, 1:-1]
    bend = np.abs(inverse[:, :-2] + inverse[:, 2:] - 2.0 * here)
    bend = ndimage.maximum_filter1d(bend, 5, axis=0)  # so that a pillar is continuous
    ends = np.zeros(numbers.shape, np.bool_)
    ends[:, 1:-1] = numbers[:, 1:-1] != numbers[:, :-2]
    ends[:, 1:-1] |= numbers[:, 1:-1] != numbers[:, 2:]
    # The constant covers the rounding of depth that was stored as 16-bit inverse depth.
    ends[:, 1:-1] |= bend > TURN / focal_px * here + 1.3e-4
    left, right = sideways_to(ends)
    return np.minimum(left, right)


def sideways_to(ends: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Float32 (H, W) twice: pixels to the next True of `ends` on the left and on the right.

    Larger than the image's width where there is none.
    """
    width = ends.shape[1]
    columns = np.arange(width, dtype=np.int32)[None]
    left = np.maximum.accumulate(np.where(ends, columns, -width), axis=1)
    right = np.minimum.accumulate(np.where(ends, columns, 2 * width)[:, ::-1], axis=1)[:, ::-1]
    return (columns - left).astype(np.float32), (right - columns).astype(np.float32)
