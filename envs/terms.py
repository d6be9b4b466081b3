"""Reward terms and endings: plain functions of one tick, known by name to every task.

A new task that needs a new term adds one function and one row in a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sim2street.bridge.frame import Control, LightState, SensorFrame


@dataclass(frozen=True, slots=True)
class Transition:
    """One tick: the frame before, the control, the frame after, the control before that."""

    before: SensorFrame
    control: Control
    after: SensorFrame
    last_control: Control

    @property
    def dt_s(self) -> float:
        """Simulated seconds of this tick."""
        return self.after.time_s - self.before.time_s


Term = Callable[[Transition], float]
Ending = Callable[[Transition], bool]

GOAL_RADIUS_M = 3.0
"""Distance left on the route at which the goal counts as reached."""

STANDSTILL_GAP_M = 4.0
TIME_GAP_S = 1.5
"""The gap that car following asks for: at standstill, plus so many seconds of driving."""

COMFORT_BRAKE_MPS2 = 2.0
HARDEST_BRAKE_MPS2 = 10.0
"""Between these, `late_braking` tells how much too late it is to brake for a red light."""

GAP_TOLERANCE_M = 10.0
"""Error of the gap at which keeping it is worth nothing any more."""


def progress(t: Transition) -> float:
    """Metres gained along the route, or along the lane where there is no route."""
    if t.before.ego.route_distance_m is not None and t.after.ego.route_distance_m is not None:
        return t.before.ego.route_distance_m - t.after.ego.route_distance_m
    return t.after.ego.speed_mps * math.cos(t.after.ego.heading_error_rad) * t.dt_s


def lane_offset(t: Transition) -> float:
    """Square of the lateral distance from the lane's centre, m² times seconds."""
    return t.after.ego.lane_offset_m**2 * t.dt_s


def heading_error(t: Transition) -> float:
    """Angle between vehicle and lane, radians times seconds."""
    return abs(t.after.ego.heading_error_rad) * t.dt_s


def overspeed(t: Transition) -> float:
    """Speed above the limit, m/s times seconds."""
    excess_mps = t.after.ego.speed_mps - t.after.ego.speed_limit_mps
    return max(excess_mps, 0.0) * t.dt_s if t.after.ego.speed_limit_mps > 0 else 0.0


def steer_change(t: Transition) -> float:
    """How much the steering moved in this tick: comfort."""
    return abs(t.control.steer - t.last_control.steer)


def acceleration(t: Transition) -> float:
    """Square of the acceleration along the way, (m/s²)² times seconds: comfort."""
    if t.dt_s <= 0.0:
        return 0.0
    change_mps = t.after.ego.speed_mps - t.before.ego.speed_mps
    return change_mps * change_mps / t.dt_s


def time(t: Transition) -> float:
    """Seconds passed."""
    return t.dt_s


def gap_kept(t: Transition) -> float:
    """Seconds of driving at the wanted gap: the whole tick there, nothing 10 m off it."""
    lead = t.after.ego.lead
    if lead is None:
        return 0.0
    wanted_m = STANDSTILL_GAP_M + TIME_GAP_S * max(t.after.ego.speed_mps, 0.0)
    return max(0.0, 1.0 - abs(lead.distance_m - wanted_m) / GAP_TOLERANCE_M) * t.dt_s


def ran_red_light(t: Transition) -> bool:
    """The ego crosses the stop line of a red light in this tick."""
    light = t.before.ego.next_light
    if light is None or light.state is not LightState.RED:
        return False
    after = t.after.ego.next_light
    reach_m = t.before.ego.speed_mps * t.dt_s + 0.5
    return light.distance_m <= reach_m and (after is None or after.distance_m > reach_m)


def late_braking(t: Transition) -> float:
    """Deceleration needed to stop for a red light, above 2 m/s² up to 10, times seconds."""
    light = t.after.ego.next_light
    if light is None or light.state is not LightState.RED:
        return 0.0
    needed_mps2 = t.after.ego.speed_mps**2 / (2.0 * max(light.distance_m, 0.5))
    excess_mps2 = min(needed_mps2, HARDEST_BRAKE_MPS2) - COMFORT_BRAKE_MPS2
    return max(excess_mps2, 0.0) * t.dt_s


def collision(t: Transition) -> bool:
    """The ego touched something."""
    return t.after.ego.collision


def off_lane(t: Transition) -> bool:
    """The ego left its lane."""
    return t.after.ego.off_lane


def goal(t: Transition) -> bool:
    """The end of the route is within reach."""
    left_m = t.after.ego.route_distance_m
    return left_m is not None and left_m <= GOAL_RADIUS_M


def lead_lost(t: Transition) -> bool:
    """Nobody drives ahead any more, as far as the ego can tell."""
    return t.after.ego.lead is None


ENDINGS: Mapping[str, Ending] = {
    "collision": collision,
    "off_lane": off_lane,
    "ran_red_light": ran_red_light,
    "goal": goal,
    "lead_lost": lead_lost,
}
"""What can end an episode, by name. Each is a reward term too: 1 on the tick it is met."""


def _as_term(ending: Ending) -> Term:
    return lambda t: float(ending(t))


TERMS: Mapping[str, Term] = {
    "progress": progress,
    "lane_offset": lane_offset,
    "heading_error": heading_error,
    "overspeed": overspeed,
    "steer_change": steer_change,
    "acceleration": acceleration,
    "time": time,
    "gap_kept": gap_kept,
    "late_braking": late_braking,
    **{name: _as_term(ending) for name, ending in ENDINGS.items()},
}
"""What can be rewarded, by name, in the unit of its docstring."""
