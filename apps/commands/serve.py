"""`sim2street serve world|renderer` and `sim2street keys`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sim2street.apps.commands.options import (
    AllowedClientsOption,
    PublishOption,
    RendererOption,
    SecretKeyOption,
    SizeOption,
    make_renderer,
    make_world,
)
from sim2street.apps.console import err, out, say
from sim2street.apps.publishing import published, server_config
from sim2street.bridge.transport import (
    ServerConfig,
    ServerStats,
    end_with_supervisor,
    generate_keys,
    serve_renderer,
    serve_world,
    supervise,
)
from sim2street.configs import ConfigError

serve = typer.Typer(
    name="serve",
    help="Serve a world or a renderer to other processes and machines.",
    no_args_is_help=True,
)

SuperviseOption = Annotated[
    bool, typer.Option("--supervise", help="Run in a child process; restart it when it dies.")
]

MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        help="Most pixels of one image, sent or rendered; 9437184 (4096 x 2304) if left out. The "
        "memory that a client can occupy follows from it.",
    ),
]


@serve.command("world")
def serve_world_command(
    world: Annotated[
        str, typer.Argument(help="Which world: town, a recording (.mcap) or a YAML file.")
    ] = "town",
    bind: Annotated[
        str, typer.Option("--bind", "-b", help="Where to listen. Other than loopback needs keys.")
    ] = "tcp://127.0.0.1:5555",
    publish: PublishOption = None,
    size: SizeOption = None,
    secret_key: SecretKeyOption = None,
    allowed_clients: AllowedClientsOption = None,
    supervised: SuperviseOption = False,
) -> None:
    """Serve a world to one client at a time, which resets and steps it.

    A request that is sent again, because its reply was lost, never advances the world twice.
    """
    config = server_config(bind, secret_key, allowed_clients)
    stream = None if publish is None else server_config(publish, secret_key, allowed_clients)
    if supervised:
        arguments = ["world", world, *_config_arguments(config)]
        arguments += ["--size", size] if size else []
        arguments += ["--publish", publish] if publish else []
        _require_fixed_ports(config, stream)
        raise typer.Exit(_supervise(arguments))
    end_with_supervisor()
    with published(make_world(world, size), stream) as served:
        stats = serve_world(served, config, on_bound=_announce("world"))
    _print_counters(stats)


@serve.command("renderer")
def serve_renderer_command(
    renderer: RendererOption = "auto",
    bind: Annotated[
        str, typer.Option("--bind", "-b", help="Where to listen. Other than loopback needs keys.")
    ] = "tcp://127.0.0.1:5556",
    max_pixels: MaxPixelsOption = None,
    secret_key: SecretKeyOption = None,
    allowed_clients: AllowedClientsOption = None,
    supervised: SuperviseOption = False,
) -> None:
    """Serve a renderer to any number of clients. Their views are rendered in one batch."""
    config = server_config(bind, secret_key, allowed_clients, max_pixels)
    if supervised:
        arguments = ["renderer", "--renderer", renderer, *_config_arguments(config)]
        arguments += ["--max-pixels", str(config.max_pixels)]
        _require_fixed_ports(config)
        raise typer.Exit(_supervise(arguments))
    end_with_supervisor()
    stats = serve_renderer(make_renderer(renderer), config, on_bound=_announce("renderer"))
    _print_counters(stats)


def keys(
    folder: Annotated[Path, typer.Argument(help="Folder for the two files.")],
    name: Annotated[str, typer.Argument(help="Name of this machine, such as gpu or laptop.")],
) -> None:
    """Make a pair of CURVE keys: NAME.key to give away, NAME.key_secret to keep."""
    files = generate_keys(folder, name)
    say(f"public, give it to the other side  {escape(str(files.public))}")
    say(f"secret, keep it                    {escape(str(files.secret))}")


def _print_counters(stats: ServerStats) -> None:
    counted = {name: count for name, count in asdict(stats).items() if count}
    out.print(", ".join(f"{name} {count}" for name, count in counted.items()) or "no requests")


def _config_arguments(config: ServerConfig) -> list[str]:
    """The command line options that give the same `config` to a child process."""
    arguments = ["--bind", config.endpoint]
    if config.secret_key and config.allowed_clients:
        arguments += ["--secret-key", str(config.secret_key)]
        arguments += ["--allowed-clients", str(config.allowed_clients)]
    return arguments


def _announce(role: str) -> Callable[[str], None]:
    def announce(endpoint: str) -> None:
        out.print(f"serving a {role} on {endpoint} (Ctrl-C stops it)")

    return announce


def _require_fixed_ports(*configs: ServerConfig | None) -> None:
    if any(config is not None and config.endpoint.endswith((":0", ":*")) for config in configs):
        raise ConfigError(
            "--supervise needs a fixed port instead of 0: clients look for the restarted server "
            "at the same endpoint"
        )


def _supervise(arguments: Sequence[str]) -> int:
    command = [sys.executable, "-m", "sim2street.apps.cli", "serve", *arguments]
    return supervise(command, on_restart=_announce_restart)


def _announce_restart(code: int, restarts: int, pause_s: float) -> None:
    err.print(f"the server died (exit code {code}): restart {restarts} in {pause_s:.1f} s")
