"""Traffic lights: where they stand, and when they are green, yellow and red.

A light's stop line is where its road ends; `junction_geometry.CROSSING_TO_STOP_LINE_M` places it.
The state of a light is a pure function of time, so a simulation keeps no state of its lights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim2street.bridge.frame import LightState
from sim2street.bridge.town.plan.junction_geometry import Arm, RoadEnd
from sim2street.bridge.town.plan.layout import Junction, Layout, Light, Points, Road
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats, unit

GREEN, YELLOW, RED = 0, 1, 2
LIGHT_STATES = (LightState.GREEN, LightState.YELLOW, LightState.RED)
"""`LightState` of each integer."""

YELLOW_S = 3.0
_ALL_RED_S = 1.8
"""All lights of a junction are red for this long between the yellow of one group and the green
of the other."""

_GREEN_S = (8.0, 13.0)
_SLOW_WALK_MPS = 1.0
_WALK_OUTSIDE_GREEN_S = 4.0
"""A crosswalk's traffic stays red for longer than the other group is green: through that group's
yellow and the times when all are red. Pedestrians use this much of it."""

_POST_SETBACK_M = 0.6
"""Distance from the kerb to the post of a light."""


@dataclass(frozen=True, slots=True)
class LightPlan:
    """The cycles of M lights: float64 (M,) seconds each.

    Within a cycle of its junction a light turns green at `start_s`, stays green for `green_s`,
    is yellow for YELLOW_S, then red. The two groups of a junction are never both green or
    yellow, and all lights are red between them.
    """

    cycle_s: Floats
    start_s: Floats
    green_s: Floats


def place_lights(
    junctions: tuple[Junction, ...], roads: tuple[Road, ...], arms: list[dict[RoadEnd, Arm]]
) -> dict[RoadEnd, Light]:
    """The light of each road end that has one.

    Args:
        arms: of each junction, counter-clockwise.
    """
    lights: dict[RoadEnd, Light] = {}
    for junction in junctions:
        if not junction.has_lights:
            continue
        here = arms[junction.junction_id]
        groups = _groups([arm.angle_rad for arm in here.values()])
        for (end, arm), group in zip(here.items(), groups, strict=True):
            road_id, at_start = end
            centre = roads[road_id].centre_m[0 if at_start else -1]
            # The right of the traffic that comes in is the left as seen outwards.
            right = unit(arm.angle_rad + np.pi / 2)
            lights[end] = Light(
                light_id=len(lights),
                junction_id=junction.junction_id,
                road_id=road_id,
                stop_line_m=np.stack([centre, centre + right * arm.half_width_m]),
                position_m=centre + right * (arm.kerb_left_m + _POST_SETBACK_M),
                heading_rad=float(np.arctan2(*-unit(arm.angle_rad)[::-1])),
                group=group,
            )
    return lights


def _groups(angles_rad: list[float]) -> list[int]:
    """The group of each arm: 0 for the two that face each other best, 1 for the others."""
    count = len(angles_rad)
    if count == 4:
        return [0, 1, 0, 1]
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    best = min(
        pairs, key=lambda p: abs(abs(angles_rad[p[0]] - angles_rad[p[1]]) % (2 * np.pi) - np.pi)
    )
    return [0 if index in best else 1 for index in range(count)]


def plan_lights(layout: Layout, rng: np.random.Generator) -> LightPlan:
    """Draw green times, and a start of the cycle, for each junction with lights.

    While one group is green, pedestrians cross the arms of the other group. Green lasts long
    enough for that.
    """
    greens = rng.uniform(*_GREEN_S, (len(layout.junctions), 2))
    for light in layout.lights:
        crossings = layout.junctions[light.junction_id].crossings
        walk_m = max(_length_m(c.walk_m) for c in crossings if c.road_id == light.road_id)
        of_groups = greens[light.junction_id]
        needed_s = walk_m / _SLOW_WALK_MPS - _WALK_OUTSIDE_GREEN_S
        of_groups[1 - light.group] = max(of_groups[1 - light.group], needed_s)
    offsets = rng.uniform(0.0, 1.0, len(layout.junctions))
    pause = YELLOW_S + _ALL_RED_S
    cycle = greens.sum(axis=1) + 2 * pause
    junction = np.array([light.junction_id for light in layout.lights], np.int64)
    group = np.array([light.group for light in layout.lights], np.int64)
    start = offsets * cycle
    wait = np.where(group == 1, greens[junction, 0] + pause, 0.0)
    return LightPlan(cycle[junction], start[junction] + wait, greens[junction, group])


def _length_m(line_m: Points) -> float:
    return float(np.hypot(*(line_m[1] - line_m[0])))


def light_states(plan: LightPlan, time_s: float) -> Ints:
    """int64 (M,): GREEN, YELLOW or RED of each light."""
    phase_s = (time_s - plan.start_s) % plan.cycle_s
    return (phase_s >= plan.green_s).astype(np.int64) + (phase_s >= plan.green_s + YELLOW_S)


def time_to_green_s(plan: LightPlan, time_s: float) -> Floats:
    """Seconds (M,) until each light next turns green; a whole cycle when it has just done so."""
    return plan.cycle_s - (time_s - plan.start_s) % plan.cycle_s
