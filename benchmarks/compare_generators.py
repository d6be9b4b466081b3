"""Compare kinds of generators at equal cost and training time.

    python benchmarks/compare_generators.py --data DATA --packs packs \
        --segmenter segmenter.pt2 --alexnet packs/alexnet.safetensors --minutes 20 --threads 1

Trains every kind with every seed on `configs/train/compare.yaml`, which leaves one drive out, then
renders the labels of that drive and measures the images. Every run gets the same time for training
steps; preparing data and evaluating do not count. The same command again resumes where it stopped.
Several processes (for example `taskset -c 0 ...` and `taskset -c 1 ...`) share the runs: each takes
the next one that no other process works on.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from sim2street.configs import ConfigError, Sim2StreetError, load
from sim2street.neural_renderer.data.photos import PhotoSourceConfig
from sim2street.neural_renderer.evaluation.config import (
    EvaluationConfig,
    ScoringNetworks,
    with_data_root,
)
from sim2street.neural_renderer.evaluation.evaluate import evaluate
from sim2street.neural_renderer.evaluation.timing import frame_gmac
from sim2street.neural_renderer.networks.build import KINDS
from sim2street.neural_renderer.training.config import TrainConfig
from sim2street.neural_renderer.training.sources import at_root, load_sources
from sim2street.neural_renderer.training.trainer import EXPORT_FILE, Progress, train

STEPS_FILE, SCORES_FILE = "seconds.txt", "scores.json"
CALIBRATION_STEPS = 24
"""Steps before the number of steps that fit into the time is first estimated."""
WARM_UP_STEPS = 4
"""Slow first steps, left out when the time of a step is estimated."""
MAX_COST_RATIO = 1.1
MEASURES = (
    ("label agreement, mIoU", "up"),
    ("label agreement, accuracy", "up"),
    ("KID (AlexNet)", "down"),
    ("LPIPS (alex)", "down"),
    ("style retrieval", "up"),
)

Clock = Callable[[], float]


@dataclass(frozen=True)
class Run:
    """One training run."""

    kind: str
    seed: int
    folder: Path
    config: TrainConfig


class StepLog:
    """Training time in seconds at each step, kept in a file so that a resumed run knows it.

    Only the time between two steps counts, not the start of a process or the preparation of data.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._spent_s = [0.0]
        if path.is_file():
            for line in path.read_text().splitlines():
                step, spent_s = line.split()
                self._set(int(step), float(spent_s))
        self._last_s: float | None = None

    @property
    def steps(self) -> int:
        """Number of finished steps."""
        return len(self._spent_s) - 1

    @property
    def spent_s(self) -> float:
        """Training time so far."""
        return self._spent_s[-1]

    def begin(self) -> None:
        """Start of a training process; its first step has no start time and counts as average."""
        self._last_s = None

    def record(self, step: int) -> None:
        """Note the end of a step; a resumed run repeats steps after its last saved state."""
        now_s = self._clock()
        del self._spent_s[step:]
        mean_s = self.spent_s / max(self.steps, 1)
        self._spent_s.append(self.spent_s + (now_s - self._last_s if self._last_s else mean_s))
        self._last_s = now_s
        with self._path.open("a") as file:
            file.write(f"{step} {self.spent_s:.3f}\n")

    def step_s(self) -> float:
        """Mean seconds per step after warm-up."""
        first = min(WARM_UP_STEPS, self.steps - 1)
        return (self._spent_s[-1] - self._spent_s[first]) / (self.steps - first)

    def _set(self, step: int, spent_s: float) -> None:
        del self._spent_s[step:]
        self._spent_s.append(spent_s)


