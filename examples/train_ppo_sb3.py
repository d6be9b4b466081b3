"""Trains Stable-Baselines3's PPO in any env, with continuous or discrete actions.

    python examples/train_ppo_sb3.py --env-id sim2street/TownRouteState-v0 --steps 100000

For Dict observations, `MultiInputPolicy` passes vectors through a small network and images
through a convolutional one. At the end, it prints the mean return of five episodes without
exploration. Needs `pip install -e ".[town,env,rl]"`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import sim2street  # noqa: F401  (registers the ids)


def train(
    env_id: str,
    env_settings: dict[str, Any],
    steps: int,
    count: int,
    rollout: int,
    seed: int,
    out: Path,
) -> tuple[float, float]:
    """Train, save OUT.zip, and return mean and standard deviation of the return.

    Args:
        env_settings: keyword arguments of `gymnasium.make`.
        count: number of envs, all in this process.
        rollout: steps of each env between two updates.
    """
    # By default, make_vec_env turns on rendering, which is slow and not needed here.
    settings = {"render_mode": None, **env_settings}
    vec = make_vec_env(env_id, count, seed, env_kwargs=settings)
    try:
        is_dict = isinstance(vec.observation_space, spaces.Dict)
        model = PPO(
            "MultiInputPolicy" if is_dict else "MlpPolicy",
            vec,
            n_steps=rollout,
            batch_size=min(256, rollout * count),
            policy_kwargs={"log_std_init": -0.7},  # more noise leaves the lane within a second
            seed=seed,
            device="cpu",
            verbose=1,
        )
        model.learn(steps)
        model.save(out)
        mean, spread = evaluate_policy(model, vec, n_eval_episodes=5)
    finally:
        vec.close()
    return float(mean), float(spread)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env-id", default="sim2street/TownRouteState-v0")
    parser.add_argument("--env-settings", type=json.loads, default={})
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--envs", type=int, default=4)
    parser.add_argument("--rollout", type=int, default=512)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/ppo_sb3"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # with networks this small, threads cost more than they save
    mean, spread = train(
        chosen.env_id,
        chosen.env_settings,
        chosen.steps,
        chosen.envs,
        chosen.rollout,
        chosen.seed,
        chosen.out,
    )
    print(f"return without exploration: {mean:.1f} ± {spread:.1f} over 5 episodes")


if __name__ == "__main__":
    main()
