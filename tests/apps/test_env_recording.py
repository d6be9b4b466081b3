"""Recorded envs: frames, actions and rewards of what an agent did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from straight_road import StraightRoadWorld

from sim2street.apps.compose import make_env
from sim2street.apps.compose_vector import make_vector_env
from sim2street.bridge.frame import Control
from sim2street.bridge.recording import Recorder, ReplayWorld, partial_path
from sim2street.configs import ConfigError

TICKS = 6


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "drive.mcap"
    with Recorder(StraightRoadWorld(64, 32), path) as world:
        world.reset(0)
        for _ in range(TICKS):
            world.step(Control(throttle=0.5))
    return path


def notes(path: Path, topic: str) -> list[tuple[int, dict[str, Any]]]:
    with path.open("rb") as stream:
        found = make_reader(stream).iter_messages(topic)
        return [(message.log_time, json.loads(message.data)) for _, _, message in found]


def test_an_env_records_what_its_agent_does(drive, tmp_path) -> None:
    path = tmp_path / "agent.mcap"
    env = make_env("replay", recording=drive, record=path)
    rewards, actions = [], []
    try:
        first, _ = env.reset(seed=0)
        for _ in range(3):
            actions.append(env.action_space.sample())
            _, reward, _, _, info = env.step(actions[-1])
            rewards.append((reward, info["rewards"]))
        assert partial_path(path).exists()
        assert not path.exists()
    finally:
        env.close()
    assert not partial_path(path).exists()
    recorded = notes(path, "/env/reward")
    assert [note["reward"] for _, note in recorded] == pytest.approx([r for r, _ in rewards])
    assert [note["terms"] for _, note in recorded] == [terms for _, terms in rewards]
    chosen = notes(path, "/env/action")
    np.testing.assert_allclose([note["action"] for _, note in chosen], actions)
    assert all(before < after for (before, _), (after, _) in zip(chosen, recorded, strict=True))
    with ReplayWorld(path) as replay:
        frame = replay.reset()
        assert frame.view.rgb is not None
        np.testing.assert_array_equal(first["image"], frame.view.rgb)
        assert replay.episodes[0].seed == 0


def test_an_env_that_is_over_records_no_action(drive, tmp_path) -> None:
    path = tmp_path / "agent.mcap"
    env = make_env("replay", recording=drive, record=path)
    env.reset(seed=0)
    truncated = False
    steps = 0
    while not truncated:
        *_, truncated, info = env.step(env.action_space.sample())
        steps += 1
    assert info["ending"] == "recording_end"
    with pytest.raises(Exception, match="call reset"):
        env.step(env.action_space.sample())
    env.close()
    assert len(notes(path, "/env/action")) == steps
    assert notes(path, "/env/reward")[-1][1]["ending"] == "recording_end"


def test_where_an_env_is_recorded_is_checked(drive, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.mcap, got .*agent\.bag"):
        make_env("replay", recording=drive, record=tmp_path / "agent.bag")
    with pytest.raises(ConfigError, match=r"need a file each.*worlds=\[\{'record'"):
        make_vector_env("replay", 2, recording=drive, record=tmp_path / "agent.mcap")


def test_the_envs_of_a_vector_record_to_files_of_their_own(drive, tmp_path) -> None:
    files = [tmp_path / f"{index}.mcap" for index in range(2)]
    worlds = [{"recording": str(drive), "record": str(file)} for file in files]
    envs = make_vector_env("replay", 2, worlds=worlds)
    try:
        envs.reset(seed=0)
        envs.step(envs.action_space.sample())
    finally:
        envs.close()
    for file in files:
        assert len(notes(file, "/env/reward")) == 1
