"""What the commands share of the terminal: consoles, progress and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def say(text: str) -> None:
    """One line on stdout, never broken: paths stay whole."""
    out.print(text, soft_wrap=True)


class RateColumn(ProgressColumn):
    """How many ticks or pictures a second."""

    def render(self, task: Task) -> Text:
        """The rate, or a dash before there is one."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:5.1f}/s" if speed else "    -/s", style="cyan")


def progress() -> Progress:
    """A progress bar with count, rate and time left; on stderr, gone when done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_interactive,  # in a log it would leave an empty line
    )


def announce_licence(renderer: Renderer) -> None:
    """Show what the weights may be used for, where the renderer has weights."""
    licence = getattr(getattr(renderer, "info", None), "license", None)
    if licence:
        err.print(f"[dim]weights: {escape(licence)}[/]", soft_wrap=True)


def stage_table(stages: Mapping[str, Sequence[float]], wall_s: float) -> Table:
    """Median and 95th percentile in milliseconds of each stage, and its share of `wall_s`.

    Shares may add up to more than all: a stage may contain another (`serve` the world's).
    """
    table = Table("stage", box=box.SIMPLE_HEAD)
    for heading in ("median ms", "95 % ms", "share"):
        table.add_column(heading, justify="right")
    for stage, seconds in stages.items():
        # the first frame of a drive builds scenes and warms networks up: not typical
        ordered = sorted(seconds[1:] or seconds)
        median_s, p95_s = ordered[len(ordered) // 2], ordered[int(0.95 * (len(ordered) - 1))]
        share = f"{sum(ordered) / wall_s:.0%}" if wall_s else "-"
        table.add_row(stage, f"{1e3 * median_s:.1f}", f"{1e3 * p95_s:.1f}", share)
    return table
