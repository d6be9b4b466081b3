"""Traffic lights: a pure function of time, so that no state has to be kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim2street.bridge.frame import LightState
from sim2street.bridge.town.plan.layout import Layout, Points
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats

GREEN, YELLOW, RED = 0, 1, 2
LIGHT_STATES = (LightState.GREEN, LightState.YELLOW, LightState.RED)
"""`LightState` by the integer used in arrays."""

YELLOW_S = 3.0
ALL_RED_S = 1.8
_SLOW_WALK_MPS = 1.0
_HEAD_START_S = 4.0
"""Lights stay red for longer than the others are green; this much of it is for walking."""


@dataclass(frozen=True, slots=True)
class LightPlan:
    """When each of M lights is green: float64 (M,) seconds.

    Within a cycle of its junction a light is green from `start_s` on for `green_s`, then
    yellow, then red. Groups of one junction never overlap, with all red between them.
    """

    cycle_s: Floats
    start_s: Floats
    green_s: Floats


def plan_lights(layout: Layout, rng: np.random.Generator) -> LightPlan:
    """Draw green times and an offset for every junction with lights.

    While one group is green, people cross the arms of the other: green lasts long enough.
    """
    greens = rng.uniform(8.0, 13.0, (len(layout.junctions), 2))
    for light in layout.lights:
        crossings = layout.junctions[light.junction_id].crossings
        walk = max(_length_m(c.walk_m) for c in crossings if c.road_id == light.road_id)
        other = greens[light.junction_id]
        other[1 - light.group] = max(other[1 - light.group], walk / _SLOW_WALK_MPS - _HEAD_START_S)
    offsets = rng.uniform(0.0, 1.0, len(layout.junctions))
    pause = YELLOW_S + ALL_RED_S
    cycle = greens.sum(axis=1) + 2 * pause
    junction = np.array([light.junction_id for light in layout.lights], np.int64)
    group = np.array([light.group for light in layout.lights], np.int64)
    start = offsets * cycle
    late = np.where(group == 1, greens[junction, 0] + pause, 0.0)
    return LightPlan(cycle[junction], start[junction] + late, greens[junction, group])


def _length_m(line_m: Points) -> float:
    return float(np.hypot(*(line_m[1] - line_m[0])))


def light_states(plan: LightPlan, time_s: float) -> Ints:
    """GREEN, YELLOW or RED of every light: int64 (M,)."""
    into = (time_s - plan.start_s) % plan.cycle_s
    return (into >= plan.green_s).astype(np.int64) + (into >= plan.green_s + YELLOW_S)


def time_to_green_s(plan: LightPlan, time_s: float) -> Floats:
    """Seconds until each light turns green next (a whole cycle at the moment it did)."""
    return plan.cycle_s - (time_s - plan.start_s) % plan.cycle_s
