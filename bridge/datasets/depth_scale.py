"""Whether depth fits the road in the labels: it tells the camera's height, and with it the unit."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

import numpy as np

from sim2street.bridge.datasets.depth_images import AUTO_UNIT, DEPTH_UNITS, Coding, DepthImage
from sim2street.bridge.errors import DatasetError
from sim2street.bridge.frame import ByteArray
from sim2street.bridge.labels import Tag

_log = logging.getLogger(__name__)

HEIGHTS_M: dict[Coding, tuple[float, float]] = {
    "16-bit": (1.0, 3.2),
    "float": (0.4, 20.0),
    "24-bit": (0.2, 100.0),
}
"""Plausible heights of a camera above the road. The range is narrow where the unit is a guess: in
16-bit images a camera at 1.6 m seems to be at 6.2 m if they hold millimetres, at 0.6 m if they hold
centimetres."""

USUAL_HEIGHTS_M = (0.8, 3.2)
"""Heights that make another unit worth suggesting."""

MAX_MISSING = 0.5
"""Share of the road without depth from which it is taken for a sparse LiDAR projection."""

_ROAD = (Tag.ROAD, Tag.ROAD_LINES)
_MIN_PIXELS, _MIN_ROWS = 200, 6
_MIN_CHANGE = 0.2


@dataclass
class DepthCheck:
    """Collects images of a data set and then judges their depth.

    Attributes:
        source: start of messages, such as the folder.
        unit: as for `read_depth`.
    """

    source: str
    unit: str
    _heights_m: list[float] = field(default_factory=list)
    _missing: list[float] = field(default_factory=list)
    _coding: Coding = "float"

    def add(self, depth: DepthImage, tags: ByteArray, focal_px: float) -> None:
        """Look at one image; `tags`: uint8 (H, W), `focal_px`: focal length in pixels."""
        self._coding = depth.coding
        road = np.isin(tags, _ROAD)
        if road.sum() >= _MIN_PIXELS:
            self._missing.append(float(depth.missing[road].mean()))
        height_m = camera_height_m(depth, tags, focal_px)
        if height_m is not None:
            self._heights_m.append(height_m)

    def conclude(self) -> None:
        """Raise DatasetError if the depth cannot be right; warn if its unit cannot be checked."""
        if self._missing and float(np.median(self._missing)) > MAX_MISSING:
            raise DatasetError(
                f"{self.source}: {100 * np.median(self._missing):.0f} % of the road has no depth; "
                "expected a value for every pixel. If it is a sparse LiDAR projection, fill it in "
                "or leave out --depth"
            )
        if self.unit != AUTO_UNIT:
            return
        if not self._heights_m:
            if self._coding == "16-bit":
                _log.warning(
                    "%s: 16-bit depth is taken as metres * 256; without a road this cannot be "
                    "checked. --depth-unit says otherwise", self.source,
                )  # fmt: skip
            return
        height_m = float(np.median(self._heights_m))
        if height_m < 0.0:
            raise DatasetError(
                f"{self.source}: the road gets farther towards the bottom; expected depth. Is it "
                "disparity or inverse depth, or upside down?"
            )
        lowest_m, highest_m = HEIGHTS_M[self._coding]
        if not lowest_m <= height_m <= highest_m:
            raise DatasetError(
                f"{self.source}: with this depth the camera is {height_m:.3g} m above the road; "
                f"expected {lowest_m} to {highest_m} m{_unit_hint(height_m, self._coding)}"
            )


def camera_height_m(depth: DepthImage, tags: ByteArray, focal_px: float) -> float | None:
    """The height of the camera above the road that depth implies; None if the road is too small.

    On a plane, 1 / depth is linear in the image row with a slope of cos(pitch) / (focal * height),
    whatever the pitch; cos(pitch) is taken as 1. Negative if depth grows towards the bottom.
    """
    depth_m = depth.depth_m
    road = np.isin(tags, _ROAD) & ~depth.missing & (depth_m > 0.0)
    rows = np.flatnonzero(np.count_nonzero(road, axis=1) >= max(3, road.shape[1] // 50))
    if road.sum() < _MIN_PIXELS or len(rows) < _MIN_ROWS:
        return None
    inverse = np.array([np.median(1.0 / depth_m[row, road[row]]) for row in rows])
    if inverse.max() - inverse.min() < _MIN_CHANGE * inverse.mean():
        return None  # a wall, or nothing but the far road
    slope = np.polyfit(rows, inverse, 1, w=np.sqrt(np.count_nonzero(road[rows], axis=1)))[0]
    return math.copysign(1.0 / (focal_px * max(abs(float(slope)), 1e-12)), slope)


def _unit_hint(height_m: float, coding: Coding) -> str:
    """Units with which the height would be usual, as the end of a message."""
    if coding == "24-bit":
        return "; is it CARLA's raw depth?"
    assumed_m = DEPTH_UNITS["m/256" if coding == "16-bit" else "m"]
    fitting = {
        unit: height_m * unit_m / assumed_m
        for unit, unit_m in DEPTH_UNITS.items()
        if USUAL_HEIGHTS_M[0] <= height_m * unit_m / assumed_m <= USUAL_HEIGHTS_M[1]
    }
    if not fitting:
        return "; choose --depth-unit, or convert it to metres"
    options = " or ".join(f"--depth-unit {unit} ({h:.2g} m)" for unit, h in fitting.items())
    return f"; with {options} it would be usual"
