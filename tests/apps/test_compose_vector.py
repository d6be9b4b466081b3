"""Vectors made from ids and configs: in the town, with remote worlds, with one renderer."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from support.processes import ServerProcess
from support.untrained import untrained_weights

from sim2street.apps.compose import make_env
from sim2street.apps.compose_vector import make_vector_env
from sim2street.apps.env_timing import lane_keeping_action
from sim2street.configs import ConfigError
from sim2street.envs import ENV_CONFIGS
from sim2street.envs.vector.env import DrivingVectorEnv

SMALL: dict[str, Any] = {
    "town": 3,
    "vehicles": 6,
    "pedestrians": 4,
    "layout": {
        "graph": {"columns": [3, 3], "rows": [3, 3], "turn_deg": 10.0, "shift_m": 3.0},
    },
    "cameras": {"front": {"width_px": 128, "height_px": 64}},
}
SOON_S = 60.0


def assert_same(ours: Any, theirs: Any, where: str = "") -> None:
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs), where
        for key in theirs:
            assert_same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, np.ndarray) and theirs.dtype != object:
        assert ours.dtype == theirs.dtype, where
        assert np.array_equal(ours, theirs), where
    else:
        assert str(ours) == str(theirs), where


def assert_equal_drives(vector: DrivingVectorEnv, single: gymnasium.Env, steps: int) -> None:
    """Drive both along the lane from the same seed; all results must be equal."""
    beside = SyncVectorEnv([lambda: single])
    ours, theirs = vector.reset(seed=5), beside.reset(seed=5)
    assert_same(ours, theirs, "reset")
    for step in range(steps):
        actions = lane_keeping_action(theirs[0]["state"])
        ours, theirs = vector.step(actions), beside.step(actions)
        for part, other in zip(ours, theirs, strict=True):
            assert_same(part, other, f"step {step}")


def test_a_vector_of_one_town_equals_a_single_env() -> None:
    """With stacking, latency, repeated actions, rare rendering and random episodes."""
    settings: dict[str, Any] = {
        "world_settings": SMALL,
        "observation": {"keys": ["image", "depth_m", "state"], "stack": 2, "latency_ticks": 1},
        "actions": {"repeat": 2},
        "render_every": 4,
        "episodes": {"traffic": [0.2, 0.9], "weather": ["rain", "fog"]},
        "task": {"time_limit_s": 0.4},
        "render_mode": "rgb_array",
    }
    single = gymnasium.make("sim2street/TownFollow-v0", **settings)
    vector = gymnasium.make_vec("sim2street/TownFollow-v0", num_envs=1, **settings)
    assert isinstance(vector, DrivingVectorEnv)
    assert vector.spec is not None
    assert vector.spec.kwargs["vectorization_mode"] == "vector_entry_point"
    assert vector.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert_equal_drives(vector, single, steps=7)
    assert np.array_equal(vector.render()[0], single.render())
    ahead = np.array([[0.1, 0.4]], np.float32)
    saved, (beside,) = vector.get_state(), [single.unwrapped.get_state()]
    first, *_ = vector.step(ahead)
    restored, info = vector.set_state(saved)
    assert_same(restored, {k: a[None] for k, a in single.unwrapped.set_state(beside)[0].items()})
    assert info["tick"][0] == saved[0].episode.frame.tick
    assert_same(vector.step(ahead)[0], first)
    vector.close()
    single.close()


def test_a_vector_of_one_equals_a_single_env_with_a_neural_renderer(tmp_path: Path) -> None:
    weights, styles = untrained_weights(tmp_path)
    with ServerProcess("world", settings={"size": [64, 32]}) as world:
        settings: dict[str, Any] = {
            "world": world.endpoint,
            "renderer": str(weights),
            "renderer_settings": {
                "styles": str(styles), "device": "cpu", "precision": "float32",
            },
            "style": "random",
        }  # fmt: skip
        with ExitStack() as stack:
            single = make_env("town_follow", **settings)
            stack.callback(single.close)
            observation, _ = single.reset(seed=4)
            pictures = [observation["image"]]
            for _ in range(3):
                pictures.append(single.step(np.array([0.1, 1.0], np.float32))[0]["image"])
        with ExitStack() as stack:  # a server has one client at a time
            vector = make_vector_env("town_follow", 1, worlds=[world.endpoint], **settings)
            stack.callback(vector.close)
            batch, _ = vector.reset(seed=4)
            ours = [batch["image"][0]]
            for _ in range(3):
                ours.append(vector.step(np.array([[0.1, 1.0]], np.float32))[0]["image"][0])
    assert np.array_equal(ours, pictures)
    assert not np.array_equal(pictures[0], pictures[-1])


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_worlds_by_endpoint_share_one_remote_renderer_and_come_back() -> None:
    size = {"size": [64, 32]}
    with ExitStack() as stack:
        servers = [stack.enter_context(ServerProcess("world", settings=size)) for _ in range(2)]
        renderer = stack.enter_context(ServerProcess("renderer"))
        vector = make_vector_env(
            "town_follow",
            2,
            worlds=[servers[0].endpoint, {"world": servers[1].endpoint}],
            renderer=renderer.endpoint,
            world_settings={"deadline_s": 5.0, "open_deadline_s": 10.0},
        )
        stack.callback(vector.close)
        observation, _ = vector.reset(seed=0)
        assert observation["image"].any(axis=(1, 2, 3)).all()
        on = np.zeros((2, 2), np.float32)
        assert vector.step(on)[4]["tick"].tolist() == [1, 1]
        servers[1].kill()
        *_, truncated, info = vector.step(on)
        assert truncated.tolist() == [False, True]
        assert servers[1].endpoint in info["error"][1]
        *_, truncated, info = vector.step(on)
        assert truncated.tolist() == [False, True]
        assert info["tick"][0] == 3
        servers[1].start()
        end_s = time.monotonic() + SOON_S
        while truncated[1] and time.monotonic() < end_s:
            *_, truncated, info = vector.step(on)
        assert not truncated[1]
        assert info["tick"][1] == 0


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="one for each of 3 envs, got 1"):
        make_vector_env("town_follow", 3, worlds=["town"])
    with pytest.raises(ConfigError, match="did you mean 'step_s'"):
        make_vector_env("town_follow", 2, deadlines={"steps_s": 3.0})
    with pytest.raises(ConfigError, match="num_envs must be at least 1"):
        make_vector_env("town_follow", 0)
    with pytest.raises(ConfigError, match="did you mean 'time_limit_s'"):
        make_vector_env("town_follow", 1, task={"time_limits_s": 3.0})


def test_every_id_has_a_vector_entry_point() -> None:
    for env_id in ENV_CONFIGS:
        entry = gymnasium.spec(env_id).vector_entry_point
        assert entry == "sim2street.apps.compose_vector:make_vector_env", env_id
