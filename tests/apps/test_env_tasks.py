"""The registered envs of the town: tasks, splits, snapshots, options."""

from __future__ import annotations

from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest

from sim2street import envs
from sim2street.bridge.driver import driver_for
from sim2street.bridge.errors import WorldError
from sim2street.bridge.town.plan.layout import TEST_TOWNS, TRAIN_TOWNS
from sim2street.bridge.town.world import TownWorld
from sim2street.configs import ConfigError
from sim2street.envs import DrivingEnv

SMALL = {
    "town": 3,
    "cameras": {"front": {"width_px": 64, "height_px": 32}},
    "layout": {"graph": {"columns": [3, 3], "rows": [3, 3]}},
}
"""A small town with a small camera."""

AHEAD = np.array([0.02, 0.6])


@pytest.fixture(scope="module")
def palette_env() -> Iterator[DrivingEnv]:
    """TownRoute with stacked, delayed images, two ticks per step, and one image per 3 ticks."""
    env = make(
        "TownRoute",
        world_settings=SMALL,
        observation={"stack": 2, "latency_ticks": 3},
        actions={"repeat": 2},
        render_every=3,
    )
    yield env
    env.close()


def make(env_id: str, **settings) -> DrivingEnv:
    env = gymnasium.make(f"sim2street/{env_id}-v0", disable_env_checker=True, **settings).unwrapped
    assert isinstance(env, DrivingEnv)
    return env


def town_of(env: DrivingEnv) -> TownWorld:
    world = getattr(env.world, "world", env.world)
    assert isinstance(world, TownWorld)
    return world


def drive(env: DrivingEnv, seed: int, steps: int) -> dict:
    """Let the autopilot drive an episode; returns the info of its last step."""
    env.reset(seed=seed)
    driver = driver_for(env.world)
    for _ in range(steps):
        assert env.last_frame is not None
        control = driver(env.last_frame)
        action = np.array([control.steer, control.throttle - control.brake], np.float32)
        *_, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            break
    return info


@pytest.mark.parametrize(
    ("task", "ending", "changes"),
    [
        ("LaneKeep", "goal", {"reset_options": {"route_length_m": 80.0}}),
        ("CarFollow", "goal", {"reset_options": {"route_length_m": 60.0}}),
        ("JunctionTurn", "goal", {}),
    ],
)
def test_a_good_driver_succeeds(task, ending, changes) -> None:
    env = make(f"Town{task}State", world_settings={"town": 3}, task=changes)
    info = drive(env, seed=2, steps=1200)
    assert (info["ending"], info["is_success"]) == (ending, True)
    assert set(info["endings"]) >= {"collision", "off_lane"}
    env.close()


def test_running_a_red_light_ends_the_route() -> None:
    env = make("TownRouteState", world_settings={"town": 3}, task={"endings": ["ran_red_light"]})
    for seed in range(12):
        env.reset(seed=seed, options={"traffic": 0.0, "turn": "any"})
        driver = driver_for(env.world)
        for _ in range(200):
            frame = env.last_frame
            assert frame is not None
            steer = driver(frame).steer
            throttle = 0.5 if frame.ego.speed_mps < 6.0 else 0.0
            *_, terminated, _, info = env.step(np.array([steer, throttle], np.float32))
            if terminated:
                break
        if terminated:
            break
    assert info["ending"] == "ran_red_light"
    assert info["rewards"]["ran_red_light"] == -10.0
    assert not info["is_success"]


def test_car_follow_starts_behind_a_car_that_stays_on_the_route() -> None:
    env = make("TownCarFollowState", world_settings={"town": 3})
    env.reset(seed=4)
    assert env.last_frame is not None
    lead = env.last_frame.ego.lead
    assert lead is not None
    assert lead.distance_m == pytest.approx(12.0, abs=0.3)
    assert lead.speed_mps == pytest.approx(5.0, abs=1e-3)
    assert env.last_frame.ego.speed_mps == 5.0
    driver, world = driver_for(env.world), town_of(env)
    for _ in range(500):
        control = driver(env.last_frame)
        action = np.array([control.steer, control.throttle - control.brake], np.float32)
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            break
        lane = int(world.simulation.state.traffic.lane_plan[0, 0])
        assert lane in world.simulation.route.state.lane_ids


def test_junction_turn_starts_before_a_junction_where_the_route_turns() -> None:
    env = make("TownJunctionTurnState", world_settings={"town": 3})
    bends = {}
    for turn in ("left", "right"):
        for seed in range(3):
            env.reset(seed=seed, options={"turn": turn})
            town = town_of(env).simulation
            ways = [town.town.layout.lanes[i] for i in town.route.state.lane_ids[:2]]
            assert (ways[0].junction_id, ways[1].turn) == (None, turn)
            assert 0.0 < town.ego_at_junction.to_stop_line_m < 30.0
            points = town_of(env).route_ahead(12, 5.0)
            bends[turn, seed] = points[-1, 1]
    assert min(bends["left", s] for s in range(3)) > 3.0
    assert max(bends["right", s] for s in range(3)) < -3.0


