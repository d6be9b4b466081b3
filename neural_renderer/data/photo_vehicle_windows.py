"""Window panes of cars and buses, found in photographs.

Labels say "car" and nothing more. In a simulated world the panes are placed by geometry
(`conditions.vehicle_windows`); in a photograph they are the dark band in the upper half of
the vehicle.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.frame import ByteArray, FloatArray
from sim2street.neural_renderer.conditions.vehicle_windows import is_glazed
from sim2street.neural_renderer.images import LUMA

BoolArray = npt.NDArray[np.bool_]

SEARCH_BAND = (0.42, 0.97)
"""Where panes are looked for, from the lowest (0) to the highest (1) pixel of a vehicle."""

BODY_BAND = (0.22, 0.5)
"""Where the brightness of the body below the panes is measured."""

CONTRAST, CONTRAST_FLOOR = 0.22, 12.0
"""A pane is darker than the body by this share of its brightness, and by this many of 255."""

MIN_SIZE_PX = 8
"""In vehicles narrower or lower than this no panes are looked for."""


def find_panes(rgb: ByteArray, tags: ByteArray) -> BoolArray:
    """Bool (H, W): what is darker than the body in the upper half of each vehicle.

    Heights are measured column by column, because parked cars in a row form one connected
    patch. Panes that mirror the sky and panes of black cars are not found.

    Args:
        rgb: uint8 (H, W, 3).
        tags: uint8 (H, W).
    """
    vehicle = is_glazed(tags)
    found = np.zeros_like(vehicle)
    luma = ndimage.gaussian_filter(rgb.astype(np.float32) @ LUMA, 0.6 * vehicle.shape[1] / 480.0)
    patches, _ = ndimage.label(vehicle)
    for index, box in enumerate(ndimage.find_objects(patches), start=1):
        mask = patches[box] == index
        height = mask.shape[0]
        if height < MIN_SIZE_PX or mask.shape[1] < MIN_SIZE_PX:
            continue
        high = _height_in_column(mask)
        band = mask & (high > SEARCH_BAND[0]) & (high < SEARCH_BAND[1])
        body = _brightness(luma[box], mask, high)
        dark = body - luma[box] > np.maximum(CONTRAST_FLOOR, CONTRAST * body)
        inside = ndimage.binary_erosion(mask, np.ones((2, 3)))
        panes = ndimage.binary_opening(dark & band & inside, np.ones((2, 2)))
        found[box] |= ndimage.binary_closing(panes, np.ones((3, 3))) & inside
    return found


def _height_in_column(mask: BoolArray) -> FloatArray:
    """Float32 (H, W): 0 at the lowest, 1 at the highest pixel around each column."""
    height = mask.shape[0]
    some = mask.any(axis=0)
    top = np.where(some, mask.argmax(axis=0), height).astype(np.float32)
    bottom = np.where(some, height - mask[::-1].argmax(axis=0), 0).astype(np.float32)
    reach = max(1, round(0.5 * height))
    top = ndimage.minimum_filter1d(top, 2 * reach + 1)
    bottom = ndimage.maximum_filter1d(bottom, 2 * reach + 1)
    rows = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
    high: FloatArray = (bottom - rows) / np.maximum(bottom - top, 1.0)
    return high


def _brightness(luma: FloatArray, mask: BoolArray, high: FloatArray) -> FloatArray:
    """Brightness of the body around each pixel: its 70th percentile, limited by what is below
    the panes."""
    height = mask.shape[0]
    around = _mean(luma, mask, 0.25 * height)
    side = max(5, round(0.8 * height))
    step = max(1, side // 12)
    filled = np.where(mask, luma, around)[::step, ::step]
    coarse = ndimage.percentile_filter(filled, 70, size=max(3, side // step | 1))
    bright = coarse.repeat(step, 0).repeat(step, 1)[: luma.shape[0], : luma.shape[1]]
    below = _mean(luma, mask & (high > BODY_BAND[0]) & (high < BODY_BAND[1]), 0.25 * height)
    brightness: FloatArray = np.minimum(bright, np.float32(1.2) * below)
    return brightness


def _mean(luma: FloatArray, mask: BoolArray, spread_px: float) -> FloatArray:
    """Gaussian mean of `luma` over the masked pixels around each pixel."""
    share = ndimage.gaussian_filter(mask.astype(np.float32), spread_px)
    sums = ndimage.gaussian_filter(np.where(mask, luma, np.float32(0.0)), spread_px)
    mean: FloatArray = sums / np.maximum(share, np.float32(1e-4))
    return mean
