"""`python -m sim2street.bridge.carla.standin [JSON]`: serves, after printing its port.

JSON: an object with keys of `StandInConfig`. Without it, any free port is taken.
"""

from __future__ import annotations

import json
import sys

from sim2street.bridge.carla.standin.run import serve_standin
from sim2street.bridge.carla.standin.server import StandInConfig
from sim2street.configs import parse


def _print_port(port: int) -> None:
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    settings = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {"port": 0}
    serve_standin(parse(StandInConfig, settings, "stand-in"), _print_port)
