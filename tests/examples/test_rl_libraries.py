"""Stable-Baselines3 and TorchRL accept the envs."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from sim2street import envs

SMALL = {
    "cameras": {"front": {"width_px": 64, "height_px": 48}},
    "town": 0,
    "vehicles": 4,
    "pedestrians": 4,
}
TOWN_IDS = [name for name in envs.ENV_CONFIGS if name.startswith("sim2street/Town")]
STATE_IDS = [name for name in TOWN_IDS if name.endswith("State-v0")]
PALETTE_IDS = [name for name in TOWN_IDS if not name.endswith(("State-v0", "Neural-v0"))]
IMAGE_ID = "sim2street/TownRoute-v0"


def check(env_id: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    env = gymnasium.make(env_id, world_settings=SMALL)
    try:
        checker.check_env(env, warn=True)
    finally:
        env.close()


@pytest.mark.parametrize("env_id", STATE_IDS)
def test_stable_baselines_checker_passes(env_id: str) -> None:
    check(env_id)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", sorted(set(PALETTE_IDS) - {IMAGE_ID}))
def test_stable_baselines_checker_passes_with_images(env_id: str) -> None:
    check(env_id)


def test_stable_baselines_learns_from_images_and_state() -> None:
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_checker import check_env

    env = gymnasium.make(IMAGE_ID, world_settings=SMALL)
    try:
        check_env(env, warn=True)
        model = stable_baselines3.PPO(
            "MultiInputPolicy", env, n_steps=16, batch_size=16, n_epochs=1, device="cpu", seed=0
        )
        model.learn(16)
        action, _ = model.predict(env.reset(seed=1)[0], deterministic=True)
        assert env.action_space.contains(action)
    finally:
        env.close()


def test_torchrl_wraps_an_env() -> None:
    pytest.importorskip("torchrl", reason="torchrl is not installed")
    import torch
    from torchrl.envs import GymWrapper
    from torchrl.envs.utils import check_env_specs

    def make() -> gymnasium.Env:
        return gymnasium.make("sim2street/TownRouteState-v0", world_settings=SMALL)

    plain, wrapped = make(), GymWrapper(make(), device="cpu")
    try:
        check_env_specs(wrapped)
        wrapped.set_seed(3)  # this resets with the seed; the next reset is the next episode
        plain.reset(seed=3)
        seen, (observation, _) = wrapped.reset(), plain.reset()
        for _ in range(5):
            action = np.array([0.1, 0.5], np.float32)
            observation, reward, *_ = plain.step(action)
            # torchrl renames the key "state" to "observation"
            seen = wrapped.step(seen.set("action", torch.from_numpy(action)))["next"]
            assert np.array_equal(seen["observation"].numpy(), observation["state"])
            assert np.array_equal(seen["route"].numpy(), observation["route"])
            assert seen["reward"].item() == pytest.approx(reward, abs=1e-6)
    finally:
        plain.close()
        wrapped.close()


def test_torchrl_makes_an_env_by_its_id() -> None:
    pytest.importorskip("torchrl", reason="torchrl is not installed")
    from torchrl.envs import GymEnv

    env = GymEnv(STATE_IDS[0], device="cpu", frame_skip=2, world_settings=SMALL)
    try:
        rollout = env.rollout(3)
        assert rollout.shape == (3,)
        assert env._env.unwrapped.last_frame.tick == 6
    finally:
        env.close()


@pytest.mark.parametrize("observation", [{}, {"keys": ["state"], "flat": True}])
def test_torchrl_wraps_a_vector(observation) -> None:
    """TorchRL resets the envs itself, so the vector must not."""
    pytest.importorskip("torchrl", reason="torchrl is not installed")
    from torchrl.envs import GymWrapper

    vector = gymnasium.make_vec(
        "sim2street/TownRouteState-v0",
        num_envs=2,
        autoreset_mode="Disabled",
        world_settings=SMALL,
        observation=observation,
        task={"time_limit_s": 0.2},
    )
    env = GymWrapper(vector, device="cpu")
    try:
        rollout = env.rollout(9, break_when_any_done=False)
        assert rollout.shape == (2, 9)
        assert int(rollout["next", "done"].sum()) == 4  # two episodes of four ticks in each env
    finally:
        env.close()
