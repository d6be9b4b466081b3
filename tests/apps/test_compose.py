"""From names and YAML to Worlds, Renderers and Envs."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sim2street.apps.compose import build_renderer, build_world, make_env, needs_extra, opened
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.driver import driver_for
from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.town.world import TownWorld
from sim2street.bridge.transport import RemoteRenderer, RemoteWorld
from sim2street.configs import ConfigError
from sim2street.envs import ENV_CONFIGS, DrivingEnv
from sim2street.envs.state import STATE_FIELDS

SMALL = {"town": 3, "cameras": {"front": {"width_px": 128, "height_px": 64}}}
"""One town, whose scene is built once, seen small."""


def test_worlds_by_name_endpoint_and_file(tmp_path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("kind: town\ntown: 7\nvehicles: 3\n")
    world = build_world(str(mine), {"pedestrians": 2})
    assert isinstance(world, TownWorld)
    assert (world.config.town, world.config.vehicles, world.config.pedestrians) == (7, 3, 2)
    assert isinstance(build_world("town"), TownWorld)
    remote = build_world("tcp://127.0.0.1:5999", {"deadline_s": 2.0})
    assert isinstance(remote, RemoteWorld)
    remote.close()


def test_settings_change_one_camera_and_keep_the_rest() -> None:
    default = build_world("town")
    wide = build_world("town", {"cameras": {"front": {"fov_deg": 90.0}}}, size_px=(256, 128))
    assert isinstance(default, TownWorld)
    assert isinstance(wide, TownWorld)
    front, before = wide.config.cameras["front"], default.config.cameras["front"]
    assert (front.fov_deg, front.width_px, front.height_px) == (90.0, 256, 128)
    assert (front.position_m, front.pitch_deg) == (before.position_m, before.pitch_deg)


def test_renderers_by_name_and_endpoint() -> None:
    assert isinstance(build_renderer("palette"), PaletteRenderer)
    remote = build_renderer("ipc:///tmp/nobody.sock")
    assert isinstance(remote, RemoteRenderer)
    remote.close()


@pytest.mark.parametrize(
    ("build", "name", "settings", "message"),
    [
        (build_world, "twon", {}, "no world config named 'twon'; did you mean 'town'"),
        (build_world, "town", {"vehicels": 3}, "unknown key 'vehicels'; did you mean 'vehicles'"),
        (build_world, "town", {"kind": "twon"}, "unknown world kind 'twon'; did you mean 'town'"),
        (build_world, "nowhere.yaml", {}, "cannot read config nowhere.yaml"),
        (build_renderer, "palete", {}, "did you mean 'palette'"),
        (build_renderer, "palette", {"colour": 1}, "unknown key 'colour'"),
        (build_renderer, "neural", {"devise": "cpu"}, "did you mean 'device'"),
        (build_renderer, "neural", {"precision": "fp8"}, "'precision'"),
        (
            build_renderer,
            "neural",
            {"weights": "smal"},
            "no shipped weights named 'smal'.* did you mean 'small'",
        ),
    ],
)
def test_mistakes_name_what_was_meant(build, name, settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        build(name, settings)


def test_a_size_is_taken_by_configs_without_cameras_of_their_own(tmp_path: Path) -> None:
    """They have the cameras of their kind's defaults."""
    for name in ("town_short", "town_short_state"):
        [camera] = build_world(name, size_px=(256, 128)).spec.cameras.values()
        assert (camera.width_px, camera.height_px) == (256, 128)
    for kind in ("town", "carla", "carla-standin"):
        path = tmp_path / f"{kind}.yaml"
        path.write_text(f"kind: {kind}\n")
        world = build_world(str(path), size_px=(256, 128))
        assert isinstance(world, TownWorld | CarlaWorld)
        sizes = [(c.width_px, c.height_px) for c in world.config.cameras.values()]
        assert sizes == [(256, 128)]
    path.write_text("kind: town\ncameras: {}\n")
    with pytest.raises(ConfigError, match="has no cameras"):
        build_world(str(path), size_px=(256, 128))


def test_a_size_belongs_to_worlds_built_here() -> None:
    with pytest.raises(ConfigError, match="where it is served"):
        build_world("tcp://127.0.0.1:5999", size_px=(64, 32))


def test_a_missing_package_names_its_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mcap", None)
    expected = pytest.raises(ConfigError, match=r'pip install "sim2street\[recording\]"')
    with expected, needs_extra("recording"):
        import mcap  # noqa: F401


def test_a_mistake_of_ours_is_not_blamed_on_the_installation() -> None:
    with pytest.raises(ModuleNotFoundError), needs_extra("town"):
        import sim2street.bridge.no_such_module  # noqa: F401


def test_opened_closes_what_could_not_be_opened() -> None:
    world = build_world("tcp://127.0.0.1:9", {"open_deadline_s": 0.2})
    with pytest.raises(Exception, match="no answer"), opened(world):
        pass


@pytest.mark.slow
def test_the_registered_env_is_clean_under_the_checker() -> None:
    env = gymnasium.make(
        "sim2street:sim2street/TownFollow-v0",
        render_mode="rgb_array",
        world_settings=SMALL,
        observation={"keys": ["image", "labels", "depth_m", "state"]},
    )
    check_env(env.unwrapped)


def test_the_env_without_sensors_is_clean_too() -> None:
    env = gymnasium.make("sim2street/TownFollowState-v0", actions={"kind": "discrete"})
    check_env(env.unwrapped, skip_render_check=True)


def test_every_registered_env_has_its_config() -> None:
    for env_id in ENV_CONFIGS:
        assert gymnasium.spec(env_id).entry_point == "sim2street.apps.env_entry:make_env"
    env = gymnasium.make("sim2street/TownFollowState-v0")
    observation, _ = env.reset(seed=3)
    assert observation["state"].shape == (len(STATE_FIELDS),)
    env.close()


def test_an_env_over_a_socket_by_configuration_alone(served_world) -> None:
    env = gymnasium.make("sim2street/TownFollow-v0", world=served_world)
    observation, _ = env.reset(seed=1)
    assert observation["image"].shape == (32, 64, 3)
    _, reward, terminated, truncated, info = env.step(np.array([0.0, 1.0], np.float32))
    assert (terminated, truncated) == (False, False)
    assert reward > 0.0
    assert info["tick"] == 1
    env.close()


def test_mistakes_in_an_env_are_named() -> None:
    message = "unexpected keyword argument 'wrld'; did you mean 'world'"
    with pytest.raises(ConfigError, match=message):
        make_env(wrld="town")
    with pytest.raises(ConfigError, match="unknown key 'kyes'; did you mean 'keys'"):
        make_env(observation={"kyes": ["state"]})
    with pytest.raises(ConfigError, match="unknown ending 'gaol'"):
        make_env(task={"endings": ["gaol"]})


def test_the_town_task_can_be_solved() -> None:
    env = gymnasium.make("sim2street/TownFollowState-v0", task={"time_limit_s": 120.0})
    env.reset(seed=0)
    inner = env.unwrapped
    assert isinstance(inner, DrivingEnv)
    driver, rewards = driver_for(inner.world), []
    terminated = truncated = False
    while not (terminated or truncated):
        assert inner.last_frame is not None
        control = driver(inner.last_frame)
        action = np.array([control.steer, control.throttle - control.brake], np.float32)
        _, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
    env.close()
    assert info["ending"] == "goal"
    assert sum(rewards) > 30.0
