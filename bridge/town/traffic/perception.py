"""What a frame reports of the simulation: the ego's state and the actors around it."""

from __future__ import annotations

import math

import numpy as np

from sim2street.bridge.frame import (
    ROUTE_POINTS,
    ROUTE_SPACING_M,
    Actor,
    EgoState,
    FloatArray,
    LeadVehicle,
    NextLight,
)
from sim2street.bridge.geometry import xy_tuples
from sim2street.bridge.town.actor_models import PEDESTRIAN_MODELS, VEHICLE_MODELS
from sim2street.bridge.town.plan.layout import FIRST_PEDESTRIAN_ID, FIRST_VEHICLE_ID, Points
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats
from sim2street.bridge.town.plan.traffic_lights import LIGHT_STATES, light_states
from sim2street.bridge.town.simulation import Simulation
from sim2street.bridge.town.traffic.collisions import Boxes
from sim2street.bridge.town.traffic.route import Route

LEAD_RANGE_M = 80.0
"""Vehicles ahead are looked for up to this gap."""

LIGHT_RANGE_M = 100.0
"""Traffic lights farther away are not reported."""

_TAGS_AND_EXTENTS = [(m.tag, m.extent_m) for m in (*VEHICLE_MODELS, *PEDESTRIAN_MODELS)]
_MIN_OVERLAP_M = 0.3
"""A lead vehicle reaches this far into the ego's lane."""

_ONCOMING_COS = -0.3
"""Vehicles whose heading has a smaller cosine with the route are oncoming, not leads."""

