"""The drivers of the comparison: random, rules, the town's autopilot, trained agents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces

from examples.train_ppo_cleanrl import load_agent
from sim2street.bridge.driver import drive, driver_for
from sim2street.bridge.frame import Control, SensorFrame
from sim2street.envs import DrivingEnv

Action = npt.NDArray[np.float32]

Driver = Callable[[Any, DrivingEnv], Action]
"""Observation and env -> action."""


def random_driver(seed: int) -> Driver:
    """Draws every action uniformly from the action space."""
    rng = np.random.default_rng(seed)
    return lambda observation, env: rng.uniform(-1.0, 1.0, 2).astype(np.float32)


def rule_driver() -> Driver:
    """Pure pursuit and speed rules, from the same facts that the agent observes."""
    return lambda observation, env: action_of(drive(_frame(env).ego))


def autopilot_driver() -> Driver:
    """The town's own driver, which also knows the right of way and pedestrians on the road."""
    return lambda observation, env: action_of(driver_for(env.world)(_frame(env)))


def agent_driver(path: Path) -> Driver:
    """The mean action of an agent of `examples/train_ppo_cleanrl.py`, without exploration."""
    agent = load_agent(path)

    @torch.no_grad()
    def act(observation: Any, env: DrivingEnv) -> Action:
        flat = np.asarray(spaces.flatten(env.observation_space, observation), np.float32)
        mean = agent.action_distribution(torch.from_numpy(flat)[None]).mean[0]
        return mean.clamp(-1.0, 1.0).numpy()

    return act


def action_of(control: Control) -> Action:
    """The continuous action (steer, accel) that gives this Control."""
    return np.array([control.steer, control.throttle - control.brake], np.float32)


def _frame(env: DrivingEnv) -> SensorFrame:
    assert env.last_frame is not None
    return env.last_frame
