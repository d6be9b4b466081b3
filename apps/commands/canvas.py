"""`sim2street canvas`: shows which photographic textures are placed on a view."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from PIL import Image
from rich.markup import escape

from sim2street.apps.commands.options import SeedOption, SizeOption, WorldOption, make_world
from sim2street.apps.compose import needs_extra, opened
from sim2street.apps.console import progress, say
from sim2street.apps.filming import driven, pick_view
from sim2street.apps.video import contact_sheet, open_film, save_image
from sim2street.bridge.frame import ByteArray, SensorFrame, View
from sim2street.bridge.palette import paint_labels
from sim2street.bridge.renderer import RenderRequest, SessionConfig
from sim2street.bridge.town.weather import PRESETS, draw_weather

if TYPE_CHECKING:
    from sim2street.neural_renderer.canvas.atlas import Atlas
    from sim2street.neural_renderer.canvas.parts import AtlasParts


def canvas(
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for canvas.png and canvas.mp4.")
    ] = Path("out/canvas"),
    world: WorldOption = "town",
    atlas: Annotated[
        Path | None, typer.Option("--atlas", help="An .atlas file; without it, the shipped one.")
    ] = None,
    ticks: Annotated[int, typer.Option("--ticks", min=1, help="Number of ticks to drive.")] = 60,
    seed: SeedOption = 0,
    size: SizeOption = None,
    weathers: Annotated[
        bool,
        typer.Option("--weathers", help="Also write weathers.png: this frame in every weather."),
    ] = False,
) -> None:
    """Film the canvas of a drive: labels, textures, which texture, and mip level.

    `canvas.png` shows the last frame. Nothing is rendered by a network.
    """
    with needs_extra("neural"):
        from sim2street.neural_renderer.canvas.atlas import load_atlas
        from sim2street.neural_renderer.canvas.parts import atlas_parts
    textures = load_atlas(atlas)
    parts = atlas_parts(textures)
    inner = make_world(world, size, surfaces=True)
    panels: ByteArray | None = None
    with (
        opened(inner) as source,
        open_film(folder / "canvas.mp4", 1.0 / source.spec.tick_s) as film,
        progress() as bar,
    ):
        frames = driven(source, ticks, seed)
        for frame in bar.track(frames, ticks, description="placing"):
            panels = canvas_panels(pick_view(frame, None), parts, seed)
            film.write(panels)
    assert panels is not None
    save_image(panels, folder / "canvas.png")
    say(f"film   {escape(str(folder / 'canvas.mp4'))}")
    say(f"frame  {escape(str(folder / 'canvas.png'))}")
    if weathers:
        save_image(weather_sheet(frame, textures, seed), folder / "weathers.png")
        say(f"sheet  {escape(str(folder / 'weathers.png'))}")


def weather_sheet(frame: SensorFrame, atlas: Atlas, seed: int) -> Image.Image:
    """The first view of a frame on the canvas in every weather preset, with captions."""
    from sim2street.neural_renderer.canvas.renderer import CanvasRenderer

    view = pick_view(frame, None)
    size_px = (view.camera.width_px, view.camera.height_px)
    pictures = []
    with CanvasRenderer(atlas) as renderer:
        session = renderer.open_session(SessionConfig(atlas.name, view.camera, size_px, seed))
        for number, name in enumerate(PRESETS):
            weather = draw_weather(np.random.default_rng(seed), name)
            request = RenderRequest(
                session, view, frame.tick, number, frame.actors, weather=weather
            )
            pictures += [rendering.rgb for rendering in renderer.render([request])]
    return contact_sheet(pictures, list(PRESETS), columns=2)


def canvas_panels(view: View, parts: AtlasParts, seed: int) -> ByteArray:
    """Labels and canvas above, texture and mip level below: uint8 (2 * H, 2 * W, 3)."""
    from sim2street.neural_renderer.canvas.placement import place
    from sim2street.neural_renderer.canvas.sampling import sample, to_uint8
    from sim2street.neural_renderer.conditions.guessed_geometry import (
        guess_horizon,
        with_guessed_depth,
    )

    if view.depth_m is None:
        view = with_guessed_depth(view, guess_horizon(view))
    surfaces = place(view, parts, seed)
    image = sample(surfaces, parts.packed)
    colours = np.random.default_rng(5).integers(40, 255, (len(parts.packed) + 1, 3), np.uint8)
    colours[-1] = 0
    texture = colours[surfaces.texture]
    texture[surfaces.window] = 255
    level = np.repeat(to_uint8(image.level / 8.0)[..., None], 3, axis=2)
    labels = paint_labels(View(view.camera, view.pose, view.labels))
    rows = (labels, to_uint8(image.rgb)), (texture, level)
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])
