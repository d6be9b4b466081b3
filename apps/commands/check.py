"""`sim2street check-world`: checks whether a world follows the contract of `bridge/world.py`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from sim2street.apps.commands.options import SecretKeyOption, SeedOption, ServerKeyOption
from sim2street.apps.compose import build_world, opened
from sim2street.apps.console import out, say
from sim2street.bridge.check.run import check_world as find_faults
from sim2street.bridge.transport import ClientConfig, query_status
from sim2street.configs import parse

_EXIT_FAULTS = 1


def check_world(
    endpoint: Annotated[
        str, typer.Argument(help="Where the world listens, such as tcp://127.0.0.1:5555.")
    ],
    ticks: Annotated[int, typer.Option("--ticks", min=2, help="How many ticks to drive.")] = 20,
    seed: SeedOption = 0,
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=0.1,
            help="How long to wait for a server, and for each tick, in seconds. A reset may take "
            "as long as it takes sim2street's clients: 120 s.",
        ),
    ] = 10.0,
    secret_key: SecretKeyOption = None,
    server_key: ServerKeyOption = None,
) -> None:
    """Check that a world follows the rules, and explain what is wrong with it.

    Takes an endpoint, or any other name of a world: town, a recording, a YAML file.
    """
    settings: dict[str, Any] = {}
    if "://" in endpoint:
        settings = {"secret_key": secret_key, "server_key": server_key}
        first = {"endpoint": endpoint, "open_deadline_s": timeout_s, **settings}
        query_status(parse(ClientConfig, first, "check-world"))
        settings["deadline_s"] = timeout_s
    with opened(build_world(endpoint, settings)) as world:
        findings = find_faults(world, seed=seed, ticks=ticks)
    if not findings:
        say(f"[green]✓[/] {escape(endpoint)} follows the contract ({ticks} ticks)")
        return
    table = Table("severity", "finding", "what to do")
    for finding in findings:
        table.add_row(finding.severity, escape(finding.message), escape(finding.hint))
    out.print(table)
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(_EXIT_FAULTS)
