"""The Renderer contract: sessions of a style, and views rendered in one batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from sim2street.bridge.errors import RendererError
from sim2street.bridge.frame import (
    Actor,
    ByteArray,
    Camera,
    View,
)


@dataclass(frozen=True, slots=True)
class StyleBlob:
    """A compiled style as it travels: bytes and their hash, never a path."""

    name: str
    data: bytes
    sha256: str


StyleChoice = str | StyleBlob | Mapping[str, float]
"""The name of a style the renderer knows, a style of the caller's, or a blend by weight."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a session needs; enough to open it again on another renderer.

    Attributes:
        out_size_px: (width, height) of the rgb, a whole multiple of the label size.
        seed: of the world-anchored noise.
    """

    style: StyleChoice
    camera: Camera
    out_size_px: tuple[int, int]
    seed: int = 0


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One view to render. `actors` carry the poses that make motion exact."""

    session: int
    view: View
    tick: int
    episode: int
    actors: tuple[Actor, ...] = ()
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Rendering:
    """One rendered view: rgb uint8 (H, W, 3), and whether its session was reopened."""

    rgb: ByteArray
    reopened: bool = False


class Renderer(ABC):
    """Turns views into RGB, in one batch over any number of sessions.

    A session keeps a style and the last rendered frame. Its temporal state restarts on a
    new episode, on a cut (the camera jumped > 5 m, or more than 10 ticks passed) and on
    `RenderRequest.restart`; the same (episode, tick) again returns the cached frame and
    advances nothing.
    """

    @abstractmethod
    def styles(self) -> tuple[str, ...]:
        """Names of the styles this renderer knows, at least one."""

    @abstractmethod
    def open_session(self, config: SessionConfig) -> int:
        """Open a session and return its id.

        Raises:
            RendererError: unknown style, or a size this renderer cannot make.
        """

    @abstractmethod
    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        """Render all requests in one batch, results in the same order.

        The arrays of the requests are the caller's again once this returns: what is needed
        of them for the next frame is copied.

        Raises:
            UnknownSession: a session this renderer does not know.
            RendererError: a view without what the renderer needs.
        """

    @abstractmethod
    def restyle(self, session: int, style: StyleChoice) -> None:
        """Switch the style from the next frame on; temporal state goes on."""

    @abstractmethod
    def close_session(self, session: int) -> None:
        """Forget a session. Unknown ones are ignored."""

    def save_session(self, session: int) -> Any | None:
        """All that a session remembers, for `load_session`; None where it cannot be had."""
        return None

    def load_session(self, session: int, saved: Any) -> None:
        """Make a session remember what one of the same config did. Never written to."""
        raise RendererError(f"{type(self).__name__} cannot take up a session's memory")

    @abstractmethod
    def close(self) -> None:
        """Release everything. Allowed more than once."""

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def out_scale(config: SessionConfig) -> int:
    """The whole factor k between label size and output size, or RendererError."""
    width_px, height_px = config.out_size_px
    k = width_px // config.camera.width_px
    if k < 1 or (width_px, height_px) != (
        k * config.camera.width_px,
        k * config.camera.height_px,
    ):
        raise RendererError(
            f"out_size_px {config.out_size_px} must be a whole multiple of the label size "
            f"({config.camera.width_px}, {config.camera.height_px})"
        )
    return k
