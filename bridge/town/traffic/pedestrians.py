"""People on foot: they walk the sidewalks and cross where it is safe."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.town.plan.lane_map import Bools
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats
from sim2street.bridge.town.plan.traffic_lights import RED, LightPlan, light_states, time_to_green_s
from sim2street.bridge.town.plan.walk_map import WalkMap

_PATIENCE_TICKS = 50
_CROSS_SHARE = 0.22
_PAST_M = 1.0
_MARGIN_S = 1.5
_SLOWEST_MPS = 1.0


@dataclass(slots=True)
class WalkState:
    """K people; arrays are written to in place.

    Attributes:
        model: int64 (K,), index into PEDESTRIAN_MODELS.
        way: int64 (K,), index into the walk map. s_m: float64 (K,), along it.
        onward: bool (K,), walking in the way's direction.
        side: float64 (K,), -1..1, where between the edges of the way, > 0 to one's left.
        speed_mps: float64 (K,), when walking (0: stands about).
        waits: int64 (K,), tick since when one waits at a kerb, or -1.
        rng: chooses the ways.
    """

    model: Ints
    way: Ints
    s_m: Floats
    onward: Bools
    side: Floats
    speed_mps: Floats
    waits: Ints
    rng: np.random.Generator


@dataclass(frozen=True, slots=True)
class Box:
    """A vehicle people keep clear of: middle, heading, half sizes, speed."""

    x_m: float
    y_m: float
    heading_rad: float
    half_length_m: float
    half_width_m: float
    speed_mps: float


def poses(state: WalkState, walks: WalkMap) -> tuple[Floats, Floats, Floats]:
    """x, y and heading (K,) of everybody."""
    x, y, along = walks.paths.poses(state.way, state.s_m)
    heading = np.where(state.onward, along, along + math.pi)
    left = state.side * walks.room_m[state.way]
    return x - np.sin(heading) * left, y + np.cos(heading) * left, heading


def walked(state: WalkState, walks: WalkMap, count: int) -> Bools:
    """bool (2 * count + 1,): halves of crossings somebody is on or comes to (last: none).

    The first half is the one that a crossing's way begins with.
    """
    kerb = walks.kerb_m[state.way]
    on = np.nonzero((state.s_m > kerb[:, 0]) & (state.s_m < kerb[:, 1]))[0]
    past = state.s_m[on] - kerb[on].mean(axis=1)
    first = 2 * walks.crossing[state.way[on]]
    used = np.zeros(2 * count + 1, bool)
    used[first[~state.onward[on] | (past < _PAST_M)]] = True
    used[first[state.onward[on] | (past > -_PAST_M)] + 1] = True
    return used


def wanted(state: WalkState, walks: WalkMap, go: Bools, count: int, tick: int) -> Bools:
    """bool (2 * count + 1,), as `walked`: somebody has waited long and could go if free."""
    patient = (state.waits >= 0) & (tick - state.waits > _PATIENCE_TICKS) & go[state.way]
    crossings = walks.crossing[state.way[patient & (walks.crossing[state.way] >= 0)]]
    used = np.zeros(2 * count + 1, bool)
    used[2 * crossings] = used[2 * crossings + 1] = True
    return used


def walk_signs(walks: WalkMap, plan: LightPlan, time_s: float) -> Bools:
    """bool (W,): no light, or the traffic's is red for long enough to get across."""
    if not len(plan.cycle_s):
        return np.ones(len(walks.light), bool)
    need = (walks.kerb_m[:, 1] - walks.kerb_m[:, 0]) / _SLOWEST_MPS + _MARGIN_S
    red = light_states(plan, time_s) == RED
    safe = red[walks.light] & (time_to_green_s(plan, time_s)[walks.light] > need)
    return np.asarray((walks.light < 0) | safe)


def move(
    state: WalkState,
    walks: WalkMap,
    may_cross: Bools,
    ego: Box,
    tick: int,
    tick_s: float,
) -> None:
    """Advance everybody by one tick.

    Args:
        may_cross: bool (crossings + 1,), nobody drives or is about to drive over it, and
            its sign says walk; the last one is for ways that are no crossings.
    """
    step = state.speed_mps * tick_s * np.where(state.onward, 1.0, -1.0)
    after = state.s_m + step
    kerb = np.where(state.onward, *walks.kerb_m[state.way].T)
    steps_out = (walks.crossing[state.way] >= 0) & ((state.s_m - kerb) * (after - kerb) <= 0.0)
    steps_out &= (state.s_m - kerb) * np.where(state.onward, 1.0, -1.0) <= 0.0
    held = steps_out & ~may_cross[walks.crossing[state.way]]
    held |= _in_the_way(state, walks, after, ego)
    state.waits[steps_out & held & (state.waits < 0)] = tick
    state.waits[~held] = -1
    state.s_m = np.where(held, state.s_m, after)
    over = (state.s_m > walks.paths.length_m[state.way]) | (state.s_m < 0.0)
    for i in np.nonzero(over)[0]:
        _choose_way(state, walks, int(i))


def _in_the_way(state: WalkState, walks: WalkMap, s_m: Floats, ego: Box) -> Bools:
    """Whether the next step ends under the ego, or just ahead of it."""
    ahead_m = ego.half_length_m + 0.6 + max(0.0, ego.speed_mps) * 0.8
    behind_m = ego.half_length_m + 0.6 + max(0.0, -ego.speed_mps) * 0.8
    cos, sin = math.cos(ego.heading_rad), math.sin(ego.heading_rad)

    def near(who: Ints, at_m: Floats) -> Bools:
        x, y, _ = walks.paths.poses(state.way[who], at_m)
        dx, dy = x - ego.x_m, y - ego.y_m
        along, left = dx * cos + dy * sin, dy * cos - dx * sin
        beside = np.abs(left) < ego.half_width_m + 0.6
        return np.asarray(beside & (along < ahead_m) & (along > -behind_m))

    held = near(np.arange(len(s_m)), s_m)
    steps_in = np.nonzero(held)[0]
    if len(steps_in):  # who is there already walks on
        held[steps_in] = ~near(steps_in, state.s_m[steps_in])
    return held


def _choose_way(state: WalkState, walks: WalkMap, i: int) -> None:
    """At the end of a way: on along the sidewalk, or now and then over a crossing."""
    way, length = int(state.way[i]), float(walks.paths.length_m[state.way[i]])
    node = int(walks.ends[way, 1 if state.onward[i] else 0])
    past = state.s_m[i] - length if state.onward[i] else -state.s_m[i]
    ways = [pair for pair in walks.ways[node] if pair[0] != way]
    crossings = [pair for pair in ways if walks.crossing[pair[0]] >= 0]
    others = [pair for pair in ways if walks.crossing[pair[0]] < 0]
    chance, pick = state.rng.random(2)
    options = crossings if crossings and (chance < _CROSS_SHARE or not others) else others
    chosen, onward = options[int(pick * len(options))]
    state.way[i], state.onward[i] = chosen, onward
    state.s_m[i] = past if onward else float(walks.paths.length_m[chosen]) - past
