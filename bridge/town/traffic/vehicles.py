"""Traffic: vehicles that follow lanes, keep their distance and wait where they must.

Longitudinal motion is the Intelligent Driver Model (Treiber et al. 2000). Who may enter a
junction is decided in `right_of_way`; here a vehicle without a grant stops at the line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim2street.bridge.town.models import VEHICLE_MODELS
from sim2street.bridge.town.plan.lane_map import LaneMap
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats

PLAN = 4
"""Lanes a vehicle knows in advance: the present one and the next three."""

_ACCEL_MPS2 = 1.9
_COMFORT_MPS2 = 2.0
_HARDEST_MPS2 = 8.0
_HEADWAY_S = 1.3
_GAP_M = 2.0
_LINE_GAP_M = 0.6
_FAR_M = 1000.0

HALF_LENGTH_M = np.array([model.extent_m[0] for model in VEHICLE_MODELS])
HALF_WIDTH_M = np.array([model.extent_m[1] for model in VEHICLE_MODELS])


@dataclass(slots=True)
class TrafficState:
    """N vehicles; arrays are written to in place, tick by tick.

    Attributes:
        model: int64 (N,), index into VEHICLE_MODELS. size: int64 (N,), size class.
        plan: int64 (N, 4), lanes: the present one and the next ones.
        s_m: float64 (N,), of the middle of the box along the present lane.
        left_m: float64 (N,), shift to the left of the lane's centre line.
        keenness: float64 (N,), factor on the speed limit.
        grant: int64 (N,), lane through a junction that it may enter or is on, or -1.
        asked: int64 (N,), tick since when it has waited for its grant, or -1.
        granted: int64 (N,), tick of the grant.
        rng: chooses the turns.
    """

    model: Ints
    size: Ints
    plan: Ints
    s_m: Floats
    speed_mps: Floats
    left_m: Floats
    keenness: Floats
    grant: Ints
    asked: Ints
    granted: Ints
    rng: np.random.Generator


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something on a lane that is no part of the traffic: the ego.

    Attributes:
        tail_m, head_m: where it begins and ends along the lane. speed_mps: along the lane.
    """

    lane: int
    tail_m: float
    head_m: float
    speed_mps: float


def poses(state: TrafficState, lanes: LaneMap) -> tuple[Floats, Floats, Floats]:
    """x, y and heading (N,) of the middles of the boxes."""
    x, y, heading = lanes.paths.poses(state.plan[:, 0], state.s_m)
    return x - np.sin(heading) * state.left_m, y + np.cos(heading) * state.left_m, heading


def move(
    state: TrafficState,
    lanes: LaneMap,
    obstacles: tuple[Obstacle, ...],
    yield_m: Floats,
    tick_s: float,
) -> None:
    """Advance every vehicle by one tick.

    Args:
        yield_m: float64 (N,), from the front bumper to where it must wait, or inf.
    """
    if not len(state.model):
        return
    half = HALF_LENGTH_M[state.model]
    first, second = state.plan[:, 0], state.plan[:, 1]
    length = lanes.paths.length_m[first]
    to_end = length - state.s_m
    gap, leader_speed = gaps(state, lanes, obstacles, half)

    at, _ = lanes.paths.locate(first, state.s_m)
    wanted = lanes.limit_mps[at] * state.keenness
    braking = lanes.entry_mps[second] ** 2 + 2.0 * _COMFORT_MPS2 * np.maximum(to_end - half, 0.0)
    wanted = np.minimum(wanted, np.sqrt(braking))
    must_stop = (lanes.connector[second] >= 0) & (state.grant != second)
    to_line = np.minimum(np.where(must_stop, to_end - half, _FAR_M), yield_m)

    speed = state.speed_mps
    accel = np.minimum(
        idm(speed, wanted, gap, leader_speed, _GAP_M),
        to_stop(speed, wanted, to_line, _LINE_GAP_M),
    )
    after = speed + np.maximum(accel, -_HARDEST_MPS2) * tick_s
    room = np.minimum(gap - 0.5, to_line - 0.05)  # never closer, whatever the model says
    after = np.minimum(np.maximum(after, 0.0), np.maximum(room, 0.0) / tick_s)
    state.speed_mps = after
    state.s_m = state.s_m + after * tick_s
    for i in np.nonzero(state.s_m >= length)[0]:
        _enter_next(state, lanes, int(i), float(length[i]))


def idm(
    speed: Floats,
    wanted: Floats,
    gap: Floats,
    leader_speed: Floats,
    standstill_m: Floats | float,
) -> Floats:
    """Acceleration (N,) of the Intelligent Driver Model, eq. 3 of Treiber et al. (2000)."""
    closing = speed * (speed - leader_speed) / (2.0 * (_ACCEL_MPS2 * _COMFORT_MPS2) ** 0.5)
    desired = standstill_m + np.maximum(speed * _HEADWAY_S + closing, 0.0)
    free = (speed / np.maximum(wanted, 0.1)) ** 4
    return _ACCEL_MPS2 * (1.0 - free - (desired / np.maximum(gap, 0.1)) ** 2)


