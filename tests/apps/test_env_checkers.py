"""Every registered id passes Gymnasium's checkers; warnings are errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sim2street.apps import compose
from sim2street.apps.compose import make_env
from sim2street.bridge.errors import RecordingError
from sim2street.bridge.recording import Recorder
from sim2street.bridge.town.world import TownConfig, TownWorld
from sim2street.configs import ConfigError, Sim2StreetError, parse
from sim2street.envs import ENV_CONFIGS, DrivingEnv, ObservationConfig

SMALL = {
    "town": 3,
    "vehicles": 8,
    "pedestrians": 8,
    "cameras": {"front": {"width_px": 64, "height_px": 32}},
    "layout": {"graph": {"columns": [3, 3], "rows": [3, 3]}},
}
TOWN_IDS = [name for name in ENV_CONFIGS if name.startswith("sim2street/Town")]
STATE_IDS = [name for name in TOWN_IDS if "State" in name]
CAMERA_IDS = [name for name in TOWN_IDS if "State" not in name]


class ReusedTown(TownWorld):
    """A town that stays open when an env closes it, because building its scene takes seconds."""

    def close(self) -> None:
        pass

    def really_close(self) -> None:
        super().close()


@pytest.fixture(scope="module")
def reused_town() -> Iterator[ReusedTown]:
    world = ReusedTown(parse(TownConfig, SMALL))
    yield world
    world.really_close()


@pytest.fixture
def in_the_reused_town(reused_town, monkeypatch) -> None:
    """Every env that asks for a town gets the reused one."""
    monkeypatch.setitem(compose.WORLDS, "town", lambda data, source: reused_town)


@pytest.mark.parametrize("env_id", STATE_IDS)
def test_state_envs(env_id) -> None:
    settings = {key: SMALL[key] for key in ("town", "vehicles", "pedestrians", "layout")}
    env = gymnasium.make(env_id, world_settings=settings)
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=1)
    for _ in range(3):  # through the passive checker
        env.step(env.action_space.sample())
    env.close()


@pytest.mark.parametrize("env_id", CAMERA_IDS)
@pytest.mark.usefixtures("in_the_reused_town")
def test_envs_with_cameras(env_id) -> None:
    """Including the neural ones, here with the palette: the env is checked, not the renderer."""
    styles = {"train_styles": [], "test_styles": []}
    env = gymnasium.make(env_id, renderer="palette", style="default", episodes=styles)
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=1)
    for _ in range(3):
        env.step(env.action_space.sample())
    env.close()


@pytest.mark.usefixtures("in_the_reused_town")
@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_every_render_mode_and_observation(actions, monkeypatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pytest.importorskip("pygame")
    env = gymnasium.make(
        "sim2street/TownRoute-v0",
        render_mode="rgb_array",
        actions={"kind": actions, "repeat": 2},
        observation={
            "keys": ["image", "labels", "depth_m", "state", "route"],
            "stack": 2,
            "latency_ticks": 1,
            "pictures": {"downscale": 2, "label_groups": "driving", "one_hot": True},
        },
    )
    check_env(env.unwrapped)
    env.close()


@pytest.fixture(scope="module")
def recording(reused_town, tmp_path_factory) -> Path:
    """A recording of two short episodes."""
    path = tmp_path_factory.mktemp("recording") / "drive.mcap"
    recorder = Recorder(reused_town, path)
    env = DrivingEnv(recorder, observation=ObservationConfig(keys=("labels",)))
    for seed in (3, 4):
        env.reset(seed=seed)
        for _ in range(15):
            env.step(np.array([0.0, 0.5]))
    env.close()
    return path


def test_replay(recording) -> None:
    env = gymnasium.make("sim2street/Replay-v0", recording=str(recording))
    check_env(env.unwrapped, skip_render_check=True)
    observation, info = env.reset(seed=4)
    assert info["options"] == {}
    again, _ = env.reset(options={"episode": 1})
    assert all(np.array_equal(observation[key], again[key]) for key in observation)
    for _ in range(15):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        assert (terminated, truncated) == (False, False)
    *_, terminated, truncated, info = env.step(env.action_space.sample())
    assert (terminated, truncated, info["ending"]) == (False, True, "recording_end")
    assert info["error"] == ""
    env.close()


def test_replay_without_a_recording_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="path"):
        make_env("replay")
    with pytest.raises(RecordingError, match="cannot read"):
        make_env("replay", recording=tmp_path / "none.mcap")


def test_carla_by_host_and_port() -> None:
    """Host and port reach the CARLA world; a missing server raises a Sim2StreetError."""
    pytest.importorskip("carla")
    with pytest.raises(Sim2StreetError, match="59999"):
        make_env(
            "carla_route_state",
            host="127.0.0.1",
            port=59999,
            world_settings={"timeout_s": 0.3, "open_deadline_s": 20.0},
        )
    with pytest.raises(ConfigError, match="unknown key 'host'"):
        make_env("town_route_state", host="sim")


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["sim2street/CarlaRouteState-v0", "sim2street/CarlaRoute-v0"])
def test_carla_envs_on_the_standin(env_id, carla_standin) -> None:
    """With CARLA's real client. Not check_env, because CARLA's episodes are not reproducible."""
    settings = {"vehicles": 4, "cameras": {"front": {"width_px": 64, "height_px": 32}}}
    server = carla_standin
    env = gymnasium.make(env_id, host=server.host, port=server.port, world_settings=settings)
    env.reset(seed=1)
    for _ in range(30):
        observation, _, terminated, truncated, info = env.step(np.array([0.0, 0.7]))
        assert env.observation_space.contains(observation)
        assert info["error"] == ""
        if terminated or truncated:
            env.reset()
    env.close()
