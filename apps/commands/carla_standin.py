"""`sim2street carla-standin`: a server for CARLA clients where there is no CARLA."""

from __future__ import annotations

from typing import Annotated

import typer

from sim2street.apps.compose import needs_extra
from sim2street.apps.console import out
from sim2street.configs import parse


def carla_standin(
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65534, help="RPC port; 0: any free one.")
    ] = 2000,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    town: Annotated[int, typer.Option("--town", min=0, help="Number of the town to show.")] = 3,
    version: Annotated[
        str,
        typer.Option(
            "--carla-version", help="Version of the clients: 0.9.16, 0.9.15, 0.9.14 or 0.9.13."
        ),
    ] = "0.9.16",
) -> None:
    """Serve the embedded town to CARLA clients, over CARLA's network protocol.

    A stand-in server for tests and first steps, without CARLA's rendering and physics. Like
    CARLA it has no passwords, so keep it on this machine.
    """
    with needs_extra("carla-standin"):
        from sim2street.bridge.carla.standin.run import serve_standin
        from sim2street.bridge.carla.standin.server import StandInConfig
    given = {"host": host, "port": port, "town": town, "version": version}
    serve_standin(parse(StandInConfig, given, "carla-standin"), _print_port)


def _print_port(port: int) -> None:
    out.print(f"the CARLA stand-in listens on port {port} (Ctrl-C stops it)")
