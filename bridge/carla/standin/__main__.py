"""`python -m sim2street.bridge.carla.standin`: serves, after printing its port.

Its argument is a JSON object with keys of `StandInConfig`, or `--port PORT`. Without one, any
free port is taken.
"""

from __future__ import annotations

import json
import sys

from sim2street.bridge.carla.standin.run import serve_standin
from sim2street.bridge.carla.standin.server import StandInConfig
from sim2street.configs import parse


def _settings(arguments: list[str]) -> dict[str, object]:
    if not arguments:
        return {"port": 0}
    if arguments[0] == "--port":
        return {"port": int(arguments[1])}
    return dict(json.loads(arguments[0]))


def _print_port(port: int) -> None:
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve_standin(parse(StandInConfig, _settings(sys.argv[1:]), "stand-in"), _print_port)
