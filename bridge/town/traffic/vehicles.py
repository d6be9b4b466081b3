"""The town's traffic: vehicles that follow lanes, keep their distance and wait at stop lines.

Each accelerates like the driver model in `sim2street.bridge.driver`. `right_of_way` decides who
may enter a junction; here a vehicle without a grant stops at the line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim2street.bridge.driver import (
    DriverParameters,
    idm_acceleration_mps2,
    stop_line_acceleration_mps2,
)
from sim2street.bridge.town.actor_models import VEHICLE_MODELS
from sim2street.bridge.town.plan.lane_map import LaneMap
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats

PLANNED_LANES = 4
"""Length of a vehicle's plan: its present lane and the next three."""

TRAFFIC_DRIVER = DriverParameters(standstill_gap_m=2.0, stop_line_gap_m=0.6)
"""How the vehicles of the traffic are driven."""

_MIN_GAP_M = 0.5
_MIN_STOP_LINE_GAP_M = 0.05
_FAR_M = 1000.0
"""Distance to leaders and stop lines that do not exist."""

HALF_LENGTH_M = np.array([model.extent_m[0] for model in VEHICLE_MODELS])
HALF_WIDTH_M = np.array([model.extent_m[1] for model in VEHICLE_MODELS])


@dataclass(slots=True)
class TrafficState:
    """N vehicles. `move` and `right_of_way` write to the arrays in place.

    Attributes:
        model: int64 (N,), index into VEHICLE_MODELS.
        size_class: int64 (N,), index into `lane_map.SIZE_CLASSES_M`.
        lane_plan: int64 (N, 4), lane ids: the present lane and the next three.
        s_m: float64 (N,), of the centre of the box along the present lane.
        lane_offset_m: float64 (N,), to the left of the lane's centre line.
        speed_factor: float64 (N,), desired speed over the lane's comfortable speed.
        granted_lane: int64 (N,), lane through a junction that it may enter or is on, or -1.
        asked_tick: int64 (N,), since when it has waited for a grant, or -1.
        granted_tick: int64 (N,), of its last grant.
        rng: chooses the turns.
    """

    model: Ints
    size_class: Ints
    lane_plan: Ints
    s_m: Floats
    speed_mps: Floats
    lane_offset_m: Floats
    speed_factor: Floats
    granted_lane: Ints
    asked_tick: Ints
    granted_tick: Ints
    rng: np.random.Generator


@dataclass(frozen=True, slots=True)
class LaneObstacle:
    """A stretch of a lane that the ego occupies.

    Attributes:
        tail_m, head_m: where it begins and ends along the lane. speed_mps: along the lane.
    """

    lane: int
    tail_m: float
    head_m: float
    speed_mps: float


def poses(state: TrafficState, lanes: LaneMap) -> tuple[Floats, Floats, Floats]:
    """x, y and heading, each (N,), of the centres of the boxes."""
    x, y, heading = lanes.paths.poses(state.lane_plan[:, 0], state.s_m)
    offset = state.lane_offset_m
    return x - np.sin(heading) * offset, y + np.cos(heading) * offset, heading


def move(
    state: TrafficState,
    lanes: LaneMap,
    obstacles: tuple[LaneObstacle, ...],
    yield_distance_m: Floats,
    tick_s: float,
) -> None:
    """Advance every vehicle by one tick.

    Args:
        yield_distance_m: float64 (N,), from the front bumper to where it must wait for others
            in a junction (`junction_reservations.yield_distances_m`), or inf.
    """
    if not len(state.model):
        return
    half = HALF_LENGTH_M[state.model]
    first, second = state.lane_plan[:, 0], state.lane_plan[:, 1]
    length = lanes.paths.length_m[first]
    to_end = length - state.s_m
    gap, leader_speed = gaps(state, lanes, obstacles, half)

    point, _ = lanes.paths.locate(first, state.s_m)
    target = lanes.comfortable_mps[point] * state.speed_factor
    way = np.maximum(to_end - half, 0.0)
    braking = lanes.entry_mps[second] ** 2 + 2.0 * TRAFFIC_DRIVER.comfort_brake_mps2 * way
    target = np.minimum(target, np.sqrt(braking))
    must_stop = (lanes.connector[second] >= 0) & (state.granted_lane != second)
    to_line = np.minimum(np.where(must_stop, to_end - half, _FAR_M), yield_distance_m)

    speed = state.speed_mps
    accel = np.minimum(
        idm_acceleration_mps2(speed, target, gap, leader_speed, TRAFFIC_DRIVER),
        stop_line_acceleration_mps2(speed, target, to_line, TRAFFIC_DRIVER),
    )
    after = speed + np.maximum(accel, -TRAFFIC_DRIVER.hardest_brake_mps2) * tick_s
    # The IDM alone does not guarantee these gaps.
    room = np.minimum(gap - _MIN_GAP_M, to_line - _MIN_STOP_LINE_GAP_M)
    after = np.minimum(np.maximum(after, 0.0), np.maximum(room, 0.0) / tick_s)
    state.speed_mps = after
    state.s_m = state.s_m + after * tick_s
    for i in np.nonzero(state.s_m >= length)[0]:
        _enter_next_lane(state, lanes, int(i), float(length[i]))


