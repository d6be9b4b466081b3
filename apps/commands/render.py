"""`sim2street render`: turns label maps or a recording into images and a video."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.markup import escape

from sim2street.apps.commands.options import (
    CameraOption,
    RecoverOption,
    RendererOption,
    ScaleOption,
    StyleOption,
    TrustNamingOption,
    make_renderer,
    parse_style,
)
from sim2street.apps.compose import build_recording, open_rendered
from sim2street.apps.console import say
from sim2street.apps.filming import Trip, film, pick_view, replayed, save_sheet, show_trip
from sim2street.apps.output import partial_folder
from sim2street.apps.video import save_image
from sim2street.bridge.datasets.depth_images import AUTO_UNIT, DEPTH_UNITS
from sim2street.bridge.datasets.label_folder import LabelFolder
from sim2street.bridge.datasets.naming import naming_names
from sim2street.bridge.frame import EgoState, SensorFrame, View
from sim2street.bridge.rendered_world import choose_style
from sim2street.bridge.renderer import Renderer, RenderRequest, SessionConfig, StyleChoice

if TYPE_CHECKING:
    from sim2street.bridge.recording import ReplayWorld

STILLS_PER_S = 2.0
"""Frames per second of a video made of stills."""

NamingOption = Annotated[
    str,
    typer.Option("--naming", "-n", help=f"Meaning of the label ids: {', '.join(naming_names())}."),
]
DepthOption = Annotated[
    Path | None,
    typer.Option(
        "--depth",
        help="Folder of depth images with the label maps' names: 16-bit PNG (metres * 256), "
        "CARLA's raw depth PNG, or .npy in metres.",
    ),
]
DepthUnitOption = Annotated[
    str,
    typer.Option(
        "--depth-unit",
        help=f"Unit of the numbers in 16-bit PNG and .npy: {', '.join(DEPTH_UNITS)}.",
    ),
]


def render(
    source: Annotated[
        Path,
        typer.Argument(help="Folder of label maps, a single label map, or a recording (.mcap)."),
    ],
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="New folder for frames/, film.mp4, contact.png.")
    ] = Path("out/render"),
    naming: NamingOption = "carla",
    depth: DepthOption = None,
    depth_unit: DepthUnitOption = AUTO_UNIT,
    fov_deg: Annotated[
        float, typer.Option("--fov", min=1.0, max=170.0, help="Horizontal field of view, degrees.")
    ] = 62.0,
    max_width: Annotated[
        int,
        typer.Option(
            "--max-width", min=16, help="Shrink wider label maps to this width in pixels."
        ),
    ] = 1024,
    trust_naming: TrustNamingOption = False,
    fps: Annotated[
        float | None, typer.Option("--fps", min=0.1, help="Frames per second of the video.")
    ] = None,
    renderer: RendererOption = "auto",
    style: StyleOption = "default",
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="The same seed gives the same images.")
    ] = 0,
    scale: ScaleOption = 1,
    camera: CameraOption = None,
    recover: RecoverOption = False,
) -> None:
    """Render a folder of label maps or a recording: images, a video and a contact sheet.

    Label maps are rendered as independent stills. A recording has camera poses and depth, so each
    episode is rendered as one continuous video.
    """
    look = parse_style(style)
    if source.suffix == ".mcap":
        recording = build_recording(source, recover)
        engine = make_renderer(renderer)
        trip = _render_recording(recording, folder, engine, look, scale, fps, camera)
    else:
        labels = LabelFolder(source, naming, depth, depth_unit, fov_deg, max_width, trust_naming)
        total = len(labels.files())
        with make_renderer(renderer) as engine, partial_folder(folder) as unfinished:
            stills = _stills(engine, labels, look, scale, seed, unfinished / "frames")
            trip = film(stills, unfinished / "film.mp4", fps or STILLS_PER_S, total, None)
            save_sheet(trip, unfinished / "contact.png")
    show_trip(trip)
    for what, name in (("frames", "frames"), ("film", "film.mp4"), ("sheet", "contact.png")):
        say(f"{what:8}{escape(str(folder / name))}")


def _render_recording(
    recording: ReplayWorld,
    folder: Path,
    renderer: Renderer,
    style: StyleChoice,
    scale: int,
    fps: float | None,
    camera: str | None,
) -> Trip:
    with (
        open_rendered(recording, renderer, style, scale) as rendered,
        partial_folder(folder) as unfinished,
    ):
        speed = fps or 1.0 / rendered.spec.tick_s
        total = sum(episode.ticks + 1 for episode in recording.episodes)
        frames = replayed(rendered, len(recording.episodes))
        clip = _saved(frames, unfinished / "frames", camera)
        trip = film(clip, unfinished / "film.mp4", speed, total, camera)
        save_sheet(trip, unfinished / "contact.png")
    return trip


def _stills(
    renderer: Renderer,
    labels: LabelFolder,
    style: StyleChoice,
    scale: int,
    seed: int,
    folder: Path,
) -> Iterator[SensorFrame]:
    """Render every label map on its own, as an episode of one tick."""
    session, config = 0, None
    look = choose_style(style, renderer.styles(), seed)
    ego = EgoState(pose=np.eye(4, dtype=np.float32))
    for index, (name, view) in enumerate(labels.views()):
        size = (view.camera.width_px * scale, view.camera.height_px * scale)
        wanted = SessionConfig(look, view.camera, size, seed)
        if wanted != config:
            if config is not None:
                renderer.close_session(session)
            session, config = renderer.open_session(wanted), wanted
        started_s = time.perf_counter()
        [rendering] = renderer.render([RenderRequest(session, view, tick=0, episode=index)])
        stamps = {"render": time.perf_counter() - started_s}
        save_image(rendering.rgb, folder / f"{name}.png")
        shown = dataclasses.replace(view, rgb=rendering.rgb)
        yield SensorFrame(index, index, 0.0, ego, views={"front": shown}, stamps=stamps)


def _saved(
    frames: Iterable[SensorFrame], folder: Path, camera: str | None
) -> Iterator[SensorFrame]:
    """Pass frames on, and save the rgb of each as a PNG."""
    for frame in frames:
        view: View = pick_view(frame, camera)
        if view.rgb is not None:
            save_image(view.rgb, folder / f"{frame.episode:04d}_{frame.tick:06d}.png")
        yield frame
