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


class SlowRenderer(PaletteRenderer):
    """Takes 50 ms, so that several requests wait at the same time."""

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        time.sleep(0.05)
        return super().render(requests)


WORLDS = {"world": ToyWorld, "crashing-world": CrashingWorld, "slow-world": SlowWorld}
RENDERERS = {"renderer": PaletteRenderer, "slow-renderer": SlowRenderer}


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
