"""`sim2street carla-farm`: runs several CARLA servers, and restarts those that die or hang."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from sim2street.apps.console import out
from sim2street.bridge.carla.farm import COMMANDS, CarlaFarm, FarmConfig
from sim2street.bridge.transport.signals import stop_on_signals
from sim2street.configs import ConfigError, parse

_DEFAULTS = FarmConfig()
_Command = Annotated[
    str,
    typer.Option(
        "--command",
        "-c",
        help=f"What starts a server: {', '.join(COMMANDS)}, or a command with the placeholder "
        "{port} (others: {stream_port}, {traffic_manager_port}, {index}, {gpu}).",
    ),
]
_Port = Annotated[
    int,
    typer.Option(
        "--port", "-p", min=0, help="RPC port of the first server; each has four. 0: any free."
    ),
]
_HangTimeout = Annotated[
    float,
    typer.Option(
        "--hang-timeout",
        help="Restart a server that has not answered for so many seconds. Longer than the "
        "slowest loading of a map.",
    ),
]


def carla_farm(
    servers: Annotated[int, typer.Argument(min=1, help="Number of servers.")],
    command: _Command = _DEFAULTS.command,
    stop_command: Annotated[
        str | None,
        typer.Option("--stop-command", help="Run after a server's end, to end what it leaves."),
    ] = None,
    folder: Annotated[
        str, typer.Option("--folder", "-f", help="For carla: folder with CarlaUE4.sh.")
    ] = _DEFAULTS.folder,
    image: Annotated[str, typer.Option("--image", help="For docker: the image.")] = _DEFAULTS.image,
    port: _Port = _DEFAULTS.first_port,
    gpus: Annotated[
        str, typer.Option("--gpus", help="GPUs that the servers take turns with, such as 0,1.")
    ] = "0",
    start_timeout: Annotated[
        float, typer.Option("--start-timeout", help="Seconds that a server may take to start.")
    ] = _DEFAULTS.start_timeout_s,
    hang_timeout: _HangTimeout = _DEFAULTS.hang_timeout_s,
    check_every: Annotated[
        float, typer.Option("--check-every", help="Seconds between two checks.")
    ] = _DEFAULTS.check_every_s,
    logs: Annotated[
        str | None, typer.Option("--logs", help="Folder for the servers' output.")
    ] = None,
    client_python: Annotated[
        str | None,
        typer.Option("--client-python", help="Python interpreter that has CARLA's client."),
    ] = None,
) -> None:
    """Run several CARLA servers on this host until Ctrl-C; restart those that die or hang.

    Prints their ports once all of them answer: give them to `gymnasium.make_vec` as `ports`.
    """
    given = {
        "servers": servers,
        "command": command,
        "stop_command": stop_command,
        "folder": folder,
        "image": image,
        "first_port": port,
        "gpus": _numbers(gpus),
        "start_timeout_s": start_timeout,
        "hang_timeout_s": hang_timeout,
        "check_every_s": check_every,
        "logs": logs,
        "client_python": client_python,
    }
    with CarlaFarm(parse(FarmConfig, given, "carla-farm"), _print) as farm:
        for endpoint, pid in zip(farm.endpoints, farm.pids, strict=True):
            _print(
                f"server {endpoint.index}: {endpoint.host}:{endpoint.port}, data streams "
                f"{endpoint.stream_port}, Traffic Manager {endpoint.traffic_manager_port}, "
                f"process {pid}"
            )
        _print(f"all {servers} servers answer (Ctrl-C ends them): ports={farm.ports}")
        with stop_on_signals() as stopped:
            stopped.wait()


def _print(line: str) -> None:
    out.print(escape(line), soft_wrap=True, highlight=False)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--gpus: expected numbers such as 0,1, got '{text}'") from error
