"""What callers of a Renderer exchange with it: styles, session configs, requests, renderings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sim2street.bridge.errors import RendererError
from sim2street.bridge.frame import Actor, ByteArray, Camera, View, Weather
from sim2street.configs import did_you_mean

DEFAULT_STYLE = "default"
"""Style name that every renderer accepts: the first of its `styles()`."""


@dataclass(frozen=True, slots=True)
class StyleBlob:
    """The content of a style file, so that a style can be sent to a remote renderer.

    Attributes:
        name: shown in error messages.
        data: the bytes of the file.
        sha256: hexadecimal SHA-256 of `data`.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str


StyleChoice = str | StyleBlob | Mapping[str, float]
"""A style of the renderer by name, a style file's content, or a blend {style name: weight}."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Everything that is needed to open a session, also again on another renderer.

    Attributes:
        style: the look of the images.
        camera: intrinsics of the views that will be rendered.
        out_size_px: (width, height) of the RGB images, a whole multiple of the camera's size.
        seed: of random variation that the renderer adds, such as noise attached to surfaces.
    """

    style: StyleChoice
    camera: Camera
    out_size_px: tuple[int, int]
    seed: int = 0


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One view to render.

    Attributes:
        session: id that `open_session` returned.
        view: needs labels. Depth, instances and motion improve stability over time.
        tick, episode: of the frame that the view belongs to.
        actors: of the same frame; their poses give the motion of their pixels.
        restart: discard the session's temporal state before rendering.
        weather: of the same frame; None: unknown, rendered as the style has it.
    """

    session: int
    view: View
    tick: int
    episode: int
    actors: tuple[Actor, ...] = ()
    restart: bool = False
    weather: Weather | None = None


@dataclass(frozen=True, slots=True)
class Rendering:
    """One rendered view.

    Attributes:
        rgb: uint8 (H, W, 3), sRGB.
        reopened: True if the renderer had lost the session (it restarted), so that the session
            was opened again and its temporal state is lost.
    """

    rgb: ByteArray
    reopened: bool = False


def out_scale(config: SessionConfig) -> int:
    """How many times larger the output is than the labels: a whole number >= 1.

    Raises:
        RendererError: `out_size_px` is not a whole multiple of the camera's size.
    """
    width_px, height_px = config.camera.width_px, config.camera.height_px
    scale = config.out_size_px[0] // width_px
    if scale < 1 or tuple(config.out_size_px) != (scale * width_px, scale * height_px):
        raise RendererError(
            f"out_size_px {config.out_size_px} must be a whole multiple of the label size "
            f"({width_px}, {height_px})"
        )
    return scale


def named_style(name: str, known: Sequence[str]) -> str:
    """The style that `name` stands for: `DEFAULT_STYLE` is the first known style.

    Raises:
        RendererError: no known style has that name, or there is none at all.
    """
    if not known:
        raise RendererError(
            "these weights have no styles: make one with `sim2street style make`, or give a style "
            "file"
        )
    if name == DEFAULT_STYLE:
        return known[0]
    if name not in known:
        raise RendererError(f"unknown style '{name}'{did_you_mean(name, list(known))}")
    return name
