"""Proximal policy optimisation (Schulman et al. 2017) in one file, in the style of CleanRL.

    python examples/train_ppo_cleanrl.py --seed 1 --out out/ppo/1

For envs without images and with continuous actions. All envs run in this process. The agent is
saved after every update to OUT/agent.pt, and running the same command again continues from
there. OUT/episodes.jsonl gets one line of JSON per episode. By default the env is that of
docs/learning.md: five actions per second, no traffic, and each env stays in one town. Agents
that are pretrained as described there learn it within 50,000 steps; others need several times
as many. Needs `pip install -e ".[town,env,rl]"`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor, nn

import sim2street  # noqa: F401  (registers the ids)

ENV_SETTINGS: dict[str, Any] = {
    "world_settings": {"tick_s": 0.2},
    "episodes": {"train_towns": [0, 8], "traffic": [0.0, 0.0]},
    "observation": {"keys": ["state", "route"]},  # without traffic there are no hazards
    "task": {"reset_options": {"reuse": True}},  # each env stays in its first town: faster
}


@dataclass(frozen=True)
class PpoConfig:
    """Hyperparameters.

    Attributes:
        env_settings: keyword arguments of `gymnasium.make`.
        steps: env steps in total, summed over all envs.
        envs: number of envs.
        rollout: steps of each env between two updates.
        epochs, minibatches: passes over a rollout, and parts into which each pass splits it.
        learning_rate: at the start; falls linearly to a twentieth.
        clip: how far the probability ratio may move from 1.
        entropy, value: weights of the entropy bonus and of the value loss.
        max_norm: gradients are clipped to this norm.
        start_action: mean action (steer, accel) of a new agent. It must accelerate: brakes are
            stronger than the engine, so noise around 0 never moves the vehicle.
        start_spread: standard deviation of the actions of a new agent. A steering of 0.1 is
            about 4°; more noise leaves the lane within seconds.
        reward_scale: factor on rewards, so that values are of the order of 1.
        values_first: steps at the start in which only the value function is trained, for an
            agent whose policy is pretrained.
    """

    env_id: str = "sim2street/TownRouteState-v0"
    env_settings: dict[str, Any] = field(default_factory=lambda: ENV_SETTINGS)
    seed: int = 1
    steps: int = 200_000
    envs: int = 16
    rollout: int = 128
    epochs: int = 8
    minibatches: int = 4
    learning_rate: float = 7e-4
    discount: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.0
    value: float = 0.5
    max_norm: float = 0.5
    start_action: tuple[float, ...] = (0.0, 0.2)
    start_spread: tuple[float, ...] = (0.1, 0.4)
    reward_scale: float = 0.1
    values_first: int = 0


class Agent(nn.Module):
    """A Gaussian policy and a value function: two small networks on normalised states."""

    def __init__(self, state_size: int, start_action: Sequence[float], spread: Sequence[float]):
        super().__init__()
        action_size = len(start_action)
        self.policy = _network(state_size, action_size, last_gain=0.01)
        self.value = _network(state_size, 1, last_gain=1.0)
        with torch.no_grad():
            self.policy[-1].bias.copy_(torch.tensor(start_action))
        self.log_std = nn.Parameter(torch.tensor(spread).log())
        self.register_buffer("mean", torch.zeros(state_size))
        self.register_buffer("var", torch.ones(state_size))
        self.register_buffer("count", torch.tensor(1e-4))

    def update_normalisation(self, states: Tensor) -> None:
        """Update the running mean and variance with states (N, state_size).

        Parallel algorithm of Chan et al. (1979).
        """
        n, delta = len(states), states.mean(0) - self.mean
        total = self.count + n
        weight = n / total
        self.var += weight * (states.var(0, correction=0) - self.var + delta**2 * (1 - weight))
        self.mean += weight * delta
        self.count.copy_(total)

    def normalised(self, states: Tensor) -> Tensor:
        """States at zero mean and unit variance, clipped to ±10."""
        return ((states - self.mean) / (self.var + 1e-6).sqrt()).clamp(-10.0, 10.0)

    def action_distribution(self, states: Tensor) -> torch.distributions.Independent:
        """Distribution of actions (N, action_size) in states (N, state_size)."""
        mean = self.policy(self.normalised(states))
        normal = torch.distributions.Normal(mean, self.log_std.exp())
        return torch.distributions.Independent(normal, 1)

    def values(self, states: Tensor) -> Tensor:
        """Expected discounted return (N,) in states (N, state_size)."""
        return self.value(self.normalised(states)).squeeze(-1)


def _network(inputs: int, outputs: int, last_gain: float, width: int = 64) -> nn.Sequential:
    layers = [nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, outputs)]
    for layer, gain in zip(layers, (2**0.5, 2**0.5, last_gain), strict=True):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


def make_envs(config: PpoConfig) -> SyncVectorEnv:
    """All envs, in this process; the last observation of an episode is in `info["final_obs"]`."""

    def make() -> gymnasium.Env[Any, Any]:
        env = gymnasium.make(config.env_id, disable_env_checker=True, **config.env_settings)
        env = gymnasium.wrappers.FlattenObservation(env)
        return gymnasium.wrappers.RecordEpisodeStatistics(env)

    return SyncVectorEnv([make] * config.envs, autoreset_mode=AutoresetMode.SAME_STEP)


@dataclass
class Rollout:
    """Transitions (rollout, envs, ...), with log-probabilities and values at that time."""

    states: Tensor
    actions: Tensor
    log_probs: Tensor
    rewards: Tensor
    dones: Tensor
    values: Tensor
    last_value: Tensor


class Collector:
    """Collects rollouts, and logs the episodes that end."""

    def __init__(self, config: PpoConfig, log: Path, steps_done: int = 0) -> None:
        self.venv = make_envs(config)
        self._config, self._log, self.steps = config, log, steps_done
        seed = config.seed * 1_000_000 + steps_done  # a continued run gets new episodes
        observation, _ = self.venv.reset(seed=[seed + i for i in range(config.envs)])
        self._state = torch.as_tensor(observation, dtype=torch.float32)

    @torch.no_grad()
    def collect(self, agent: Agent) -> Rollout:
        """Collect one rollout.

        The last reward of a truncated episode includes the discounted value of its last state.
        """
        rows: list[tuple[Tensor, ...]] = []
        for _ in range(self._config.rollout):
            policy = agent.action_distribution(self._state)
            action = policy.sample()
            clipped = action.clamp(-1.0, 1.0).numpy()
            following, reward, terminated, truncated, info = self.venv.step(clipped)
            reward = np.asarray(reward, np.float32) * self._config.reward_scale
            for i in np.nonzero(truncated)[0]:
                last = torch.as_tensor(info["final_obs"][i], dtype=torch.float32)
                reward[i] += self._config.discount * float(agent.values(last[None]))
            done = torch.as_tensor(terminated | truncated, dtype=torch.float32)
            value, log_prob = agent.values(self._state), policy.log_prob(action)
            rows.append((self._state, action, log_prob, torch.as_tensor(reward), done, value))
            self._state = torch.as_tensor(following, dtype=torch.float32)
            self.steps += self._config.envs
            self._log_episodes(info, done.bool().tolist())
        columns = [torch.stack(column) for column in zip(*rows, strict=True)]
        return Rollout(*columns, agent.values(self._state))

    def _log_episodes(self, info: dict[str, Any], done: Sequence[bool]) -> None:
        if not any(done):
            return
        final = info["final_info"]
        with self._log.open("a") as file:
            for i in (i for i, ended in enumerate(done) if ended):
                row = {
                    "step": self.steps,
                    "return": float(final["episode"]["r"][i]),
                    "length": int(final["episode"]["l"][i]),
                    "ending": str(final["ending"][i]),
                }
                file.write(json.dumps(row) + "\n")


def advantages(rollout: Rollout, discount: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016): (rollout, envs)."""
    result = torch.zeros_like(rollout.rewards)
    running = torch.zeros_like(rollout.last_value)
    following = rollout.last_value
    for t in reversed(range(len(rollout.rewards))):
        alive = 1.0 - rollout.dones[t]
        error = rollout.rewards[t] + discount * alive * following - rollout.values[t]
        running = error + discount * gae_lambda * alive * running
        result[t], following = running, rollout.values[t]
    return result