def test_towns_are_drawn_from_the_split() -> None:
    for task in ("Follow", *envs.TOWN_TASKS):
        env = make(f"Town{task}State")
        env.reset(seed=1)
        assert town_of(env).simulation.state.plan.town in TRAIN_TOWNS
        info = env.reset(seed=0, options={"split": "test"})[1]
        assert town_of(env).simulation.state.plan.town in TEST_TOWNS
        assert info["options"]["towns"].tolist() == [TEST_TOWNS.start, TEST_TOWNS.stop]
    tests = make("TownLaneKeepState", episodes={"split": "test"})
    tests.reset(seed=0)
    assert town_of(tests).simulation.state.plan.town in TEST_TOWNS


def test_a_split_that_would_choose_nothing_is_refused() -> None:
    """Not ignored: neither where the town is fixed, nor where the config has no splits."""
    fixed = make("TownRouteState", world_settings=SMALL)
    with pytest.raises(ConfigError, match="split 'test' chooses nothing here"):
        fixed.reset(seed=1, options={"split": "test"})
    without = make("TownRouteState", episodes={"train_towns": None, "test_towns": None})
    with pytest.raises(ConfigError, match="split 'train' chooses nothing here"):
        without.reset(seed=1, options={"split": "train"})
    fixed.reset(seed=1)  # the default split may choose nothing


def test_misspelt_options_get_a_hint(palette_env) -> None:
    env = palette_env
    with pytest.raises(ConfigError, match="unknown option 'stlye'; did you mean 'style'"):
        env.reset(options={"stlye": "palette"})
    with pytest.raises(ConfigError, match="did you mean 'traffic'"):
        env.reset(options={"trafic": 1.0})
    with pytest.raises(ConfigError, match="exclude each other"):
        env.reset(options={"turn": "left", "lead_m": 10.0})
    with pytest.raises(ConfigError, match="turn"):
        env.reset(options={"turn": "back"})


def test_two_rollouts_from_one_snapshot_are_equal(palette_env) -> None:
    """Bit by bit, including images."""
    env = palette_env
    env.reset(seed=5)
    actions = np.random.default_rng(0).uniform((-0.1, 0.0), (0.1, 1.0), (24, 2))
    for action in actions[:6]:
        env.step(action)
    state = env.get_state()
    first = [env.step(action) for action in actions[6:]]
    env.reset(seed=9)  # anything may happen in between
    env.step(actions[0])
    observation, _ = env.set_state(state)
    assert env.observation_space.contains(observation)
    second = [env.step(action) for action in actions[6:]]
    for (seen, *rest), (seen_again, *rest_again) in zip(first, second, strict=True):
        assert all(np.array_equal(seen[key], seen_again[key]) for key in seen)
        assert rest == rest_again


def test_another_env_repeats_the_episodes_of_a_seed(palette_env) -> None:
    """Including images, and although this env's camera sees only every fourth tick."""
    rarely = {**SMALL, "see_every": 4}
    other = make("TownRoute", world_settings=rarely, actions={"repeat": 4})
    seen = []
    for env, steps in ((palette_env, 6), (other, 3)):
        env.reset(seed=11)
        for _ in range(steps):
            env.step(AHEAD)
        frames = [env.last_frame]
        env.reset()
        frames.append(env.last_frame)
        assert [frame.tick for frame in frames] == [12, 0]
        seen.append([(frame.ego.pose.tobytes(), frame.view.rgb.tobytes()) for frame in frames])
    other.close()
    assert seen[0] == seen[1]


def test_every_town_task_has_all_variants() -> None:
    for task in envs.TOWN_TASKS:
        for variant in envs.VARIANTS:
            assert f"sim2street/Town{task}{variant}-v0" in envs.ENV_CONFIGS


def test_a_remote_world_cannot_save_its_state(served_world) -> None:
    env = make("TownFollow", world=served_world)
    env.reset(seed=0)
    with pytest.raises(WorldError, match="cannot save"):
        env.get_state()
    env.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_neural_images_repeat_from_a_snapshot_and_from_a_seed() -> None:
    """A snapshot includes the renderer's memory of the last frame."""
    pytest.importorskip("torch")
    runs = []
    for _ in range(2):
        env = make("TownRouteNeural", world_settings=SMALL)
        env.reset(seed=5)
        env.step(AHEAD)
        state = env.get_state()
        first = [env.step(AHEAD)[0]["image"] for _ in range(3)]
        observation, _ = env.set_state(state)
        again = [env.step(AHEAD)[0]["image"] for _ in range(3)]
        assert np.array_equal(first, again)
        env.reset(seed=6, options={"split": "test"})
        assert np.array_equal(env.set_state(state)[0]["image"], observation["image"])
        assert np.array_equal(env.step(AHEAD)[0]["image"], first[0])
        runs.append(np.stack(first))
        env.close()
    assert np.array_equal(*runs)
    assert np.ptp(runs[0]) > 50
