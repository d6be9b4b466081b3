"""`sim2street serve world|renderer` and `sim2street keys`: one end of the wire each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from sim2street.apps.commands.options import (
    RendererOption,
    SecretKeyOption,
    SizeOption,
    make_renderer,
    make_world,
)
from sim2street.apps.console import err, out, say
from sim2street.bridge.transport import (
    ServerConfig,
    ServerStats,
    check_endpoint,
    generate_keys,
    serve_renderer,
    serve_world,
    supervise,
)
from sim2street.configs import ConfigError, parse

serve = typer.Typer(
    name="serve",
    help="Serve a world or a renderer to other processes and machines.",
    no_args_is_help=True,
)

AllowedOption = Annotated[
    Path | None,
    typer.Option("--allowed-clients", help="Folder with the NAME.key of every client let in."),
]
SuperviseOption = Annotated[
    bool, typer.Option("--supervise", help="Run in a child process; restart it when it dies.")
]


@serve.command("world")
def serve_a_world(
    world: Annotated[
        str, typer.Argument(help="Which world: town, a recording (.mcap) or a YAML file.")
    ] = "town",
    bind: Annotated[
        str, typer.Option("--bind", "-b", help="Where to listen. Other than loopback needs keys.")
    ] = "tcp://127.0.0.1:5555",
    size: SizeOption = None,
    secret_key: SecretKeyOption = None,
    allowed_clients: AllowedOption = None,
    supervised: SuperviseOption = False,
) -> None:
    """Serve a world in lock step: nothing is lost, nothing ticks twice."""
    config = _server_config(bind, secret_key, allowed_clients)
    if supervised:
        arguments = ["world", world, *_common(config), *(["--size", size] if size else [])]
        raise typer.Exit(_supervise(config, arguments))
    served = make_world(world, size)
    stats = serve_world(served, config, on_bound=_announce("world"))
    _report(stats)


@serve.command("renderer")
def serve_a_renderer(
    renderer: RendererOption = "auto",
    bind: Annotated[
        str, typer.Option("--bind", "-b", help="Where to listen. Other than loopback needs keys.")
    ] = "tcp://127.0.0.1:5556",
    secret_key: SecretKeyOption = None,
    allowed_clients: AllowedOption = None,
    supervised: SuperviseOption = False,
) -> None:
    """Serve a renderer to any number of clients; their frames share one batch."""
    config = _server_config(bind, secret_key, allowed_clients)
    if supervised:
        arguments = ["renderer", "--renderer", renderer, *_common(config)]
        raise typer.Exit(_supervise(config, arguments))
    stats = serve_renderer(make_renderer(renderer), config, on_bound=_announce("renderer"))
    _report(stats)


def keys(
    folder: Annotated[Path, typer.Argument(help="Folder for the two files.")],
    name: Annotated[str, typer.Argument(help="Name of this end, such as gpu or laptop.")],
) -> None:
    """Make a pair of CURVE keys: NAME.key to give away, NAME.key_secret to keep."""
    files = generate_keys(folder, name)
    say(f"public, give it to the other end  {escape(str(files.public))}")
    say(f"secret, keep it                   {escape(str(files.secret))}")


def _report(stats: ServerStats) -> None:
    counted = {name: count for name, count in asdict(stats).items() if count}
    out.print(", ".join(f"{name} {count}" for name, count in counted.items()) or "no requests")


def _server_config(
    bind: str, secret_key: Path | None, allowed_clients: Path | None
) -> ServerConfig:
    check_endpoint(bind)
    data: dict[str, Any] = {
        "endpoint": bind,
        "secret_key": secret_key,
        "allowed_clients": allowed_clients,
    }
    return parse(ServerConfig, data, "serve")


def _common(config: ServerConfig) -> list[str]:
    arguments = ["--bind", config.endpoint]
    if config.secret_key and config.allowed_clients:
        arguments += ["--secret-key", str(config.secret_key)]
        arguments += ["--allowed-clients", str(config.allowed_clients)]
    return arguments


def _announce(what: str) -> Callable[[str], None]:
    def announce(endpoint: str) -> None:
        out.print(f"serving a {what} on {endpoint} (Ctrl-C stops it)")

    return announce


def _supervise(config: ServerConfig, arguments: Sequence[str]) -> int:
    if config.endpoint.endswith(":0"):
        raise ConfigError("--supervise needs a fixed port: a restarted server must be found again")
    command = [sys.executable, "-m", "sim2street.apps.cli", "serve", *arguments]
    return supervise(command, on_restart=_restarting)


def _restarting(code: int, restarts: int, pause_s: float) -> None:
    err.print(f"the server died (exit code {code}): restart {restarts} in {pause_s:.1f} s")
