"""Terminal output that the commands share: consoles, progress bars and tables."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from sim2street.bridge.renderer import Renderer

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

LINE_EVERY_S = 10.0
"""Time between two lines of progress where there is no terminal."""


def say(text: str) -> None:
    """Print one line on stdout without wrapping it, so that paths stay whole."""
    out.print(text, soft_wrap=True)


class RateColumn(ProgressColumn):
    """Shows ticks or images per second."""

    def render(self, task: Task) -> Text:
        """The rate, or a dash while it is not known."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:5.1f}/s" if speed else "    -/s", style="cyan")


class Progressed(Progress):
    """A progress bar on a terminal; elsewhere, such as in a log file, a line every few seconds."""

    def __init__(self, *columns: ProgressColumn) -> None:
        super().__init__(
            *columns,
            console=err,
            transient=True,
            disable=not err.is_interactive,  # in a log file it would leave an empty line
        )
        self._ended = threading.Event()
        self._lines: threading.Thread | None = None

    def start(self) -> None:
        """Begin to show it."""
        super().start()
        if self.disable:
            self._lines = threading.Thread(target=self._write_lines, daemon=True)
            self._lines.start()

    def stop(self) -> None:
        """Stop showing it."""
        super().stop()
        self._ended.set()
        if self._lines is not None:
            self._lines.join()
            self._lines = None

    def _write_lines(self) -> None:
        while not self._ended.wait(LINE_EVERY_S):
            for task in self.tasks:
                if task.visible and not task.finished:
                    err.print(escape(progress_line(task)), soft_wrap=True)


def progress_line(task: Task) -> str:
    """How far a task is, as text: `training: 120 of 2000 (6%), 1.2/s, 0:26:06 left`."""
    parts = [f"{task.description}: {task.completed:.0f}"]
    if task.total:
        parts[0] += f" of {task.total:.0f} ({task.percentage:.0f}%)"
    if task.speed:
        parts.append(f"{task.speed:.3g}/s")
    if task.time_remaining:
        parts.append(f"{timedelta(seconds=int(task.time_remaining))} left")
    return ", ".join(parts)


def progress() -> Progressed:
    """Progress with count, rate and time left, on stderr; a bar disappears when done.

    Where stderr is no terminal, it is a line every `LINE_EVERY_S`.
    """
    return Progressed(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )


def announce_licence(renderer: Renderer) -> None:
    """Print the licence of the renderer's weights, if it has weights."""
    licence = getattr(getattr(renderer, "info", None), "license", None)
    if licence:
        err.print(f"[dim]weights: {escape(licence)}[/]", soft_wrap=True)


def stage_table(
    stages: Mapping[str, Sequence[float]], wall_s: float, first_s: float = 0.0
) -> Table:
    """Median and 95th percentile in milliseconds of each stage, and its share of the time.

    The first frame builds the scene and warms up the network, so it is left out, unless there is
    no other one. Shares may add up to more than 100 %, because a stage may contain another one.

    Args:
        stages: seconds of each frame, by stage.
        wall_s: time for all frames after the first.
        first_s: time until the first frame.
    """
    table = Table("stage", box=box.SIMPLE_HEAD)
    for heading in ("median ms", "95 % ms", "share"):
        table.add_column(heading, justify="right")
    only_one = max(map(len, stages.values()), default=0) < 2
    total_s = first_s + wall_s if only_one else wall_s
    for stage, seconds in stages.items():
        ordered = sorted(seconds if only_one else seconds[1:])
        if not ordered:
            continue
        median_s, p95_s = ordered[len(ordered) // 2], ordered[int(0.95 * (len(ordered) - 1))]
        share = f"{sum(ordered) / total_s:.0%}" if total_s else "-"
        table.add_row(stage, f"{1e3 * median_s:.1f}", f"{1e3 * p95_s:.1f}", share)
    return table
