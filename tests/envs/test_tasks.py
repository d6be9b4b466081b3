"""Every reward term and ending by hand-made transitions, and how a task combines them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sim2street.bridge.frame import (
    Control,
    EgoState,
    LeadVehicle,
    LightState,
    NextLight,
    SensorFrame,
)
from sim2street.configs import ConfigError, parse
from sim2street.envs.rewards import ENDINGS, REWARD_TERMS, Transition
from sim2street.envs.tasks import Task, TaskConfig

EGO = EgoState(pose=np.eye(4, dtype=np.float32), speed_mps=10.0, speed_limit_mps=10.0)


def transition(before: dict, after: dict, steer: float = 0.0, last_steer: float = 0.0):
    """Tick 4 to tick 5 of 0.1 s."""
    frames = [
        SensorFrame(tick, 0, tick * 0.1, dataclasses.replace(EGO, **changes))
        for tick, changes in ((4, before), (5, after))
    ]
    return Transition(frames[0], Control(steer=steer), frames[1], Control(steer=last_steer))


def lead(distance_m: float) -> LeadVehicle:
    return LeadVehicle(distance_m, 8.0)


def red(distance_m: float) -> NextLight:
    return NextLight(LightState.RED, distance_m)


@pytest.mark.parametrize(
    ("term", "before", "after", "value"),
    [
        ("progress", {"route_distance_m": 50.0}, {"route_distance_m": 49.0}, 1.0),
        ("progress", {}, {"heading_error_rad": np.pi / 3}, 0.5),
        ("lane_offset", {}, {"lane_offset_m": -2.0}, 0.4),
        ("heading_error", {}, {"heading_error_rad": -0.2}, 0.02),
        ("overspeed", {}, {"speed_mps": 13.0}, 0.3),
        ("overspeed", {}, {"speed_mps": 7.0}, 0.0),
        ("overspeed", {}, {"speed_mps": 13.0, "speed_limit_mps": 0.0}, 0.0),
        ("time", {}, {}, 0.1),
        ("acceleration", {"speed_mps": 9.8}, {}, 0.4),
        ("gap_kept", {}, {"lead": lead(19.0)}, 0.1),  # 4 m and 1.5 s at 10 m/s
        ("gap_kept", {}, {"lead": lead(14.0)}, 0.05),
        ("gap_kept", {}, {"lead": lead(40.0)}, 0.0),
        ("gap_kept", {}, {"lead": None}, 0.0),
        ("late_braking", {}, {"next_light": red(10.0)}, 0.3),  # 5 m/s² needed, 3 above the limit
        ("late_braking", {}, {"next_light": red(1.0)}, 0.8),
        ("late_braking", {}, {"next_light": red(50.0)}, 0.0),
        ("late_braking", {}, {"next_light": NextLight(LightState.GREEN, 1.0)}, 0.0),
        ("lead_lost", {}, {"lead": None}, 1.0),
        ("lead_lost", {}, {"lead": lead(70.0)}, 0.0),
        ("collision", {}, {"collision": True}, 1.0),
        ("off_lane", {}, {"off_lane": True}, 1.0),
        ("goal", {}, {"route_distance_m": 2.0}, 1.0),
        ("goal", {}, {"route_distance_m": None}, 0.0),
        ("ran_red_light", {"next_light": red(0.8)}, {"next_light": None}, 1.0),
        ("ran_red_light", {"next_light": red(0.8)}, {"next_light": red(90.0)}, 1.0),
        ("ran_red_light", {"next_light": red(9.0)}, {"next_light": red(8.0)}, 0.0),
        ("ran_red_light", {"next_light": red(0.4)}, {"next_light": red(0.4)}, 0.0),
        (
            "ran_red_light",
            {"next_light": NextLight(LightState.GREEN, 0.8)},
            {"next_light": None},
            0.0,
        ),
    ],
)
def test_values_of_terms_and_endings(term, before, after, value) -> None:
    assert REWARD_TERMS[term](transition(before, after)) == pytest.approx(value, abs=1e-6)


def test_steer_change_compares_two_controls() -> None:
    assert REWARD_TERMS["steer_change"](transition({}, {}, 0.3, -0.2)) == pytest.approx(0.5)


def test_the_first_ending_met_counts_and_precedes_the_time_limit() -> None:
    task = Task(TaskConfig(endings=("off_lane", "collision"), time_limit_s=0.5))
    both = task.evaluate(transition({}, {"collision": True, "off_lane": True}))
    assert (both.ending, both.truncated) == ("off_lane", False)
    neither = task.evaluate(transition({}, {}))
    assert (neither.ending, neither.truncated) == (None, True)


def test_every_ending_is_a_reward_term() -> None:
    assert set(ENDINGS) <= set(REWARD_TERMS)


def test_running_a_red_light_ends_the_episode() -> None:
    task = Task(TaskConfig(rewards={"ran_red_light": -10.0}, endings=("ran_red_light", "goal")))
    outcome = task.evaluate(transition({"next_light": red(0.8)}, {"next_light": None}))
    assert (outcome.ending, outcome.reward, outcome.success) == ("ran_red_light", -10.0, False)
    assert outcome.endings == {"ran_red_light": True, "goal": False}


def test_a_cutoff_truncates_but_an_ending_precedes_it() -> None:
    task = Task(TaskConfig(endings=("collision",), cutoffs=("lead_lost",)))
    lost = task.evaluate(transition({}, {}))
    assert (lost.ending, lost.truncated, lost.cutoff, lost.episode_over) == (
        None,
        True,
        "lead_lost",
        True,
    )
    both = task.evaluate(transition({}, {"collision": True}))
    assert (both.ending, both.truncated, both.cutoff) == ("collision", False, None)


def test_success_is_configured() -> None:
    reached = transition({}, {"route_distance_m": 1.0})
    assert Task(TaskConfig()).evaluate(reached).success
    lasting = TaskConfig(endings=(), success=("time_limit",), time_limit_s=0.5)
    assert Task(lasting).evaluate(transition({}, {})).success
    assert not Task(TaskConfig(time_limit_s=0.5)).evaluate(transition({}, {})).success
    with pytest.raises(ConfigError, match="did you mean 'time_limit'"):
        parse(TaskConfig, {"success": ["time_limits"]})
