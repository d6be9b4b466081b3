"""Pretrains the agent of `examples/train_ppo_cleanrl.py` by imitation of a rule-based driver.

    python -m benchmarks.learning.imitate_rules --seeds 1 2 3 --out out/imitated

The rules of `sim2street.bridge.driver` drive in training towns, with disturbances; the policy
learns their actions. The agents are written to OUT/SEED/agent.pt, and `train_ppo_cleanrl.py
--out OUT/SEED` continues from there. Run from the repository's root.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from benchmarks.learning.drivers import Action, action_of
from examples.train_ppo_cleanrl import ENV_SETTINGS, Agent, PpoConfig, save_agent
from sim2street.bridge.driver import drive
from sim2street.bridge.frame import EgoState
from sim2street.envs import DrivingEnv

COLLECT_SETTINGS = {**ENV_SETTINGS, "task": {"reset_options": {"reuse": False}}}
"""As for PPO, but the single env goes to another town in every episode."""

START_SPREAD = (0.05, 0.2)
"""Standard deviations of (steer, accel) with which PPO starts to explore.

Half of those for an agent that was not pretrained.
"""

STANDING_MPS, STARTING_ACCEL = 0.5, 0.15
"""Below this speed, and without a larger acceleration, the rules let the vehicle stand."""

NORMALISATION_COUNT = 1e9
"""Number of observations that the agent's running mean and variance count for.

So large that PPO does not change them: the pretrained policy depends on them.
"""


def collect(env: DrivingEnv, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """States (N, size) and the actions of the rules in them (N, 2)."""
    rng = np.random.default_rng(seed)
    states, actions, disturbance = [], [], np.zeros(2, np.float32)
    observation, _ = env.reset(seed=30_000_000 + 10_000 * seed)
    while len(states) < steps:
        assert env.last_frame is not None
        expert = demonstration(env.last_frame.ego)
        states.append(spaces.flatten(env.observation_space, observation))
        actions.append(expert)
        if len(states) % 5 == 0:  # every other second of driving is disturbed
            spread = np.array([0.12, 0.4]) * (not disturbance.any())
            noise = rng.normal(0.0, 1.0, 2).astype(np.float32)
            disturbance = noise * spread.astype(np.float32)
        applied = np.clip(expert + disturbance, -1.0, 1.0)
        observation, _, terminated, truncated, _ = env.step(applied)
        if terminated or truncated:
            observation, _ = env.reset()
    all_states = np.stack(states).astype(np.float32)
    return torch.from_numpy(all_states), torch.from_numpy(np.stack(actions))


def demonstration(ego: EgoState) -> Action:
    """The action of the rules, which holds the brake where they let the vehicle stand.

    The rules neither brake nor accelerate there. A network that learns this creeps over the line.
    """
    action = action_of(drive(ego))
    if ego.speed_mps < STANDING_MPS and action[1] < STARTING_ACCEL:
        action[1] = -1.0
    return action


def imitate(states: Tensor, actions: Tensor, epochs: int, seed: int) -> Agent:
    """An agent whose mean action matches the rules' action (mean squared error)."""
    torch.manual_seed(seed)
    config = PpoConfig(start_spread=START_SPREAD)
    agent = Agent(states.shape[1], config.start_action, config.start_spread)
    agent.update_normalisation(states)
    agent.count.fill_(NORMALISATION_COUNT)
    optimiser = torch.optim.Adam(agent.policy.parameters(), lr=2e-3)
    batches = max(1, len(states) // 256)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    scale = torch.tensor([3.0, 1.0])  # steering values are smaller than acceleration
    for _ in range(epochs):
        for batch in torch.randperm(len(states)).chunk(batches)[:batches]:
            predicted = agent.action_distribution(states[batch]).mean
            loss = nn.functional.mse_loss(predicted * scale, actions[batch] * scale)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    print(f"seed {seed}: squared error {loss.item():.4f}", flush=True)
    return agent


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env-id", default="sim2street/TownRouteState-v0")
    parser.add_argument("--env-settings", type=json.loads, default=COLLECT_SETTINGS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("out/imitated"))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings: dict[str, Any] = chosen.env_settings
    env = gymnasium.make(chosen.env_id, disable_env_checker=True, **settings).unwrapped
    assert isinstance(env, DrivingEnv)
    try:
        for seed in chosen.seeds:
            agent = imitate(*collect(env, chosen.steps, seed), chosen.epochs, seed)
            (chosen.out / str(seed)).mkdir(parents=True, exist_ok=True)
            optimiser = torch.optim.Adam(agent.parameters(), eps=1e-5)
            save_agent(chosen.out / str(seed) / "agent.pt", agent, optimiser, steps=0)
    finally:
        env.close()


if __name__ == "__main__":
    main()
