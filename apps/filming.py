"""Turns the frames of a drive into a video, a contact sheet and a table of times per stage."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sim2street.apps.console import out, progress, stage_table
from sim2street.apps.video import (
    Animation,
    contact_sheet,
    fitted,
    open_film,
    save_image,
    side_by_side,
)
from sim2street.bridge.driver import driver_for
from sim2street.bridge.errors import EpisodeEnd, FrameError
from sim2street.bridge.frame import ByteArray, Control, SensorFrame, View
from sim2street.bridge.world import World
from sim2street.configs import did_you_mean

SHEET_PICTURES = 8


@dataclass
class Trip:
    """Times and sample images of a filmed drive.

    Attributes:
        frames: number of frames.
        first_s: seconds until the first frame (building the scene, loading weights).
        wall_s: seconds for all later frames, writing the video included.
        stages: for each stage (the frames' stamps, then "film") its seconds per frame.
        samples: (tick, uint8 (H, W, 3)), evenly spread over the drive, for a contact sheet.
    """

    frames: int = 0
    first_s: float = 0.0
    wall_s: float = 0.0
    stages: dict[str, list[float]] = field(default_factory=dict)
    samples: list[tuple[int, ByteArray]] = field(default_factory=list)

    @property
    def frames_per_s(self) -> float:
        """Frames per second after the first frame, writing the video included."""
        return (self.frames - 1) / self.wall_s if self.wall_s else 0.0


def driven(
    world: World, ticks: int, seed: int | None, options: Mapping[str, Any] | None = None
) -> Iterator[SensorFrame]:
    """`ticks` frames of `world`, driven by the rule-based driver, starting with the reset's.

    Fewer if the world is a recording that ends earlier.
    """
    driver = driver_for(world)
    frame = world.reset(seed, options)
    yield frame
    with suppress(EpisodeEnd):
        for _ in range(ticks - 1):
            frame = world.step(driver(frame))
            yield frame


def replayed(world: World, episodes: int) -> Iterator[SensorFrame]:
    """Every frame of a recording, episode by episode; it may be wrapped in a RenderedWorld."""
    for episode in range(episodes):
        started_s = time.perf_counter()
        yield _read(world.reset(options={"episode": episode}), started_s)
        with suppress(EpisodeEnd):
            while True:
                started_s = time.perf_counter()
                yield _read(world.step(Control()), started_s)


def _read(frame: SensorFrame, started_s: float) -> SensorFrame:
    """The frame with times measured now instead of those in the recording."""
    today = {name: seconds for name, seconds in frame.stamps.items() if name == "render"}
    read_s = time.perf_counter() - started_s - sum(today.values())
    return dataclasses.replace(frame, stamps={"read": read_s, **today})


def film(
    frames: Iterable[SensorFrame],
    path: Path,
    fps: float,
    total: int | None,
    camera: str | None,
    animation: Animation | None = None,
) -> Trip:
    """Write labels, depth and RGB of every frame next to each other to `path` (.mp4).

    Shows a progress bar. The first frame sets the size of the video; frames of other sizes are
    scaled to fit. `animation`, if given, gets the same frames.
    """
    trip = Trip()
    every = max(1, -(-(total or SHEET_PICTURES) // SHEET_PICTURES))
    height_px = width_px = 0
    started_s = time.perf_counter()
    with open_film(path, fps) as output, progress() as bar:
        task = bar.add_task("filming", total=total)
        for frame in frames:
            trip.first_s = trip.first_s or time.perf_counter() - started_s
            film_started_s = time.perf_counter()
            picture = side_by_side(pick_view(frame, camera))
            height_px, width_px = (height_px or picture.shape[0]), (width_px or picture.shape[1])
            picture = fitted(picture, height_px, width_px)
            output.write(picture)
            if animation is not None:
                animation.add(picture)
            stamps = {**frame.stamps, "film": time.perf_counter() - film_started_s}
            for stage, seconds in stamps.items():
                trip.stages.setdefault(stage, []).append(seconds)
            if trip.frames % every == every // 2 and len(trip.samples) < SHEET_PICTURES:
                trip.samples.append((frame.tick, picture))
            trip.frames += 1
            bar.advance(task)
    trip.wall_s = time.perf_counter() - started_s - trip.first_s
    return trip


def save_sheet(trip: Trip, path: Path) -> None:
    """Write the trip's samples, one below the other, as a PNG."""
    captions = [f"tick {tick}" for tick, _ in trip.samples]
    save_image(contact_sheet([rgb for _, rgb in trip.samples], captions, columns=1), path)


def show_trip(trip: Trip) -> None:
    """Print the frame rate and the time that each stage took."""
    rate = f", {trip.frames_per_s:.1f} frames/s" if trip.frames > 1 else ""
    out.print(f"{trip.frames} frames{rate}; the first after {trip.first_s:.1f} s")
    out.print(stage_table(trip.stages, trip.wall_s, trip.first_s))


def pick_view(frame: SensorFrame, camera: str | None) -> View:
    """The view of `camera`; the first one if `camera` is None."""
    if camera is None and frame.views:
        return next(iter(frame.views.values()))
    if camera is None or camera not in frame.views:
        names = list(frame.views)
        hint = did_you_mean(camera or "", names) if names else " (there are no cameras)"
        raise FrameError(f"no camera '{camera}' in tick {frame.tick}{hint}")
    return frame.views[camera]
