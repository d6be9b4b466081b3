"""Memory does not grow in long runs."""

from __future__ import annotations

import gc

import gymnasium
import numpy as np
import psutil
import pytest

import sim2street  # noqa: F401  (registers the ids)

ONE_TOWN = {"town": 3, "layout": {"graph": {"columns": [3, 3], "rows": [3, 3]}}}
MAX_GROWTH_MIB = 12.0


def resident_mib() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def growth_mib(env: gymnasium.Env, steps: int) -> float:
    """Growth of the process's memory in the second half of `steps` steps of random driving."""
    env.action_space.seed(0)
    env.reset(seed=0)
    steady = np.array([0.0, 0.25], np.float32)
    half = 0.0
    for step in range(steps):
        if step == steps // 2:
            half = resident_mib()
        *_, terminated, truncated, info = env.step(steady + 0.1 * env.action_space.sample())
        assert info["error"] == ""
        if terminated or truncated:
            env.reset()
    return resident_mib() - half


@pytest.mark.slow
@pytest.mark.timeout(3600)  # takes minutes, more on a busy machine
def test_100_000_state_only_steps() -> None:
    settings = {**ONE_TOWN, "vehicles": 20, "pedestrians": 20}
    env = gymnasium.make("sim2street/TownRouteState-v0", world_settings=settings)
    assert growth_mib(env, 100_000) < MAX_GROWTH_MIB
    env.close()


@pytest.mark.slow
@pytest.mark.timeout(3600)  # takes minutes, more on a busy machine
def test_5_000_steps_with_palette_images() -> None:
    settings = {**ONE_TOWN, "cameras": {"front": {"width_px": 128, "height_px": 64}}}
    env = gymnasium.make("sim2street/TownRoute-v0", world_settings=settings)
    assert growth_mib(env, 5_000) < MAX_GROWTH_MIB
    env.close()
