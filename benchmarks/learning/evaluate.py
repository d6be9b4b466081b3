"""Drives the same episodes with several drivers, in training and test towns, and writes JSON.

    python -m benchmarks.learning.evaluate --drivers random rules autopilot
    python -m benchmarks.learning.evaluate --agents RUN1/agent.pt RUN2/agent.pt RUN3/agent.pt

The second command adds to the file of the first, by default out/learning/town_route.json. Towns
and seeds are the same for every driver. Run from the repository's root.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import gymnasium
import torch

from benchmarks.learning.drivers import (
    Driver,
    agent_driver,
    autopilot_driver,
    random_driver,
    rule_driver,
)
from benchmarks.learning.measure import Episode, drive_episode, summary
from sim2street.envs import DrivingEnv

SPLITS = {"train": 0, "test": 900}
"""Split -> first town. Episode i is in town first + i % (number of towns)."""

BASELINES: Mapping[str, Callable[[], Driver]] = {
    "random": lambda: random_driver(0),
    "rules": rule_driver,
    "autopilot": autopilot_driver,
}

ENV_SETTINGS: Mapping[str, Any] = {
    "world_settings": {"tick_s": 0.2},
    "episodes": {"traffic": [0.0, 0.0]},
    "observation": {"keys": ["state", "route"]},
}
"""Five actions per second, no traffic and so no hazards to observe, as in training."""

FIRST_SEED = 50_000_000
"""Seed of the first episode; training uses smaller seeds."""


def evaluate(
    env_id: str, settings: dict[str, Any], drivers: dict[str, list[Driver]], towns: int, count: int
) -> dict[str, dict[str, list[Episode]]]:
    """Split -> driver -> episodes. Several drivers under one name are runs of one method."""
    results: dict[str, dict[str, list[Episode]]] = {split: {} for split in SPLITS}
    env = gymnasium.make(env_id, **settings).unwrapped
    assert isinstance(env, DrivingEnv)
    try:
        for split, first in SPLITS.items():
            for name, runs in drivers.items():
                results[split][name] = [
                    drive_episode(env, driver, run, first + i % towns, FIRST_SEED + i, {})
                    for i in range(count)  # town by town, because changing the town is slow
                    for run, driver in enumerate(runs)
                ]
                print(split, name, json.dumps(summary(results[split][name], 50)), flush=True)
    finally:
        env.close()
    return results


def add_results(
    results: Mapping[str, Mapping[str, Sequence[Episode]]], header: Mapping[str, Any], out: Path
) -> None:
    """Add episodes and their summaries to the file `out`, whose `header` must be the same."""
    splits: dict[str, Any] = {split: {} for split in results}
    if out.exists():
        before = json.loads(out.read_text())
        same = all(before[key] == header[key] for key in ("env_id", "env_settings", "towns"))
        if not same:
            raise SystemExit(
                f"{out} has other settings or towns: delete it, or choose another --out"
            )
        splits = before["splits"]
    for split, by_driver in results.items():
        for name, rows in by_driver.items():
            entry = {"commit": _commit(), "date": date.today().isoformat()}
            entry |= {"summary": summary(rows), "episodes": [asdict(row) for row in rows]}
            splits[split][name] = entry
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**header, "splits": splits}, indent=1) + "\n")


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env-id", default="sim2street/TownRouteState-v0")
    parser.add_argument("--env-settings", type=json.loads, default=dict(ENV_SETTINGS))
    parser.add_argument("--drivers", nargs="*", choices=list(BASELINES), default=[])
    parser.add_argument("--agents", type=Path, nargs="*", default=[])
    parser.add_argument("--name", default="PPO", help="name of the agents in the table")
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--towns", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("out/learning/town_route.json"))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    drivers = {name: [BASELINES[name]()] for name in chosen.drivers}
    if chosen.agents:
        drivers[chosen.name] = [agent_driver(path) for path in chosen.agents]
    results = evaluate(chosen.env_id, chosen.env_settings, drivers, chosen.towns, chosen.episodes)
    header = {
        "env_id": chosen.env_id,
        "env_settings": chosen.env_settings,
        "towns": {split: [first, first + chosen.towns] for split, first in SPLITS.items()},
        "first_seed": FIRST_SEED,
    }
    add_results(results, header, chosen.out)


if __name__ == "__main__":
    main()
