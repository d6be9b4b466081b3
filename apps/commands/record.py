"""`sim2street record` and `sim2street replay`: drives as MCAP files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from apps.commands.options import (
    CameraOption,
    SeedOption,
    SizeOption,
    WorldOption,
    size_settings,
)
from apps.compose import build_world, needs_extra
from apps.console import out, progress, stage_table
from apps.filming import driven, film, replayed
from apps.output import partial_file
from configs import ConfigError


def record(
    file: Annotated[Path, typer.Argument(help="The recording to write (.mcap).")],
    world: WorldOption = "town",
    ticks: Annotated[int, typer.Option("--ticks", min=1, help="How many ticks to drive.")] = 300,
    seed: SeedOption = 0,
    size: SizeOption = None,
) -> None:
    """Drive a world with the autopilot and record every tick, bit by bit."""
    with needs_extra("recording"):
        from bridge.recording import Recorder
    if file.suffix != ".mcap":
        raise ConfigError(f"a recording ends in .mcap, got {file}")
    inner = build_world(world, size_settings(size))
    with (
        partial_file(file) as unfinished,
        Recorder(inner, unfinished) as recorder,
        progress() as bar,
    ):
        for _ in bar.track(driven(recorder, ticks, seed), ticks, description="recording"):
            pass
    out.print(f"recorded {ticks} ticks: {escape(str(file))}")


def replay(
    file: Annotated[Path, typer.Argument(help="A recording (.mcap).")],
    film_path: Annotated[
        Path, typer.Option("--out", "-o", help="The film to write (.mp4).")
    ] = Path("out/replay.mp4"),
    camera: CameraOption = None,
) -> None:
    """Read a recording to its end and film what it holds: labels | depth | rgb.

    `sim2street render FILE` renders it anew; `sim2street serve world FILE` serves it.
    """
    with build_world(str(file)) as recording:
        fps = 1.0 / recording.spec.tick_s
        trip = film(replayed(recording, 0), film_path, fps, None, camera)
    out.print(stage_table(f"{trip.frames} ticks, {trip.frames_per_s:.1f} ticks/s", trip.stages))
    out.print(f"film  {escape(str(film_path))}")
