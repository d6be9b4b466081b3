"""Actions become the controls they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from sim2street.configs import ConfigError
from sim2street.envs.actions import ActionConfig, DiscreteActions, make_actions


def test_continuous_acceleration_becomes_throttle_or_brake() -> None:
    actions = make_actions(ActionConfig(max_steer=0.5))
    forward = actions.control(np.array([1.0, 0.25]))
    braking = actions.control(np.array([-1.0, -0.75]))
    assert (forward.steer, forward.throttle, forward.brake) == (0.5, 0.25, 0.0)
    assert (braking.steer, braking.throttle, braking.brake) == (-0.5, 0.0, 0.75)


def test_discrete_actions_are_distinct_valid_controls_and_the_middle_one_coasts() -> None:
    actions = DiscreteActions(steer_levels=5, accel_levels=3)
    controls = [actions.control(index) for index in range(15)]
    for control in controls:
        control.validate()
    assert len(set(controls)) == 15
    assert (controls[7].steer, controls[7].throttle, controls[7].brake) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("action", [np.array([np.nan, 0.0]), np.zeros(3), 0.5])
def test_bad_continuous_actions_are_refused(action) -> None:
    with pytest.raises(ConfigError, match="two finite numbers"):
        make_actions(ActionConfig()).control(action)


def test_bad_discrete_actions_and_grids_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"0\.\.14"):
        make_actions(ActionConfig(kind="discrete")).control(15)
    with pytest.raises(ConfigError, match="odd"):
        make_actions(ActionConfig(kind="discrete", steer_levels=4))
