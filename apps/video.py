"""Videos, contact sheets and depth in colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from sim2street.apps.compose import needs_extra
from sim2street.apps.output import OutputError, partial_file
from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, FloatArray, View
from sim2street.bridge.palette import paint_labels

if TYPE_CHECKING:
    import av

SHEET_GAP_PX = 4
CAPTION_HEIGHT_PX = 14

# Colours of the "turbo" map (Google, Apache-2.0) from near to far, at steps of 1/8.
_TURBO = np.array(
    [(122, 4, 3), (208, 47, 5), (251, 129, 34), (237, 208, 58), (164, 252, 60),
     (49, 242, 153), (40, 187, 236), (70, 107, 227), (48, 18, 59)],
    np.float64,
)  # fmt: skip

NEAR_COLOR_M, FAR_COLOR_M = 2.0, 200.0
"""Depths that get the first and the last colour."""


def _depth_colors() -> ByteArray:
    """255 colours from near to far, then black for the sky: uint8 (256, 3)."""
    places = np.linspace(0.0, len(_TURBO) - 1.0, 255)
    channels = [np.interp(places, np.arange(len(_TURBO)), channel) for channel in _TURBO.T]
    return np.vstack([np.stack(channels, axis=1), np.zeros(3)]).astype(np.uint8)


_DEPTH_COLORS = _depth_colors()


class Film:
    """Writes an H.264 video in yuv420p, which every player reads; see `open_film`."""

    def __init__(self, container: av.container.OutputContainer, name: str, fps: float) -> None:
        self._container = container
        self._name = name
        self._fps = Fraction(fps).limit_denominator(1000)
        self._stream: av.VideoStream | None = None
        self._shape: tuple[int, ...] = ()

    def write(self, rgb: ByteArray) -> None:
        """Append one frame, uint8 (H, W, 3), of the size of the first.

        Odd sizes are padded by one pixel, because yuv420p needs even ones.
        """
        self._shape = self._shape or rgb.shape
        if self._shape != rgb.shape:
            raise OutputError(
                f"{self._name}: all frames must have the size of the first (height, width "
                f"{self._shape[:2]}), got {rgb.shape[:2]}"
            )
        even = np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._stream = self._add_stream(even.shape[1], even.shape[0])
        import av

        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write the frames that the encoder still buffers."""
        if self._stream is None:
            raise OutputError(f"{self._name}: there were no frames to write")
        self._container.mux(self._stream.encode())

    def _add_stream(self, width_px: int, height_px: int) -> av.VideoStream:
        stream = self._container.add_stream("libx264", rate=self._fps)
        stream.width, stream.height = width_px, height_px
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast"}
        return stream


@contextmanager
def open_film(path: Path, fps: float) -> Iterator[Film]:
    """Write a video to `path` (.mp4). The file appears once it is complete, never after an error.

    Raises:
        ConfigError: the package `av` is not installed.
    """
    with needs_extra("film"):
        import av
    with partial_file(path) as temporary, av.open(str(temporary), "w") as container:
        film = Film(container, path.name, fps)
        yield film
        film.finish()


class Animation:
    """Collects every n-th frame of a video, made smaller, and saves an animated WebP.

    Attributes:
        fps: of the animation.
    """

    def __init__(self, fps: float, every: int = 2, width_px: int = 960) -> None:
        self.fps = fps / every
        self._every = every
        self._width_px = width_px
        self._seen = 0
        self._images: list[Image.Image] = []

    def add(self, rgb: ByteArray) -> None:
        """Show a frame of the video, uint8 (H, W, 3)."""
        if self._seen % self._every == 0:
            size = (self._width_px, round(rgb.shape[0] * self._width_px / rgb.shape[1]))
            self._images.append(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
        self._seen += 1

    def save(self, path: Path) -> None:
        """Write the animation to `path` (.webp). It appears once it is complete."""
        if path.suffix != ".webp":
            raise OutputError(f"an animation is a .webp file, got {path}")
        if not self._images:
            raise OutputError(f"{path.name}: there were no frames to write")
        first, *rest = self._images
        with partial_file(path) as temporary:
            first.save(
                temporary,
                save_all=True,
                append_images=rest,
                duration=round(1000.0 / self.fps),
                loop=0,
                quality=60,
                method=4,
            )


def color_depth(depth_m: FloatArray) -> ByteArray:
    """Depth in colours: near red, far blue, sky black: uint8 (H, W, 3)."""
    octaves = np.log2(np.clip(depth_m, NEAR_COLOR_M, FAR_COLOR_M) / NEAR_COLOR_M)
    steps = len(_DEPTH_COLORS) - 2
    level = (octaves * (steps / np.log2(FAR_COLOR_M / NEAR_COLOR_M))).astype(np.uint8)
    level[depth_m >= SKY_DEPTH_M] = steps + 1
    colors: ByteArray = _DEPTH_COLORS[level]
    return colors


def side_by_side(view: View) -> ByteArray:
    """The view's labels, depth and RGB next to each other, those that it has: uint8 (H, n*W, 3)."""
    panels = []
    if view.labels is not None:
        labels_only = View(view.camera, view.pose, view.labels)
        panels.append(paint_labels(labels_only))
    if view.depth_m is not None:
        panels.append(color_depth(view.depth_m))
    if view.rgb is not None:
        scale = view.rgb.shape[0] // view.camera.height_px
        panels = [panel.repeat(scale, axis=0).repeat(scale, axis=1) for panel in panels]
        panels.append(view.rgb)
    if not panels:
        raise OutputError("this view has neither labels, depth nor rgb")
    return np.concatenate(panels, axis=1)


def fitted(rgb: ByteArray, height_px: int, width_px: int) -> ByteArray:
    """The image scaled to fit and centred on black: uint8 (height_px, width_px, 3)."""
    if rgb.shape[:2] == (height_px, width_px):
        return rgb
    image = ImageOps.pad(Image.fromarray(rgb), (width_px, height_px))
    return np.array(image)


def contact_sheet(
    pictures: Sequence[ByteArray], captions: Sequence[str], columns: int
) -> Image.Image:
    """Images of one size in rows and columns, each with its caption below."""
    if not pictures:
        raise OutputError("a contact sheet needs at least one image")
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    cell_w, cell_h = width + SHEET_GAP_PX, height + SHEET_GAP_PX + CAPTION_HEIGHT_PX
    size = (columns * cell_w + SHEET_GAP_PX, rows * cell_h + SHEET_GAP_PX)
    sheet = Image.new("RGB", size, (24, 24, 24))
    draw = ImageDraw.Draw(sheet)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(index, columns)
        x, y = SHEET_GAP_PX + column * cell_w, SHEET_GAP_PX + row * cell_h
        sheet.paste(Image.fromarray(picture), (x, y))
        draw.text((x + 2, y + height + 1), caption, fill=(220, 220, 220))
    return sheet


def save_image(picture: ByteArray | Image.Image, path: Path) -> None:
    """Write an image in the format that the path's suffix names. It appears once complete."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    with partial_file(path) as temporary:
        image.save(temporary)
