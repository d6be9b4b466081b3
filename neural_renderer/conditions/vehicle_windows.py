"""Windows of cars and buses: found in photographs, placed in worlds; labels say car and no more.

Without them a generator paints what it saw most, the back of a car a little way ahead, over
every near flank: lamps and plates in rows. A vehicle's panes are a band below its roof. How
high a pixel is in its vehicle is told by the world's own heights, so the band slants on a
flank as it should and does not mind what the frame's rim cuts off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.frame import MAX_TAG, ByteArray, FloatArray, IdArray
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.colour import LUMA

BoolArray = npt.NDArray[np.bool_]

GLAZED = (Tag.CAR, Tag.BUS)
"""What has a band of panes all around."""

BAND = (0.62, 0.91)
"""Where panes are placed, from the wheels (0) to the roof (1)."""

FOUND_BAND = (0.42, 0.97)
"""Where they are looked for in photographs."""

LOWER = (0.22, 0.5)
"""Where the body below them is looked at."""

CONTRAST, CONTRAST_FLOOR = 0.22, 12.0
"""Least darkness beside the body: share of its brightness, and grey levels."""

PILLAR_M = 0.07
"""Half the width of a pillar, and what is left of the body beside the outline."""

TURN = 0.5
"""Change of the surface's slope, in metres of depth a metre sideways, where two sides meet."""

LEAST_HEIGHT_M = 1.2
"""Of a vehicle whose wheels are below the frame."""

LEAST_PX = 8
"""Smaller vehicles of a photograph get none."""

NEAREST_M = 0.1
"""Of depth that a world gives: some give 0 where they saw nothing."""

_GLAZED = np.zeros(MAX_TAG + 1, np.bool_)
_GLAZED[list(GLAZED)] = True


def find_panes(rgb: ByteArray, tags: ByteArray) -> BoolArray:
    """Bool (H, W): what is darker than the body, in the upper half of what is seen of a vehicle.

    Heights are counted column by column, for a row of parked cars is one patch. Panes that
    mirror the sky, and those of black cars, are not found.
    """
    vehicle = _GLAZED.take(tags)
    found = np.zeros_like(vehicle)
    luma = ndimage.gaussian_filter(rgb.astype(np.float32) @ LUMA, 0.6 * vehicle.shape[1] / 480.0)
    patches, _ = ndimage.label(vehicle)
    for index, box in enumerate(ndimage.find_objects(patches), start=1):
        mask = patches[box] == index
        height = mask.shape[0]
        if height < LEAST_PX or mask.shape[1] < LEAST_PX:
            continue
        high = _height_in_column(mask)
        band = mask & (high > FOUND_BAND[0]) & (high < FOUND_BAND[1])
        body = _brightness(luma[box], mask, high)
        dark = body - luma[box] > np.maximum(CONTRAST_FLOOR, CONTRAST * body)
        inside = ndimage.binary_erosion(mask, np.ones((2, 3)))
        panes = ndimage.binary_opening(dark & band & inside, np.ones((2, 2)))
        found[box] |= ndimage.binary_closing(panes, np.ones((3, 3))) & inside
    return found


def _height_in_column(mask: BoolArray) -> FloatArray:
    """Float32 (H, W): from the lowest (0) to the highest (1) pixel of each column, softened."""
    height = mask.shape[0]
    some = mask.any(axis=0)
    top = np.where(some, mask.argmax(axis=0), height).astype(np.float32)
    bottom = np.where(some, height - mask[::-1].argmax(axis=0), 0).astype(np.float32)
    reach = max(1, round(0.5 * height))
    top = ndimage.minimum_filter1d(top, 2 * reach + 1)
    bottom = ndimage.maximum_filter1d(bottom, 2 * reach + 1)
    rows = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
    return (bottom - rows) / np.maximum(bottom - top, 1.0)