def to_stop(speed: Floats, wanted: Floats, line_m: Floats, before_m: float) -> Floats:
    """Acceleration (N,) towards a stop `before_m` ahead of a line: like behind something that
    stands there, but no harder than it takes (a light may turn late).
    """
    needed = speed * speed / (2.0 * np.maximum(line_m - before_m, 0.2))
    return np.maximum(
        idm(speed, wanted, line_m, np.zeros_like(speed), before_m), -1.1 * needed - 0.5
    )


def gaps(
    state: TrafficState, lanes: LaneMap, obstacles: tuple[Obstacle, ...], half: Floats
) -> tuple[Floats, Floats]:
    """Bumper to bumper distance (N,) to whatever is ahead, and its speed (N,)."""
    count = len(state.model)
    lane, s = state.plan[:, 0], state.s_m
    order = np.lexsort((s, lane))
    in_order = lane[order]
    same = np.append(in_order[1:] == in_order[:-1], False)
    leader = np.full(count, -1)
    leader[order[:-1][same[:-1]]] = order[1:][same[:-1]]
    ahead = np.where(leader >= 0, s[leader] - half[leader], _FAR_M) - s

    first_in = np.full(len(lanes.connector), -1)
    first_in[in_order[::-1]] = order[::-1]
    start = np.zeros(count)
    begins = [start]
    for k in range(1, PLAN):
        start = start + lanes.paths.length_m[state.plan[:, k - 1]]
        begins.append(start)
        found = first_in[state.plan[:, k]]
        fresh = (leader < 0) & (found >= 0)
        leader = np.where(fresh, found, leader)
        ahead = np.where(fresh, start - s + s[found] - half[found], ahead)
    speed = np.where(leader >= 0, state.speed_mps[leader], 0.0)
    gap = ahead - half
    gap, speed = _siblings(state, lanes, half, begins, gap, speed)
    return _obstacles(state, obstacles, half, begins, gap, speed)


def _siblings(
    state: TrafficState,
    lanes: LaneMap,
    half: Floats,
    begins: list[Floats],
    gap: Floats,
    speed: Floats,
) -> tuple[Floats, Floats]:
    """Those who turn off elsewhere are still ahead until their tails have left the way.

    Writes to `gap` and `speed` and returns them.
    """
    inside = lanes.connector[state.plan[:, 0]]
    turning = np.nonzero(inside >= 0)[0]
    if not len(turning):
        return gap, speed
    came_from = lanes.start_lane[inside[turning]]
    several = np.bincount(came_from, minlength=len(lanes.connector))
    beside = turning[several[came_from] > 1]
    coming = np.nonzero((several[state.plan[:, 0]] > 0) & (inside < 0))[0]
    tail = state.s_m[turning] - half[turning]
    for k, who in ((0, beside), (1, coming)):
        if not len(who):
            continue
        mine = lanes.connector[state.plan[who, k]]
        apart = lanes.apart_m[mine[:, None], inside[turning]]
        begin = (begins[k][who] - state.s_m[who])[:, None]
        shared = (tail < apart) & (apart > 0.0) & (begin + state.s_m[turning] > 0.0)
        distance = np.where(shared, begin - half[who][:, None] + tail, _FAR_M)
        for row in np.nonzero(shared.any(axis=1))[0]:
            nearest = int(distance[row].argmin())
            if distance[row, nearest] < gap[who[row]]:
                gap[who[row]] = distance[row, nearest]
                speed[who[row]] = state.speed_mps[turning[nearest]]
    return gap, speed


def _obstacles(
    state: TrafficState,
    obstacles: tuple[Obstacle, ...],
    half: Floats,
    begins: list[Floats],
    gap: Floats,
    speed: Floats,
) -> tuple[Floats, Floats]:
    for obstacle in obstacles:
        for k in range(PLAN - 1):
            distance = begins[k] + obstacle.tail_m - state.s_m - half
            # a vehicle whose middle has passed the obstacle's tail is not stopped by it
            nearer = (state.plan[:, k] == obstacle.lane) & (distance > -half) & (distance < gap)
            gap = np.where(nearer, distance, gap)
            speed = np.where(nearer, max(obstacle.speed_mps, 0.0), speed)
    return gap, speed


def _enter_next(state: TrafficState, lanes: LaneMap, i: int, length_m: float) -> None:
    state.s_m[i] -= length_m
    state.plan[i, :-1] = state.plan[i, 1:]
    state.plan[i, -1] = choose_way(lanes, state.rng, int(state.size[i]), int(state.plan[i, -2]))


def choose_way(lanes: LaneMap, rng: np.random.Generator, size: int, lane: int) -> int:
    """One of the ways on from `lane` for this size class, by chance."""
    count = int(lanes.way_count[size, lane])
    return int(lanes.ways[size, lane, rng.integers(count)])