def update(
    agent: Agent,
    optimiser: torch.optim.Optimizer,
    rollout: Rollout,
    config: PpoConfig,
    values_only: bool = False,
) -> dict[str, float]:
    """Train the agent on one rollout with the clipped objective; returns the mean losses."""
    gains = advantages(rollout, config.discount, config.gae_lambda)
    returns = (gains + rollout.values).flatten()
    states, actions = rollout.states.flatten(0, 1), rollout.actions.flatten(0, 1)
    old_log_probs, gains = rollout.log_probs.flatten(), gains.flatten()
    losses = []
    for _ in range(config.epochs):
        for batch in torch.randperm(len(states)).chunk(config.minibatches):
            policy = agent.action_distribution(states[batch])
            ratio = (policy.log_prob(actions[batch]) - old_log_probs[batch]).exp()
            gain = gains[batch]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            clipped = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
            policy_loss = -torch.minimum(gain * ratio, gain * clipped).mean()
            value_loss = 0.5 * (agent.values(states[batch]) - returns[batch]).square().mean()
            loss = config.value * value_loss
            if not values_only:
                loss = loss + policy_loss - config.entropy * policy.entropy().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), config.max_norm)
            optimiser.step()
            losses.append((policy_loss.item(), value_loss.item()))
    policy_mean, value_mean = np.mean(losses, axis=0).tolist()
    return {"policy_loss": policy_mean, "value_loss": value_mean}


