"""The ego against its route: offset, heading, curvature, lights and who drives ahead."""

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
    point_pairs,
)
from sim2street.bridge.labels import Tag

Floats = npt.NDArray[np.float64]
LEAD_RANGE_M = 80.0
LIGHT_RANGE_M = 100.0
_WINDOW_M = 40.0
_CURVE_AHEAD_M = 8.0
_STOP_ASIDE_M = 1.7
_INTO_LANE_M = 0.3
_ALONG = 0.5
_ONCOMING = -0.3
_VEHICLES = range(Tag.CAR, Tag.BICYCLE + 1)


@dataclass(frozen=True, slots=True)
class RoutePoint:
    """A place against the route: distance along it, offset to its left, its heading there."""

    at_m: float
    offset_m: float
    heading_rad: float
    lane_width_m: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a traffic light stops who drives along the route."""

    light_id: int
    at_m: float


@dataclass(frozen=True, slots=True)
class Route:
    """A line through lanes, in our axes.

    Attributes:
        x_m, y_m, heading_rad, lane_width_m, s_m: float64 (N,), N >= 2; headings continuous.
        goal_m: where along it the goal is. stops: by distance.
    """

    x_m: Floats
    y_m: Floats
    heading_rad: Floats
    lane_width_m: Floats
    s_m: Floats
    goal_m: float
    stops: tuple[Stop, ...] = ()

    def locate(self, x_m: float, y_m: float, near_m: float | None = None) -> RoutePoint:
        """The point of the line beside (x, y); `near_m`: not far along it from there."""
        squared = (self.x_m - x_m) ** 2 + (self.y_m - y_m) ** 2
        if near_m is not None:
            squared = np.where(np.abs(self.s_m - near_m) < _WINDOW_M, squared, np.inf)
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

    def curvature_at(self, at_m: float) -> float:
        """Mean over the next metres, > 0 bends left."""
        ends = np.interp((at_m, at_m + _CURVE_AHEAD_M), self.s_m, self.heading_rad)
        return float(ends[1] - ends[0]) / _CURVE_AHEAD_M

    def ahead(self, start_m: float, count: int, spacing_m: float) -> Floats:
        """Points (count, 2) `spacing_m` apart, the first one step after `start_m`."""
        s = start_m + spacing_m * np.arange(1, count + 1)
        return np.stack([np.interp(s, self.s_m, v) for v in (self.x_m, self.y_m)], axis=1)

    def _along(self, i: int, x_m: float, y_m: float) -> float:
        dx, dy = self.x_m[i + 1] - self.x_m[i], self.y_m[i + 1] - self.y_m[i]
        way = (x_m - self.x_m[i]) * dx + (y_m - self.y_m[i]) * dy
        return float(way / math.hypot(dx, dy))


def make_route(table: Floats, length_m: float, stops: Sequence[tuple[int, Floats]]) -> Route:
    """From the child's table (N, 6) of CARLA waypoints and the lights' stops (M, 3)."""
    heading = np.unwrap(-np.radians(table[:, 3]))
    x, y = table[:, 0], -table[:, 1]
    steps = np.hypot(np.diff(x), np.diff(y))
    s = np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1e-6))])
    bare = Route(x, y, heading, table[:, 4], s, min(length_m, float(s[-1])))
    found = [
        Stop(light_id, at_m)
        for light_id, ends in stops
        for at_m in (_stop_on(bare, end) for end in ends)
        if at_m is not None
    ]
    found.sort(key=lambda stop: stop.at_m)
    return Route(x, y, heading, table[:, 4], s, bare.goal_m, tuple(found))


def _stop_on(route: Route, end: Floats) -> float | None:
    """Distance along the route of a lane's end (x, y, yaw in CARLA's axes), if it is on it."""
    x, y, heading = float(end[0]), -float(end[1]), -math.radians(float(end[2]))
    point = route.locate(x, y)
    near = math.hypot(*(np.array([x, y]) - route.ahead(point.at_m, 1, 0.0)[0])) < _STOP_ASIDE_M
    return point.at_m if near and math.cos(heading - point.heading_rad) > _ALONG else None


def places_ahead(
    route: Route, at_m: float, ego_m: tuple[float, float], heading_rad: float
) -> tuple[tuple[float, float], ...]:
    """`EgoState.route_ahead_m` of an ego at `ego_m`, beside `at_m` of its route."""
    away = route.ahead(at_m, ROUTE_POINTS, ROUTE_SPACING_M) - ego_m
    cos, sin = math.cos(heading_rad), math.sin(heading_rad)
    return point_pairs(away @ np.array([[cos, -sin], [sin, cos]]))


def next_light(
    route: Route, front_m: float, states: dict[int, LightState | None]
) -> NextLight | None:
    """The light that the front bumper (at this distance) comes to next."""
    for stop in route.stops:
        distance = stop.at_m - front_m
        if 0.0 <= distance <= LIGHT_RANGE_M:
            state = states.get(stop.light_id)
            return NextLight(state, distance) if state is not None else None
    return None


def lead_vehicle(
    route: Route, at_m: float, front_m: float, actors: Sequence[Actor]
) -> LeadVehicle | None:
    """The nearest vehicle that reaches into the lane ahead and does not come towards us."""
    best: LeadVehicle | None = None
    ego_x, ego_y = (float(np.interp(at_m, route.s_m, v)) for v in (route.x_m, route.y_m))
    for actor in actors:
        x, y = float(actor.pose[0, 3]), float(actor.pose[1, 3])
        if actor.tag not in _VEHICLES or math.hypot(x - ego_x, y - ego_y) > LEAD_RANGE_M + 12.0:
            continue
        point = route.locate(x, y, near_m=at_m + LEAD_RANGE_M / 2.0)
        turn = math.atan2(float(actor.pose[1, 0]), float(actor.pose[0, 0])) - point.heading_rad
        cos, sin = math.cos(turn), abs(math.sin(turn))
        half_length, half_width, _ = actor.extent_m
        reach = half_length * sin + half_width * abs(cos)
        gap = point.at_m - half_length * abs(cos) - half_width * sin - front_m
        in_lane = abs(point.offset_m) - reach < point.lane_width_m / 2.0 - _INTO_LANE_M
        if not in_lane or cos < _ONCOMING or point.at_m <= at_m or gap > LEAD_RANGE_M:
            continue
        if best is None or gap < best.distance_m:
            velocity = actor.velocity_mps
            along = velocity[0] * math.cos(point.heading_rad)
            along += velocity[1] * math.sin(point.heading_rad)
            best = LeadVehicle(max(0.0, gap), along)
    return best
