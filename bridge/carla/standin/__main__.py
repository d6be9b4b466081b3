"""`python -m sim2street.bridge.carla.standin [JSON]`: prints its port on stdout, then serves."""

from __future__ import annotations

import json
import sys

from sim2street.bridge.carla.standin.run import serve_standin
from sim2street.bridge.carla.standin.server import StandInConfig
from sim2street.configs import parse


def _announce(port: int) -> None:
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    settings = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {"port": 0}
    serve_standin(parse(StandInConfig, settings, "stand-in"), _announce)
