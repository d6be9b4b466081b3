"""The ego relative to its route: offset, heading, curvature, next light, vehicle ahead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import (
    ROUTE_POINTS,
    ROUTE_SPACING_M,
    Actor,
    LeadVehicle,
    LightState,
    NextLight,
)
from sim2street.bridge.geometry import xy_tuples
from sim2street.bridge.labels import Tag

Floats = npt.NDArray[np.float64]
LEAD_RANGE_M = 80.0
"""A vehicle ahead counts up to this gap."""

LIGHT_RANGE_M = 100.0
"""A traffic light counts up to this distance."""

_SEARCH_M = 40.0
_CURVATURE_LENGTH_M = 8.0
_MAX_STOP_OFFSET_M = 1.7
_MIN_OVERLAP_M = 0.3
_SAME_DIRECTION_COS = 0.5
_ONCOMING_COS = -0.3
_VEHICLES = range(Tag.CAR, Tag.BICYCLE + 1)


@dataclass(frozen=True, slots=True)
class RoutePoint:
    """A place relative to the route.

    Attributes:
        along_m: distance along the route. offset_m: to the left of it.
        heading_rad, lane_width_m: of the route there.
    """

    along_m: float
    offset_m: float
    heading_rad: float
    lane_width_m: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a traffic light stops vehicles on the route. `light_id`: in CARLA."""

    light_id: int
    along_m: float


@dataclass(frozen=True, slots=True)
class Route:
    """A polyline along lanes, in our axes (x east, y north).

    Attributes:
        x_m, y_m, heading_rad, lane_width_m: float64 (N,), N >= 2, of its points. Headings do
            not jump by full turns.
        s_m: float64 (N,), distance along the route.
        goal_m: distance along the route of the goal.
        stops: ordered by distance.
    """

    x_m: Floats
    y_m: Floats
    heading_rad: Floats
    lane_width_m: Floats
    s_m: Floats
    goal_m: float
    stops: tuple[Stop, ...] = ()

    def locate(self, x_m: float, y_m: float, near_m: float | None = None) -> RoutePoint:
        """The place (x, y) relative to the nearest point of the route.

        `near_m`: search only within 40 m, along the route, of this distance.
        """
        squared = (self.x_m - x_m) ** 2 + (self.y_m - y_m) ** 2
        if near_m is not None:
            squared = np.where(np.abs(self.s_m - near_m) < _SEARCH_M, squared, np.inf)
        i = int(squared.argmin())
        i = max(0, min(i, len(self.s_m) - 2))
        if i > 0 and self._along(i, x_m, y_m) < 0.0:
            i -= 1
        dx, dy = self.x_m[i + 1] - self.x_m[i], self.y_m[i + 1] - self.y_m[i]
        length = math.hypot(dx, dy)
        along = self._along(i, x_m, y_m)
        side = (dx * (y_m - self.y_m[i]) - dy * (x_m - self.x_m[i])) / length
        share = max(0.0, min(1.0, along / length))
        heading = self.heading_rad[i] * (1 - share) + self.heading_rad[i + 1] * share
        at = float(self.s_m[i]) + along
        return RoutePoint(at, float(side), float(heading), float(self.lane_width_m[i]))

    def curvature_at(self, along_m: float) -> float:
        """Mean curvature (1/m) over the next 8 m; positive bends left."""
        ends = np.interp((along_m, along_m + _CURVATURE_LENGTH_M), self.s_m, self.heading_rad)
        return float(ends[1] - ends[0]) / _CURVATURE_LENGTH_M

    def ahead(self, start_m: float, count: int, spacing_m: float) -> Floats:
        """Points (count, 2) `spacing_m` apart, the first one at `start_m + spacing_m`."""
        s = start_m + spacing_m * np.arange(1, count + 1)
        return np.stack([np.interp(s, self.s_m, v) for v in (self.x_m, self.y_m)], axis=1)

    def _along(self, i: int, x_m: float, y_m: float) -> float:
        """Distance from point `i` to (x, y), measured along the segment that starts at `i`."""
        dx, dy = self.x_m[i + 1] - self.x_m[i], self.y_m[i + 1] - self.y_m[i]
        dot = (x_m - self.x_m[i]) * dx + (y_m - self.y_m[i]) * dy
        return float(dot / math.hypot(dx, dy))


