"""Reward terms and endings: plain functions of one simulator tick.

The reward of a task is a weighted sum of reward terms. The weights of each shipped task are
in `configs/env/*.yaml` under `task: rewards:`. To add a term, write a function here and give
it a name in `REWARD_TERMS`; to add an ending, give it a name in `ENDINGS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sim2street.bridge.frame import Control, LightState, SensorFrame
from sim2street.envs.pace import Pace


@dataclass(frozen=True, slots=True)
class Transition:
    """One simulator tick.

    Attributes:
        before: the frame before the tick.
        control: the control applied during the tick.
        after: the frame after the tick.
        last_control: the control applied during the tick before.
        pace: after the tick, how far the ego is behind a slow driver or ahead of a fast one.
    """

    before: SensorFrame
    control: Control
    after: SensorFrame
    last_control: Control
    pace: Pace = field(default_factory=Pace)

    @property
    def dt_s(self) -> float:
        """Simulated seconds of this tick."""
        return self.after.time_s - self.before.time_s


RewardTerm = Callable[[Transition], float]
Ending = Callable[[Transition], bool]

GOAL_RADIUS_M = 3.0
"""The goal is reached when at most this much of the route is left."""

STANDSTILL_GAP_M = 4.0
"""Gap to the vehicle ahead that `gap_kept` wants at standstill."""

TIME_GAP_S = 1.5
"""Seconds of driving that `gap_kept` adds to the gap wanted at standstill."""

GAP_TOLERANCE_M = 10.0
"""Error of the gap at which `gap_kept` falls to 0."""

COMFORT_BRAKE_MPS2 = 2.0
"""Deceleration up to which `late_braking` is 0."""

MAX_COUNTED_BRAKE_MPS2 = 10.0
"""`late_braking` counts no deceleration above this one."""

MIN_STOP_DISTANCE_M = 0.5
"""Shortest distance to a stop line that `late_braking` and `ran_red_light` reckon with."""

TOO_SLOW_M = 30.0
"""`too_slow` is met this far behind a slow driver: after seven seconds of standing in a zone of
30 km/h without a reason."""

TOO_FAST_M = 3.0
"""`too_fast` is met this far ahead of a fast driver: after a second at 12 km/h above it."""

FOLLOW_RANGE_M = 60.0
"""A vehicle ahead that is farther away is no longer followed."""

HOLDING_LIGHT_M = 50.0
"""A red or yellow light this close excuses that the vehicle ahead is no longer followed."""


def progress(t: Transition) -> float:
    """Metres gained along the route, or along the lane if there is no route."""
    if t.before.ego.route_distance_m is not None and t.after.ego.route_distance_m is not None:
        return t.before.ego.route_distance_m - t.after.ego.route_distance_m
    return t.after.ego.speed_mps * math.cos(t.after.ego.heading_error_rad) * t.dt_s


def lane_offset(t: Transition) -> float:
    """Squared lateral distance from the lane centre (m²), times the tick's seconds."""
    return t.after.ego.lane_offset_m**2 * t.dt_s


def heading_error(t: Transition) -> float:
    """Absolute angle between vehicle and lane (radians), times the tick's seconds."""
    return abs(t.after.ego.heading_error_rad) * t.dt_s


def overspeed(t: Transition) -> float:
    """Speed above the limit (m/s), times the tick's seconds; 0 without a limit."""
    excess_mps = t.after.ego.speed_mps - t.after.ego.speed_limit_mps
    return max(excess_mps, 0.0) * t.dt_s if t.after.ego.speed_limit_mps > 0 else 0.0


def steer_change(t: Transition) -> float:
    """Absolute change of the steering command since the tick before."""
    return abs(t.control.steer - t.last_control.steer)


def acceleration(t: Transition) -> float:
    """Squared longitudinal acceleration ((m/s²)²), times the tick's seconds."""
    if t.dt_s <= 0.0:
        return 0.0
    change_mps = t.after.ego.speed_mps - t.before.ego.speed_mps
    return change_mps * change_mps / t.dt_s


def time(t: Transition) -> float:
    """Simulated seconds of the tick."""
    return t.dt_s


