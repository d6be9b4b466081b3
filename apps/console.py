"""Terminal output that the commands share: consoles, progress bars and tables."""

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
    """Print one line on stdout without wrapping it, so that paths stay whole."""
    out.print(text, soft_wrap=True)


class RateColumn(ProgressColumn):
    """Shows ticks or images per second."""

    def render(self, task: Task) -> Text:
        """The rate, or a dash while it is not known."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:5.1f}/s" if speed else "    -/s", style="cyan")


def progress() -> Progress:
    """A progress bar with count, rate and time left, on stderr; it disappears when done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_interactive,  # in a log file it would leave an empty line
    )


def announce_licence(renderer: Renderer) -> None:
    """Print the licence of the renderer's weights, if it has weights."""
    licence = getattr(getattr(renderer, "info", None), "license", None)
    if licence:
        err.print(f"[dim]weights: {escape(licence)}[/]", soft_wrap=True)


def stage_table(stages: Mapping[str, Sequence[float]], wall_s: float) -> Table:
    """Median and 95th percentile in milliseconds of each stage, and its share of `wall_s`.

    Shares may add up to more than 100 %, because a stage may contain another one.
    """
    table = Table("stage", box=box.SIMPLE_HEAD)
    for heading in ("median ms", "95 % ms", "share"):
        table.add_column(heading, justify="right")
    for stage, seconds in stages.items():
        # The first frame builds the scene and warms up the network, so it is left out.
        ordered = sorted(seconds[1:] or seconds)
        median_s, p95_s = ordered[len(ordered) // 2], ordered[int(0.95 * (len(ordered) - 1))]
        share = f"{sum(ordered) / wall_s:.0%}" if wall_s else "-"
        table.add_row(stage, f"{1e3 * median_s:.1f}", f"{1e3 * p95_s:.1f}", share)
    return table
