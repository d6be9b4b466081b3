"""The ego's route: lanes in a row, the line through them, and where the ego is on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sim2street.bridge.town.plan.layout import Layout, Points
from sim2street.bridge.town.plan.polyline import arc_lengths, curvatures, headings

AHEAD_M = 220.0
"""The line always reaches this far beyond the ego."""

_BEHIND_M = 60.0
_LOST_M = 5.0
_CURVE_AHEAD_M = 8.0


@dataclass(frozen=True, slots=True)
class RouteState:
    """All of a route that changes (the line follows from it).

    Attributes:
        lane_ids: from a little behind the ego to far ahead.
        first_m: route distance at the start of `lane_ids[0]`.
        at_m: route distance of the ego. goal_m: of the goal.
        segment: of the line, beside the ego.
    """

    lane_ids: tuple[int, ...]
    first_m: float
    at_m: float
    goal_m: float
    segment: int = 0


@dataclass(frozen=True, slots=True)
class RoutePoint:
    """The ego against the route: as in `EgoState`, with its lane's place in the route."""

    at_m: float
    offset_m: float
    heading_rad: float
    lane_index: int


@dataclass(slots=True)
class Route:
    """The line through a route's lanes; distances along it grow for the whole episode."""

    layout: Layout
    state: RouteState
    pick: Callable[[tuple[int, ...]], int]
    """Chooses one of a lane's ways on where the line has to grow."""

    s_m: np.ndarray = field(init=False)
    heading_rad: np.ndarray = field(init=False)
    points_m: Points = field(init=False)
    lane_start_m: list[float] = field(init=False)
    curvature_1pm: np.ndarray = field(init=False)
    limit_mps: np.ndarray = field(init=False)
    _x: list[float] = field(init=False)
    _y: list[float] = field(init=False)
    _s: list[float] = field(init=False)
    _h: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._lay()

    def follow(self, x_m: float, y_m: float) -> RoutePoint:
        """Find the ego on the line, near where it was last, and let the line grow."""
        old = self.state
        at, offset, segment = self._project(x_m, y_m, old.segment)
        if abs(offset) > _LOST_M:  # may have left the nearest branch of a bend
            squared = (self.points_m[:, 0] - x_m) ** 2 + (self.points_m[:, 1] - y_m) ** 2
            squared[np.abs(self.s_m - old.at_m) > 30.0] = np.inf
            at, offset, segment = self._project(x_m, y_m, int(squared.argmin()))
        share = (at - self._s[segment]) / (self._s[segment + 1] - self._s[segment])
        share = min(1.0, max(0.0, share))
        heading = self._h[segment] * (1.0 - share) + self._h[segment + 1] * share
        self.state = RouteState(old.lane_ids, old.first_m, at, old.goal_m, segment)
        starts = self.lane_start_m
        if starts[-1] - at < AHEAD_M or starts[-3] < at or starts[1] < at - _BEHIND_M:
            self.grow()
        return RoutePoint(at, offset, heading, self.lane_index(at))

    def lane_index(self, s_m: float) -> int:
        """Which of `state.lane_ids` covers this distance."""
        index = 0
        while index + 1 < len(self.lane_start_m) - 1 and self.lane_start_m[index + 1] <= s_m:
            index += 1
        return index

    def curvature_at(self, s_m: float) -> float:
        """Mean curvature over the next metres, from the headings there."""
        ends = np.interp((s_m, s_m + _CURVE_AHEAD_M), self.s_m, self.heading_rad)
        return float(ends[1] - ends[0]) / _CURVE_AHEAD_M

    def ahead(self, start_m: float, count: int, spacing_m: float) -> Points:
        """World points (count, 2) on the line, `spacing_m` apart, the first one step ahead."""
        s = start_m + spacing_m * np.arange(1, count + 1)
        return np.stack([np.interp(s, self.s_m, self.points_m[:, k]) for k in (0, 1)], axis=1)

    def _project(self, x: float, y: float, index: int) -> tuple[float, float, int]:
        """Walk along the line to the segment beside (x, y): distance, left offset, index."""
        xs, ys, last = self._x, self._y, len(self._x) - 2
        index = min(max(index, 0), last)
        came = 0
        while True:
            dx, dy = xs[index + 1] - xs[index], ys[index + 1] - ys[index]
            length = math.hypot(dx, dy)
            along = ((x - xs[index]) * dx + (y - ys[index]) * dy) / length
            side = (dx * (y - ys[index]) - dy * (x - xs[index])) / length
            step = 1 if along > length and index < last else -1 if along < 0 and index > 0 else 0
            if step == 0 or step == -came:
                return self._s[index] + along, side, index
            index, came = index + step, step

    def grow(self) -> None:
        """Drop lanes far behind and add lanes ahead."""
        lanes, old = self.layout.lanes, self.state
        far = old.at_m + 2.0 * AHEAD_M
        ids, first = list(old.lane_ids), old.first_m
        lengths = [float(arc_lengths(lanes[i].points_m)[-1]) for i in ids]
        # two lanes more than needed: the way through the next junction is always known
        while first + sum(lengths[:-2]) < old.at_m or first + sum(lengths) < far:
            ids.append(self.pick(lanes[ids[-1]].next_ids))
            lengths.append(float(arc_lengths(lanes[ids[-1]].points_m)[-1]))
        segment = old.segment
        while len(ids) > 2 and first + lengths[0] < old.at_m - _BEHIND_M:
            first += lengths.pop(0)
            segment -= len(lanes[ids.pop(0)].points_m) - 1
        self.state = RouteState(tuple(ids), first, old.at_m, old.goal_m, segment)
        self._lay()

    def _lay(self) -> None:
        """The line through the lanes: follows from the state alone, to the last bit."""
        lanes, ids, first = self.layout.lanes, self.state.lane_ids, self.state.first_m
        pieces = [lanes[i].points_m[:-1] for i in ids]
        self.points_m = np.concatenate([*pieces, lanes[ids[-1]].points_m[-1:]])
        self.s_m = first + arc_lengths(self.points_m)
        self.heading_rad = headings(self.points_m)
        self.curvature_1pm = curvatures(self.points_m)
        counts = [len(piece) for piece in pieces]
        limits = [lanes[i].speed_limit_mps for i in ids]
        self.limit_mps = np.append(np.repeat(limits, counts), limits[-1])
        starts = np.concatenate([[0], np.cumsum(counts)])
        self.lane_start_m = self.s_m[starts].tolist()
        self._x, self._y = (self.points_m[:, k].tolist() for k in (0, 1))
        self._s, self._h = self.s_m.tolist(), self.heading_rad.tolist()