def train_for(run: Run, budget_s: float, clock: Clock) -> StepLog:
    """Train a run until its time budget is spent.

    The number of steps is estimated after `CALIBRATION_STEPS` and again at half time, because the
    decay of the learning rate at the end needs it.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    log = StepLog(run.folder / STEPS_FILE, clock)
    while log.spent_s < budget_s:
        left = _steps_left(log, budget_s)
        total = log.steps + left
        if log.steps < CALIBRATION_STEPS:
            stop_at = CALIBRATION_STEPS
            total = run.config.total_steps
        else:
            stop_at = log.steps + (left // 2 if log.spent_s < 0.5 * budget_s and left > 8 else left)
        if left == 0:
            break
        log.begin()
        config = _with_total_steps(run.config, max(total, stop_at))
        train(
            config, run.folder, torch.device("cpu"), stop_at,
            lambda progress: _report_step(run, log, progress),
        )  # fmt: skip
    return log


def _steps_left(log: StepLog, budget_s: float) -> int:
    return int((budget_s - log.spent_s) / log.step_s()) if log.steps > WARM_UP_STEPS else 1


def _with_total_steps(config: TrainConfig, steps: int) -> TrainConfig:
    """A copy with `steps` steps, whose learning rate decays over the last quarter."""
    (phase,) = config.phases
    update = {"phases": (phase.model_copy(update={"steps": steps}),), "decay_steps": steps // 4}
    return config.model_copy(update=update)


def _report_step(run: Run, log: StepLog, progress: Progress) -> None:
    log.record(progress.step)
    if progress.step % 20 == 0:
        loss = sum(progress.terms.values())
        print(
            f"  {run.kind}, seed {run.seed}: step {progress.step}, {log.spent_s / 60.0:.1f} min, "
            f"{1.0 / log.step_s():.2f} steps/s, loss {loss:.2f}",
            flush=True,
        )


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Lock the file `path` if no other process has; yields whether that worked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def equal_costs_gmac(kinds: Sequence[str], size: str) -> dict[str, float]:
    """Cost of a frame by kind, in GMAC. Raises ConfigError if the costs differ too much."""
    costs = {kind: frame_gmac(kind, size) for kind in kinds}
    if max(costs.values()) > MAX_COST_RATIO * min(costs.values()):
        raise ConfigError(
            f"the kinds differ in cost by more than a factor of {MAX_COST_RATIO} (GMAC: {costs}): "
            "change their sizes in networks/build.py"
        )
    return costs


def write_scores(
    run: Run, config: EvaluationConfig, networks: ScoringNetworks, cache: Path
) -> None:
    """Evaluate a finished run."""
    report = evaluate(run.folder / EXPORT_FILE, config, networks, cache=cache)
    Image.fromarray(report.sheet()).save(run.folder / "sheet.png")
    (run.folder / SCORES_FILE).write_text(json.dumps(report.to_json(), indent=1) + "\n")


def table(runs: Sequence[Run], costs: dict[str, float]) -> str:
    """The finished runs, one per line, and the mean of each kind."""
    head = ["kind", "seed", "GMAC", "steps", "minutes", *(f"{m} ({w})" for m, w in MEASURES)]
    lines = [head]
    for kind in costs:
        rows = [row for run in runs if run.kind == kind and (row := _table_row(run)) is not None]
        for seed, steps, minutes, values in rows:
            lines.append([kind, str(seed), f"{costs[kind]:.2f}", str(steps), f"{minutes:.1f}",
                          *map(_format, values)])  # fmt: skip
        if len(rows) > 1:
            means = [_mean([row[3][i] for row in rows]) for i in range(len(MEASURES))]
            lines.append([kind, "mean", "", "", "", *map(_format, means)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _table_row(run: Run) -> tuple[int, int, float, list[float | None]] | None:
    """Seed, steps, minutes and measures of a run; None if it is not finished."""
    path = run.folder / SCORES_FILE
    if not path.is_file():
        return None
    found = json.loads(path.read_text())["measures"]
    log = StepLog(run.folder / STEPS_FILE, time.monotonic)
    values = [found.get(measure, {}).get("value") for measure, _ in MEASURES]
    return run.seed, log.steps, log.spent_s / 60.0, values


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path(), help="folder with the data folders")
    parser.add_argument(
        "--packs", type=Path, default=Path("packs"), help="folder with the feature networks"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/compare"))
    parser.add_argument("--minutes", type=float, default=20.0, help="training time of each run")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--threads", type=int, default=1, help="number of CPU threads for torch")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall",
                        help="measure minutes in wall-clock or CPU time")  # fmt: skip
    parser.add_argument("--train", default="compare", help="training config or YAML file")
    parser.add_argument("--evaluate", default="compare", help="evaluation config or YAML file")
    parser.add_argument("--segmenter", type=Path)
    parser.add_argument("--alexnet", type=Path)
    parser.add_argument("--lpips", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="only print the costs and the runs")
    return parser.parse_args(arguments)


def compare(chosen: argparse.Namespace) -> str:
    """Do all runs that no other process works on; returns the table of finished runs."""
    torch.set_num_threads(chosen.threads)
    base = at_root(load(TrainConfig, "train", chosen.train), chosen.data).with_packs(chosen.packs)
    runs = [
        Run(kind, seed, chosen.out / f"{kind}-{seed}",
            base.model_copy(update={"kind": kind, "seed": seed}))
        for seed in chosen.seeds
        for kind in chosen.kinds
    ]  # fmt: skip
    costs = equal_costs_gmac(chosen.kinds, base.size)
    print("GMAC per frame of 512x256: " + ", ".join(f"{k} {c:.2f}" for k, c in costs.items()))
    if chosen.dry_run:
        return "\n".join(f"{run.folder}: {chosen.minutes:g} min" for run in runs)
    networks = ScoringNetworks(
        segmenter=chosen.segmenter, alexnet=chosen.alexnet, lpips=chosen.lpips
    )
    evaluation = with_data_root(load(EvaluationConfig, "evaluate", chosen.evaluate), chosen.data)
    cache = (chosen.out / "photos").resolve()
    _prepare((*base.sources, *base.validation, *evaluation.sources, *evaluation.styles), cache)
    clock = time.process_time if chosen.clock == "cpu" else time.monotonic
    for run in runs:
        with try_lock(run.folder / "lock") as locked:
            if locked and not (run.folder / SCORES_FILE).is_file():
                photos = run.folder / "photos"
                if not photos.exists():
                    photos.symlink_to(cache)
                log = train_for(run, 60.0 * chosen.minutes, clock)
                print(f"{run.kind}, seed {run.seed}: {log.steps} steps; evaluating", flush=True)
                write_scores(run, evaluation, networks, cache)
    return table(runs, costs)


def _prepare(sources: tuple[PhotoSourceConfig, ...], cache: Path) -> None:
    """Prepare the photographs of all runs; other processes wait meanwhile."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        load_sources(sources, cache)


def main() -> int:
    """Run the comparison; returns the exit status, 1 after an error message."""
    try:
        print(compare(options(sys.argv[1:])))
    except Sim2StreetError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