def make_route(table: Floats, length_m: float, stops: Sequence[tuple[int, Floats]]) -> Route:
    """The route of CARLA's waypoints.

    Args:
        table: float64 (N, 6), see `child/roads.py`. length_m: distance to the goal.
        stops: traffic light ids with the ends (M, 3) of the lanes they control: x, y (m), yaw
            (degrees) in CARLA's axes.
    """
    heading = np.unwrap(-np.radians(table[:, 3]))
    x, y = table[:, 0], -table[:, 1]
    steps = np.hypot(np.diff(x), np.diff(y))
    s = np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1e-6))])
    bare = Route(x, y, heading, table[:, 4], s, min(length_m, float(s[-1])))
    found = [
        Stop(light_id, along_m)
        for light_id, ends in stops
        for along_m in (_stop_on(bare, end) for end in ends)
        if along_m is not None
    ]
    found.sort(key=lambda stop: stop.along_m)
    return Route(x, y, heading, table[:, 4], s, bare.goal_m, tuple(found))


def _stop_on(route: Route, end: Floats) -> float | None:
    """Distance along the route of a lane's end (x, y, yaw in CARLA's axes); None if not on it."""
    x, y, heading = float(end[0]), -float(end[1]), -math.radians(float(end[2]))
    point = route.locate(x, y)
    beside_x, beside_y = route.ahead(point.along_m, 1, 0.0)[0]
    is_near = math.hypot(x - beside_x, y - beside_y) < _MAX_STOP_OFFSET_M
    same_direction = math.cos(heading - point.heading_rad) > _SAME_DIRECTION_COS
    return point.along_m if is_near and same_direction else None


def points_ahead(
    route: Route, along_m: float, ego_m: tuple[float, float], heading_rad: float
) -> tuple[tuple[float, float], ...]:
    """`EgoState.route_ahead_m` of an ego at (x, y) `ego_m`, `along_m` along its route."""
    away = route.ahead(along_m, ROUTE_POINTS, ROUTE_SPACING_M) - ego_m
    cos, sin = math.cos(heading_rad), math.sin(heading_rad)
    return xy_tuples(away @ np.array([[cos, -sin], [sin, cos]]))


def next_light(
    route: Route, front_m: float, states: dict[int, LightState | None]
) -> NextLight | None:
    """The next traffic light ahead of the front bumper, which is `front_m` along the route.

    `states`: by CARLA id; None for a state that is not known.
    """
    for stop in route.stops:
        distance = stop.along_m - front_m
        if 0.0 <= distance <= LIGHT_RANGE_M:
            state = states.get(stop.light_id)
            return NextLight(state, distance) if state is not None else None
    return None


def lead_vehicle(
    route: Route, along_m: float, front_m: float, actors: Sequence[Actor]
) -> LeadVehicle | None:
    """The nearest vehicle ahead that reaches into the route's lane and is not oncoming.

    `along_m`: of the ego. `front_m`: of its front bumper.
    """
    best: LeadVehicle | None = None
    ego_x, ego_y = (float(np.interp(along_m, route.s_m, v)) for v in (route.x_m, route.y_m))
    for actor in actors:
        x, y = float(actor.pose[0, 3]), float(actor.pose[1, 3])
        if actor.tag not in _VEHICLES or math.hypot(x - ego_x, y - ego_y) > LEAD_RANGE_M + 12.0:
            continue
        point = route.locate(x, y, near_m=along_m + LEAD_RANGE_M / 2.0)
        turn = math.atan2(float(actor.pose[1, 0]), float(actor.pose[0, 0])) - point.heading_rad
        cos, sin = math.cos(turn), abs(math.sin(turn))
        half_length, half_width, _ = actor.extent_m
        reach = half_length * sin + half_width * abs(cos)
        gap = point.along_m - half_length * abs(cos) - half_width * sin - front_m
        in_lane = abs(point.offset_m) - reach < point.lane_width_m / 2.0 - _MIN_OVERLAP_M
        if not in_lane or cos < _ONCOMING_COS or point.along_m <= along_m or gap > LEAD_RANGE_M:
            continue
        if best is None or gap < best.distance_m:
            velocity = actor.velocity_mps
            along = velocity[0] * math.cos(point.heading_rad)
            along += velocity[1] * math.sin(point.heading_rad)
            best = LeadVehicle(max(0.0, gap), along)
    return best
