"""Who is too slow and who is too fast, for hand-made drives."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sim2street.bridge.frame import (
    Actor,
    EgoState,
    LeadVehicle,
    LightState,
    NextLight,
    SensorFrame,
)
from sim2street.bridge.labels import Tag
from sim2street.envs.pace import Pace
from sim2street.envs.rewards import ENDINGS, TOO_FAST_M, TOO_SLOW_M, Transition

LIMIT_MPS = 10.0


def frame(speed_mps: float, actors: tuple[Actor, ...] = (), **ego) -> SensorFrame:
    state = EgoState(pose=np.eye(4, dtype=np.float32), speed_mps=speed_mps)
    state = dataclasses.replace(state, **{"speed_limit_mps": LIMIT_MPS, **ego})
    return SensorFrame(0, 0, 0.0, state, actors)


def drive(frames: list[SensorFrame], dt_s: float = 0.1) -> Pace:
    pace = Pace.at_start(frames[0])
    for seen in frames:
        pace = pace.after(seen, dt_s)
    return pace


def met(pace: Pace) -> set[str]:
    seen = frame(0.0)
    transition = Transition(seen, None, seen, None, pace)  # type: ignore[arg-type]
    return {name for name in ("too_slow", "too_fast") if ENDINGS[name](transition)}


def test_standing_without_a_reason_is_too_slow_after_some_seconds() -> None:
    assert drive([frame(0.0)] * 30).behind_m == pytest.approx(15.0)
    assert met(drive([frame(0.0)] * 30)) == set()
    assert met(drive([frame(0.0)] * 70)) == {"too_slow"}
    assert met(drive([frame(2.0)] * 110)) == {"too_slow"}
    assert met(drive([frame(6.0)] * 1000)) == set()


def test_moving_now_and_then_does_not_help_but_lost_ground_can_be_made_up_for() -> None:
    stop_and_go = ([frame(0.0)] * 50 + [frame(6.0)] * 10) * 3
    assert met(drive(stop_and_go)) == {"too_slow"}
    assert drive([frame(0.0)] * 30 + [frame(10.0)] * 30).behind_m == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    "reason",
    [
        {"next_light": NextLight(LightState.RED, 4.0)},
        {"next_light": NextLight(LightState.YELLOW, 20.0)},
        {"lead": LeadVehicle(6.0, 0.0)},
    ],
)
def test_waiting_is_allowed(reason) -> None:
    assert drive([frame(0.0, **reason)] * 600).behind_m == 0.0


def test_waiting_for_somebody_on_the_road_is_allowed() -> None:
    pose = np.eye(4, dtype=np.float32)
    pose[0, 3] = 9.0
    child = Actor(4, int(Tag.PEDESTRIAN), pose, (0.3, 0.3, 0.6))
    assert drive([frame(0.0, (child,))] * 600).behind_m == 0.0


@pytest.mark.parametrize(
    "no_reason",
    [
        {"next_light": NextLight(LightState.GREEN, 4.0)},
        {"next_light": NextLight(LightState.RED, 80.0)},
        {"lead": LeadVehicle(40.0, 9.0)},
    ],
)
def test_other_things_are_no_reason_to_wait(no_reason) -> None:
    assert met(drive([frame(0.0, **no_reason)] * 70)) == {"too_slow"}


def test_speeding_is_too_fast_and_a_tenth_above_the_limit_is_not() -> None:
    assert met(drive([frame(1.1 * LIMIT_MPS)] * 1000)) == set()
    assert met(drive([frame(LIMIT_MPS)] + [frame(1.5 * LIMIT_MPS)] * 5)) == set()
    assert met(drive([frame(LIMIT_MPS)] + [frame(1.5 * LIMIT_MPS)] * 10)) == {"too_fast"}


def test_a_falling_limit_leaves_time_to_brake() -> None:
    """From 50 to 30 km/h, braking at 2 m/s²; and without braking."""
    slower = [frame(max(14.0 - 0.2 * k, 8.0), speed_limit_mps=8.3) for k in range(100)]
    before = frame(14.0, speed_limit_mps=13.9)
    assert met(drive([before, *slower])) == set()
    assert met(drive([before] + [frame(14.0, speed_limit_mps=8.3)] * 40)) == {"too_fast"}


def test_a_start_above_the_limit_and_no_limit_at_all() -> None:
    assert Pace.at_start(frame(20.0)).fast_mps == 20.0
    unlimited = [frame(speed, speed_limit_mps=0.0) for speed in (0.0, 50.0)]
    assert met(drive(unlimited * 500)) == set()


def test_thresholds_are_those_of_the_docstrings() -> None:
    assert (TOO_SLOW_M, TOO_FAST_M) == (30.0, 3.0)
    assert "30 m" in (ENDINGS["too_slow"].__doc__ or "")
    assert "3 m" in (ENDINGS["too_fast"].__doc__ or "")
