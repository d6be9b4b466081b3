"""All of docs/learning.md but for the driver that sees frames, from nothing to the page.

    python -m benchmarks.learning.recipe --out out/learning --jobs 2

Teaches one agent per seed a little, trains each with PPO (`--jobs` at a time, one core each),
drives every driver in training and test towns, draws the curves and writes the tables. What
is there already is gone on with. Run from the repository's root.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.learning import evaluate, imitate_rules, report

DEMONSTRATION_STEPS = 1500
"""Five minutes of the rules' driving: enough for the lane, not for red lights."""

PPO_STEPS = 50_000
PPO_ARGUMENTS = {"minibatches": 8, "learning-rate": 5e-4, "values-first": 4096}
"""Where they differ from the defaults of `examples/train_ppo_cleanrl.py`."""


def teach(out: Path, seeds: Sequence[int], steps: int) -> list[Path]:
    """Agents that have watched the rules, one per seed: the folders of their agent.pt."""
    missing = [str(seed) for seed in seeds if not (out / str(seed) / "agent.pt").exists()]
    if missing:
        imitate_rules.main(["--steps", str(steps), "--out", str(out), "--seeds", *missing])
    return [out / str(seed) for seed in seeds]


def train(out: Path, taught: Sequence[Path], jobs: int, steps: int) -> list[Path]:
    """PPO from each taught agent, in processes of their own: the folders of the runs."""

    def one(start: Path) -> Path:
        folder = out / start.name
        if not folder.exists():
            folder.mkdir(parents=True)
            shutil.copy(start / "agent.pt", folder)
        command = [sys.executable, "examples/train_ppo_cleanrl.py", "--out", str(folder)]
        for name, value in {"seed": start.name, "steps": steps, **PPO_ARGUMENTS}.items():
            command += [f"--{name}", str(value)]
        with (folder / "log.txt").open("a") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log)
        return folder

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, taught))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and do all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/learning"))
    parser.add_argument("--jobs", type=int, default=2, help="seeds trained at the same time")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--demonstration-steps", type=int, default=DEMONSTRATION_STEPS)
    parser.add_argument("--ppo-steps", type=int, default=PPO_STEPS)
    parser.add_argument("--episodes", type=int, default=24, help="of each driver, in each split")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/learning"))
    parser.add_argument("--png", type=Path, default=Path("docs/images/learning_curves.png"))
    parser.add_argument("--page", type=Path, default=Path("docs/learning.md"))
    chosen = parser.parse_args(arguments)
    taught = teach(chosen.out / "taught", chosen.seeds, chosen.demonstration_steps)
    runs = train(chosen.out / "ppo", taught, chosen.jobs, chosen.ppo_steps)
    table = ["--out", str(chosen.results / "town_route.json"), "--episodes", str(chosen.episodes)]
    evaluate.main([*table, "--drivers", *evaluate.BASELINES])
    for name, folders in (("taught", taught), ("PPO", runs)):
        agents = [str(folder / "agent.pt") for folder in folders]
        evaluate.main([*table, "--name", name, "--agents", *agents])
    curves = ["--json", str(chosen.results / "curves.json"), "--png", str(chosen.png)]
    report.main(["curves", *curves, *map(str, runs)])
    report.main(["tables", "--results", str(chosen.results), "--page", str(chosen.page)])


if __name__ == "__main__":
    main()
