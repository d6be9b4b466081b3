"""Measures steps per second of single envs, of vectors of envs, and of HighwayEnv."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import gymnasium

    from sim2street.envs.driving import DrivingEnv
    from sim2street.envs.vector.env import DrivingVectorEnv

Floats = npt.NDArray[np.float32]

STAGES = ("simulate", "transfer", "render", "observe")
"""Stages of a step, the same as in `DrivingVectorEnv.stage_seconds`."""


class TimedEnv(Protocol):
    """Something whose steps are timed."""

    def run(self, steps: int) -> tuple[int, float]:
        """Make `steps` steps; returns the steps of all envs together, and their seconds.

        The time of resets is not counted.
        """

    def stage_seconds(self) -> Mapping[str, float]:
        """Seconds spent per stage so far, without resets; empty if they are not known."""


@dataclass
class Timing:
    """Measurements of one env.

    Attributes:
        rates: steps per second of each turn.
        stages: stage -> seconds per step.
    """

    rates: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def best(self) -> float:
        """Steps per second of the fastest turn."""
        return max(self.rates)

    @property
    def median(self) -> float:
        """Median of the steps per second of all turns."""
        return statistics.median(self.rates)


class TimedSingleEnv:
    """One DrivingEnv that drives along its lane."""

    def __init__(self, env: DrivingEnv, seed: int = 0) -> None:
        self._env = env
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._observation, _ = env.reset(seed=seed)

    def run(self, steps: int) -> tuple[int, float]:
        total_s = 0.0
        for _ in range(steps):
            action = lane_keeping_action(self._observation["state"])
            start_s = time.perf_counter()
            self._observation, _, terminated, truncated, _ = self._env.step(action)
            step_s = time.perf_counter() - start_s
            total_s += step_s
            assert self._env.last_frame is not None
            stamps = self._env.last_frame.stamps
            render_s = stamps.get("render", 0.0)
            simulate_s = sum(stamps.values()) - render_s
            self._seconds["simulate"] += simulate_s
            self._seconds["render"] += render_s
            self._seconds["observe"] += max(0.0, step_s - simulate_s - render_s)
            if terminated or truncated:
                self._observation, _ = self._env.reset()
        return steps, total_s

    def stage_seconds(self) -> Mapping[str, float]:
        return self._seconds


class TimedVectorEnv:
    """A DrivingVectorEnv without autoreset whose envs drive along their lanes."""

    def __init__(self, env: DrivingVectorEnv, seed: int = 0) -> None:
        self._env = env
        self._observation, _ = env.reset(seed=seed)
        self._reset_seconds = dict.fromkeys(STAGES, 0.0)

    def run(self, steps: int) -> tuple[int, float]:
        total_s = 0.0
        for _ in range(steps):
            actions = lane_keeping_action(self._observation["state"])
            start_s = time.perf_counter()
            self._observation, _, terminated, truncated, _ = self._env.step(actions)
            total_s += time.perf_counter() - start_s
            over = terminated | truncated
            if over.any():
                before = self._env.stage_seconds
                self._observation, _ = self._env.reset(options={"reset_mask": over})
                for stage, seconds in self._env.stage_seconds.items():
                    self._reset_seconds[stage] += seconds - before[stage]
        return steps * self._env.num_envs, total_s

    def stage_seconds(self) -> Mapping[str, float]:
        spent = self._env.stage_seconds
        return {stage: spent[stage] - self._reset_seconds[stage] for stage in STAGES}


class TimedHighwayEnv:
    """HighwayEnv with the rendered image as its observation, one tick per step."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self._env = env
        env.reset(seed=0)

    def run(self, steps: int) -> tuple[int, float]:
        total_s = 0.0
        for _ in range(steps):
            start_s = time.perf_counter()
            *_, terminated, truncated, _ = self._env.step(1)  # stay in the lane
            total_s += time.perf_counter() - start_s
            if terminated or truncated:
                self._env.reset()
        return steps, total_s

    def stage_seconds(self) -> Mapping[str, float]:
        return {}


def highway_env(size_px: tuple[int, int], stack: ExitStack) -> TimedHighwayEnv:
    """HighwayEnv's `highway-v0` with rgb images of this (width, height); `stack` closes it.

    Raises:
        ModuleNotFoundError: highway-env is not installed.
    """
    if not os.environ.get("DISPLAY"):  # with the driver "dummy", HighwayEnv draws nothing
        os.environ.setdefault("SDL_VIDEODRIVER", "offscreen")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import gymnasium
    import highway_env as package  # type: ignore[import-untyped, unused-ignore]

    gymnasium.register_envs(package)
    config = {
        "screen_width": size_px[0],
        "screen_height": size_px[1],
        "simulation_frequency": 20,
        "policy_frequency": 20,
        "offscreen_rendering": True,
        "duration": 10_000,
    }
    env = gymnasium.make(
        "highway-v0", render_mode="rgb_array", config=config, disable_env_checker=True
    )
    stack.callback(env.close)
    return TimedHighwayEnv(gymnasium.wrappers.AddRenderObservation(env, render_only=True))


def time_in_turns(
    envs: Mapping[str, TimedEnv],
    turns: int,
    steps: int,
    report: Callable[[], None] = lambda: None,
) -> dict[str, Timing]:
    """Let the envs make `steps` steps each, in turns, so that all meet the same conditions.

    The first turn is a warm-up and is not counted. `report` is called after every turn.
    """
    timings = {name: Timing() for name in envs}
    stages_before: dict[str, dict[str, float]] = {}
    counts = dict.fromkeys(envs, 0)
    for turn in range(turns + 1):
        for name, env in envs.items():
            count, seconds = env.run(steps)
            if turn > 0:
                timings[name].rates.append(count / seconds)
                counts[name] += count
            else:
                stages_before[name] = dict(env.stage_seconds())
            report()
    for name, env in envs.items():
        timings[name].stages = {
            stage: (seconds - stages_before[name][stage]) / counts[name]
            for stage, seconds in env.stage_seconds().items()
        }
    return timings


def lane_keeping_action(state: Floats) -> Floats:
    """float32 (..., 2): steers towards the lane centre at 4 m/s, from the `state` observation."""
    speed, offset, heading, curvature = (state[..., i] for i in (0, 3, 4, 5))
    steer = 0.6 * offset + 1.0 * heading - 0.3 * curvature
    accel = 4.0 * (0.2 - speed)
    actions: Floats = np.stack([steer, accel], axis=-1).clip(-1.0, 1.0).astype(np.float32)
    return actions


def stage_shares(stages: Mapping[str, float]) -> Sequence[tuple[str, float, float]]:
    """(stage, seconds per step, share of all stages together) for each stage."""
    total_s = sum(stages.values())
    return [(name, seconds, seconds / total_s) for name, seconds in stages.items() if total_s]
