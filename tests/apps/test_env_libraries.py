"""What Gymnasium and the libraries around it expect of the registered envs."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from sim2street.configs import ConfigError
from sim2street.envs import DrivingEnv

ROOT = Path(__file__).parents[2]
ONE_TOWN = {
    "town": 3,
    "vehicles": 6,
    "pedestrians": 6,
    "layout": {"graph": {"columns": [3, 3], "rows": [3, 3]}},
}
SMALL = {**ONE_TOWN, "cameras": {"front": {"width_px": 64, "height_px": 32}}}
ON = np.array([0.0, 0.6], np.float32)


def make(env_id: str, **settings) -> DrivingEnv:
    settings.setdefault("world_settings", ONE_TOWN if "State" in env_id else SMALL)
    made = gymnasium.make(f"sim2street/{env_id}-v0", **settings)
    env = made.unwrapped
    assert isinstance(env, DrivingEnv)
    return env


def test_an_unknown_keyword_argument_is_a_type_error_that_python_would_raise() -> None:
    """TorchRL offers `frameskip` and takes it back where it reads this message."""
    for make_any in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(TypeError, match="unexpected keyword argument 'frameskip'") as caught:
            make_any("sim2street/TownFollowState-v0", frameskip=4)
        assert isinstance(caught.value, ConfigError)
    with pytest.raises(ConfigError, match="did you mean 'episodes'"):
        make("TownFollowState", episode={})


@pytest.mark.parametrize("mode", ["rgb_array_list", "side_by_side_list"])
def test_frames_are_collected_for_list_modes(mode: str) -> None:
    env = gymnasium.make(
        "sim2street/TownFollow-v0", render_mode=mode, world_settings=SMALL, image_scale=2
    )
    env.reset(seed=1)
    env.step(ON)
    frames = env.render()
    assert isinstance(frames, list)
    width = 128 if mode == "rgb_array_list" else 3 * 128
    assert [frame.shape for frame in frames] == [(64, width, 3)] * 2
    assert env.render() == []
    env.close()


def test_frames_are_collected_in_a_vector() -> None:
    vector = gymnasium.make_vec(
        "sim2street/TownFollow-v0", 1, render_mode="rgb_array_list", world_settings=SMALL
    )
    vector.reset(seed=1)
    vector.step(ON[None])
    (frames,) = vector.render()
    assert [frame.shape for frame in frames] == [(32, 64, 3)] * 2
    vector.close()


def test_a_list_mode_without_gymnasium_says_what_to_do() -> None:
    from sim2street.apps.compose import make_env

    with pytest.raises(ConfigError, match=r"gymnasium\.wrappers\.RenderCollection"):
        make_env("town_follow", render_mode="rgb_array_list", world_settings=SMALL)


@pytest.mark.parametrize("env_id", ["TownRouteState", "TownFollow"])
def test_a_deep_copy_goes_on_by_itself(env_id: str) -> None:
    env = make(env_id)
    env.reset(seed=4)
    env.step(ON)
    copied = copy.deepcopy(env)
    for _ in range(3):
        (seen, *result), (seen_again, *result_again) = env.step(ON), copied.step(ON)
        assert all(np.array_equal(seen[key], seen_again[key]) for key in seen)
        assert result == result_again
    env.close()
    assert copied.step(ON)[4]["tick"] == 5
    copied.close()


def test_a_connection_is_not_copied(served_world: str) -> None:
    env = make("TownFollow", world=served_world, world_settings={})
    with pytest.raises(TypeError, match=r"connection .* cannot be copied.*set_state"):
        copy.deepcopy(env)
    env.close()


def test_snapshots_of_other_towns_and_tasks_are_refused() -> None:
    env = make("TownRouteState")
    env.reset(seed=1)
    env.step(ON)
    state = env.get_state()
    with pytest.raises(ConfigError, match="another task"):
        make("TownLaneKeepState").set_state(state)
    for setting, changes in (("tick_s", {"tick_s": 0.1}), ("ego", {"ego": {"accel_mps2": 1.0}}),
                             ("layout", {"layout": {}})):  # fmt: skip
        other = make("TownRouteState", world_settings={**ONE_TOWN, **changes})
        other.reset(seed=2)
        with pytest.raises(ConfigError, match=f"other settings; these differ: {setting}"):
            other.set_state(state)
        assert other.step(ON)[4]["seed"] == 2  # still in its own episode


def test_a_snapshot_without_images_fits_the_same_task_with_images() -> None:
    plain, pictured = make("TownRouteState"), make("TownRoute")
    plain.reset(seed=1)
    plain.step(ON)
    observation, info = pictured.set_state(plain.get_state())
    assert pictured.observation_space.contains(observation)
    assert info["tick"] == 1
    for _ in range(3):
        expected, got = plain.step(ON), pictured.step(ON)
        assert np.array_equal(expected[0]["state"], got[0]["state"])
        assert expected[1:] == got[1:]
    back, _ = plain.set_state(pictured.get_state())
    assert np.array_equal(back["state"], got[0]["state"])
    pictured.close()


def test_a_vector_refuses_foreign_snapshots_and_goes_on() -> None:
    vector = gymnasium.make_vec("sim2street/TownRouteState-v0", 2, world_settings=ONE_TOWN)
    vector.reset(seed=1)
    env = make("TownRouteState")
    env.reset(seed=7)
    state = env.get_state()
    keep = make("TownLaneKeepState")
    keep.reset(seed=1)
    with pytest.raises(ConfigError, match="got dict for env 1"):
        vector.set_state([state, {}])
    with pytest.raises(ConfigError, match="another task"):
        vector.set_state([keep.get_state(), state])
    infos = vector.step(np.tile(ON, (2, 1)))[4]
    assert infos["seed"].tolist() == [1, 7]  # env 1 has continued from its snapshot
    vector.close()


def test_seeds_of_64_bits() -> None:
    """Minari draws such seeds."""
    env = make("TownRouteState")
    large = 2**64 - 5
    first, info = env.reset(seed=large)
    again, _ = env.reset(seed=info["seed"])
    assert np.array_equal(first["state"], again["state"])
    vector = gymnasium.vector.SyncVectorEnv([lambda: make("TownRouteState")])
    assert vector.reset(seed=[large])[1]["seed"].tolist() == [info["seed"]]
    vector.close()


def test_minari_records_infos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari", reason="minari is not installed")
    pytest.importorskip("jax", reason="minari records with jax")
    pytest.importorskip("h5py")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    settings = {"world_settings": ONE_TOWN, "task": {"time_limit_s": 0.3}}
    made = gymnasium.make("sim2street/TownRouteState-v0", **settings)
    env = minari.DataCollector(made, record_infos=True, data_format="hdf5")
    env.reset(seed=1)
    for _ in range(6):
        env.step(ON)
    env.reset(seed=2)
    env.step(ON)
    data = env.create_dataset("drive/test-v0")
    first = next(iter(data.iterate_episodes()))
    assert first.infos["ending"][-1] == b"time_limit"
    env.close()


ASYNC = """
import json, sys, time
import gymnasium, torch
import sim2street

def make():
    return gymnasium.make("sim2street/TownFollowNeural-v0", world_settings=json.loads(sys.argv[1]))

if __name__ == "__main__":
    torch.randn(512, 512) @ torch.randn(512, 512)  # starts torch's threads before the fork
    vector = gymnasium.vector.AsyncVectorEnv([make, make])
    observation, _ = vector.reset(seed=1)
    observation, *_ = vector.step(vector.action_space.sample())
    assert observation["image"].std() > 1.0
    vector.close()
    print("OK")
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")
def test_gymnasiums_async_vector_of_neural_envs(tmp_path: Path) -> None:
    """It forks after the first env has rendered, so torch's threads are missing in the copies."""
    pytest.importorskip("torch")
    script = tmp_path / "script.py"
    script.write_text(ASYNC)
    command = [sys.executable, str(script), json.dumps(SMALL)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "OK", done.stderr