def gaps(
    state: TrafficState, lanes: LaneMap, obstacles: tuple[LaneObstacle, ...], half: Floats
) -> tuple[Floats, Floats]:
    """Bumper to bumper distance (N,) to the nearest vehicle or obstacle ahead; its speed (N,).

    `half`: half lengths (N,) of the vehicles.
    """
    count = len(state.model)
    lane, s = state.lane_plan[:, 0], state.s_m
    order = np.lexsort((s, lane))
    in_order = lane[order]
    same = np.append(in_order[1:] == in_order[:-1], False)
    leader = np.full(count, -1)
    leader[order[:-1][same[:-1]]] = order[1:][same[:-1]]
    ahead = np.where(leader >= 0, s[leader] - half[leader], _FAR_M) - s

    first_on_lane = np.full(len(lanes.connector), -1)
    first_on_lane[in_order[::-1]] = order[::-1]
    start = np.zeros(count)
    starts = [start]  # of the planned lanes, from the start of the present one
    for k in range(1, PLANNED_LANES):
        start = start + lanes.paths.length_m[state.lane_plan[:, k - 1]]
        starts.append(start)
        found = first_on_lane[state.lane_plan[:, k]]
        is_new = (leader < 0) & (found >= 0)
        leader = np.where(is_new, found, leader)
        ahead = np.where(is_new, start - s + s[found] - half[found], ahead)
    speed = np.where(leader >= 0, state.speed_mps[leader], 0.0)
    gap = ahead - half
    gap, speed = _behind_diverging(state, lanes, half, starts, gap, speed)
    return _behind_obstacles(state, obstacles, half, starts, gap, speed)


def _behind_diverging(
    state: TrafficState,
    lanes: LaneMap,
    half: Floats,
    starts: list[Floats],
    gap: Floats,
    speed: Floats,
) -> tuple[Floats, Floats]:
    """Keep behind vehicles that turn off into another connector of the same start lane.

    They count as leaders until their tails have left the stretch that both connectors share.
    Writes to `gap` and `speed` and returns them.
    """
    inside = lanes.connector[state.lane_plan[:, 0]]
    turning = np.nonzero(inside >= 0)[0]
    if not len(turning):
        return gap, speed
    start_lane = lanes.start_lane[inside[turning]]
    turning_from = np.bincount(start_lane, minlength=len(lanes.connector))
    beside = turning[turning_from[start_lane] > 1]
    approaching = np.nonzero((turning_from[state.lane_plan[:, 0]] > 0) & (inside < 0))[0]
    tail = state.s_m[turning] - half[turning]
    for k, who in ((0, beside), (1, approaching)):
        if not len(who):
            continue
        own = lanes.connector[state.lane_plan[who, k]]
        shared_m = lanes.shared_until_m[own[:, None], inside[turning]]
        start = (starts[k][who] - state.s_m[who])[:, None]
        leads = (tail < shared_m) & (shared_m > 0.0) & (start + state.s_m[turning] > 0.0)
        distance = np.where(leads, start - half[who][:, None] + tail, _FAR_M)
        for row in np.nonzero(leads.any(axis=1))[0]:
            nearest = int(distance[row].argmin())
            if distance[row, nearest] < gap[who[row]]:
                gap[who[row]] = distance[row, nearest]
                speed[who[row]] = state.speed_mps[turning[nearest]]
    return gap, speed


def _behind_obstacles(
    state: TrafficState,
    obstacles: tuple[LaneObstacle, ...],
    half: Floats,
    starts: list[Floats],
    gap: Floats,
    speed: Floats,
) -> tuple[Floats, Floats]:
    for obstacle in obstacles:
        for k in range(PLANNED_LANES - 1):
            distance = starts[k] + obstacle.tail_m - state.s_m - half
            # A vehicle whose centre has passed the obstacle's tail is not stopped by it.
            on_lane = state.lane_plan[:, k] == obstacle.lane
            nearer = on_lane & (distance > -half) & (distance < gap)
            gap = np.where(nearer, distance, gap)
            speed = np.where(nearer, max(obstacle.speed_mps, 0.0), speed)
    return gap, speed


def _enter_next_lane(state: TrafficState, lanes: LaneMap, i: int, length_m: float) -> None:
    state.s_m[i] -= length_m
    plan = state.lane_plan[i]
    plan[:-1] = plan[1:]
    plan[-1] = choose_next_lane(lanes, state.rng, int(state.size_class[i]), int(plan[-2]))


def choose_next_lane(lanes: LaneMap, rng: np.random.Generator, size_class: int, lane: int) -> int:
    """A random lane after `lane` among those that a vehicle of this size class can drive."""
    count = int(lanes.next_lane_count[size_class, lane])
    return int(lanes.next_lanes[size_class, lane, rng.integers(count)])
