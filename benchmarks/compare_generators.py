"""Three kinds of generators, the same trainer, minutes and cost: which paints better streets?

    python benchmarks/compare_generators.py --data DATA --packs packs \
        --segmenter segmenter.pt2 --alexnet packs/alexnet.safetensors --minutes 20 --threads 1

Runs every kind with every seed on `configs/train/compare.yaml`, which leaves one drive out,
then renders that drive's labels and measures. The same command again goes on where it was.
Started twice, on cores of their own (`taskset -c 0 ...`, `taskset -c 1 ...`), the two share
the runs: each takes the next that nobody has. Every run gets the same minutes of training
steps; preparing data and evaluating do not count.
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
from typing import Any

import torch

from sim2street.configs import ConfigError, Sim2StreetError, load
from sim2street.neural_renderer.data.photos import PhotoSourceConfig
from sim2street.neural_renderer.evaluation.config import EvaluationConfig, Judges, under
from sim2street.neural_renderer.evaluation.evaluate import evaluate
from sim2street.neural_renderer.evaluation.timing import frame_gmac
from sim2street.neural_renderer.networks.baselines import KINDS
from sim2street.neural_renderer.training.config import TrainConfig
from sim2street.neural_renderer.training.sources import at_root, load_sources
from sim2street.neural_renderer.training.trainer import EXPORT_FILE, Progress, train

STEPS_FILE, SCORES_FILE = "seconds.txt", "scores.json"
CALIBRATION_STEPS = 24
WARM_UP_STEPS = 4
COST_TOLERANCE = 1.1
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
    """One training run: which, where, what it is made of."""

    kind: str
    seed: int
    folder: Path
    config: TrainConfig


class StepLog:
    """Seconds of training at each step, kept beside the state so that a resumed run knows.

    Only time between two steps counts: not the start of a process, nor data preparation.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._seconds = [0.0]
        if path.is_file():
            for line in path.read_text().splitlines():
                step, seconds = line.split()
                self._note(int(step), float(seconds))
        self._last: float | None = None

    @property
    def steps(self) -> int:
        return len(self._seconds) - 1

    @property
    def spent_s(self) -> float:
        return self._seconds[-1]

    def begin(self) -> None:
        """A process begins: its first step is not timed against anything before it."""
        self._last = None

    def record(self, step: int) -> None:
        """A step is done; a resumed run may do steps again that were done but not kept."""
        now = self._clock()
        del self._seconds[step:]
        mean_s = self.spent_s / max(self.steps, 1)
        self._seconds.append(self.spent_s + (now - self._last if self._last else mean_s))
        self._last = now
        with self._path.open("a") as file:
            file.write(f"{step} {self.spent_s:.3f}\n")

    def step_s(self) -> float:
        """Seconds of a step, without the slow first ones."""
        first = min(WARM_UP_STEPS, self.steps - 1)
        return (self._seconds[-1] - self._seconds[first]) / (self.steps - first)

    def _note(self, step: int, seconds: float) -> None:
        del self._seconds[step:]
        self._seconds.append(seconds)


