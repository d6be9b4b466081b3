"""Detecting windows in the facades of photographs, whose labels only say building."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.frame import ByteArray, FloatArray
from sim2street.neural_renderer.images import LUMA

BoolArray = npt.NDArray[np.bool_]

WALL_PX = 24
"""Side of the square whose 70th percentile is the wall's brightness. Lengths in pixels are for an
image 480 pixels wide."""

CONTRAST, CONTRAST_FLOOR = 0.13, 7.0
"""Least difference of a window's brightness from its wall's: as a fraction of the wall's, and in
grey levels of 255."""

MIN_SIZE_PX, MAX_SIZE_PX = (2.0, 3.0), (40.0, 45.0)
"""Bounds of a window's (width, height)."""

MIN_FILL, MAX_ASPECT = 0.5, 2.2
"""Least share of its bounding box that a window fills; largest ratio of width to height."""


def find_windows(rgb: ByteArray, building: BoolArray) -> BoolArray:
    """Bounding boxes of compact, upright spots that are darker than their wall: bool (H, W).

    Finds about half of a street's windows and few other objects. Windows that reflect the sky and
    whole shop fronts are missed.

    Args:
        rgb: uint8 (H, W, 3).
        building: bool (H, W).
    """
    found = np.zeros_like(building)
    scale = building.shape[1] / 480.0
    if building.sum() < 100 * scale * scale:
        return found
    darkness, least = _darkness(rgb, building, scale)
    inside = ndimage.binary_erosion(building, np.ones((3, 3)))
    dark = ndimage.binary_propagation(
        (darkness > 1.6 * least) & inside, mask=(darkness > least) & inside
    )
    marks, _ = ndimage.label(ndimage.binary_opening(dark, np.ones((2, 2))))
    for index, box in enumerate(ndimage.find_objects(marks), start=1):
        height, width = (side.stop - side.start for side in box)
        if not MIN_SIZE_PX[0] <= width / scale <= MAX_SIZE_PX[0]:
            continue
        if not MIN_SIZE_PX[1] <= height / scale <= MAX_SIZE_PX[1] or width > MAX_ASPECT * height:
            continue
        if (marks[box] == index).sum() >= max(MIN_FILL * height * width, 8 * scale * scale):
            found[box] = True
    return found & building


def _darkness(rgb: ByteArray, building: BoolArray, scale: float) -> tuple[FloatArray, FloatArray]:
    """How much darker than its wall each pixel is, and the least for a window: float32 (H, W)."""
    luma = ndimage.gaussian_filter(rgb.astype(np.float32) @ LUMA, 0.7 * scale)
    spread = 8.0 * scale
    share = ndimage.gaussian_filter(building.astype(np.float32), spread)
    around = ndimage.gaussian_filter(np.where(building, luma, 0.0), spread)
    # Continue the wall beyond its outline, so that a bright sky beside it has no influence.
    luma = np.where(building, luma, around / np.maximum(share, 1e-3)).astype(np.float32)
    coarse = luma[::2, ::2]
    wall = ndimage.percentile_filter(coarse, 70, size=max(3, round(WALL_PX * scale / 2) | 1))
    wall = wall.repeat(2, axis=0).repeat(2, axis=1)[: luma.shape[0], : luma.shape[1]]
    # A window has brighter wall on both sides; a dark house beside a bright one has not.
    beside = ndimage.grey_closing(luma, size=(1, round(MAX_SIZE_PX[0] * scale)))
    wall = np.minimum(wall, beside)
    return wall - luma, np.maximum(CONTRAST_FLOOR, CONTRAST * wall)
