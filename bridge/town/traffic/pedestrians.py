"""Pedestrians: they walk along the sidewalks and cross at crosswalks when it is safe."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.town.plan.lane_map import Bools
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats
from sim2street.bridge.town.plan.traffic_lights import RED, LightPlan, light_states, time_to_green_s
from sim2street.bridge.town.plan.walk_map import WalkMap
from sim2street.bridge.town.traffic.collisions import Box

_REQUEST_AFTER_TICKS = 50
"""Vehicles let a pedestrian cross who has waited this long."""

_CROSS_PROBABILITY = 0.22
_HALF_OVERLAP_M = 1.0
"""A pedestrian this near to the middle of a crosswalk is on both halves."""

_CROSSING_SPEED_MPS = 1.0
_CROSSING_MARGIN_S = 1.5
"""The signal says walk if this speed and margin suffice to cross before the traffic's green."""

_EGO_CLEARANCE_M = 0.6
_EGO_LOOKAHEAD_S = 0.8
"""Pedestrians do not step into the area that the ego drives through in this time."""


@dataclass(slots=True)
class PedestrianState:
    """K pedestrians. `move` writes to the arrays in place.

    Attributes:
        model: int64 (K,), index into PEDESTRIAN_MODELS.
        walkway: int64 (K,), index into the walk map.
        s_m: float64 (K,), along the walkway.
        forward: bool (K,), walks in the walkway's direction.
        side: float64 (K,) in [-1, 1], offset to the pedestrian's left, in units of the
            walkway's half width.
        speed_mps: float64 (K,), when walking; 0: stands all the time.
        waiting_since: int64 (K,), tick since when they wait at a kerb or for the ego, or -1.
        rng: chooses where they turn.
    """

    model: Ints
    walkway: Ints
    s_m: Floats
    forward: Bools
    side: Floats
    speed_mps: Floats
    waiting_since: Ints
    rng: np.random.Generator


def poses(state: PedestrianState, walks: WalkMap) -> tuple[Floats, Floats, Floats]:
    """x, y and heading, each (K,)."""
    x, y, along = walks.paths.poses(state.walkway, state.s_m)
    heading = np.where(state.forward, along, along + math.pi)
    left = state.side * walks.half_width_m[state.walkway]
    return x - np.sin(heading) * left, y + np.cos(heading) * left, heading


def occupied_crossings(state: PedestrianState, walks: WalkMap, count: int) -> Bools:
    """bool (2 * count + 1,): halves of the `count` crosswalks that somebody is on or comes to.

    The halves of crosswalk k are the elements 2k (where its walkway starts) and 2k + 1. The
    last element stands for no crosswalk and is False.
    """
    kerb = walks.kerb_m[state.walkway]
    on = np.nonzero((state.s_m > kerb[:, 0]) & (state.s_m < kerb[:, 1]))[0]
    past_middle_m = state.s_m[on] - kerb[on].mean(axis=1)
    first = 2 * walks.crossing_id[state.walkway[on]]
    used = np.zeros(2 * count + 1, bool)
    used[first[~state.forward[on] | (past_middle_m < _HALF_OVERLAP_M)]] = True
    used[first[state.forward[on] | (past_middle_m > -_HALF_OVERLAP_M)] + 1] = True
    return used


def requested_crossings(
    state: PedestrianState, walks: WalkMap, signals: Bools, count: int, tick: int
) -> Bools:
    """bool (2 * count + 1,), as `occupied_crossings`: halves that vehicles have to leave free.

    Somebody has waited long there, and the signal (`walk_signals`) says walk.
    """
    patient = (state.waiting_since >= 0) & (tick - state.waiting_since > _REQUEST_AFTER_TICKS)
    patient &= signals[state.walkway]
    crossing = walks.crossing_id[state.walkway]
    requested = crossing[patient & (crossing >= 0)]
    used = np.zeros(2 * count + 1, bool)
    used[2 * requested] = used[2 * requested + 1] = True
    return used


