"""Reproduces the results of docs/learning.md, except for the driver that sees images.

    python -m benchmarks.learning.recipe --out out/learning --jobs 2

Pretrains one agent per seed by imitation, trains each with PPO (`--jobs` at a time, one CPU
core each), evaluates all drivers in training and test towns, draws the learning curves and
writes the tables. Run it again to continue an interrupted run. Run from the repository's root.

Everything is written below OUT: OUT/learning.md is the page with the new tables. Only with
`--publish`, the results, the figure and the page of the repository are replaced.
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
"""Five minutes of driving: enough to learn the lane, but not red lights."""

RESULTS, PNG, PAGE = (
    Path("benchmarks/learning"),
    Path("docs/images/learning_curves.png"),
    Path("docs/learning.md"),
)
"""What `--publish` replaces."""

PPO_STEPS = 50_000
PPO_ARGUMENTS = {"minibatches": 8, "learning-rate": 5e-4, "values-first": 4096}
"""Hyperparameters that differ from the defaults of `examples/train_ppo_cleanrl.py`."""


def pretrain(out: Path, seeds: Sequence[int], steps: int) -> list[Path]:
    """Pretrain one agent per seed by imitation; returns the folders of their agent.pt."""
    missing = [str(seed) for seed in seeds if not (out / str(seed) / "agent.pt").exists()]
    if missing:
        imitate_rules.main(["--steps", str(steps), "--out", str(out), "--seeds", *missing])
    return [out / str(seed) for seed in seeds]


def train(out: Path, pretrained: Sequence[Path], jobs: int, steps: int) -> list[Path]:
    """Train each pretrained agent with PPO in its own process; returns the folders of the runs."""

    def train_one(start: Path) -> Path:
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
        return list(pool.map(train_one, pretrained))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/learning"))
    parser.add_argument("--jobs", type=int, default=2, help="agents trained at the same time")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--demonstration-steps", type=int, default=DEMONSTRATION_STEPS)
    parser.add_argument("--ppo-steps", type=int, default=PPO_STEPS)
    parser.add_argument("--episodes", type=int, default=24, help="episodes per driver and split")
    parser.add_argument(
        "--publish", action="store_true", help="replace the results and the page of the repository"
    )
    chosen = parser.parse_args(arguments)
    pretrained = pretrain(chosen.out / "taught", chosen.seeds, chosen.demonstration_steps)
    runs = train(chosen.out / "ppo", pretrained, chosen.jobs, chosen.ppo_steps)
    results, png, page = _places(chosen.out, chosen.publish)
    table = ["--out", str(results / "town_route.json"), "--episodes", str(chosen.episodes)]
    evaluate.main([*table, "--drivers", *evaluate.BASELINES])
    for name, folders in (("taught", pretrained), ("PPO", runs)):
        agents = [str(folder / "agent.pt") for folder in folders]
        evaluate.main([*table, "--name", name, "--agents", *agents])
    curves = ["--json", str(results / "curves.json"), "--png", str(png)]
    report.main(["curves", *curves, *map(str, runs)])
    report.main(["tables", "--results", str(results), "--page", str(page)])


def _places(out: Path, publish: bool) -> tuple[Path, Path, Path]:
    """The folder of the results, the figure and the page to write."""
    if publish:
        return RESULTS, PNG, PAGE
    results, page = out / "results", out / PAGE.name
    results.mkdir(parents=True, exist_ok=True)
    for name in report.IMAGE_DRIVER_FILES.values():  # the recipe does not measure these again
        shutil.copy(RESULTS / name, results)
    shutil.copy(PAGE, page)
    return results, out / PNG.name, page


if __name__ == "__main__":
    main()