def train_for(run: Run, budget_s: float, clock: Clock) -> StepLog:
    """Train a run until its time is spent.

    How many steps that will be is estimated after a few, and again at half time, so that the
    learning rate falls over the last part of the run as it does in any other.
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
        train(_lasting(run.config, max(total, stop_at)), run.folder, torch.device("cpu"), stop_at,
              lambda seen: _told(run, log, seen))  # fmt: skip
    return log


def _steps_left(log: StepLog, budget_s: float) -> int:
    return int((budget_s - log.spent_s) / log.step_s()) if log.steps > WARM_UP_STEPS else 1


def _lasting(config: TrainConfig, steps: int) -> TrainConfig:
    """The same run with so many steps, the learning rate falling over the last quarter."""
    (phase,) = config.phases
    update = {"phases": (phase.model_copy(update={"steps": steps}),), "decay_steps": steps // 4}
    return config.model_copy(update=update)


def _told(run: Run, log: StepLog, seen: Progress) -> None:
    log.record(seen.step)
    if seen.step % 20 == 0:
        loss = sum(seen.terms.values())
        print(
            f"  {run.kind}, seed {run.seed}: step {seen.step}, {log.spent_s / 60.0:.1f} min, "
            f"{1.0 / log.step_s():.2f} steps/s, loss {loss:.2f}",
            flush=True,
        )


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process alone works on `path` from now on; released when it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def checked_costs(kinds: Sequence[str], size: str) -> dict[str, float]:
    """GMAC a kind; ConfigError where they are too far apart to be compared."""
    costs = {kind: frame_gmac(kind, size) for kind in kinds}
    if max(costs.values()) > COST_TOLERANCE * min(costs.values()):
        raise ConfigError(f"the kinds differ in cost: {costs}")
    return costs


def measured(run: Run, looked_at: EvaluationConfig, judges: Judges, cache: Path) -> dict[str, Any]:
    """The measures of a finished run, taken once."""
    path = run.folder / SCORES_FILE
    if not path.is_file():
        weights = run.folder / EXPORT_FILE
        report = evaluate(weights, looked_at, judges, cache=cache)
        path.write_text(json.dumps(report.to_json(), indent=1) + "\n")
        from PIL import Image

        Image.fromarray(report.sheet()).save(run.folder / "sheet.png")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def table(runs: Sequence[Run], costs: dict[str, float]) -> str:
    """What is finished, a line a run and a mean a kind."""
    head = ["kind", "seed", "GMAC", "steps", "minutes", *(f"{m} ({w})" for m, w in MEASURES)]
    lines = [head]
    for kind in costs:
        rows = [row for run in runs if run.kind == kind and (row := _numbers(run)) is not None]
        for seed, steps, minutes, values in rows:
            lines.append([kind, str(seed), f"{costs[kind]:.2f}", str(steps), f"{minutes:.1f}",
                          *map(_shown, values)])  # fmt: skip
        if len(rows) > 1:
            means = [_mean([row[3][i] for row in rows]) for i in range(len(MEASURES))]
            lines.append([kind, "mean", "", "", "", *map(_shown, means)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _numbers(run: Run) -> tuple[int, int, float, list[float | None]] | None:
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


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path(), help="where the data folders lie")
    parser.add_argument("--packs", type=Path, default=Path("packs"), help="feature networks")
    parser.add_argument("--out", type=Path, default=Path("runs/compare"))
    parser.add_argument("--minutes", type=float, default=20.0, help="of training, each run")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall",
                        help="minutes by the wall, or of the process's own CPU time")  # fmt: skip
    parser.add_argument("--train", default="compare", help="training config or YAML file")
    parser.add_argument("--evaluate", default="compare", help="evaluation config or YAML file")
    parser.add_argument("--segmenter", type=Path)
    parser.add_argument("--alexnet", type=Path)
    parser.add_argument("--lpips", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="costs and runs, nothing else")
    return parser.parse_args(arguments)


def compare(chosen: argparse.Namespace) -> str:
    """All runs that nobody else is at, then the table of what is finished."""
    torch.set_num_threads(chosen.threads)
    base = at_root(load(TrainConfig, "train", chosen.train), chosen.data).with_packs(chosen.packs)
    runs = [
        Run(kind, seed, chosen.out / f"{kind}-{seed}",
            base.model_copy(update={"kind": kind, "seed": seed}))
        for seed in chosen.seeds
        for kind in chosen.kinds
    ]  # fmt: skip
    costs = checked_costs(chosen.kinds, base.size)
    print("GMAC a frame of 512x256: " + ", ".join(f"{k} {c:.2f}" for k, c in costs.items()))
    if chosen.dry_run:
        return "\n".join(f"{run.folder}: {chosen.minutes:g} min" for run in runs)
    judges = Judges(segmenter=chosen.segmenter, alexnet=chosen.alexnet, lpips=chosen.lpips)
    looked_at = under(load(EvaluationConfig, "evaluate", chosen.evaluate), chosen.data)
    cache = (chosen.out / "photos").resolve()
    _prepare((*base.sources, *base.validation, *looked_at.sources, *looked_at.styles), cache)
    clock = time.process_time if chosen.clock == "cpu" else time.monotonic
    for run in runs:
        with claimed(run.folder / "lock") as ours:
            if ours and not (run.folder / SCORES_FILE).is_file():
                photos = run.folder / "photos"
                if not photos.exists():
                    photos.symlink_to(cache)
                log = train_for(run, 60.0 * chosen.minutes, clock)
                print(f"{run.kind}, seed {run.seed}: {log.steps} steps; measuring", flush=True)
                measured(run, looked_at, judges, cache)
    return table(runs, costs)


def _prepare(sources: tuple[PhotoSourceConfig, ...], cache: Path) -> None:
    """Photographs ready for all runs; of two processes one prepares, the other waits."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        load_sources(sources, cache)


def main() -> int:
    """Exit status: 1 after one line about a mistake."""
    try:
        print(compare(options(sys.argv[1:])))
    except Sim2StreetError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
