"""`sim2street bench env`: steps per second of the environments."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from sim2street.apps.commands.options import parse_size
from sim2street.apps.compose import install_hint, make_env, needs_extra, neural_can_run
from sim2street.apps.compose_vector import make_vector_env
from sim2street.apps.console import out, progress, say
from sim2street.apps.env_timing import (
    STAGES,
    TimedEnv,
    TimedSingleEnv,
    TimedVectorEnv,
    Timing,
    highway_env,
    stage_shares,
    time_in_turns,
)

TOWN = 3
"""The same town for all, because the amount of scenery differs between towns."""

HIGHWAY = "HighwayEnv, rgb"


def env(
    config: Annotated[
        str,
        typer.Option(
            "--config", help="The env: a config whose observation has an image and a state."
        ),
    ] = "town_follow",
    num_envs: Annotated[
        int, typer.Option("--num-envs", "-n", min=1, help="Number of envs in a vector.")
    ] = 4,
    renderers: Annotated[
        str | None,
        typer.Option(
            "--renderers",
            help="Such as palette,neural or an endpoint; without it, all that can run.",
        ),
    ] = None,
    size: Annotated[
        str, typer.Option("--size", metavar="WxH", help="Size of the images.")
    ] = "512x256",
    turns: Annotated[
        int, typer.Option("--turns", min=1, help="Number of turns of each contestant.")
    ] = 5,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps per turn.")] = 20,
) -> None:
    """Steps per second of an env, single and in a vector, compared with HighwayEnv with rgb.

    The contestants take turns, so that all run under the same conditions; stop other work on the
    machine first. Resets are not counted. The stages of a vector overlap, so their shares are
    shares of the work, not of the time.
    """
    with needs_extra("env"):
        import gymnasium  # noqa: F401  (fails here, before anything is built)
    size_px = parse_size(size)
    assert size_px is not None
    names = _names(renderers)
    with ExitStack() as stack, progress() as bar:
        contestants: dict[str, TimedEnv] = {}
        for name in names:
            settings = _settings(name, size_px)
            single = make_env(config, **settings)
            stack.callback(single.close)
            vector = make_vector_env(config, num_envs, autoreset_mode="Disabled", **settings)
            stack.callback(vector.close)
            contestants[f"single, {name}"] = TimedSingleEnv(single)
            contestants[f"vector of {num_envs}, {name}"] = TimedVectorEnv(vector)
        missing = _add_highway(contestants, size_px, stack)
        task = bar.add_task("taking turns", total=(turns + 1) * len(contestants))
        measured = time_in_turns(contestants, turns, steps, lambda: bar.advance(task))
    out.print(_rates(measured, missing))
    for name in names:
        one, many = measured[f"single, {name}"], measured[f"vector of {num_envs}, {name}"]
        best, median = many.best / one.best, many.median / one.median
        say(f"vector of {num_envs} over single, {name}: {best:.2f} (best), {median:.2f} (median)")
    out.print(_stages(measured))
    say(f"{size}, {_cores()} cores, {turns} turns of {steps} steps each, town {TOWN}")


def _names(renderers: str | None) -> list[str]:
    if renderers is not None:
        return [name.strip() for name in renderers.split(",")]
    return ["palette", "neural"] if neural_can_run() else ["palette"]


def _settings(renderer: str, size_px: tuple[int, int]) -> dict[str, Any]:
    camera = {"width_px": size_px[0], "height_px": size_px[1]}
    world = {"cameras": {"front": camera}, "town": TOWN}
    return {"renderer": renderer, "world_settings": world, "style": "default"}


def _add_highway(
    contestants: dict[str, TimedEnv], size_px: tuple[int, int], stack: ExitStack
) -> str | None:
    """Add HighwayEnv to the contestants, or return the reason why it cannot run."""
    try:
        contestants[HIGHWAY] = highway_env(size_px, stack)
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed: {install_hint('highway')}"
    return None


def _rates(measured: Mapping[str, Timing], missing: str | None) -> Table:
    table = Table("", box=box.SIMPLE_HEAD)
    for heading in ("steps/s, best turn", "median turn"):
        table.add_column(heading, justify="right")
    for name, result in measured.items():
        table.add_row(name, f"{result.best:.1f}", f"{result.median:.1f}")
    if missing is not None:
        table.add_row(HIGHWAY, "-", escape(missing))
    return table


def _stages(measured: Mapping[str, Timing]) -> Table:
    table = Table("ms a step (share)", box=box.SIMPLE_HEAD)
    for stage in STAGES:
        table.add_column(stage, justify="right")
    for name, result in measured.items():
        if result.stages:
            cells = {
                stage: f"{1e3 * seconds:.2f} ({share:.0%})"
                for stage, seconds, share in stage_shares(result.stages)
            }
            table.add_row(name, *(cells.get(stage, "-") for stage in STAGES))
    return table


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
