"""`sim2street watch`: shows and saves the newest frame that a world or a demo publishes."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from sim2street.apps.commands.options import SecretKeyOption, ServerKeyOption
from sim2street.apps.console import out, say
from sim2street.apps.filming import pick_view
from sim2street.apps.video import save_image, side_by_side
from sim2street.bridge.frame import SensorFrame, View
from sim2street.bridge.transport import ClientConfig, FrameSubscriber
from sim2street.configs import parse

PICTURE_NAME = "newest.png"

_IMAGE_FIELDS = ("labels", "depth_m", "instances", "motion_px", "rgb")
_RATE_WINDOW_S = 2.0
_TERMINAL_UPDATE_S = 0.1
_LOG_UPDATE_S = 1.0


def watch(
    endpoint: Annotated[
        str, typer.Argument(help="Where frames are published, such as tcp://127.0.0.1:5557.")
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--out", "-o", help=f"Folder for {PICTURE_NAME}, which is kept up to date."),
    ] = None,
    every_s: Annotated[
        float,
        typer.Option("--every", min=0.0, help="Save at most one picture in so many seconds."),
    ] = 1.0,
    frame_count: Annotated[
        int | None, typer.Option("--frames", min=1, help="End after so many received frames.")
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.1, help="How long to wait for a frame, seconds.")
    ] = 30.0,
    camera: Annotated[
        str | None,
        typer.Option("--camera", help="The camera whose pictures are saved; else the first one."),
    ] = None,
    secret_key: SecretKeyOption = None,
    server_key: ServerKeyOption = None,
) -> None:
    """Watch the frames of a world or demo that was started with --publish.

    Shows how many frames arrive and which images they have. With --out, it also saves the newest
    frame as a picture: labels | depth | rgb. Frames that it is too slow for are dropped and
    counted. They do not slow the world down.
    """
    data: dict[str, Any] = {
        "endpoint": endpoint,
        "deadline_s": timeout_s,
        "secret_key": secret_key,
        "server_key": server_key,
    }
    config = parse(ClientConfig, data, "watch")
    picture = None if folder is None else _NewestPicture(folder / PICTURE_NAME, every_s, camera)
    with FrameSubscriber(config) as subscriber, _print_summary(subscriber, picture):
        _show_frames(subscriber, picture, frame_count)


class _NewestPicture:
    """A PNG file that holds the newest frame, replaced at most once every `every_s` seconds."""

    def __init__(self, path: Path, every_s: float, camera: str | None) -> None:
        self.path = path
        self.saved = 0
        self._every_s = every_s
        self._camera = camera
        self._last_saved_s = -math.inf

    def update(self, frame: SensorFrame) -> None:
        """Save labels | depth | rgb of `frame`, unless the last picture is too recent.

        Raises:
            FrameError: the frame has no such camera.
            OutputError: the view has no images, or the file cannot be written.
        """
        now_s = time.monotonic()
        if now_s - self._last_saved_s < self._every_s:
            return
        save_image(side_by_side(pick_view(frame, self._camera)), self.path)
        self._last_saved_s = now_s
        self.saved += 1


class _FrameRate:
    """Frames per second over the last two seconds."""

    def __init__(self) -> None:
        self._arrivals_s: deque[float] = deque()

    def count(self) -> None:
        """A frame has arrived now."""
        now_s = time.monotonic()
        self._arrivals_s.append(now_s)
        while self._arrivals_s[0] < now_s - _RATE_WINDOW_S:
            self._arrivals_s.popleft()

    @property
    def fps(self) -> float:
        """0 as long as there are fewer than two frames."""
        if len(self._arrivals_s) < 2:
            return 0.0
        return (len(self._arrivals_s) - 1) / (self._arrivals_s[-1] - self._arrivals_s[0])


class _StatusLine:
    """A line that is rewritten in place on a terminal; in a log, one line per second."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._update_s = _LOG_UPDATE_S
        self._last_update_s = -math.inf

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keeps the line on the terminal; removes it at the end."""
        if not out.is_terminal:
            yield
            return
        self._update_s = _TERMINAL_UPDATE_S
        with Live(console=out, auto_refresh=False, transient=True) as self._live:
            yield

    def update(self, line: str) -> None:
        """Show `line`, unless the last one is too recent."""
        now_s = time.monotonic()
        if now_s - self._last_update_s < self._update_s:
            return
        self._last_update_s = now_s
        if self._live is None:
            say(escape(line))
        else:
            self._live.update(Text(line), refresh=True)


def _show_frames(
    subscriber: FrameSubscriber, picture: _NewestPicture | None, frame_count: int | None
) -> None:
    rate, line = _FrameRate(), _StatusLine()
    with line.shown():
        for _ in itertools.count() if frame_count is None else range(frame_count):
            frame = subscriber.latest()
            frame.validate()
            rate.count()
            if picture is not None:
                picture.update(frame)
            line.update(_describe(frame, subscriber, rate.fps))


def _describe(frame: SensorFrame, subscriber: FrameSubscriber, fps: float) -> str:
    views = "; ".join(_describe_view(name, view) for name, view in frame.views.items())
    counts = f"received {subscriber.received}  dropped {subscriber.dropped}  {fps:.1f} fps"
    return f"episode {frame.episode}  tick {frame.tick}  {counts}  {views or 'no images'}"


def _describe_view(name: str, view: View) -> str:
    images = [field for field in _IMAGE_FIELDS if getattr(view, field) is not None]
    size = f"{view.camera.width_px}x{view.camera.height_px}"
    return f"{name} {size}: {' '.join(images) or 'no images'}"


@contextmanager
def _print_summary(subscriber: FrameSubscriber, picture: _NewestPicture | None) -> Iterator[None]:
    """Prints the totals however this ends, also on Ctrl-C; nothing if no frame arrived."""
    try:
        yield
    finally:
        if subscriber.received:
            say(f"received {subscriber.received} frames, dropped {subscriber.dropped}")
        if picture is not None and picture.saved:
            say(f"newest picture  {escape(str(picture.path))}")