_RIM = np.array([(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b], np.float64)
"""Corners of a box and middles of its sides, in units of its half sizes."""

_RIM_TOLERANCE_M = 0.3
_MAX_BOX_REACH_M = 12.0
_SPARE_POINTS = 16
_OFF_LANE_TOLERANCE_M = 0.25
_WRONG_WAY_RAD = math.radians(90.0)


def ego_state(sim: Simulation) -> EgoState:
    """The ego's `EgoState`. Distances ahead are from its front bumper."""
    ego, point, route = sim.state.ego, sim.route_point, sim.route
    lane = sim.town.layout.lanes[route.state.lane_ids[point.lane_index]]
    error = math.remainder(ego.heading_rad - point.heading_rad, 2.0 * math.pi)
    cos, sin = math.cos(ego.heading_rad), math.sin(ego.heading_rad)
    off_lane = abs(point.offset_m) > lane.width_m / 2 + _OFF_LANE_TOLERANCE_M
    return EgoState(
        pose=flat_poses(*(np.array([v]) for v in (ego.x_m, ego.y_m, ego.heading_rad)))[0],
        velocity_mps=(ego.speed_mps * cos, ego.speed_mps * sin, 0.0),
        yaw_rate_rps=ego.yaw_rate_rps,
        speed_mps=ego.speed_mps,
        lane_offset_m=point.offset_m,
        heading_error_rad=error,
        curvature_1pm=route.curvature_at(point.at_m),
        speed_limit_mps=lane.speed_limit_mps,
        next_light=_next_light(sim),
        lead=_lead(sim),
        route_distance_m=max(0.0, route.state.goal_m - point.at_m),
        collision=sim.state.collision,
        off_lane=off_lane or abs(error) > _WRONG_WAY_RAD,
        route_ahead_m=xy_tuples(route_ahead(sim, ROUTE_POINTS, ROUTE_SPACING_M)),
    )


def route_ahead(sim: Simulation, count: int, spacing_m: float) -> Points:
    """Points (count, 2) of the route ahead in the body frame, `spacing_m` apart."""
    ego = sim.state.ego
    points = sim.route.ahead(sim.route_point.at_m, count, spacing_m)
    cos, sin = math.cos(ego.heading_rad), math.sin(ego.heading_rad)
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.asarray((points - (ego.x_m, ego.y_m)) @ turn)


def actors_near(sim: Simulation, range_m: float) -> tuple[Actor, ...]:
    """Vehicles, pedestrians and parked cars within `range_m` of the ego, by id."""
    boxes, cars, people = sim.boxes, sim.state.traffic, sim.state.walkers
    ego, n, k = sim.state.ego, len(cars.model), len(people.model)
    squared = (boxes.x_m - ego.x_m) ** 2 + (boxes.y_m - ego.y_m) ** 2
    near = np.nonzero(squared < range_m * range_m)[0]
    moving = near[near < n + k]
    poses = flat_poses(boxes.x_m[moving], boxes.y_m[moving], boxes.heading_rad[moving])
    speed = np.concatenate([cars.speed_mps, people.speed_mps * (people.waiting_since < 0)])[moving]
    velocity = np.zeros((len(moving), 3))
    velocity[:, :2] = poses[:, :2, 0] * speed[:, None]
    model = np.concatenate([cars.model, people.model + len(VEHICLE_MODELS)])[moving]
    actor_id = np.where(moving < n, FIRST_VEHICLE_ID, FIRST_PEDESTRIAN_ID - n) + moving
    actors = []
    for i, index, pose, v in zip(
        actor_id.tolist(), model.tolist(), poses, velocity.tolist(), strict=True
    ):
        tag, extent_m = _TAGS_AND_EXTENTS[index]
        actors.append(Actor(i, tag, pose, extent_m, (v[0], v[1], v[2])))
    parked, first = sim.town.parked, n + k
    static = near[(near >= first) & (near < first + len(parked))] - first
    actors.extend([parked[i] for i in static.tolist()])
    return tuple(actors)


def flat_poses(x_m: Floats, y_m: Floats, heading_rad: Floats) -> FloatArray:
    """float32 (M, 4, 4): poses on the ground, body to world."""
    poses = np.zeros((len(x_m), 4, 4), np.float32)
    cos, sin = np.cos(heading_rad), np.sin(heading_rad)
    poses[:, 0, 0] = poses[:, 1, 1] = cos
    poses[:, 0, 1], poses[:, 1, 0] = -sin, sin
    poses[:, 0, 3], poses[:, 1, 3] = x_m, y_m
    poses[:, 2, 2] = poses[:, 3, 3] = 1.0
    return poses


def _next_light(sim: Simulation) -> NextLight | None:
    """The light at the end of the ego's road, until its front has passed the stop line."""
    ego = sim.ego_at_junction
    light = int(sim.town.lanes.light_id[ego.approach_lane])
    if light < 0 or not 0.0 <= ego.to_stop_line_m <= LIGHT_RANGE_M:
        return None
    state = int(light_states(sim.town.lights, sim.time_s)[light])
    return NextLight(LIGHT_STATES[state], ego.to_stop_line_m)


def _lead(sim: Simulation) -> LeadVehicle | None:
    count = len(sim.state.traffic.model)
    half_width_m = sim.town.layout.lanes[0].width_m / 2 - _MIN_OVERLAP_M
    gap, index, facing = nearest_ahead(sim, count, half_width_m, _ONCOMING_COS)
    if index < 0:
        return None
    return LeadVehicle(gap, float(sim.state.traffic.speed_mps[index]) * facing)


def nearest_ahead(
    sim: Simulation, count: int, half_width_m: float, min_facing: float = -1.1
) -> tuple[float, int, float]:
    """The nearest box ahead that reaches into a band along the ego's route.

    Args:
        count: only the first `count` of `sim.boxes` are looked at.
        half_width_m: of the band.
        min_facing: smallest cosine between a box's heading and the route; default: any.

    Returns:
        Distance from the ego's front bumper (m, inf if there is none), index of the box (-1 if
        there is none), and the cosine between its heading and the route there.
    """
    boxes, route, at = sim.boxes, sim.route, sim.route_point.at_m
    ego = sim.state.ego
    dx, dy = boxes.x_m[:count] - ego.x_m, boxes.y_m[:count] - ego.y_m
    near = np.nonzero(dx * dx + dy * dy < (LEAD_RANGE_M + _MAX_BOX_REACH_M) ** 2)[0]
    if not len(near):
        return math.inf, -1, 0.0
    begin = route.state.segment
    line = slice(begin, begin + int(LEAD_RANGE_M) + _SPARE_POINTS)
    left, _, nearest = _project(route, line, boxes.x_m[near], boxes.y_m[near])
    facing = np.cos(boxes.heading_rad[near] - route.heading_rad[line][nearest])
    reach = np.hypot(boxes.half_length_m[near], boxes.half_width_m[near])
    maybe = (np.abs(left) < half_width_m + reach) & (facing > min_facing)
    near, facing = near[maybe], facing[maybe]
    if not len(near):
        return math.inf, -1, 0.0
    left, along, _ = _project(route, line, *_rims(boxes, near))
    reaches_in = (left.min(axis=1) < half_width_m) & (left.max(axis=1) > -half_width_m)
    # The gap is measured to the part of the box that lies in the band.
    inside = (np.abs(left) < half_width_m + _RIM_TOLERANCE_M) | ~reaches_in[:, None]
    inside |= ~inside.any(axis=1)[:, None]
    gap = np.where(inside, along, np.inf).min(axis=1) - (at + sim.ego_config.front_m)
    middle = along.mean(axis=1)
    ahead = reaches_in & (middle > at + sim.ego_config.middle_m) & (gap < LEAD_RANGE_M)
    if not ahead.any():
        return math.inf, -1, 0.0
    first = int(np.where(ahead, gap, np.inf).argmin())
    return max(0.0, float(gap[first])), int(near[first]), float(facing[first])


def _project(route: Route, line: slice, x: Floats, y: Floats) -> tuple[Floats, Floats, Ints]:
    """Project points (any shape) onto the points `line` of the route.

    Returns:
        Offset to the left of the route, distance along it, and index of its nearest point.
    """
    px, py = route.points_m[line, 0], route.points_m[line, 1]
    closest = ((px - x[..., None]) ** 2 + (py - y[..., None]) ** 2).argmin(axis=-1)
    heading = route.heading_rad[line][closest]
    cos, sin = np.cos(heading), np.sin(heading)
    dx, dy = x - px[closest], y - py[closest]
    return dy * cos - dx * sin, route.s_m[line][closest] + dx * cos + dy * sin, closest


def _rims(boxes: Boxes, index: Ints) -> tuple[Floats, Floats]:
    """x and y (K, 8) of the corners and the middles of the sides of boxes."""
    cos, sin = np.cos(boxes.heading_rad[index])[:, None], np.sin(boxes.heading_rad[index])[:, None]
    a = _RIM[:, 0] * boxes.half_length_m[index][:, None]
    b = _RIM[:, 1] * boxes.half_width_m[index][:, None]
    x, y = boxes.x_m[index][:, None], boxes.y_m[index][:, None]
    return x + a * cos - b * sin, y + a * sin + b * cos
