"""`sim2street doctor`: shows what is installed and what runs, and how to add the rest."""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from sim2street.apps.compose import build_renderer, build_world, install_hint, needs_extra, opened
from sim2street.apps.console import out
from sim2street.bridge.carla.config import CarlaConfig
from sim2street.bridge.carla.diagnose import diagnose, parse_host
from sim2street.bridge.frame import Camera, Control, View
from sim2street.bridge.labels import Tag
from sim2street.bridge.renderer import RenderRequest, SessionConfig
from sim2street.configs import ConfigError, Sim2StreetError, parse

EXTRAS: dict[str, tuple[str, ...]] = {
    "core": ("numpy", "pyzmq", "pydantic", "pyyaml", "typer", "rich", "pillow"),
    "town": ("panda3d", "scipy"),
    "neural": ("torch", "safetensors", "scipy"),
    "env": ("gymnasium",),
    "recording": ("mcap", "foxglove-schemas-protobuf"),
    "film": ("av",),
    "train": ("tensorboard", "matplotlib"),
    "carla": ("carla",),
    "carla-standin": ("panda3d", "msgpack"),
}
"""For each extra, the packages that it installs."""

TRIAL_TICKS = 20
EXIT_UNWELL = 1


@dataclass(frozen=True)
class Trial:
    """The result of one test: whether it works, and what was measured or what to do."""

    name: str
    works: bool
    remark: str


def doctor(
    carla: Annotated[
        str | None,
        typer.Option("--carla", metavar="HOST[:PORT]", help="Examine a CARLA server instead."),
    ] = None,
    client_python: Annotated[
        str | None,
        typer.Option(
            "--client-python",
            metavar="PYTHON",
            help="With --carla: a Python interpreter that has CARLA's client, if this one has not.",
        ),
    ] = None,
) -> None:
    """Show what is installed and whether there is a GPU, and test what should run.

    With --carla, only that server is examined; nothing on it is changed.
    """
    if carla is not None:
        _examine_carla(carla, client_python)
        return
    out.print(f"sim2street {version('sim2street')}, Python {platform.python_version()}")
    out.print(f"{platform.platform()}, {_cpu_count()} CPU cores, {_gpu()}", soft_wrap=True)
    table = Table("part", "packages", "install with", box=None)
    for extra, packages in EXTRAS.items():
        found = [_installed(package) for package in packages]
        whole = all(found)
        text = ", ".join(
            f"{package} {number or '[red]missing[/]'}"
            for package, number in zip(packages, found, strict=True)
        )
        hint = "" if whole else escape(install_hint(extra))
        table.add_row(f"[green]✓[/] {extra}" if whole else f"[yellow]-[/] {extra}", text, hint)
    out.print(table)
    trials = Table("tried", "result", box=None)
    for trial in (_try(name, attempt) for name, attempt in TRIALS.items()):
        mark = "[green]✓[/]" if trial.works else "[red]✗[/]"
        trials.add_row(f"{mark} {trial.name}", escape(trial.remark))
    out.print(trials)


def _examine_carla(where: str, client_python: str | None) -> None:
    host, port = parse_host(where)
    table = Table("asked", "answer", box=None)
    given = {"host": host, "port": port, "client_python": client_python}
    results = list(diagnose(parse(CarlaConfig, given, "--carla")))
    for result in results:
        mark = "[green]✓[/]" if result.ok else "[red]✗[/]"
        table.add_row(f"{mark} {result.name}", escape(result.detail))
    out.print(table)
    if not results[-1].ok:
        raise typer.Exit(EXIT_UNWELL)


def _try(name: str, attempt: Callable[[], str]) -> Trial:
    try:
        return Trial(name, True, attempt())
    except (Sim2StreetError, OSError) as error:
        return Trial(name, False, " ".join(str(error).split()))


def drive_town() -> str:
    """Ticks per second of the town."""
    with opened(build_world("town")) as world:
        frame = world.reset(0)
        started_s = time.perf_counter()
        for _ in range(TRIAL_TICKS):
            frame = world.step(Control(throttle=0.3))
        rate = TRIAL_TICKS / (time.perf_counter() - started_s)
        camera = next(iter(frame.views.values())).camera
        return f"{rate:.0f} ticks/s with one {camera.width_px}x{camera.height_px} view"


def render_with(name: str) -> str:
    """Time per frame of a renderer, and its styles."""
    view = _empty_street()
    size = (view.camera.width_px, view.camera.height_px)
    times_s = []
    with build_renderer(name) as renderer:
        session = renderer.open_session(SessionConfig(renderer.styles()[0], view.camera, size))
        for tick in range(4):
            started_s = time.perf_counter()
            renderer.render([RenderRequest(session, view, tick, episode=0)])
            times_s.append(time.perf_counter() - started_s)
        styles = ", ".join(renderer.styles())
    median_ms = 1e3 * sorted(times_s[1:])[1]  # the first frame warms up
    return f"{median_ms:.0f} ms a {size[0]}x{size[1]} frame, styles: {styles}"


def _empty_street() -> View:
    """A view of a road that reaches the horizon, under the sky."""
    camera = Camera.from_fov(512, 256, 62.0)
    labels = np.full((256, 512), Tag.SKY, np.uint8)
    labels[110:] = Tag.ROAD
    return View(camera, np.eye(4, dtype=np.float32), labels)


def listen() -> str:
    """Whether a server can listen on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"can listen on 127.0.0.1 (tried port {probe.getsockname()[1]})"


def find_encoder() -> str:
    """The video encoder in use."""
    with needs_extra("film"):
        import av
    if "libx264" not in av.codecs_available:
        raise ConfigError("this build of av has no libx264: pip install --force-reinstall av")
    return f"av {av.__version__} with libx264"


TRIALS: Mapping[str, Callable[[], str]] = {
    "embedded town": drive_town,
    "palette renderer": lambda: render_with("palette"),
    "neural renderer": lambda: render_with("neural"),
    "loopback sockets": listen,
    "H.264 films": find_encoder,
}
"""The tests by name; each returns what it measured, or raises."""


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpu() -> str:
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    import torch

    if torch.cuda.is_available():
        return f"GPU {torch.cuda.get_device_name(0)}"
    return "no GPU that torch can use (everything runs on the CPU)"