def walk_signals(walks: WalkMap, plan: LightPlan, time_s: float) -> Bools:
    """bool (W,): whether each walkway may be entered.

    True without a traffic light, or if the traffic's light stays red for long enough to cross.
    """
    if not len(plan.cycle_s):
        return np.ones(len(walks.light_id), bool)
    width = walks.kerb_m[:, 1] - walks.kerb_m[:, 0]
    needed_s = width / _CROSSING_SPEED_MPS + _CROSSING_MARGIN_S
    red = light_states(plan, time_s) == RED
    safe = red[walks.light_id] & (time_to_green_s(plan, time_s)[walks.light_id] > needed_s)
    return np.asarray((walks.light_id < 0) | safe)


def move(
    state: PedestrianState,
    walks: WalkMap,
    may_cross: Bools,
    ego: Box,
    tick: int,
    tick_s: float,
) -> None:
    """Advance everybody by one tick.

    Args:
        may_cross: bool (crosswalks + 1,), the signal says walk and no vehicle is on the
            crosswalk or about to be; the last element stands for other walkways.
    """
    direction = np.where(state.forward, 1.0, -1.0)
    step = state.speed_mps * tick_s * direction
    after = state.s_m + step
    crossing = walks.crossing_id[state.walkway]
    kerb = np.where(state.forward, *walks.kerb_m[state.walkway].T)
    steps_out = (crossing >= 0) & ((state.s_m - kerb) * (after - kerb) <= 0.0)
    steps_out &= (state.s_m - kerb) * direction <= 0.0
    waits = steps_out & ~may_cross[crossing]
    waits |= _steps_before_ego(state, walks, after, ego)
    state.waiting_since[steps_out & waits & (state.waiting_since < 0)] = tick
    state.waiting_since[~waits] = -1
    state.s_m = np.where(waits, state.s_m, after)
    at_end = (state.s_m > walks.paths.length_m[state.walkway]) | (state.s_m < 0.0)
    for i in np.nonzero(at_end)[0]:
        _enter_next_walkway(state, walks, int(i))


def _steps_before_ego(state: PedestrianState, walks: WalkMap, s_m: Floats, ego: Box) -> Bools:
    """bool (K,): whether the step to `s_m` enters the ego's box or the area just ahead of it."""
    reach_m = ego.half_length_m + _EGO_CLEARANCE_M
    ahead_m = reach_m + max(0.0, ego.speed_mps) * _EGO_LOOKAHEAD_S
    behind_m = reach_m + max(0.0, -ego.speed_mps) * _EGO_LOOKAHEAD_S
    cos, sin = math.cos(ego.heading_rad), math.sin(ego.heading_rad)

    def in_area(who: Ints, along_m: Floats) -> Bools:
        x, y, _ = walks.paths.poses(state.walkway[who], along_m)
        dx, dy = x - ego.x_m, y - ego.y_m
        along, left = dx * cos + dy * sin, dy * cos - dx * sin
        beside = np.abs(left) < ego.half_width_m + _EGO_CLEARANCE_M
        return np.asarray(beside & (along < ahead_m) & (along > -behind_m))

    blocked = in_area(np.arange(len(s_m)), s_m)
    entering = np.nonzero(blocked)[0]
    if len(entering):  # who is in the area already walks on
        blocked[entering] = ~in_area(entering, state.s_m[entering])
    return blocked


def _enter_next_walkway(state: PedestrianState, walks: WalkMap, i: int) -> None:
    """Go on along the sidewalk, or sometimes over a crosswalk."""
    old, length = int(state.walkway[i]), float(walks.paths.length_m[state.walkway[i]])
    node = int(walks.end_nodes[old, 1 if state.forward[i] else 0])
    past = state.s_m[i] - length if state.forward[i] else -state.s_m[i]
    others = [pair for pair in walks.walkways_at[node] if pair[0] != old]
    crossings = [pair for pair in others if walks.crossing_id[pair[0]] >= 0]
    sidewalks = [pair for pair in others if walks.crossing_id[pair[0]] < 0]
    chance, pick = state.rng.random(2)
    crosses = crossings and (chance < _CROSS_PROBABILITY or not sidewalks)
    options = crossings if crosses else sidewalks
    new, forward = options[int(pick * len(options))]
    state.walkway[i], state.forward[i] = new, forward
    state.s_m[i] = past if forward else float(walks.paths.length_m[new]) - past
