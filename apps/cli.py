"""The command line `sim2street`: gathers the commands, turns errors into one line."""

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
from sim2street.apps.console import err, out
from sim2street.configs import ConfigError, Sim2StreetError

EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""Typer's base class of mistakes on the command line; it has no public name."""

app = typer.Typer(
    name="sim2street",
    help="Turn what a driving simulator knows into photorealistic street frames, tick by tick.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(render)
app.add_typer(serve)
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
app.add_typer(style)
app.add_typer(bench)
app.command("carla-standin")(carla_standin)
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
    """Nothing to do before a command."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Exit codes: 0, 1 (error), 2 (a mistake in the command or its configuration: the same
    command would fail again), 130 (Ctrl-C), 143 (SIGTERM).
    """
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def _let_threads_wait_briefly() -> None:
    """How long torch's threads spin for each other before they sleep.

    As long as libgomp lets them, a frame on cores that others use takes up to four times as
    long, and training took a hundred times. Not at all, and a frame of `tiny` takes 115 ms on
    two idle cores instead of 75 (two of a Xeon; 67 with any longer wait). This wait costs an
    eighth where others take both cores, a sixth where they take one. Read when torch is
    imported, which no command has done yet; other OpenMP runtimes know the first variable
    alone.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors become one line on stderr."""
    _let_threads_wait_briefly()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        return int(app(arguments, prog_name="sim2street", standalone_mode=False) or 0)
    except UsageError as error:
        return _fail(_usage_message(error), EXIT_USAGE)
    except ConfigError as error:
        return _fail(str(error), EXIT_USAGE)
    except Sim2StreetError as error:
        return _fail(str(error), EXIT_ERROR)
    except BrokenPipeError:
        return EXIT_ERROR  # the reader of our output went away: nobody to tell
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
    raise SystemExit(EXIT_TERMINATED)  # unwinds, so that everything is closed


def _usage_message(error: Exception) -> str:
    """Typer's message; its list of possible options becomes a question."""
    message = error.format_message()  # type: ignore[attr-defined]
    if not message:
        return ""  # no command at all: the help is on the screen already
    possible = getattr(error, "possibilities", None)
    if possible:
        message = f"{error.message}; did you mean {' or '.join(possible)}?"  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "sim2street"
    return f"{re.sub(r'[.]$', '', message)} (see {command} --help)"


if __name__ == "__main__":
    main()
