"""A real server process for tests: `python serve.py ROLE ENDPOINT [SERVER_CONFIG_JSON]`.

Serves a toy world or the palette renderer, and prints the real endpoint once it does.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from support.toy_world import ToyWorld

from sim2street.bridge.frame import Control, SensorFrame
from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.renderer import Rendering, RenderRequest
from sim2street.bridge.transport import ServerConfig, serve_renderer, serve_world
from sim2street.configs import Sim2StreetError


class CrashingWorld(ToyWorld):
    """Raises KeyError in its third tick."""

    def step(self, control: Control) -> SensorFrame:
        frame = super().step(control)
        return frame if frame.tick < 3 else {}["bug"]


class SlowWorld(ToyWorld):
    """Takes 0.8 s to reset, like an engine that loads a map."""

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        time.sleep(0.8)
        return super().reset(seed, options)


class BusyWorld(ToyWorld):
    """Takes 0.1 s to reset, so that a dozen resets keep it busy for more than a second."""

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        time.sleep(0.1)
        return super().reset(seed, options)


class FragileRenderer(PaletteRenderer):
    """Has a bug at tick 13, and after tick 666 renders nothing any more."""

    def __init__(self) -> None:
        super().__init__()
        self._broken = False

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        ticks = [request.tick for request in requests]
        self._broken = self._broken or 666 in ticks
        if self._broken or 13 in ticks:
            raise IndexError("a bug")
        return super().render(requests)


class SlowRenderer(PaletteRenderer):
    """Takes 50 ms, so that several requests wait at the same time."""

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        time.sleep(0.05)
        return super().render(requests)


WORLDS = {
    "world": ToyWorld,
    "crashing-world": CrashingWorld,
    "slow-world": SlowWorld,
    "busy-world": BusyWorld,
}
RENDERERS = {
    "renderer": PaletteRenderer,
    "slow-renderer": SlowRenderer,
    "fragile-renderer": FragileRenderer,
}


def main() -> int:
    role, endpoint = sys.argv[1:3]
    settings = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    size = settings.pop("size", [32, 16])
    config = ServerConfig(endpoint=endpoint, **settings)

    def announce(bound: str) -> None:
        sys.stdout.write(f"{bound}\n")
        sys.stdout.flush()

    try:
        if role in WORLDS:
            serve_world(WORLDS[role](*size), config, on_bound=announce)
        else:
            serve_renderer(RENDERERS[role](), config, on_bound=announce)
    except Sim2StreetError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
