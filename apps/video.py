"""Films, contact sheets and the colours of depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageOps

from sim2street.apps.output import OutputError, partial_file
from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, FloatArray, View
from sim2street.bridge.palette import paint_labels

SHEET_GAP_PX = 4
CAPTION_HEIGHT_PX = 14

# Control points of matplotlib's "turbo" (Google, Apache-2.0), near to far, every 1/8.
_TURBO = np.array(
    [(122, 4, 3), (208, 47, 5), (251, 129, 34), (237, 208, 58), (164, 252, 60),
     (49, 242, 153), (40, 187, 236), (70, 107, 227), (48, 18, 59)],
    np.float64,
)  # fmt: skip

NEAR_COLOR_M, FAR_COLOR_M = 2.0, 200.0


def _depth_colors() -> ByteArray:
    """255 colours from near to far, then black for the sky: uint8 (256, 3)."""
    places = np.linspace(0.0, len(_TURBO) - 1.0, 255)
    channels = [np.interp(places, np.arange(len(_TURBO)), channel) for channel in _TURBO.T]
    return np.vstack([np.stack(channels, axis=1), np.zeros(3)]).astype(np.uint8)


_DEPTH_COLORS = _depth_colors()


class Film:
    """An H.264 film (yuv420p, plays everywhere) being written; see `open_film`."""

    def __init__(self, container: av.container.OutputContainer, name: str, fps: float) -> None:
        self._container = container
        self._name = name
        self._fps = Fraction(fps).limit_denominator(1000)
        self._stream: av.VideoStream | None = None
        self._shape: tuple[int, ...] = ()

    def write(self, rgb: ByteArray) -> None:
        """Append one frame, uint8 (H, W, 3), of the size of the first.

        Odd sizes are padded by a pixel, as the format needs even ones.
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
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds back."""
        if self._stream is None:
            raise OutputError(f"{self._name}: no frames to film")
        self._container.mux(self._stream.encode())

    def _add_stream(self, width_px: int, height_px: int) -> av.VideoStream:
        stream = self._container.add_stream("libx264", rate=self._fps)
        stream.width, stream.height = width_px, height_px
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast"}
        return stream


@contextmanager
def open_film(path: Path, fps: float) -> Iterator[Film]:
    """A Film at `path` (.mp4) that exists only once it is whole: an error leaves no file."""
    with partial_file(path) as temporary, av.open(str(temporary), "w") as container:
        film = Film(container, path.name, fps)
        yield film
        film.finish()


def color_depth(depth_m: FloatArray) -> ByteArray:
    """Depth in colours, near = red, far = blue, sky = black: uint8 (H, W, 3)."""
    octaves = np.log2(np.clip(depth_m, NEAR_COLOR_M, FAR_COLOR_M) / NEAR_COLOR_M)
    steps = len(_DEPTH_COLORS) - 2
    level = (octaves * (steps / np.log2(FAR_COLOR_M / NEAR_COLOR_M))).astype(np.uint8)
    level[depth_m >= SKY_DEPTH_M] = steps + 1
    return _DEPTH_COLORS[level]


def side_by_side(view: View) -> ByteArray:
    """Labels | depth | rendered, each as far as the view has it: uint8 (H, n*W, 3)."""
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
        raise OutputError("nothing to film: this view has neither labels, depth nor rgb")
    return np.concatenate(panels, axis=1)


def fitted(rgb: ByteArray, height_px: int, width_px: int) -> ByteArray:
    """The picture scaled to fit and centred on black: uint8 (height_px, width_px, 3)."""
    if rgb.shape[:2] == (height_px, width_px):
        return rgb
    image = ImageOps.pad(Image.fromarray(rgb), (width_px, height_px))
    return np.array(image)


def contact_sheet(
    pictures: Sequence[ByteArray], captions: Sequence[str], columns: int
) -> Image.Image:
    """Pictures of one size in rows and columns, each with its caption below."""
    if not pictures:
        raise OutputError("a contact sheet needs at least one picture")
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


def save_png(picture: ByteArray | Image.Image, path: Path) -> None:
    """Write a PNG that exists only once it is whole."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    with partial_file(path) as temporary:
        image.save(temporary)
