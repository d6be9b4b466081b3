"""`sim2street demo`: drive, render, film, and say where the milliseconds went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sim2street.apps.commands.options import (
    CameraOption,
    RendererOption,
    ScaleOption,
    SeedOption,
    SizeOption,
    StyleOption,
    WorldOption,
    make_renderer,
    make_world,
    parse_style,
)
from sim2street.apps.compose import open_rendered
from sim2street.apps.console import say
from sim2street.apps.filming import driven, film, save_sheet, show_trip


def demo(
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for demo.mp4 and contact.png.")
    ] = Path("out/demo"),
    ticks: Annotated[int, typer.Option("--ticks", min=1, help="How many ticks to drive.")] = 300,
    world: WorldOption = "town",
    renderer: RendererOption = "auto",
    style: StyleOption = "default",
    seed: SeedOption = 0,
    size: SizeOption = None,
    scale: ScaleOption = 1,
    camera: CameraOption = None,
) -> None:
    """Drive the town with the autopilot and film it: labels | depth | rendered."""
    look = parse_style(style)
    inner = make_world(world, size)
    with open_rendered(inner, make_renderer(renderer), look, scale) as rendered:
        frames = driven(rendered, ticks, seed)
        fps = 1.0 / rendered.spec.tick_s
        trip = film(frames, folder / "demo.mp4", fps, ticks, camera)
    save_sheet(trip, folder / "contact.png")
    show_trip(trip)
    say(f"film           {escape(str(folder / 'demo.mp4'))}")
    say(f"contact sheet  {escape(str(folder / 'contact.png'))}")
