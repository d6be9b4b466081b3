"""DrivingEnv in a tiny world in which every number is known."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from straight_road import StraightRoadWorld

from sim2street.bridge.errors import WorldError
from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.rendered_world import RenderedWorld
from sim2street.configs import ConfigError, parse
from sim2street.envs import DrivingEnv, ObservationConfig, Task, TaskConfig
from sim2street.envs.actions import ContinuousActions, DiscreteActions
from sim2street.envs.state import STATE_FIELDS

ALL_KEYS = ObservationConfig(keys=("image", "labels", "depth_m", "state"))
STRAIGHT_ON = np.array([0.0, 1.0], np.float32)


def rendered_env(world: StraightRoadWorld | None = None, **options) -> DrivingEnv:
    world = world or StraightRoadWorld()
    scale = options.pop("image_scale", 1)
    rendered = RenderedWorld(world, PaletteRenderer(), scale=scale)
    return DrivingEnv(rendered, image_scale=scale, **options)


def state_env(world: StraightRoadWorld, task: TaskConfig | None = None) -> DrivingEnv:
    return DrivingEnv(world, Task(task), observation=ObservationConfig(keys=("state",)))


@pytest.mark.parametrize("actions", [ContinuousActions(), DiscreteActions()])
def test_gymnasiums_checker_passes(actions) -> None:
    env = rendered_env(actions=actions, observation=ALL_KEYS, render_mode="rgb_array")
    check_env(env, skip_render_check=True)


def test_observations_belong_to_the_space() -> None:
    env = rendered_env(observation=ALL_KEYS, image_scale=2)
    observation, info = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    assert observation["image"].shape == (64, 128, 3)
    assert observation["labels"].shape == observation["depth_m"].shape == (32, 64)
    assert set(np.unique(observation["labels"])) == {1, 10, 11}
    assert info["tick"] == 0
    assert info["seed"] == 1


def test_an_env_without_images_opens_the_world_without_sensors() -> None:
    world = StraightRoadWorld()
    env = state_env(world)
    observation, _ = env.reset(seed=0)
    assert world.opened == [False]
    assert list(observation) == ["state"]
    assert observation["state"].shape == (len(STATE_FIELDS),)


def test_the_reward_is_the_weighted_sum_of_its_terms() -> None:
    task = TaskConfig(rewards={"progress": 2.0, "time": -1.0}, endings=())
    env = state_env(StraightRoadWorld(), task)
    env.reset(seed=0)
    env.step(STRAIGHT_ON)
    _, reward, *_, info = env.step(STRAIGHT_ON)
    # two steps at 4 m/s²: 0.8 m/s, so 0.08 m of progress in the second tick of 0.1 s
    assert info["rewards"] == pytest.approx({"progress": 0.16, "time": -0.1}, abs=1e-5)
    assert reward == pytest.approx(0.06, abs=1e-5)


def test_reaching_the_goal_terminates() -> None:
    env = state_env(StraightRoadWorld())
    env.reset(seed=0, options={"goal_m": 3.2})
    for _ in range(40):
        *_, terminated, truncated, info = env.step(STRAIGHT_ON)
        if terminated:
            break
    assert terminated
    assert not truncated
    assert info["ending"] == "goal"
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step(STRAIGHT_ON)


def test_leaving_the_lane_terminates() -> None:
    env = state_env(StraightRoadWorld())
    env.reset(seed=0)
    for _ in range(60):
        *_, terminated, _, info = env.step(np.array([1.0, 1.0], np.float32))
        if terminated:
            break
    assert info["ending"] == "off_lane"
    assert info["rewards"]["off_lane"] == -5.0


def test_the_time_limit_truncates() -> None:
    env = state_env(StraightRoadWorld(), TaskConfig(time_limit_s=0.5))
    env.reset(seed=0)
    results = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(5)]
    assert results == [(False, False)] * 4 + [(False, True)]


def test_a_lost_world_truncates_and_the_next_reset_works() -> None:
    env = rendered_env(StraightRoadWorld(lost_at_tick=2), observation=ALL_KEYS)
    env.reset(seed=0)
    before, *_ = env.step(STRAIGHT_ON)
    observation, reward, terminated, truncated, info = env.step(STRAIGHT_ON)
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert "caved in" in info["error"]
    assert env.observation_space.contains(observation)
    assert all(np.array_equal(observation[key], before[key]) for key in before)
    _, info = env.reset()
    assert info["error"] == ""
    assert env.step(STRAIGHT_ON)[4]["tick"] == 1


def test_one_seed_fixes_the_whole_sequence_of_episodes() -> None:
    env = state_env(StraightRoadWorld())
    first = [env.reset(seed=7)[0]["state"], env.reset()[0]["state"], env.reset()[0]["state"]]
    again = [env.reset(seed=7)[0]["state"], env.reset()[0]["state"], env.reset()[0]["state"]]
    assert np.array_equal(first, again)
    assert not np.array_equal(first[1], first[2])


def test_render_returns_a_copy() -> None:
    env = rendered_env(render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    image = env.render()
    assert np.array_equal(image, observation["image"])
    image[:] = 0
    assert env.render().any()


def test_misspelt_names_get_a_hint() -> None:
    with pytest.raises(ConfigError, match="did you mean 'goal_m'"):
        state_env(StraightRoadWorld()).reset(options={"gaol_m": 3.0})
    with pytest.raises(ConfigError, match="did you mean 'progress'"):
        parse(TaskConfig, {"rewards": {"progres": 1.0}})
    with pytest.raises(ConfigError, match="did you mean 'goal'"):
        parse(TaskConfig, {"endings": ["gaol"]})
    with pytest.raises(ConfigError, match="did you mean 'rgb_array'"):
        rendered_env(render_mode="rgb-array")
    with pytest.raises(ConfigError, match="did you mean 'front'"):
        rendered_env(observation=ObservationConfig(view="frnt"))


def test_a_failed_construction_closes_the_world() -> None:
    world = StraightRoadWorld()
    with pytest.raises(ConfigError):
        rendered_env(world, observation=ObservationConfig(view="rear"))
    assert world.closed == 1


def test_action_repeat_adds_rewards_and_stops_at_an_ending() -> None:
    task = TaskConfig(rewards={"progress": 1.0, "time": -1.0}, endings=("goal",))
    single, repeated = (
        DrivingEnv(
            StraightRoadWorld(),
            Task(task),
            observation=ObservationConfig(keys=("state",)),
            action_repeat=repeat,
        )
        for repeat in (1, 4)
    )
    for env in (single, repeated):
        env.reset(seed=3, options={"goal_m": 5.0})
    assert (single.metadata["render_fps"], repeated.metadata["render_fps"]) == (10, 2)
    over = False
    while not over:
        ticks, total, last = 0, 0.0, None
        while ticks < 4 and not over:
            last, reward, over, *_ = single.step(STRAIGHT_ON)
            total, ticks = total + reward, ticks + 1
        observation, reward, terminated, _, info = repeated.step(STRAIGHT_ON)
        assert terminated == over
        assert reward == pytest.approx(total)
        assert info["rewards"]["time"] == pytest.approx(-0.1 * ticks)
        assert np.array_equal(observation["state"], last["state"])
    assert info["is_success"]
    assert info["tick"] % 4, "the goal is reached in the middle of a step"
    assert info["distance_m"] == pytest.approx(5.0 - 2.0, abs=1.5)


def test_options_of_caller_precede_those_of_task() -> None:
    task = TaskConfig(reset_options={"goal_m": 7.0})
    env = DrivingEnv(
        StraightRoadWorld(), Task(task), observation=ObservationConfig(keys=("state",))
    )
    assert env.reset(seed=1)[1]["options"] == {"goal_m": 7.0}
    assert env.reset(seed=1, options={"goal_m": 9.0})[1]["options"] == {"goal_m": 9.0}
    with pytest.raises(ConfigError, match="did you mean 'test'"):
        env.reset(options={"split": "tset"})


def test_get_state_of_a_world_that_cannot_save_it() -> None:
    env = state_env(StraightRoadWorld())
    env.reset(seed=0)
    with pytest.raises(WorldError, match="StraightRoadWorld cannot save its state"):
        env.get_state()
