"""Detecting lane markings in photographs whose labels only say road."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.frame import ByteArray
from sim2street.neural_renderer.images import LUMA

BoolArray = npt.NDArray[np.bool_]


TOPHAT_PX = 21
"""Side of the square in which a marking is brighter than its surroundings. Lengths in pixels are
for an image 480 pixels wide."""

CONTRAST, CONTRAST_FLOOR = 0.16, 9.0
"""Least excess of a marking's luminance over its surroundings: as a fraction of the road's median
luminance, and in grey levels of 255."""

NOISE_FACTOR = 4.0
"""Least excess in units of the road's median excess in that row; more on a grainy road."""

MAX_WIDTH_M = 0.75
"""Widest marking (block arrows, crosswalk bars), measured on the ground."""

MIN_AREA_PX = 10
"""Smaller spots are dropped; near the horizon the limit is lower."""


def find_road_lines(
    rgb: ByteArray, road: BoolArray, horizon_px: float, camera_height_m: float
) -> BoolArray:
    """Pixels of lane markings, bool (H, W), by a white top-hat of the road's luminance.

    Spots that are too faint, or too wide for a marking at their distance (glare), are dropped.
    Sunlight between leaves is mistaken for paint, so sources full of it (IDD) should not be
    searched.

    Args:
        rgb: uint8 (H, W, 3).
        road: bool (H, W).
        horizon_px: row of the horizon.
        camera_height_m: height of the camera above the road.
    """
    road = road & (np.arange(len(road))[:, None] > horizon_px)
    if road.sum() < 50:
        return np.zeros_like(road)
    scale = rgb.shape[1] / 480.0
    luma = _fill_outside(rgb.astype(np.float32) @ LUMA, road)
    size = max(5, round(TOPHAT_PX * scale) | 1)
    excess = luma - ndimage.grey_opening(luma, size=(size, size))
    excess[~road] = 0.0
    level = float(np.median(luma[road]))
    floor = max(CONTRAST_FLOOR, CONTRAST * level)
    grain = _row_median(excess, road) * NOISE_FACTOR
    seed = excess > np.maximum(1.6 * floor, grain)
    grown = ndimage.binary_propagation(seed, mask=excess > np.maximum(floor, 0.7 * grain))
    return _drop_glare(grown & road, horizon_px, camera_height_m, scale)


def _fill_outside(luma: npt.NDArray[np.float32], road: BoolArray) -> npt.NDArray[np.float32]:
    """Replace pixels off the road by their row's median road luminance, which hides kerbs."""
    medians = _row_median(luma, road)
    return np.where(road, luma, medians).astype(np.float32)


def _row_median(values: npt.NDArray[np.float32], road: BoolArray) -> npt.NDArray[np.float32]:
    """Median over the road pixels of each row, (H, 1); interpolated for rows without road."""
    medians = np.full(len(values), np.nan, dtype=np.float32)
    for row in np.flatnonzero(road.any(axis=1)):
        medians[row] = np.median(values[row, road[row]])
    known = np.flatnonzero(~np.isnan(medians))
    filled = np.interp(np.arange(len(values)), known, medians[known])
    smooth: npt.NDArray[np.float64] = ndimage.uniform_filter1d(filled, 9)
    return smooth[:, None].astype(np.float32)


def _drop_glare(
    lines: BoolArray, horizon_px: float, camera_height_m: float, scale: float
) -> BoolArray:
    """Keep the components that are narrow enough and large enough for their distance."""
    marks, count = ndimage.label(lines, structure=np.ones((3, 3)))
    if not count:
        return lines
    rows = np.arange(lines.shape[0], dtype=np.float32)[:, None]
    metres_per_px = camera_height_m / np.maximum(rows - horizon_px, 1.0)
    half_width_px = ndimage.distance_transform_edt(np.pad(lines, 1))[1:-1, 1:-1]
    width_m = (2.0 * half_width_px - 1.0) * metres_per_px
    index = np.arange(1, count + 1)
    area = ndimage.sum_labels(lines, marks, index)
    widest = ndimage.maximum(width_m, marks, index)
    thickness = 2.0 * ndimage.maximum(half_width_px, marks, index) - 1.0
    keep = (widest <= MAX_WIDTH_M) | (thickness <= 2.0)
    foot = ndimage.maximum(np.broadcast_to(rows, lines.shape), marks, index)
    near = np.clip((foot - horizon_px) / (60.0 * scale), 0.3, 1.0)
    keep &= area >= MIN_AREA_PX * scale * scale * near
    kept: BoolArray = np.concatenate([[False], keep])[marks]
    return lines & kept
