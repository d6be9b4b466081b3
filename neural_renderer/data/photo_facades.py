"""Separate facades in photographs: pseudo-instances of buildings.

A simulator gives every house an instance id; a photograph's labels do not. Facades are split
where colour changes sideways, so that training shows the generator edges between buildings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.frame import ByteArray

SUPPORT = 0.5
"""Share of a column's facade pixels that must show the edge; windows interrupt it."""

MIN_FACADE_WIDTH = 0.035
"""Least distance between two edges, as a share of the image's width."""


def split_facades(rgb: ByteArray, building: npt.NDArray[np.bool_]) -> ByteArray:
    """Uint8 (H, W): 1, 2, ... from left to right on `building` (bool (H, W)), 0 elsewhere.

    Cuts at columns where colour changes sideways over most of the facade's height.
    """
    columns = facade_edges(rgb, building)
    steps = np.zeros(rgb.shape[1], dtype=np.uint8)
    steps[columns] = 1
    return np.where(building, 1 + np.cumsum(steps, dtype=np.uint8), 0).astype(np.uint8)


def facade_edges(rgb: ByteArray, building: npt.NDArray[np.bool_]) -> list[int]:
    """Columns at which a new facade begins, ascending."""
    height, width = building.shape
    tall = building.sum(axis=0)
    soft = ndimage.gaussian_filter(rgb.astype(np.float32), (2.0, 1.0, 0.0))
    step = np.zeros((height, width, 3), dtype=np.float32)
    step[:, 2:-2] = soft[:, 4:] - soft[:, :-4]
    # Only where the blur does not mix in pixels of another class.
    inside = ndimage.binary_erosion(building, np.ones((1, 11)))
    count = np.maximum(inside.sum(axis=0), 1)
    # Along a real edge colour changes in one direction: project on the mean change.
    mean = (step * inside[..., None]).sum(axis=0) / count[:, None]
    size = np.linalg.norm(mean, axis=1)
    direction = mean / np.maximum(size, 1e-3)[:, None]
    along = np.einsum("hwc,wc->hw", step, direction)
    support = ((along > 8.0) & inside).sum(axis=0) / count
    support[tall < 0.15 * height] = 0.0
    return _peaks(support, round(MIN_FACADE_WIDTH * width))


def _peaks(support: npt.NDArray[np.floating], gap: int) -> list[int]:
    """Local maxima above SUPPORT, strongest first, at least `gap` apart."""
    taken: list[int] = []
    for column in np.argsort(-support):
        if support[column] < SUPPORT:
            break
        if all(abs(int(column) - other) >= gap for other in taken):
            taken.append(int(column))
    return sorted(taken)
