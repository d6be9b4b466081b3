"""What an episode is about: reward terms, endings, and the Task made of them.

A term is a plain function of one `Transition`. A task is configuration: weights for
reward terms and a list of endings, each by the name it has in the tables below. A new
task that needs a new term adds one function and one row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator

from bridge.frame import Control, LightState, SensorFrame
from configs import StrictModel, did_you_mean


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
Ending = Callable[[SensorFrame], bool]

GOAL_RADIUS_M = 3.0
"""Distance left on the route at which the goal counts as reached."""


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


def time(t: Transition) -> float:
    """Seconds passed."""
    return t.dt_s


def collision(frame: SensorFrame) -> bool:
    """The ego touched something."""
    return frame.ego.collision


def off_lane(frame: SensorFrame) -> bool:
    """The ego left its lane."""
    return frame.ego.off_lane


def goal(frame: SensorFrame) -> bool:
    """The end of the route is within reach."""
    left_m = frame.ego.route_distance_m
    return left_m is not None and left_m <= GOAL_RADIUS_M


def ran_red_light(t: Transition) -> float:
    """1 on the tick on which the ego crosses the stop line of a red light."""
    light = t.before.ego.next_light
    if light is None or light.state is not LightState.RED:
        return 0.0
    after = t.after.ego.next_light
    reach_m = t.before.ego.speed_mps * t.dt_s + 0.5
    return float(light.distance_m <= reach_m and (after is None or after.distance_m > reach_m))


ENDINGS: Mapping[str, Ending] = {"collision": collision, "off_lane": off_lane, "goal": goal}

TERMS: Mapping[str, Term] = {
    "progress": progress,
    "lane_offset": lane_offset,
    "heading_error": heading_error,
    "overspeed": overspeed,
    "steer_change": steer_change,
    "time": time,
    "ran_red_light": ran_red_light,
    "collision": lambda t: float(collision(t.after)),
    "off_lane": lambda t: float(off_lane(t.after)),
    "goal": lambda t: float(goal(t.after)),
}


class TaskConfig(StrictModel):
    """Follow the lane to the goal, unless told otherwise.

    Attributes:
        rewards: weight per reward term; the reward is the weighted sum.
        endings: what ends an episode for good (`terminated`).
        time_limit_s: simulated seconds after which it is cut off (`truncated`).
        reset_options: go to the world's reset, before the caller's own options.
    """

    rewards: dict[str, float] = Field(
        default_factory=lambda: {
            "progress": 0.1,
            "lane_offset": -0.2,
            "overspeed": -0.1,
            "steer_change": -0.05,
            "collision": -10.0,
            "off_lane": -5.0,
            "goal": 10.0,
        }
    )
    endings: tuple[str, ...] = ("collision", "off_lane", "goal")
    time_limit_s: float = Field(default=60.0, gt=0.0)
    reset_options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("rewards")
    @classmethod
    def _known_rewards(cls, rewards: dict[str, float]) -> dict[str, float]:
        _check_names("reward term", rewards, TERMS)
        return rewards

    @field_validator("endings")
    @classmethod
    def _known_endings(cls, endings: tuple[str, ...]) -> tuple[str, ...]:
        _check_names("ending", endings, ENDINGS)
        return endings


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transition was worth.

    Attributes:
        rewards: per term, weighted; their sum is the reward.
        ending: the name of the ending that was met, or None.
        truncated: whether the time limit was met.
    """

    rewards: dict[str, float]
    ending: str | None
    truncated: bool


class Task:
    """Reward and endings, as configured. Has no state: the transition tells all."""

    def __init__(self, config: TaskConfig | None = None) -> None:
        self.config = config or TaskConfig()

    def judge(self, transition: Transition) -> Outcome:
        """The reward terms of a transition, and whether it ends the episode."""
        rewards = {
            name: weight * TERMS[name](transition) for name, weight in self.config.rewards.items()
        }
        after = transition.after
        ending = next((name for name in self.config.endings if ENDINGS[name](after)), None)
        timed_out = ending is None and after.time_s >= self.config.time_limit_s - 1e-6
        return Outcome(rewards, ending, timed_out)


def _check_names(what: str, names: Any, known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {what} '{name}'{did_you_mean(name, list(known))}")
