"""`sim2street record` writes a drive to an MCAP file, `sim2street replay` films one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sim2street.apps.commands.options import (
    CameraOption,
    RecoverOption,
    SeedOption,
    SizeOption,
    TownOption,
    TrafficOption,
    WeatherOption,
    WorldOption,
    make_world,
    reset_options,
)
from sim2street.apps.compose import build_recording, needs_extra, opened
from sim2street.apps.console import err, progress, say
from sim2street.apps.filming import driven, film, replayed, show_trip
from sim2street.apps.interrupts import Stopped, saving_first
from sim2street.configs import ConfigError


def record(
    file: Annotated[Path, typer.Argument(help="The recording to write (.mcap).")],
    world: WorldOption = "town",
    ticks: Annotated[int, typer.Option("--ticks", min=1, help="Number of ticks to drive.")] = 300,
    seed: SeedOption = 0,
    town: TownOption = None,
    weather: WeatherOption = None,
    traffic: TrafficOption = None,
    size: SizeOption = None,
) -> None:
    """Drive a world with the rule-based driver and record every tick without loss.

    The file appears when the drive is complete. After Ctrl-C, the ticks so far are in
    NAME.partial.mcap.
    """
    with needs_extra("recording"):
        from sim2street.bridge.recording import Recorder
    if file.suffix != ".mcap":
        raise ConfigError(f"a recording ends in .mcap, got {file}")
    inner = make_world(world, size)
    options = reset_options(inner, town, weather, traffic)
    done = 0
    with (
        saving_first("finishing this tick, then closing the recording") as stop,
        opened(Recorder(inner, file)) as recorder,
        progress() as bar,
    ):
        task = bar.add_task("recording", total=ticks)
        for _ in driven(recorder, ticks, seed, options):
            done, stop.has_work = done + 1, True
            bar.advance(task)
            if stop.requested and done < ticks:
                part = recorder.interrupt(f"stopped after {done} of {ticks} ticks")
                break
    if stop.requested and done < ticks:
        kept = escape(str(part))
        err.print(
            f"stopped after {done} of {ticks} ticks, which are in {kept}: `sim2street replay "
            f"{kept} --recover` films them",
            soft_wrap=True,
        )
        raise Stopped(stop.exit_code)
    say(f"recorded {done} ticks: {escape(str(file))}")


def replay(
    file: Annotated[Path, typer.Argument(help="A recording (.mcap).")],
    film_path: Annotated[
        Path, typer.Option("--out", "-o", help="The video to write (.mp4).")
    ] = Path("out/replay.mp4"),
    recover: RecoverOption = False,
    camera: CameraOption = None,
) -> None:
    """Make a video of a recording: labels, depth and RGB next to each other.

    `sim2street render FILE` renders its labels again; `sim2street serve world FILE` serves it.
    """
    with opened(build_recording(file, recover)) as recording:
        fps, total = (
            1.0 / recording.spec.tick_s,
            sum(episode.ticks + 1 for episode in recording.episodes),
        )
        trip = film(replayed(recording, len(recording.episodes)), film_path, fps, total, camera)
    show_trip(trip)
    say(f"film  {escape(str(film_path))}")
