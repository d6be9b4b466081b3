"""`sim2street demo`: drives a world, renders it, and writes a video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sim2street.apps.commands.options import (
    AllowedClientsOption,
    CameraOption,
    PublishOption,
    RendererOption,
    ScaleOption,
    SecretKeyOption,
    SeedOption,
    SizeOption,
    StyleOption,
    TownOption,
    TrafficOption,
    WeatherOption,
    WorldOption,
    make_world_and_renderer,
    parse_style,
    reset_options,
)
from sim2street.apps.compose import open_rendered
from sim2street.apps.console import say
from sim2street.apps.filming import driven, film, save_sheet, show_trip
from sim2street.apps.publishing import published, server_config
from sim2street.apps.video import Animation


def demo(
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for demo.mp4 and contact.png.")
    ] = Path("out/demo"),
    ticks: Annotated[int, typer.Option("--ticks", min=1, help="Number of ticks to drive.")] = 300,
    world: WorldOption = "town",
    renderer: RendererOption = "auto",
    style: StyleOption = "default",
    seed: SeedOption = 0,
    town: TownOption = None,
    weather: WeatherOption = None,
    traffic: TrafficOption = None,
    size: SizeOption = None,
    scale: ScaleOption = 1,
    camera: CameraOption = None,
    animation: Annotated[
        Path | None,
        typer.Option("--animation", help="Also write a small animated WebP to this file."),
    ] = None,
    publish: PublishOption = None,
    secret_key: SecretKeyOption = None,
    allowed_clients: AllowedClientsOption = None,
) -> None:
    """Drive the town, render it, and write a video: labels, depth and RGB next to each other."""
    look = parse_style(style)
    stream = None if publish is None else server_config(publish, secret_key, allowed_clients)
    inner, engine = make_world_and_renderer(world, size, renderer)
    options = reset_options(inner, town, weather, traffic)
    with (
        open_rendered(inner, engine, look, scale) as rendered,
        published(rendered, stream) as shown,
    ):
        frames = driven(shown, ticks, seed, options)
        fps = 1.0 / rendered.spec.tick_s
        small = Animation(fps) if animation is not None else None
        trip = film(frames, folder / "demo.mp4", fps, ticks, camera, small)
    if small is not None and animation is not None:
        small.save(animation)
    save_sheet(trip, folder / "contact.png")
    show_trip(trip)
    say(f"film           {escape(str(folder / 'demo.mp4'))}")
    say(f"contact sheet  {escape(str(folder / 'contact.png'))}")
