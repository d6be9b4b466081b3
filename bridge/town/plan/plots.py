"""Ground for the scenery: what is still free, and the plots along the streets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.town.plan.layout import Layout, Points
from sim2street.bridge.town.plan.polyline import (
    Floats,
    arc_lengths,
    at_lengths,
    resample,
    without_repeats,
)
from sim2street.bridge.town.plan.sidewalks import sidewalk_lines

_CELL_M = 0.5
_MARGIN_M = 70.0
"""The grid reaches this far beyond the streets."""

_SAMPLE_M = 0.35
_PLOT_SAMPLE_M = 0.4


class FreeGround:
    """A grid with cells of half a metre, each of which is free or taken."""

    def __init__(self, layout: Layout) -> None:
        """Takes the streets and sidewalks of the layout."""
        x0, y0, x1, y1 = layout.bounds_m
        self._origin = np.array([x0 - _MARGIN_M, y0 - _MARGIN_M])
        size = np.array([x1 - x0, y1 - y0]) + 2 * _MARGIN_M
        self._taken = np.zeros((size / _CELL_M).astype(int) + 1, np.bool_)
        for road in layout.roads:
            left, right = sidewalk_lines(road, 0)[1], sidewalk_lines(road, 1)[1]
            self._take_strip(left, right)
        for junction in layout.junctions:
            closed = np.concatenate([junction.outline_m, junction.outline_m[:1]])
            outline = resample(closed, 0.5)
            self._take_strip(outline, np.broadcast_to(junction.centre_m, outline.shape))
            for corner in junction.corners:
                self._take_strip(corner.kerb_m, corner.outer_m)
        self._street = self._taken.copy()

    def is_free(self, points: Points) -> bool:
        """Whether all points (N, 2) are inside the grid and on free cells."""
        cells = ((points - self._origin) / _CELL_M).astype(int)
        if (cells < 0).any() or (cells >= self._taken.shape).any():
            return False
        return not self._taken[cells[:, 0], cells[:, 1]].any()

    def is_off_street(self, x_m: float, y_m: float, radius_m: float) -> bool:
        """Whether a circle touches neither carriageway nor sidewalk."""
        low = ((np.array([x_m, y_m]) - radius_m - self._origin) / _CELL_M).astype(int)
        high = ((np.array([x_m, y_m]) + radius_m - self._origin) / _CELL_M).astype(int) + 1
        low = np.maximum(low, 0)
        return not self._street[low[0] : high[0], low[1] : high[1]].any()

    def take(self, points: Points) -> None:
        """Take the cells of the points (N, 2); ignores points outside the grid."""
        cells = ((points - self._origin) / _CELL_M).astype(int)
        inside = ((cells >= 0) & (cells < self._taken.shape)).all(axis=1)
        cells = cells[inside]
        self._taken[cells[:, 0], cells[:, 1]] = True

    def _take_strip(self, left: Points, right: Points) -> None:
        """Take the strip between two lines (N, 2) with points opposite each other."""
        reach = float(np.hypot(*(left - right).T).max())
        across = np.linspace(0.0, 1.0, max(2, int(reach / _SAMPLE_M)))[:, None, None]
        dense_left, dense_right = _dense(left), _dense(right)
        self.take((dense_left + (dense_right - dense_left) * across).reshape(-1, 2))


def _dense(line: Points) -> Points:
    """The line with four times as many points, so that no cell between two points is missed."""
    index = np.linspace(0, len(line) - 1, 4 * len(line))
    known = np.arange(len(line))
    return np.stack([np.interp(index, known, line[:, axis]) for axis in (0, 1)], axis=1)


@dataclass(frozen=True, slots=True)
class StreetFront:
    """The property line along one side of a road and halfway around the corners at its ends.

    Attributes:
        line_m: (N, 2). The plots lie to its left, the sidewalk to its right.
        marks_m: (N,), distance of each point along the line.
    """

    line_m: Points
    marks_m: Floats

    @property
    def length_m(self) -> float:
        """Length of the line."""
        return float(self.marks_m[-1])

    def plot(self, s0_m: float, s1_m: float) -> Plot:
        """The plot between two distances along the line."""
        a, b = at_lengths(self.line_m, np.array([s0_m, s1_m]), self.marks_m)
        return Plot(float(a[0]), float(a[1]), math.atan2(*(b - a)[::-1]), float(np.hypot(*(b - a))))


@dataclass(frozen=True, slots=True)
class Plot:
    """A piece of land for buildings, with axes of its own.

    The origin (`x_m`, `y_m`) is the left end of its street side, as seen from the street. x runs
    along the street side in the direction `yaw_rad`, y away from the street.
    """

    x_m: float
    y_m: float
    yaw_rad: float
    width_m: float

    def to_world(self, points: npt.ArrayLike) -> Points:
        """Points (N, 2) of the plot's axes in the world frame."""
        local = np.asarray(points, np.float64)
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        turned = local @ np.array([[cos, sin], [-sin, cos]])
        world: Points = turned + np.array([self.x_m, self.y_m])
        return world

    def cells(self, x0: float, x1: float, y0: float, y1: float) -> Points:
        """World points (N, 2) that cover a rectangle of the plot, for `FreeGround`."""
        across, deep = (max(2, int((b - a) / _PLOT_SAMPLE_M) + 1) for a, b in ((x0, x1), (y0, y1)))
        x = x0 + (x1 - x0) / (across - 1) * np.arange(across)[:, None]
        y = y0 + (y1 - y0) / (deep - 1) * np.arange(deep)
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        points = np.empty((across, deep, 2))
        points[..., 0] = x * cos - y * sin + self.x_m
        points[..., 1] = x * sin + y * cos + self.y_m
        return points.reshape(-1, 2)


def street_fronts(layout: Layout) -> Iterator[StreetFront]:
    """The fronts on both sides of every road, each with the nearer halves of its corners."""
    halves: dict[tuple[int, int, bool], Points] = {}
    for junction in layout.junctions:
        for corner in junction.corners:
            middle = len(corner.outer_m) // 2
            first, second = corner.road_ids
            # Fronts run the other way round a junction than the lines of its corners.
            halves[(first, junction.junction_id, True)] = corner.outer_m[: middle + 1][::-1]
            halves[(second, junction.junction_id, False)] = corner.outer_m[middle:][::-1]
    for road in layout.roads:
        for side in (0, 1):
            outer = sidewalk_lines(road, side)[1]
            line = outer if side == 0 else outer[::-1]
            ends = (road.start_junction_id, road.end_junction_id)
            first, last = ends if side == 0 else ends[::-1]
            before = halves.get((road.road_id, first, True), line[:1])
            after = halves.get((road.road_id, last, False), line[-1:])
            whole = without_repeats(np.concatenate([before, line, after]))
            yield StreetFront(whole, arc_lengths(whole))
