"""The command line `sim2street`: registers the commands and prints errors as one line."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

import typer
from rich.markup import escape

from sim2street.apps.commands.bench import bench
from sim2street.apps.commands.canvas import canvas
from sim2street.apps.commands.carla_farm import carla_farm
from sim2street.apps.commands.carla_standin import carla_standin
from sim2street.apps.commands.check import check_world
from sim2street.apps.commands.demo import demo
from sim2street.apps.commands.doctor import doctor
from sim2street.apps.commands.evaluate import evaluate
from sim2street.apps.commands.finetune import finetune
from sim2street.apps.commands.record import record, replay
from sim2street.apps.commands.render import render
from sim2street.apps.commands.serve import keys, serve
from sim2street.apps.commands.style import style
from sim2street.apps.commands.train import distil, pack, seed, train
from sim2street.apps.commands.watch import watch
from sim2street.apps.console import err, out
from sim2street.apps.interrupts import Stopped
from sim2street.configs import ConfigError, Sim2StreetError

EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""Typer's base class of usage errors, which has no public name."""

app = typer.Typer(
    name="sim2street",
    help="Turns what a driving simulator knows into photorealistic street frames.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(render)
app.add_typer(serve)
app.command()(watch)
app.command()(record)
app.command()(replay)
app.command("check-world")(check_world)
app.command()(keys)
app.command()(train)
app.command()(distil)
app.command()(finetune)
app.command()(seed)
app.command()(pack)
app.command()(evaluate)
app.command()(canvas)
app.add_typer(style)
app.add_typer(bench)
app.command("carla-standin")(carla_standin)
app.command("carla-farm")(carla_farm)
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        out.print(f"sim2street {version('sim2street')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Holds the options that come before a command."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Exit codes: 0; 1 for an error; 2 for a mistake in the command or its configuration (running the
    same command again fails again); 130 after Ctrl-C; 143 after SIGTERM.
    """
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def _limit_thread_spinning() -> None:
    """Let torch's threads spin only briefly while they wait for each other.

    libgomp's default is to spin for long, which makes everything several times slower on cores
    that other processes use; no spinning at all makes a frame half as slow again on idle cores.
    OpenMP reads these variables when torch is imported, so this comes before any command.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. Errors are printed as one line on stderr."""
    _limit_thread_spinning()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = int(app(arguments, prog_name="sim2street", standalone_mode=False) or 0)
        # Typer turns Ctrl-C into this exit code.
        return _fail("interrupted", code) if code == EXIT_INTERRUPTED else code
    except Stopped as stopped:
        return int(stopped.code or 0)
    except SystemExit as ended:
        if ended.code != EXIT_TERMINATED:
            raise
        return _fail("terminated", EXIT_TERMINATED)
    except UsageError as error:
        return _fail(_usage_message(error), EXIT_USAGE)
    except ConfigError as error:
        return _fail(str(error), EXIT_USAGE)
    except Sim2StreetError as error:
        return _fail(str(error), EXIT_ERROR)
    except BrokenPipeError:
        return EXIT_ERROR  # whoever read our output is gone
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}", EXIT_ERROR)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", EXIT_INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _fail(message: str, code: int) -> int:
    if message:
        err.print(f"[bold red]error:[/] {escape(' '.join(message.split()))}", soft_wrap=True)
    return code


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(EXIT_TERMINATED)  # unwinds the stack, so that everything is closed


def _usage_message(error: Exception) -> str:
    """Typer's message, with its suggestions as a question."""
    message = error.format_message()  # type: ignore[attr-defined]
    if not message:
        return ""  # no command was given: typer has printed the help
    possible = getattr(error, "possibilities", None)
    if possible:
        message = f"{error.message}; did you mean {' or '.join(possible)}?"  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "sim2street"
    return f"{re.sub(r'[.]$', '', message)} (see {command} --help)"


if __name__ == "__main__":
    main()
