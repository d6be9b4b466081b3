"""What the frame tells about the state: the ego's driving state and the actors around."""

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
    point_pairs,
)
from sim2street.bridge.town.models import PEDESTRIAN_MODELS, VEHICLE_MODELS
from sim2street.bridge.town.plan.layout import FIRST_PEDESTRIAN_ID, FIRST_VEHICLE_ID, Points
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats
from sim2street.bridge.town.plan.traffic_lights import LIGHT_STATES, light_states
from sim2street.bridge.town.simulation import Simulation
from sim2street.bridge.town.traffic.collisions import Boxes
from sim2street.bridge.town.traffic.route import Route

LEAD_RANGE_M = 80.0
LIGHT_RANGE_M = 100.0
_KINDS = [(m.tag, m.extent_m) for m in (*VEHICLE_MODELS, *PEDESTRIAN_MODELS)]
_INTO_LANE_M = 0.3
_ONCOMING = -0.3
_RIM = np.array([(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b], np.float64)
_OFF_LANE_SLACK_M = 0.25
_WRONG_WAY_RAD = math.radians(90.0)


def ego_state(sim: Simulation) -> EgoState:
    """The ego's `EgoState`; distances ahead are from its front bumper."""
    ego, point, route = sim.state.ego, sim.point, sim.route
    lane = sim.town.layout.lanes[route.state.lane_ids[point.lane_index]]
    error = math.remainder(ego.heading_rad - point.heading_rad, 2.0 * math.pi)
    cos, sin = math.cos(ego.heading_rad), math.sin(ego.heading_rad)
    off_lane = abs(point.offset_m) > lane.width_m / 2 + _OFF_LANE_SLACK_M
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
        route_ahead_m=point_pairs(route_ahead(sim, ROUTE_POINTS, ROUTE_SPACING_M)),
    )


def route_ahead(sim: Simulation, count: int, spacing_m: float) -> Points:
    """Points (count, 2) of the route ahead in the body frame, `spacing_m` apart."""
    ego = sim.state.ego
    points = sim.route.ahead(sim.point.at_m, count, spacing_m)
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
    speed = np.concatenate([cars.speed_mps, people.speed_mps * (people.waits < 0)])[moving]
    velocity = np.zeros((len(moving), 3))
    velocity[:, :2] = poses[:, :2, 0] * speed[:, None]
    kind = np.concatenate([cars.model, people.model + len(VEHICLE_MODELS)])[moving]
    number = np.where(moving < n, FIRST_VEHICLE_ID, FIRST_PEDESTRIAN_ID - n) + moving
    found = []
    for i, one, pose, v in zip(
        number.tolist(), kind.tolist(), poses, velocity.tolist(), strict=True
    ):
        tag, extent_m = _KINDS[one]
        found.append(Actor(i, tag, pose, extent_m, (v[0], v[1], v[2])))
    parked, first = sim.town.parked, n + k
    still = near[(near >= first) & (near < first + len(parked))] - first
    found.extend([parked[i] for i in still.tolist()])
    return tuple(found)


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
    claim = sim.claim
    light = int(sim.town.lanes.light[claim.before])
    if light < 0 or not 0.0 <= claim.to_line_m <= LIGHT_RANGE_M:
        return None
    state = int(light_states(sim.town.lights, sim.time_s)[light])
    return NextLight(LIGHT_STATES[state], claim.to_line_m)


def _lead(sim: Simulation) -> LeadVehicle | None:
    count = len(sim.state.traffic.model)
    half_lane = sim.town.layout.lanes[0].width_m / 2 - _INTO_LANE_M
    gap, index, along = nearest_ahead(sim, count, half_lane, _ONCOMING)
    if index < 0:
        return None
    return LeadVehicle(gap, float(sim.state.traffic.speed_mps[index]) * along)


def nearest_ahead(
    sim: Simulation, count: int, half_width_m: float, facing_over: float = -1.1
) -> tuple[float, int, float]:
    """The first of the boxes `:count` that reaches into a band along the ego's route.

    Args:
        facing_over: leave out boxes whose heading's cosine with the route is not above this.

    Returns:
        Distance from the ego's front bumper (m), index of the box or -1, and the cosine
        between its heading and the route there.
    """
    boxes, route, at = sim.boxes, sim.route, sim.point.at_m
    ego = sim.state.ego
    dx, dy = boxes.x_m[:count] - ego.x_m, boxes.y_m[:count] - ego.y_m
    near = np.nonzero(dx * dx + dy * dy < (LEAD_RANGE_M + 12.0) ** 2)[0]
    if not len(near):
        return math.inf, -1, 0.0
    begin = route.state.segment
    line = slice(begin, begin + int(LEAD_RANGE_M) + 16)
    left, _, at_point = _against(route, line, boxes.x_m[near], boxes.y_m[near])
    facing = np.cos(boxes.heading_rad[near] - route.heading_rad[line][at_point])
    reach = np.hypot(boxes.half_length_m[near], boxes.half_width_m[near])
    maybe = (np.abs(left) < half_width_m + reach) & (facing > facing_over)
    near, facing = near[maybe], facing[maybe]
    if not len(near):
        return math.inf, -1, 0.0
    left, place, _ = _against(route, line, *_rims(boxes, near))
    into = (left.min(axis=1) < half_width_m) & (left.max(axis=1) > -half_width_m)
    # of a box that reaches in, what lies in the band counts
    inside = (np.abs(left) < half_width_m + 0.3) | ~into[:, None]
    inside |= ~inside.any(axis=1)[:, None]
    gap = np.where(inside, place, np.inf).min(axis=1) - (at + sim.ego_config.front_m)
    middle = place.mean(axis=1)
    ahead = into & (middle > at + sim.ego_config.middle_m) & (gap < LEAD_RANGE_M)
    if not ahead.any():
        return math.inf, -1, 0.0
    first = int(np.where(ahead, gap, np.inf).argmin())
    return max(0.0, float(gap[first])), int(near[first]), float(facing[first])


def _against(route: Route, line: slice, x: Floats, y: Floats) -> tuple[Floats, Floats, Ints]:
    """Points (any shape) against the route: left of it, along it, its nearest vertex."""
    px, py = route.points_m[line, 0], route.points_m[line, 1]
    closest = ((px - x[..., None]) ** 2 + (py - y[..., None]) ** 2).argmin(axis=-1)
    heading = route.heading_rad[line][closest]
    cos, sin = np.cos(heading), np.sin(heading)
    dx, dy = x - px[closest], y - py[closest]
    return dy * cos - dx * sin, route.s_m[line][closest] + dx * cos + dy * sin, closest


def _rims(boxes: Boxes, index: Ints) -> tuple[Floats, Floats]:
    """Points (K, 8) on the rims of boxes: their corners and the middles of their sides."""
    cos, sin = np.cos(boxes.heading_rad[index])[:, None], np.sin(boxes.heading_rad[index])[:, None]
    a = _RIM[:, 0] * boxes.half_length_m[index][:, None]
    b = _RIM[:, 1] * boxes.half_width_m[index][:, None]
    x, y = boxes.x_m[index][:, None], boxes.y_m[index][:, None]
    return x + a * cos - b * sin, y + a * sin + b * cos