def train(config: PpoConfig, out: Path) -> Agent:
    """Train an agent, or continue the run in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(asdict(config), indent=1) + "\n")
    saved = out / "agent.pt"
    checkpoint = torch.load(saved, weights_only=True) if saved.exists() else None
    torch.manual_seed(config.seed + (checkpoint["steps"] if checkpoint else 0))
    collector = Collector(config, out / "episodes.jsonl", checkpoint["steps"] if checkpoint else 0)
    state_size = collector.venv.single_observation_space.shape[0]
    agent = Agent(state_size, config.start_action, config.start_spread)
    optimiser = torch.optim.Adam(agent.parameters(), eps=1e-5)
    if checkpoint:
        agent.load_state_dict(checkpoint["agent"])
        optimiser.load_state_dict(checkpoint["optimiser"])
    start_s, first = time.monotonic(), collector.steps
    try:
        while collector.steps < config.steps:
            left = 1.0 - collector.steps / config.steps
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * max(left, 0.05)
            rollout = collector.collect(agent)
            values_only = collector.steps <= config.values_first
            numbers = update(agent, optimiser, rollout, config, values_only)
            # Only after the update, which compares with the old log-probabilities.
            agent.update_normalisation(rollout.states.flatten(0, 1))
            save_agent(saved, agent, optimiser, collector.steps)
            rate = (collector.steps - first) / (time.monotonic() - start_s)
            shown = " ".join(f"{name} {value:.3f}" for name, value in numbers.items())
            shown += f" spread {np.round(agent.log_std.detach().exp().numpy(), 2).tolist()}"
            print(f"step {collector.steps} ({rate:.0f}/s) {shown}", flush=True)
    finally:
        collector.venv.close()
    return agent


def load_agent(path: Path) -> Agent:
    """The agent that `train` saved as agent.pt."""
    weights = torch.load(path, weights_only=True)["agent"]
    ones = [1.0] * len(weights["log_std"])  # replaced by the weights
    agent = Agent(len(weights["mean"]), ones, ones)
    agent.load_state_dict(weights)
    return agent


def save_agent(path: Path, agent: Agent, optimiser: torch.optim.Optimizer, steps: int) -> None:
    """Save an agent for `load_agent`, and to continue `train`; replaces the file atomically."""
    state = {"agent": agent.state_dict(), "optimiser": optimiser.state_dict(), "steps": steps}
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    defaults = PpoConfig()
    for name, value in asdict(defaults).items():
        kind = json.loads if isinstance(value, dict | tuple) else type(value)
        parser.add_argument("--" + name.replace("_", "-"), type=kind, default=value)
    parser.add_argument("--out", type=Path, default=Path("out/ppo"))
    settings = vars(parser.parse_args())
    out = settings.pop("out")
    torch.set_num_threads(1)  # with networks this small, threads cost more than they save
    train(PpoConfig(**settings), out)


if __name__ == "__main__":
    main()
