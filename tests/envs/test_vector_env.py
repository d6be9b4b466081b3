"""DrivingVectorEnv gives the same results as Gymnasium's SyncVectorEnv, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from vector_envs import (
    STRAIGHT_ON,
    WatchedRenderer,
    assert_same,
    discrete_state_env,
    lasting_env,
    saving_env,
    straight_env,
)

from sim2street.bridge.palette import PaletteRenderer
from sim2street.configs import ConfigError
from sim2street.envs.state import STATE_FIELDS
from sim2street.envs.vector.env import STAGES, DrivingVectorEnv
from sim2street.envs.vector.worker import VectorDeadlines

MODES = list(AutoresetMode)


def pair(num_envs: int, mode: AutoresetMode) -> tuple[DrivingVectorEnv, SyncVectorEnv]:
    deadlines = VectorDeadlines(recover_s=30.0)  # long enough for a busy machine
    ours = DrivingVectorEnv(straight_env, num_envs, PaletteRenderer(), mode, deadlines)
    make = [partial(straight_env, i, PaletteRenderer()) for i in range(num_envs)]
    return ours, SyncVectorEnv(make, autoreset_mode=mode)


@pytest.fixture(scope="module")
def four() -> Iterator[tuple[DrivingVectorEnv, WatchedRenderer]]:
    renderer = WatchedRenderer()
    with_two_cores = DrivingVectorEnv(lasting_env, 4, renderer, at_once=2)
    yield with_two_cores, renderer
    with_two_cores.close()


@pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
def test_every_autoreset_mode_works_as_in_gymnasium(mode: AutoresetMode) -> None:
    """Twelve steps: episodes end by time, and the world of env 1 is lost on the way."""
    ours, theirs = pair(3, mode)
    assert ours.metadata == theirs.metadata
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    rng = np.random.default_rng(5)
    assert_same(ours.reset(seed=11, options={"goal_m": 30.0}), theirs.reset(
        seed=11, options={"goal_m": 30.0}), "reset")  # fmt: skip
    errors = 0
    for step in range(12):
        actions = rng.uniform(-0.2, 1.0, (3, 2)).astype(np.float32)
        result, expected = ours.step(actions), theirs.step(actions)
        assert_same(list(result), list(expected), f"step {step}")
        assert ours.observation_space.contains(result[0])
        errors += "caved in" in str(result[4])
        over = result[2] | result[3]
        if mode is AutoresetMode.DISABLED and over.any():
            again = ours.reset(options={"reset_mask": over})
            assert_same(again, theirs.reset(options={"reset_mask": over}), f"reset after {step}")
    assert errors >= 1
    ours.close()
    theirs.close()


def test_a_vector_of_one_equals_a_single_env_step_by_step() -> None:
    vector = DrivingVectorEnv(straight_env, 1, PaletteRenderer())
    single = straight_env(0, PaletteRenderer())
    rng = np.random.default_rng(1)

    def alike(batched: dict, info: dict, observation: dict, single_info: dict) -> None:
        assert set(batched) == set(observation)
        assert_same({k: batched[k][0] for k in observation}, observation, "observation")
        unpacked = {k: v for k, v in info.items() if not k.startswith("_")}
        assert sorted(unpacked) == sorted(single_info)
        for key, value in single_info.items():
            if isinstance(value, dict):
                assert {k: info[key][k][0] for k in value} == value
            else:
                assert unpacked[key][0] == value

    alike(*vector.reset(seed=4), *single.reset(seed=4))
    over = False
    for _ in range(12):
        action = rng.uniform(-1, 1, 2).astype(np.float32)
        batch, rewards, terminated, truncated, info = vector.step(action[None])
        if over:
            alike(batch, info, *single.reset())
            over = False
            continue
        observation, *outcome, single_info = single.step(action)
        alike(batch, info, observation, single_info)
        assert [rewards[0], terminated[0], truncated[0]] == outcome
        over = outcome[1] or outcome[2]
    vector.close()


def test_each_half_is_one_batch_and_sessions_get_the_seeds(four) -> None:
    vector, renderer = four
    renderer.batches.clear()
    renderer.seeds.clear()
    vector.reset(seed=[5, 6, None, 8])
    assert len(renderer.seeds) == 4
    assert {5, 6, 8} < set(renderer.seeds)
    for _ in range(3):
        vector.step(np.tile(STRAIGHT_ON, (4, 1)))
    assert renderer.batches == [2] * 8


def test_a_seed_fixes_all_results_and_observations_may_be_overwritten(four) -> None:
    vector, _ = four
    actions = np.random.default_rng(2).uniform(-0.5, 1, (6, 4, 2)).astype(np.float32)

    def drive() -> list:
        return [vector.reset(seed=9)[0], *(vector.step(each)[0] for each in actions)]

    first = drive()
    kept = [{key: array.copy() for key, array in batch.items()} for batch in first]
    again = drive()
    for batch, copy, other in zip(first, kept, again, strict=True):
        assert_same(batch, copy)
        assert_same(other, copy)
        batch["image"][:] = 0
    assert not np.array_equal(kept[0]["state"][0], kept[0]["state"][1])


def test_reset_mask_and_options(four) -> None:
    vector, _ = four
    vector.reset(seed=1)
    before, *_ = vector.step(np.tile(STRAIGHT_ON, (4, 1)))
    mask = np.array([False, True, False, True])
    options = {"reset_mask": mask, "goal_m": 7.0}
    after, info = vector.reset(options=options)
    assert list(options) == ["reset_mask", "goal_m"]
    assert info["_tick"].tolist() == mask.tolist()
    for key, array in after.items():
        assert np.array_equal(array[~mask], before[key][~mask])
    assert not np.array_equal(after["state"][1], before["state"][1])
    for bad in ([True] * 4, np.ones(4), np.ones(3, bool), np.zeros(4, bool)):
        with pytest.raises(ConfigError, match="reset_mask"):
            vector.reset(options={"reset_mask": bad})
    with pytest.raises(ConfigError, match="expected one seed or 4"):
        vector.reset(seed=[1, 2])


def test_an_error_of_the_caller_is_raised_and_the_vector_continues(four) -> None:
    vector, _ = four
    with pytest.raises(ConfigError, match="did you mean 'goal_m'") as caught:
        vector.reset(options={"gaol_m": 3.0})
    assert "in env 0" in str(caught.value.__cause__)
    with pytest.raises(ResetNeeded, match="no episode"):
        vector.step(np.tile(STRAIGHT_ON, (4, 1)))
    vector.reset(seed=0)
    actions = np.tile(STRAIGHT_ON, (4, 1))
    bad = actions.copy()
    bad[0] = np.nan
    with pytest.raises(ConfigError, match="finite"):
        vector.step(bad)
    assert vector.step(actions)[4]["tick"].tolist() == [1, 2, 2, 2]


def test_render_and_attributes(four) -> None:
    vector, _ = four
    observation, _ = vector.reset(seed=3)
    assert vector.render_mode == "rgb_array"
    images = vector.render()
    assert np.array_equal(np.stack(images), observation["image"])
    vector.set_attr("nickname", ["a", "b", "c", "d"])
    assert vector.get_attr("nickname") == ("a", "b", "c", "d")
    with pytest.raises(AttributeError, match="no_such_thing"):
        vector.call("no_such_thing")


def test_a_snapshot_continues_exactly_in_any_env_of_the_vector() -> None:
    renderer = WatchedRenderer()
    vector = DrivingVectorEnv(saving_env, 2, renderer)
    vector.reset(seed=2)
    actions = np.array([[0.2, 1.0], [-0.1, 0.5]], np.float32)
    saved_at, *_ = vector.step(actions)
    saved = vector.get_state()
    expected, *_ = vector.step(actions)
    swapped, info = vector.set_state(saved[::-1])
    assert info["tick"].tolist() == [1, 1]
    assert len(renderer.loaded) == 2
    after, *_ = vector.step(actions[::-1])
    for key in expected:
        assert np.array_equal(swapped[key], saved_at[key][::-1])
        assert np.array_equal(after[key], expected[key][::-1])
    with pytest.raises(ConfigError, match="expected 2 states, got 1"):
        vector.set_state(saved[:1])
    vector.close()


def test_stage_seconds_increase(four) -> None:
    vector, _ = four
    vector.reset(seed=0)
    before = vector.stage_seconds
    vector.step(np.tile(STRAIGHT_ON, (4, 1)))
    assert set(before) == set(STAGES)
    assert all(vector.stage_seconds[stage] > before[stage] for stage in ("render", "transfer"))


def test_vector_observations_and_discrete_actions() -> None:
    vector = DrivingVectorEnv(discrete_state_env, 2, PaletteRenderer())
    observation, _ = vector.reset(seed=0)
    assert observation["state"].shape == (2, len(STATE_FIELDS))
    again, reward, *_ = vector.step(vector.action_space.sample())
    assert vector.observation_space.contains(again)
    assert reward.shape == (2,)
    vector.close()
    vector.close()
    with pytest.raises(ClosedEnvironmentError):
        vector.reset()


def test_shared_memory_has_no_names_left(four) -> None:
    """Names are removed as soon as both processes hold the memory."""
    vector, _ = four
    vector.reset(seed=0)
    vector.step(np.tile(STRAIGHT_ON, (4, 1)))
    names = {
        block.name.lstrip("/") for worker in vector._workers for block in worker._blocks.values()
    }
    assert len(names) == 8
    assert not names & {file.name for file in Path("/dev/shm").iterdir()}
