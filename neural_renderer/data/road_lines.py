"""Lane markings that a data set painted into its road, found again from the photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.frame import ByteArray
from sim2street.neural_renderer.colour import LUMA

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RoadLineSettings:
    """Thresholds of `find_road_lines`; lengths in pixels are for a picture 480 wide.

    Attributes:
        tophat_px: side of the square in which a marking is brighter than its surroundings.
        contrast: least excess over those surroundings, as a fraction of the road's own
            median luminance, and at least `contrast_floor` grey levels.
        noise_factor: least excess in units of the road's median excess in that row (a
            grainy road asks for more).
        max_width_m: widest stroke (block arrows, zebra bars) measured on the ground.
        min_area_px: smaller specks are dropped, fewer near the horizon.
    """

    tophat_px: int = 21
    contrast: float = 0.16
    contrast_floor: float = 9.0
    noise_factor: float = 4.0
    max_width_m: float = 0.75
    min_area_px: int = 10


def find_road_lines(
    rgb: ByteArray,
    road: BoolArray,
    horizon_px: float,
    camera_height_m: float,
    settings: RoadLineSettings | None = None,
) -> BoolArray:
    """Where the road is painted: bool (H, W).

    White top-hat of the luminance inside `road` (bool (H, W)); what is too faint, or too wide
    for a marking at its distance (glare), is dropped. Patches of sun between leaves are
    not told apart from paint: leave sources full of them (IDD) out of the search.
    """
    settings = settings or RoadLineSettings()
    road = road & (np.arange(len(road))[:, None] > horizon_px)
    if road.sum() < 50:
        return np.zeros_like(road)
    scale = rgb.shape[1] / 480.0
    luma = _fill_outside(rgb.astype(np.float32) @ LUMA, road)
    size = max(5, round(settings.tophat_px * scale) | 1)
    excess = luma - ndimage.grey_opening(luma, size=(size, size))
    excess[~road] = 0.0
    level = float(np.median(luma[road]))
    floor = max(settings.contrast_floor, settings.contrast * level)
    grain = _row_median(excess, road) * settings.noise_factor
    seed = excess > np.maximum(1.6 * floor, grain)
    grown = ndimage.binary_propagation(seed, mask=excess > np.maximum(floor, 0.7 * grain))
    return _drop_glare(grown & road, horizon_px, camera_height_m, settings, scale)


def _fill_outside(luma: npt.NDArray[np.float32], road: BoolArray) -> npt.NDArray[np.float32]:
    """Pixels off the road become the row's median road luminance: kerbs cast no top-hat."""
    medians = _row_median(luma, road)
    return np.where(road, luma, medians).astype(np.float32)


def _row_median(values: npt.NDArray[np.float32], road: BoolArray) -> npt.NDArray[np.float32]:
    """Median over the road pixels of each row, (H, 1); rows without take the next row's."""
    medians = np.full(len(values), np.nan, dtype=np.float32)
    for row in np.flatnonzero(road.any(axis=1)):
        medians[row] = np.median(values[row, road[row]])
    known = np.flatnonzero(~np.isnan(medians))
    filled = np.interp(np.arange(len(values)), known, medians[known])
    return ndimage.uniform_filter1d(filled, 9)[:, None].astype(np.float32)


def _drop_glare(
    lines: BoolArray,
    horizon_px: float,
    camera_height_m: float,
    settings: RoadLineSettings,
    scale: float,
) -> BoolArray:
    """Keep the components that are narrow and large enough for their distance."""
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
    keep = (widest <= settings.max_width_m) | (thickness <= 2.0)
    foot = ndimage.maximum(np.broadcast_to(rows, lines.shape), marks, index)
    near = np.clip((foot - horizon_px) / (60.0 * scale), 0.3, 1.0)
    keep &= area >= settings.min_area_px * scale * scale * near
    return lines & np.concatenate([[False], keep])[marks]
