"""A renderer that logs which of its requests asked for a restart."""

from __future__ import annotations

from collections.abc import Sequence

from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.renderer import Rendering, RenderRequest


class RestartLoggingRenderer(PaletteRenderer):
    """Appends `restart` of every request to `restarts`."""

    def __init__(self) -> None:
        super().__init__()
        self.restarts: list[bool] = []

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        self.restarts += [request.restart for request in requests]
        return super().render(requests)