def gap_kept(t: Transition) -> float:
    """Share of the wanted gap that is kept, times the tick's seconds.

    The wanted gap to the vehicle ahead is 4 m plus 1.5 s of driving. The share is 1 at this
    gap, falls linearly to 0 at an error of 10 m, and is 0 without a vehicle ahead.
    """
    lead = t.after.ego.lead
    if lead is None:
        return 0.0
    wanted_m = STANDSTILL_GAP_M + TIME_GAP_S * max(t.after.ego.speed_mps, 0.0)
    return max(0.0, 1.0 - abs(lead.distance_m - wanted_m) / GAP_TOLERANCE_M) * t.dt_s


def late_braking(t: Transition) -> float:
    """Deceleration above 2 m/s² (of at most 10) needed to stop at a red light, times seconds."""
    light = t.after.ego.next_light
    if light is None or light.state is not LightState.RED:
        return 0.0
    needed_mps2 = t.after.ego.speed_mps**2 / (2.0 * max(light.distance_m, MIN_STOP_DISTANCE_M))
    excess_mps2 = min(needed_mps2, MAX_COUNTED_BRAKE_MPS2) - COMFORT_BRAKE_MPS2
    return max(excess_mps2, 0.0) * t.dt_s


def collision(t: Transition) -> bool:
    """The ego vehicle touched something."""
    return t.after.ego.collision


def off_lane(t: Transition) -> bool:
    """The ego vehicle left its lane."""
    return t.after.ego.off_lane


def ran_red_light(t: Transition) -> bool:
    """The ego vehicle crossed the stop line of a red light in this tick."""
    light = t.before.ego.next_light
    if light is None or light.state is not LightState.RED:
        return False
    # Past the line, the next light is another one, which is farther away, or there is none.
    after = t.after.ego.next_light
    reach_m = t.before.ego.speed_mps * t.dt_s + MIN_STOP_DISTANCE_M
    return light.distance_m <= reach_m and (after is None or after.distance_m > reach_m)


def goal(t: Transition) -> bool:
    """At most 3 m of the route are left."""
    left_m = t.after.ego.route_distance_m
    return left_m is not None and left_m <= GOAL_RADIUS_M


def too_slow(t: Transition) -> bool:
    """The ego is 30 m behind a slow car at half the speed limit, which waits where one has to."""
    return t.pace.behind_m > TOO_SLOW_M


def too_fast(t: Transition) -> bool:
    """The ego is 3 m ahead of a fast car, which drives a tenth more than the speed limit."""
    return t.pace.ahead_m > TOO_FAST_M


def lead_lost(t: Transition) -> bool:
    """The ego vehicle sees no vehicle ahead any more."""
    return t.after.ego.lead is None


def fell_behind(t: Transition) -> bool:
    """The vehicle ahead is more than 60 m away or out of sight, and no red light is the reason."""
    return _lead_is_far(t) and not _light_holds(t)


def parted_by_light(t: Transition) -> bool:
    """The vehicle ahead is as far away, but a red or yellow light within 50 m is the reason."""
    return _lead_is_far(t) and _light_holds(t)


def _lead_is_far(t: Transition) -> bool:
    lead = t.after.ego.lead
    return lead is None or lead.distance_m > FOLLOW_RANGE_M


def _light_holds(t: Transition) -> bool:
    light = t.after.ego.next_light
    if light is None or light.state is LightState.GREEN:
        return False
    return light.distance_m <= HOLDING_LIGHT_M


ENDINGS: Mapping[str, Ending] = {
    "collision": collision,
    "off_lane": off_lane,
    "ran_red_light": ran_red_light,
    "goal": goal,
    "too_slow": too_slow,
    "too_fast": too_fast,
    "lead_lost": lead_lost,
    "fell_behind": fell_behind,
    "parted_by_light": parted_by_light,
}
"""Conditions that can end an episode. Each is a reward term too: 1 on the tick it is met."""


def _as_reward_term(ending: Ending) -> RewardTerm:
    return lambda t: float(ending(t))


REWARD_TERMS: Mapping[str, RewardTerm] = {
    "progress": progress,
    "lane_offset": lane_offset,
    "heading_error": heading_error,
    "overspeed": overspeed,
    "steer_change": steer_change,
    "acceleration": acceleration,
    "time": time,
    "gap_kept": gap_kept,
    "late_braking": late_braking,
    **{name: _as_reward_term(ending) for name, ending in ENDINGS.items()},
}
"""Everything that `task: rewards:` can weigh, each in the unit its docstring gives."""
