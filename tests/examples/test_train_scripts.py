"""The training scripts run, save and continue. Whether the agent improves is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from examples import train_ppo_cleanrl as ppo  # noqa: E402

ROOT = Path(__file__).parents[2]
WORLD = {"town": 0, "vehicles": 4, "pedestrians": 0, "tick_s": 0.2}
KEYS = {"keys": ["state", "route"]}
SETTINGS = {"world_settings": WORLD, "task": {"time_limit_s": 6.0}, "observation": KEYS}
SHORT = {"env_settings": SETTINGS, "envs": 2, "rollout": 32, "epochs": 2, "minibatches": 2}


def test_the_cleanrl_script_trains_saves_and_continues(tmp_path: Path) -> None:
    agent = ppo.train(ppo.PpoConfig(**SHORT, steps=128), tmp_path)
    saved = torch.load(tmp_path / "agent.pt", weights_only=True)
    assert saved["steps"] == 128
    assert all(torch.equal(saved["agent"][k], v) for k, v in agent.state_dict().items())
    ppo.train(ppo.PpoConfig(**SHORT, steps=192), tmp_path)
    saved_again = torch.load(tmp_path / "agent.pt", weights_only=True)
    assert saved_again["steps"] == 192
    assert float(saved_again["agent"]["count"]) > float(saved["agent"]["count"])
    rows = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert rows
    assert all(row["length"] <= 30 and row["ending"] != "None" for row in rows)
    loaded = ppo.load_agent(tmp_path / "agent.pt")
    states = torch.rand(3, len(loaded.mean))
    assert loaded.action_distribution(states).mean.shape == (3, 2)


def test_values_first_leaves_the_policy_unchanged(tmp_path: Path) -> None:
    start = ppo.Agent(25, (0.0, 0.2), (0.05, 0.2))
    optimiser = torch.optim.Adam(start.parameters())
    ppo.save_agent(tmp_path / "agent.pt", start, optimiser, steps=0)
    agent = ppo.train(ppo.PpoConfig(**SHORT, steps=128, values_first=64), tmp_path)
    ppo.save_agent(tmp_path / "agent.pt", start, optimiser, steps=0)
    first = ppo.train(ppo.PpoConfig(**SHORT, steps=64, values_first=64), tmp_path)
    for name, values_only in (("policy.0.weight", True), ("value.0.weight", False)):
        before = start.state_dict()[name]
        assert torch.equal(first.state_dict()[name], before) is values_only
        assert not torch.equal(agent.state_dict()[name], before)


def test_advantages_by_hand() -> None:
    """One env, three steps; the second one ends an episode, so nothing crosses it."""
    column = torch.tensor
    rollout = ppo.Rollout(
        states=torch.zeros(3, 1, 1),
        actions=torch.zeros(3, 1, 1),
        log_probs=torch.zeros(3, 1),
        rewards=column([[1.0], [2.0], [3.0]]),
        dones=column([[0.0], [1.0], [0.0]]),
        values=column([[0.5], [0.25], [1.0]]),
        last_value=column([4.0]),
    )
    gains = ppo.advantages(rollout, discount=0.5, gae_lambda=0.5).flatten().tolist()
    second = 2.0 - 0.25
    first = 1.0 + 0.5 * 0.25 - 0.5
    assert gains == pytest.approx([first + 0.25 * second, second, 3.0 + 0.5 * 4.0 - 1.0])


def test_normalisation_tracks_mean_and_variance() -> None:
    agent = ppo.Agent(2, (0.0, 0.0), (1.0, 1.0))
    states = torch.randn(300, 2) * torch.tensor([3.0, 0.1]) + torch.tensor([5.0, -2.0])
    for batch in states.split(70):
        agent.update_normalisation(batch)
    assert torch.allclose(agent.mean, states.mean(0), atol=1e-3)
    assert torch.allclose(agent.var, states.var(0, correction=0), rtol=1e-3)
    assert agent.normalised(states).std().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.slow
@pytest.mark.timeout(300)  # alone it takes seconds
def test_the_stable_baselines_script_runs_as_a_command(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    command = [sys.executable, "-W", "error", "examples/train_ppo_sb3.py", "--steps", "64"]
    command += ["--envs", "2", "--rollout", "32", "--env-settings", json.dumps(SETTINGS)]
    command += ["--out", str(tmp_path / "agent")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "return without exploration" in done.stdout
    assert (tmp_path / "agent.zip").exists()
