"""Draws learning curves, and writes the tables of docs/learning.md from the saved results.

    python -m benchmarks.learning.report curves RUN1 RUN2 RUN3   # into out/learning
    python -m benchmarks.learning.report tables                  # into docs/learning.md

Each RUN is a folder of `examples/train_ppo_cleanrl.py`. Run from the repository's root.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BINS = 12
"""Points of a curve. Each is the mean over the episodes in its range of steps."""

COLUMNS: Mapping[str, tuple[str, str]] = {
    "return": ("return", "{:.1f}"),
    "success": ("success", "{:.0%}"),
    "collisions_per_km": ("collisions / km", "{:.2f}"),
    "off_lane_per_km": ("left lane / km", "{:.2f}"),
    "red_lights_run_share": ("red lights run", "{:.0%}"),
    "offset_m": ("off centre, m", "{:.2f}"),
}
"""Statistic -> heading of its column, and format."""

IMAGE_DRIVER_COLUMNS: Mapping[str, str] = {
    "success": "to the end",
    **{key: COLUMNS[key][0] for key in ("off_lane_per_km", "collisions_per_km", "offset_m")},
}
"""Statistic -> heading in the table of the driver that sees images."""

IMAGE_DRIVER_FILES = {
    "steers, accelerates": "imitation.json",
    "steers; rules accelerate": "imitation_steers.json",
}
"""What the network controls -> file of its episodes."""

FAILURES = {
    "off_lane": "left its lane",
    "collision": "collided",
    "ran_red_light": "ran a red light",
    "too_slow": "was too slow",
}
"""Ending that is a failure -> its name in the plot."""


def read_run(folder: Path) -> list[dict[str, Any]]:
    """The episodes of a training run, in the order in which they ended."""
    lines = (folder / "episodes.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def binned_curves(runs: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Learning curves of several runs over the same bins of steps.

    Returns `steps` (BINS,), the centres of the bins, and for `return`, `success` and each
    failure the means of each run (runs, BINS).
    """
    last = max(row["step"] for run in runs for row in run)
    edges = np.linspace(0, last, BINS + 1)
    curves: dict[str, Any] = {"steps": (0.5 * (edges[1:] + edges[:-1])).round().tolist()}
    measures = {"return": lambda row: row["return"], "success": lambda row: row["ending"] == "goal"}
    for name in FAILURES:
        measures[name] = lambda row, name=name: row["ending"] == name
    for name, measure in measures.items():
        curves[name] = [_binned(run, edges, measure) for run in runs]
    return curves


def _binned(run: Sequence[Mapping[str, Any]], edges: Floats, measure: Any) -> list[float | None]:
    bins = np.digitize([row["step"] for row in run], edges[1:-1])
    numbers = np.array([float(measure(row)) for row in run])
    means = [numbers[bins == i].mean() if (bins == i).any() else None for i in range(BINS)]
    return [None if mean is None else round(float(mean), 4) for mean in means]


def draw(curves: Mapping[str, Any], path: Path) -> None:
    """Plot the return of each run and their mean, and how episodes end, as the mean of the runs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    steps = np.array(curves["steps"]) / 1000.0
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    returns = np.array(curves["return"], float)
    for i, run in enumerate(returns):
        left.plot(steps, run, lw=1, alpha=0.6, label=f"seed {i + 1}")
    left.plot(steps, _mean_of_runs(returns), "k", lw=2, label="mean")
    left.set(ylabel="return of training episodes", xlabel="thousand steps")
    left.legend(frameon=False)
    right.plot(steps, _share(curves, "success"), "tab:green", lw=2, label="reached the goal")
    for (name, label), colour in zip(FAILURES.items(), ("C0", "C1", "C3", "C4"), strict=True):
        right.plot(steps, _share(curves, name), colour, lw=1.2, label=label)
    right.set(ylabel="% of training episodes", xlabel="thousand steps", ylim=(0, 100))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _share(curves: Mapping[str, Any], name: str) -> Floats:
    return 100.0 * _mean_of_runs(np.array(curves[name], float))


def _mean_of_runs(values: Floats) -> Floats:
    """Mean over the runs, or NaN for a bin in which a run has no episode."""
    return np.where(np.isfinite(values).all(axis=0), values.mean(axis=0), np.nan)


def table(results: Mapping[str, Any]) -> str:
    """Markdown table: a row per split and driver, each statistic with its 95 % interval."""
    heads = [heading for heading, _ in COLUMNS.values()]
    lines = ["| towns | driver | " + " | ".join(heads) + " |"]
    lines.append("|" + "---|" * (2 + len(heads)))
    for split, by_driver in results["splits"].items():
        for name, entry in by_driver.items():
            cells = [_cell(entry["summary"][key], form) for key, (_, form) in COLUMNS.items()]
            lines.append(f"| {split} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def imitation_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown table: a row per set of controls, towns and styles."""
    heads = list(IMAGE_DRIVER_COLUMNS.values())
    lines = ["| network | towns and styles | episodes | m an episode | " + " | ".join(heads) + " |"]
    lines.append("|" + "---|" * (4 + len(heads)))
    for controls, measured in results.items():
        for name, entry in measured["results"].items():
            summary = entry["summary"]
            count = summary["episodes"]
            cells = [_cell(summary[key], COLUMNS[key][1]) for key in IMAGE_DRIVER_COLUMNS]
            metres = 1000.0 * summary["km"]["value"] / count
            lines.append(f"| {controls} | {name} | {count} | {metres:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_tables(page: str, folder: Path) -> str:
    """The page with the tables between its HTML comments replaced by those of the results."""
    tables = {
        "drivers": table(json.loads((folder / "town_route.json").read_text())),
        "imitation": imitation_table(
            {
                controls: json.loads((folder / file).read_text())
                for controls, file in IMAGE_DRIVER_FILES.items()
            }
        ),
    }
    for name, text in tables.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = before + begin + text + end + after
    return page


def _cell(interval: Mapping[str, float | None], form: str) -> str:
    if interval["value"] is None:
        return "–"
    low, high = form.format(interval["low"]), form.format(interval["high"])
    return f"{form.format(interval['value'])} ({low} to {high})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    curves = commands.add_parser("curves")
    curves.add_argument("runs", type=Path, nargs="+")
    curves.add_argument("--json", type=Path, default=Path("out/learning/curves.json"))
    curves.add_argument("--png", type=Path, default=Path("out/learning/learning_curves.png"))
    tables = commands.add_parser("tables")
    tables.add_argument("--page", type=Path, default=Path("docs/learning.md"))
    tables.add_argument("--results", type=Path, default=Path("benchmarks/learning"))
    chosen = parser.parse_args(arguments)
    if chosen.command == "tables":
        chosen.page.write_text(with_tables(chosen.page.read_text(), chosen.results))
        return
    configs = [json.loads((run / "config.json").read_text()) for run in chosen.runs]
    values = {"configs": configs, **binned_curves([read_run(run) for run in chosen.runs])}
    for path in (chosen.json, chosen.png):
        path.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(values) + "\n")
    draw(values, chosen.png)


if __name__ == "__main__":
    main()
