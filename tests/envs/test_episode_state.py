"""The `info` of an env, and snapshots that are restored where they do not belong."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from straight_road import StraightRoadWorld
from vector_envs import SavingWorld

from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.remapped_world import RemappedWorld
from sim2street.bridge.rendered_world import RenderedWorld
from sim2street.configs import ConfigError
from sim2street.envs import DrivingEnv, ObservationConfig, Task, TaskConfig

ON = np.array([0.05, 0.8], np.float32)
STATE = ObservationConfig(keys=("state",))
IMAGE = ObservationConfig(keys=("image", "state"), stack=2)


def env_of(world, observation: ObservationConfig = STATE, **task: Any) -> DrivingEnv:
    return DrivingEnv(world, Task(TaskConfig(**task)), observation=observation)


def shape(value: Any) -> Any:
    """Types and keys of a nested value."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return type(value), getattr(value, "shape", None)


def test_the_info_of_every_reset_and_step_has_the_same_keys_and_types() -> None:
    """Also where the world is lost, and at the end of an episode."""
    env = env_of(StraightRoadWorld(lost_at_tick=4), time_limit_s=0.6)
    infos = [env.reset(seed=1, options={"goal_m": 30.0})[1]]
    infos += [env.step(ON)[4] for _ in range(4)]
    assert infos[-1]["error"]
    assert infos[-1]["ending"] == "lost"
    infos.append(env.reset(seed=1, options={"goal_m": 30.0})[1])
    infos += [env.step(ON)[4] for _ in range(6)]
    assert infos[-1]["ending"] == "time_limit"
    assert [shape(info) for info in infos] == [shape(infos[0])] * len(infos)
    assert infos[0]["ending"] == infos[0]["error"] == infos[0]["flags"] == ""
    assert set(infos[0]["rewards"].values()) == {0.0}
    for info in infos:
        assert not any(isinstance(value, list | tuple) or value is None for value in info.values())


def test_infos_are_new_objects() -> None:
    env = env_of(StraightRoadWorld())
    _, info = env.reset(seed=1, options={"goal_m": 30.0})
    info["options"]["goal_m"] = 0.0
    assert env.step(ON)[4]["options"] == {"goal_m": 30.0}


def test_something_else_than_a_snapshot_is_refused() -> None:
    env = env_of(SavingWorld())
    env.reset(seed=1)
    for other in (None, {}, env.world.get_state(), env.reset(seed=2)[1]):
        with pytest.raises(ConfigError, match="expected a snapshot that get_state"):
            env.set_state(other)
    assert env.step(ON)[4]["tick"] == 1  # the episode is untouched


def test_a_snapshot_of_another_task_is_refused() -> None:
    env, other = env_of(SavingWorld()), env_of(SavingWorld(), endings=("collision",))
    env.reset(seed=1)
    other.reset(seed=1)
    with pytest.raises(ConfigError, match="another task; its settings differ in endings"):
        other.set_state(env.get_state())
    env_of(SavingWorld()).set_state(env.get_state())


def test_a_snapshot_without_images_continues_with_images_and_back() -> None:
    plain = env_of(SavingWorld())
    pictured = env_of(RenderedWorld(SavingWorld(), PaletteRenderer()), IMAGE)
    plain.reset(seed=3)
    plain.step(ON)
    observation, info = pictured.set_state(plain.get_state())
    assert pictured.observation_space.contains(observation)
    assert info["tick"] == 1
    assert info["seed"] == 3
    stepped, expected = pictured.step(ON), plain.step(ON)
    assert np.array_equal(stepped[0]["state"][-13:], expected[0]["state"])
    assert stepped[1:4] == expected[1:4]
    assert stepped[4] == expected[4]


def test_images_of_another_size_start_anew() -> None:
    small = env_of(RenderedWorld(SavingWorld(), PaletteRenderer()), IMAGE)
    large = env_of(RenderedWorld(SavingWorld(128, 64), PaletteRenderer()), IMAGE)
    small.reset(seed=3)
    small.step(ON)
    observation, _ = large.set_state(small.get_state())
    assert observation["image"].shape == (64, 128, 6)
    assert np.array_equal(observation["image"][..., :3], observation["image"][..., 3:])
    assert large.step(ON)[4]["tick"] == 2


def test_the_memory_of_another_renderer_is_not_used() -> None:
    rendered = RenderedWorld(SavingWorld(), PaletteRenderer())
    rendered.open()
    rendered.reset(1)
    state = rendered.get_state()
    for name, (config, _) in state.sessions.items():
        state.sessions[name] = (config, (None, None))  # type: ignore[index]
    frame = rendered.set_state(state)
    assert frame.view.rgb is not None


def test_snapshots_of_remapped_worlds() -> None:
    world = RemappedWorld(SavingWorld(), {"road": "water"})
    world.open()
    first = world.reset(1).view.labels
    saved = world.get_state()
    world.remap({})
    assert not np.array_equal(world.reset(2).view.labels, first)
    assert np.array_equal(world.set_state(saved).view.labels, first)
    plain = SavingWorld()
    plain.open()
    plain.reset(1)
    assert np.array_equal(world.set_state(plain.get_state()).view.labels, first)


def test_snapshots_can_be_pickled_and_are_not_changed_by_what_follows() -> None:
    env = env_of(SavingWorld())
    env.reset(seed=2)
    state = env.get_state()
    kept = pickle.dumps(state)
    first = [env.step(ON)[0]["state"] for _ in range(3)]
    assert pickle.dumps(state) == kept
    env.set_state(pickle.loads(kept))
    again = [env.step(ON)[0]["state"] for _ in range(3)]
    assert np.array_equal(first, again)


def test_a_snapshot_of_an_ended_episode_stays_ended() -> None:
    env = env_of(SavingWorld(), time_limit_s=0.2)
    env.reset(seed=1)
    env.step(ON)
    env.step(ON)
    env.set_state(env.get_state())
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(ON)


class UncopyableWorld(StraightRoadWorld):
    """Holds something that cannot be copied, like a socket or a graphics pipe."""

    def __init__(self) -> None:
        super().__init__()
        self.pipe = (i for i in ())


def test_a_copy_continues_on_its_own_and_what_cannot_be_copied_says_what_to_do() -> None:
    env = env_of(RenderedWorld(StraightRoadWorld(), PaletteRenderer()), IMAGE)
    env.reset(seed=1)
    copied = copy.deepcopy(env)
    expected, got = env.step(ON), copied.step(ON)
    assert np.array_equal(expected[0]["image"], got[0]["image"])
    env.step(ON)
    assert copied.step(ON)[4]["tick"] == 2
    with pytest.raises(TypeError, match=r"set_state\(first.unwrapped.get_state\(\)\)"):
        copy.deepcopy(env_of(UncopyableWorld()))