def _brightness(luma: FloatArray, mask: BoolArray, high: FloatArray) -> FloatArray:
    """Of the body around each pixel: the 70th percentile, but no more than below the panes."""
    height = mask.shape[0]
    around = _mean(luma, mask, 0.25 * height)
    side = max(5, round(0.8 * height))
    step = max(1, side // 12)
    filled = np.where(mask, luma, around)[::step, ::step]
    coarse = ndimage.percentile_filter(filled, 70, size=max(3, side // step | 1))
    bright = coarse.repeat(step, 0).repeat(step, 1)[: luma.shape[0], : luma.shape[1]]
    below = _mean(luma, mask & (high > LOWER[0]) & (high < LOWER[1]), 0.25 * height)
    return np.minimum(bright, np.float32(1.2) * below)


def _mean(luma: FloatArray, mask: BoolArray, spread_px: float) -> FloatArray:
    """Of what is masked around each pixel."""
    share = ndimage.gaussian_filter(mask.astype(np.float32), spread_px)
    sums = ndimage.gaussian_filter(np.where(mask, luma, np.float32(0.0)), spread_px)
    return sums / np.maximum(share, np.float32(1e-4))


def place_panes(
    labels: ByteArray,
    instances: IdArray | None,
    depth_m: FloatArray,
    camera: Sequence[float],
    pose: FloatArray,
) -> BoolArray:
    """Bool (H, W): a band around each car and bus, broken where two of its sides meet.

    Arguments as of `world_windows.place_windows`.
    """
    panes = np.zeros(labels.shape, np.bool_)
    glazed = _GLAZED.take(labels)
    rows, columns = np.flatnonzero(glazed.any(axis=1)), np.flatnonzero(glazed.any(axis=0))
    if not len(rows):
        return panes
    top, left = int(rows[0]), max(0, int(columns[0]) - 1)
    box = slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 2)
    mask, depth_m = glazed[box], depth_m[box]
    numbers = _numbered(mask, None if instances is None else instances[box])
    pixels = np.flatnonzero(mask)
    of, depth_here_m = numbers.take(pixels), depth_m.take(pixels)
    row, column = np.divmod(pixels, mask.shape[1])
    fx, fy, cx, cy = camera
    x = ((column + (left - cx)) / fx).astype(np.float32)
    y = ((row + (top - cy)) / fy).astype(np.float32)
    up = pose[2].astype(np.float32)
    up_m = depth_here_m * (up[0] * x + up[1] * y + up[2]) + up[3]
    high = _height_in_vehicle(up_m, of, row + top == labels.shape[0] - 1)
    beside_m = _body_beside(numbers, depth_m, fx).take(pixels) * depth_here_m / np.float32(fx)
    band = (high > BAND[0]) & (high < BAND[1]) & (beside_m > PILLAR_M)
    inside = np.zeros(mask.shape, np.bool_)
    inside.ravel()[pixels] = band
    panes[box] = ndimage.binary_opening(inside, np.ones((2, 2)))
    return panes


def _numbered(mask: BoolArray, instances: IdArray | None) -> npt.NDArray[np.int32]:
    """Vehicles from 1 without gaps, int32 (H, W): instances, or patches."""
    if instances is None:
        return ndimage.label(mask)[0].astype(np.int32)
    numbers = np.zeros(mask.shape, np.int32)
    numbers[mask] = np.unique(instances[mask], return_inverse=True)[1].ravel() + 1
    return numbers


def _height_in_vehicle(
    up_m: FloatArray, of: npt.NDArray[np.int32], at_rim: BoolArray
) -> FloatArray:
    """From the wheels (0) to the roof (1) of its vehicle, float32 (N,)."""
    order = np.argsort(of, kind="stable")
    starts = np.flatnonzero(np.diff(of[order], prepend=0))
    roof_m = np.maximum.reduceat(up_m[order], starts)
    wheels_m = np.minimum.reduceat(up_m[order], starts)
    cut = np.logical_or.reduceat(at_rim[order], starts)
    wheels_m = np.where(cut, np.minimum(wheels_m, roof_m - np.float32(LEAST_HEIGHT_M)), wheels_m)
    height_m = np.maximum(roof_m - wheels_m, np.float32(0.1))
    return (up_m - wheels_m[of - 1]) / height_m[of - 1]


def _body_beside(
    numbers: npt.NDArray[np.int32], depth_m: FloatArray, focal_px: float
) -> FloatArray:
    """Float32 (H, W): pixels sideways to the vehicle's outline, or to where its side turns.

    The rim of the frame is no outline.
    """
    inverse = np.float32(1.0) / np.maximum(depth_m, np.float32(NEAREST_M))
    here = inverse[:, 1:-1]
    bend = np.abs(inverse[:, :-2] + inverse[:, 2:] - 2.0 * here)
    bend = ndimage.maximum_filter1d(bend, 5, axis=0)  # a pillar is no ladder
    ends = np.zeros(numbers.shape, np.bool_)
    ends[:, 1:-1] = numbers[:, 1:-1] != numbers[:, :-2]
    ends[:, 1:-1] |= numbers[:, 1:-1] != numbers[:, 2:]
    # The second part is what 16 bits of inverse depth round away.
    ends[:, 1:-1] |= bend > TURN / focal_px * here + 1.3e-4
    left, right = sideways_to(ends)
    return np.minimum(left, right)


def sideways_to(ends: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Float32 (H, W) each: pixels to the next of `ends` to the left and to the right.

    More than the picture is wide where there is none.
    """
    width = ends.shape[1]
    columns = np.arange(width, dtype=np.int32)[None]
    left = np.maximum.accumulate(np.where(ends, columns, -width), axis=1)
    right = np.minimum.accumulate(np.where(ends, columns, 2 * width)[:, ::-1], axis=1)[:, ::-1]
    return (columns - left).astype(np.float32), (right - columns).astype(np.float32)
