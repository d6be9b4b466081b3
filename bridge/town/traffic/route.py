"""The ego's route: a sequence of lanes, the line through them, and the ego's place on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sim2street.bridge.town.plan.layout import Layout, Points
from sim2street.bridge.town.plan.polyline import Floats, arc_lengths, curvatures, headings

AHEAD_M = 220.0
"""The line always reaches this far beyond the ego."""

_BEHIND_M = 60.0
_MAX_OFFSET_M = 5.0
"""Beyond this offset the ego is searched on the whole line near by, not segment by segment."""

_SEARCH_M = 30.0
_CURVATURE_LENGTH_M = 8.0


@dataclass(frozen=True, slots=True)
class RouteState:
    """The part of a route that changes. Everything else follows from it.

    Attributes:
        lane_ids: from a little behind the ego to far ahead.
        first_m: distance along the route at the start of `lane_ids[0]`.
        at_m, goal_m: distance along the route of the ego and of the goal.
        segment: index of the line's segment beside the ego.
    """

    lane_ids: tuple[int, ...]
    first_m: float
    at_m: float
    goal_m: float
    segment: int = 0


@dataclass(frozen=True, slots=True)
class RoutePoint:
    """The ego relative to the route.

    Attributes:
        at_m: distance along the route. offset_m: of the ego to the left of it.
        heading_rad: of the route there. lane_index: index into `RouteState.lane_ids`.
    """

    at_m: float
    offset_m: float
    heading_rad: float
    lane_index: int


@dataclass(slots=True)
class Route:
    """The line through a route's lanes. Distances along it grow for the whole episode.

    Attributes:
        choose: picks one of a lane's `next_ids` when the line has to grow.
        s_m, heading_rad, curvature_1pm, limit_mps: float64 (N,), at the points of the line;
            limits are speed limits.
        points_m: float64 (N, 2).
        lane_start_m: distance along the route where each lane starts, and where the last ends.
    """

    layout: Layout
    state: RouteState
    choose: Callable[[tuple[int, ...]], int]
    s_m: Floats = field(init=False)
    heading_rad: Floats = field(init=False)
    points_m: Points = field(init=False)
    lane_start_m: list[float] = field(init=False)
    curvature_1pm: Floats = field(init=False)
    limit_mps: Floats = field(init=False)
    # The same as lists: reading single elements of these is much faster.
    _x: list[float] = field(init=False)
    _y: list[float] = field(init=False)
    _s: list[float] = field(init=False)
    _heading: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._build_line()

    def follow(self, x_m: float, y_m: float) -> RoutePoint:
        """Find the ego on the line, near its last place, and let the line grow."""
        old = self.state
        at, offset, segment = self._project(x_m, y_m, old.segment)
        if abs(offset) > _MAX_OFFSET_M:  # the search may have stopped on the wrong side of a bend
            squared = (self.points_m[:, 0] - x_m) ** 2 + (self.points_m[:, 1] - y_m) ** 2
            squared[np.abs(self.s_m - old.at_m) > _SEARCH_M] = np.inf
            at, offset, segment = self._project(x_m, y_m, int(squared.argmin()))
        share = (at - self._s[segment]) / (self._s[segment + 1] - self._s[segment])
        share = min(1.0, max(0.0, share))
        heading = self._heading[segment] * (1.0 - share) + self._heading[segment + 1] * share
        self.state = RouteState(old.lane_ids, old.first_m, at, old.goal_m, segment)
        starts = self.lane_start_m
        if starts[-1] - at < AHEAD_M or starts[-3] < at or starts[1] < at - _BEHIND_M:
            self.grow()
        return RoutePoint(at, offset, heading, self.lane_index(at))

    def lane_index(self, s_m: float) -> int:
        """Index into `state.lane_ids` of the lane at this distance along the route."""
        index = 0
        while index + 1 < len(self.lane_start_m) - 1 and self.lane_start_m[index + 1] <= s_m:
            index += 1
        return index

    def curvature_at(self, s_m: float) -> float:
        """Mean curvature (1/m) over the next 8 m; positive bends left."""
        ends = np.interp((s_m, s_m + _CURVATURE_LENGTH_M), self.s_m, self.heading_rad)
        return float(ends[1] - ends[0]) / _CURVATURE_LENGTH_M

    def ahead(self, start_m: float, count: int, spacing_m: float) -> Points:
        """World points (count, 2) on the line, the first one at `start_m + spacing_m`."""
        s = start_m + spacing_m * np.arange(1, count + 1)
        return np.stack([np.interp(s, self.s_m, self.points_m[:, k]) for k in (0, 1)], axis=1)

    def _project(self, x: float, y: float, index: int) -> tuple[float, float, int]:
        """Project (x, y) onto the line; the search walks from segment `index` to its neighbours.

        Returns:
            Distance along the route, offset to its left, and the segment.
        """
        xs, ys, last = self._x, self._y, len(self._x) - 2
        index = min(max(index, 0), last)
        last_step = 0
        while True:
            dx, dy = xs[index + 1] - xs[index], ys[index + 1] - ys[index]
            length = math.hypot(dx, dy)
            along = ((x - xs[index]) * dx + (y - ys[index]) * dy) / length
            side = (dx * (y - ys[index]) - dy * (x - xs[index])) / length
            step = 1 if along > length and index < last else -1 if along < 0 and index > 0 else 0
            if step == 0 or step == -last_step:
                return self._s[index] + along, side, index
            index, last_step = index + step, step

    def grow(self) -> None:
        """Drop lanes far behind the ego and add lanes ahead."""
        lanes, old = self.layout.lanes, self.state
        far = old.at_m + 2.0 * AHEAD_M
        ids, first = list(old.lane_ids), old.first_m
        lengths = [float(arc_lengths(lanes[i].points_m)[-1]) for i in ids]
        # Two lanes beyond the ego's own, so that its connector at the next junction is known.
        while first + sum(lengths[:-2]) < old.at_m or first + sum(lengths) < far:
            ids.append(self.choose(lanes[ids[-1]].next_ids))
            lengths.append(float(arc_lengths(lanes[ids[-1]].points_m)[-1]))
        segment = old.segment
        while len(ids) > 2 and first + lengths[0] < old.at_m - _BEHIND_M:
            first += lengths.pop(0)
            segment -= len(lanes[ids.pop(0)].points_m) - 1
        self.state = RouteState(tuple(ids), first, old.at_m, old.goal_m, segment)
        self._build_line()

    def _build_line(self) -> None:
        """Compute the line from `state` alone, so that a restored snapshot gives the same bits."""
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
        self._s, self._heading = self.s_m.tolist(), self.heading_rad.tolist()
