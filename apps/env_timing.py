"""Steps a second of envs, single and vectored, and of HighwayEnv beside them."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import gymnasium

    from sim2street.envs.driving import DrivingEnv
    from sim2street.envs.vector.env import DrivingVectorEnv

STAGES = ("simulate", "transfer", "render", "observe")


class Contestant(Protocol):
    """Something whose steps are timed."""

    def take(self, steps: int) -> tuple[int, float]:
        """Make about `steps` steps: how many of one env those were, in how many seconds.

        What episodes cost to begin is left out.
        """

    def stage_seconds(self) -> Mapping[str, float]:
        """Seconds spent per stage so far; empty where the stages are not known."""


@dataclass
class Measured:
    """What the turns of one contestant brought.

    Attributes:
        rates: steps a second, turn by turn.
        stages: seconds per stage and step.
    """

    rates: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def best(self) -> float:
        """Of the least disturbed turn."""
        return max(self.rates)

    @property
    def median(self) -> float:
        """Of all turns."""
        return statistics.median(self.rates)


class SingleEnv:
    """One DrivingEnv, driven along its lane."""

    def __init__(self, env: DrivingEnv, seed: int = 0) -> None:
        self._env = env
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._observation, _ = env.reset(seed=seed)

    def take(self, steps: int) -> tuple[int, float]:
        total_s = 0.0
        for _ in range(steps):
            action = lane_keeping(self._observation["state"])
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


class VectoredEnvs:
    """A DrivingVectorEnv without autoreset, driven along its lanes."""

    def __init__(self, env: DrivingVectorEnv, seed: int = 0) -> None:
        self._env = env
        self._observation, _ = env.reset(seed=seed)
        self._reset_seconds = dict.fromkeys(STAGES, 0.0)

    def take(self, steps: int) -> tuple[int, float]:
        total_s = 0.0
        for _ in range(steps):
            actions = lane_keeping(self._observation["state"])
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


class HighwayEnv:
    """HighwayEnv whose observation is the rendered picture, one tick a step."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self._env = env
        env.reset(seed=0)

    def take(self, steps: int) -> tuple[int, float]:
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


def highway_env(size_px: tuple[int, int], stack: ExitStack) -> HighwayEnv:
    """HighwayEnv's `highway-v0` with rgb of this (width, height) as its observation.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    if not os.environ.get("DISPLAY"):  # with "dummy" HighwayEnv would draw nothing at all
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
    return HighwayEnv(gymnasium.wrappers.AddRenderObservation(env, render_only=True))


def take_turns(
    contestants: Mapping[str, Contestant],
    turns: int,
    steps: int,
    report: Callable[[], None] = lambda: None,
) -> dict[str, Measured]:
    """Each takes `steps` steps in turn, so that all meet the same machine.

    The first turn, in which networks warm up and memory is taken, does not count.
    """
    measured = {name: Measured() for name in contestants}
    before: dict[str, dict[str, float]] = {}
    counts = dict.fromkeys(contestants, 0)
    for turn in range(turns + 1):
        for name, contestant in contestants.items():
            count, seconds = contestant.take(steps)
            if turn:
                measured[name].rates.append(count / seconds)
                counts[name] += count
            else:
                before[name] = dict(contestant.stage_seconds())
            report()
    for name, contestant in contestants.items():
        measured[name].stages = {
            stage: (spent_s - before[name][stage]) / counts[name]
            for stage, spent_s in contestant.stage_seconds().items()
        }
    return measured


def lane_keeping(state: np.ndarray) -> np.ndarray:
    """float32 (..., 2): steer towards the lane's centre, at 4 m/s; from `STATE_FIELDS`."""
    speed, offset, heading, curvature = (state[..., i] for i in (0, 3, 4, 5))
    steer = 0.6 * offset + 1.0 * heading - 0.3 * curvature
    accel = 4.0 * (0.2 - speed)
    return np.clip(np.stack([steer, accel], axis=-1), -1.0, 1.0).astype(np.float32)


def shares(stages: Mapping[str, float]) -> Sequence[tuple[str, float, float]]:
    """Each stage with its seconds a step and its share of all stages together."""
    total_s = sum(stages.values())
    return [(name, seconds, seconds / total_s) for name, seconds in stages.items() if total_s]
