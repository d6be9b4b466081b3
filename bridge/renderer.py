"""The Renderer contract: turns views of a world into RGB images.

A caller opens one session per camera, then renders any number of sessions in one batch. The
tests in `tests/contracts/renderer_contract.py` run against every implementation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from sim2street.bridge.closing import Closing
from sim2street.bridge.errors import RendererError
from sim2street.bridge.render_request import (
    DEFAULT_STYLE,
    Rendering,
    RenderRequest,
    SessionConfig,
    StyleBlob,
    StyleChoice,
    named_style,
    out_scale,
)
from sim2street.bridge.still_images import StillImages

__all__ = [
    "DEFAULT_STYLE",
    "RenderRequest",
    "Renderer",
    "Rendering",
    "SessionConfig",
    "StyleBlob",
    "StyleChoice",
    "named_style",
    "out_scale",
]


class Renderer(StillImages, Closing):
    """Renders views of any number of sessions in one batch; `render_labels` makes stills.

    A session holds a style and a temporal state (such as the previous image, which keeps videos
    stable). The temporal state is discarded

    * when the episode changes,
    * at a cut: the camera moved more than 5 m, or the tick is not 1 to 10 later than the last,
    * when `RenderRequest.restart` is set.

    Rendering the same (episode, tick) again returns the cached image and changes no state.

    Attributes:
        uses_surfaces: whether it uses `View.surfaces`; worlds that know them should then send
            them.
    """

    uses_surfaces = False

    @abstractmethod
    def styles(self) -> tuple[str, ...]:
        """Names of the styles that this renderer has, the default first.

        Empty for weights without styles: then every session brings a style file.
        """

    @abstractmethod
    def open_session(self, config: SessionConfig) -> int:
        """Open a session and return its id.

        Raises:
            RendererError: the style is unknown or the output size is not supported.
        """

    @abstractmethod
    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        """Render all requests in one batch; results are in the order of the requests.

        The caller may overwrite the arrays of the requests, and of the results, after this
        returns: the renderer keeps copies.

        Raises:
            UnknownSession: no session with this id is open.
            RendererError: a view lacks data that the renderer needs, such as labels.
        """

    @abstractmethod
    def restyle(self, session: int, style: StyleChoice) -> None:
        """Switch the style from the next frame on. The temporal state is kept.

        Raises:
            UnknownSession: no session with this id is open.
            RendererError: the style is unknown.
        """

    @abstractmethod
    def close_session(self, session: int) -> None:
        """Close a session. Unknown ids are ignored."""

    def save_session(self, session: int) -> Any | None:
        """The session's temporal state for `load_session`; None if it cannot be read."""
        return None

    def load_session(self, session: int, saved: Any) -> None:
        """Restore a temporal state from `save_session` of a session with the same config.

        The saved object is not modified, so it can be loaded several times.

        Raises:
            RendererError: this kind of renderer cannot restore a temporal state.
        """
        raise RendererError(f"{type(self).__name__} cannot restore a temporal state")

    @abstractmethod
    def close(self) -> None:
        """Close all sessions and release all resources. Calling it twice is allowed."""
