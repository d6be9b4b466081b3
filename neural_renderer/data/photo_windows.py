"""Windows that a photograph shows in its facades; labels say building and no more."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.frame import ByteArray, FloatArray
from sim2street.neural_renderer.colour import LUMA

BoolArray = npt.NDArray[np.bool_]

WALL_PX = 24
"""Side of the square whose 70th percentile is taken for the wall's brightness; lengths in
pixels are for a picture 480 wide."""

CONTRAST, CONTRAST_FLOOR = 0.13, 7.0
"""Least darkness beside the wall: share of its brightness, and grey levels."""

LEAST_PX, MOST_PX = (2.0, 3.0), (40.0, 45.0)
"""Width and height of a window."""

FULLNESS, STRETCH = 0.5, 2.2
"""Least share of its box that a window fills, and most times that it is wider than high."""


def find_windows(rgb: ByteArray, building: BoolArray) -> BoolArray:
    """Bool (H, W): boxes around what is darker than its wall, compact and upright.

    About half of the windows of a street of houses, and few other things; panes that mirror
    the sky and whole shop fronts are not found.
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
        if not LEAST_PX[0] <= width / scale <= MOST_PX[0]:
            continue
        if not LEAST_PX[1] <= height / scale <= MOST_PX[1] or width > STRETCH * height:
            continue
        if (marks[box] == index).sum() >= max(FULLNESS * height * width, 8 * scale * scale):
            found[box] = True
    return found & building


def _darkness(rgb: ByteArray, building: BoolArray, scale: float) -> tuple[FloatArray, FloatArray]:
    """How much darker than its wall a pixel is, and how much is asked for: float32 (H, W)."""
    luma = ndimage.gaussian_filter(rgb.astype(np.float32) @ LUMA, 0.7 * scale)
    spread = 8.0 * scale
    share = ndimage.gaussian_filter(building.astype(np.float32), spread)
    around = ndimage.gaussian_filter(np.where(building, luma, 0.0), spread)
    # The sky beside a wall must not make it look dark, nor a tree bright.
    luma = np.where(building, luma, around / np.maximum(share, 1e-3)).astype(np.float32)
    coarse = luma[::2, ::2]
    wall = ndimage.percentile_filter(coarse, 70, size=max(3, round(WALL_PX * scale / 2) | 1))
    wall = wall.repeat(2, axis=0).repeat(2, axis=1)[: luma.shape[0], : luma.shape[1]]
    # A dark house beside a bright one is no window: the wall must be seen on both sides.
    beside = ndimage.grey_closing(luma, size=(1, round(MOST_PX[0] * scale)))
    wall = np.minimum(wall, beside)
    return wall - luma, np.maximum(CONTRAST_FLOOR, CONTRAST * wall)
