"""Settings of a farm of CARLA servers, and the commands that start one server."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field, field_validator

from sim2street.configs import ConfigError, StrictModel

PORTS_PER_SERVER = 4
"""Calls, data streams, CARLA's secondary server, and a Traffic Manager."""

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """How to start a server, and how to end what its end leaves behind.

    Both are commands with the placeholders of `Endpoint.placeholders`. `stop`: empty for none.
    """

    start: str
    stop: str = ""


_CARLA = (
    "CarlaUE4.sh -RenderOffScreen -nosound -carla-rpc-port={port} "
    "-carla-streaming-port={stream_port}"
)

COMMANDS: Mapping[str, ServerCommand] = {
    "carla": ServerCommand("{folder}/" + _CARLA + " -graphicsadapter={gpu}"),
    "docker": ServerCommand(
        "docker run --rm --name sim2street-carla-{port} --net=host --gpus device={gpu} "
        "-e NVIDIA_DRIVER_CAPABILITIES=all {image} /bin/bash ./" + _CARLA,
        stop="docker rm -f sim2street-carla-{port}",
    ),
    "standin": ServerCommand("{python} -m sim2street.bridge.carla.standin --port {port}"),
}
"""Commands by name: a CARLA release in a folder, CARLA's Docker image, the stand-in."""


class FarmConfig(StrictModel):
    """What servers to run.

    Attributes:
        servers: number of servers.
        command: name of a command in `COMMANDS`, or a command with placeholders.
        stop_command: run after a server has ended and before it starts; None: the named
            command's.
        folder: of a CARLA release, with CarlaUE4.sh; for `{folder}`.
        image: Docker image; for `{image}`.
        first_port: RPC port of the first server; each one gets four ports. 0: any free ones.
        gpus: the servers take turns with these GPUs; for `{gpu}`.
        client_python: Python interpreter that has CARLA's client; None is this one.
        logs: folder for the servers' output; None: a temporary one, removed at the end.
        start_timeout_s: within this time a server that starts must answer.
        answer_timeout_s: for one call to a server that checks whether it answers.
        check_every_s: time between two checks.
        hang_timeout_s: a server that has not answered for this long is restarted. Longer than
            the longest time it takes to load a map, because it does not answer while it does.
        first_pause_s: before the first restart; doubled with each restart that follows soon.
        grace_s: time that a server has to end before it is killed.
    """

    servers: int = Field(1, ge=1, le=256)
    command: str = "carla"
    stop_command: str | None = None
    folder: str = "."
    image: str = "carlasim/carla:0.9.16"
    first_port: int = Field(2000, ge=0, le=65535 - PORTS_PER_SERVER)
    gpus: tuple[int, ...] = Field((0,), min_length=1)
    client_python: str | None = None
    logs: str | None = None
    start_timeout_s: float = Field(180.0, gt=0.0)
    answer_timeout_s: float = Field(2.0, gt=0.0)
    check_every_s: float = Field(5.0, gt=0.0)
    hang_timeout_s: float = Field(90.0, gt=0.0)
    first_pause_s: float = Field(1.0, ge=0.0)
    grace_s: float = Field(5.0, ge=0.0)

    @field_validator("command")
    @classmethod
    def _is_a_command(cls, command: str) -> str:
        if command in COMMANDS or "{port}" in command:
            return command
        raise ValueError(
            f"expected one of {', '.join(COMMANDS)}, or a command with the placeholder {{port}}"
        )

    def server_command(self) -> ServerCommand:
        """The commands that start and stop a server, with placeholders."""
        named = COMMANDS.get(self.command, ServerCommand(self.command))
        return named if self.stop_command is None else ServerCommand(named.start, self.stop_command)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one server is.

    Attributes:
        index: of the server, from 0. gpu: that it renders on.
        port: of the calls; the data streams are at `stream_port`.
        traffic_manager_port: kept free for a client of this server that needs a fixed one.
    """

    index: int
    port: int
    gpu: int
    host: str = "127.0.0.1"

    @property
    def stream_port(self) -> int:
        """Port of the data streams."""
        return self.port + 1

    @property
    def secondary_port(self) -> int:
        """Port for CARLA's secondary servers."""
        return self.port + 2

    @property
    def traffic_manager_port(self) -> int:
        """Port for a client's Traffic Manager."""
        return self.port + 3

    @property
    def ports(self) -> tuple[int, ...]:
        """All ports of this server."""
        return tuple(range(self.port, self.port + PORTS_PER_SERVER))

    def filled(self, command: str, config: FarmConfig) -> list[str]:
        """A command's program and arguments, with the placeholders filled in.

        Raises:
            ConfigError: there is no placeholder of a name.
        """
        values = self.placeholders(config)

        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                raise ConfigError(
                    f"command: unknown placeholder {match[0]}; known are "
                    f"{', '.join(f'{{{name}}}' for name in values)}"
                )
            return values[match[1]]

        return [_PLACEHOLDER.sub(value, part) for part in shlex.split(command)]

    def placeholders(self, config: FarmConfig) -> dict[str, str]:
        """What may stand in braces in a command, with its value for this server."""
        return {
            "port": str(self.port),
            "stream_port": str(self.stream_port),
            "secondary_port": str(self.secondary_port),
            "traffic_manager_port": str(self.traffic_manager_port),
            "index": str(self.index),
            "gpu": str(self.gpu),
            "folder": config.folder,
            "image": config.image,
            "python": sys.executable,
        }
