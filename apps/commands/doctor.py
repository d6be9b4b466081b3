"""`sim2street doctor`: what is installed, what runs here, and what to do about the rest."""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from rich.markup import escape
from rich.table import Table

from apps.compose import build_renderer, build_world, needs_extra, open_rendered, opened
from apps.console import out
from bridge.frame import ByteArray, Control, SensorFrame
from configs import ConfigError, Sim2StreetError

EXTRAS: dict[str, tuple[str, ...]] = {
    "core": ("numpy", "pyzmq", "pydantic", "pyyaml"),
    "town": ("panda3d", "scipy"),
    "neural": ("torch", "safetensors", "pillow"),
    "env": ("gymnasium",),
    "recording": ("mcap",),
    "cli": ("typer", "rich", "av"),
    "train": ("tensorboard", "matplotlib"),
    "carla": ("carla",),
}
"""Extra of the distribution -> the packages that it brings."""

TRIAL_TICKS = 20


@dataclass(frozen=True)
class Trial:
    """One thing tried: whether it works, and what was seen or what to do."""

    name: str
    works: bool
    remark: str


def doctor() -> None:
    """Show what is installed, whether there is a GPU, and try what should run."""
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
        hint = "" if whole else escape(f'pip install "sim2street[{extra}]"')
        table.add_row(f"[green]✓[/] {extra}" if whole else f"[yellow]-[/] {extra}", text, hint)
    out.print(table)
    trials = Table("tried", "result", box=None)
    for trial in _trials():
        mark = "[green]✓[/]" if trial.works else "[red]✗[/]"
        trials.add_row(f"{mark} {trial.name}", escape(trial.remark))
    out.print(trials)


def _trials() -> Iterator[Trial]:
    yield _try("embedded town", _drive_town)
    yield _try("palette renderer", lambda: _render_with("palette"))
    yield _try("neural renderer", lambda: _render_with("neural"))
    yield _try("loopback sockets", _listen)
    yield _try("H.264 films", _encoder)


def _try(name: str, attempt: Callable[[], str]) -> Trial:
    try:
        return Trial(name, True, attempt())
    except (Sim2StreetError, OSError) as error:
        return Trial(name, False, " ".join(str(error).split()))


def _drive_town() -> str:
    with opened(build_world("town")) as world:
        frame = world.reset(0)
        started_s = time.perf_counter()
        for _ in range(TRIAL_TICKS):
            frame = world.step(Control(throttle=0.3))
        rate = TRIAL_TICKS / (time.perf_counter() - started_s)
        camera = next(iter(frame.views.values())).camera
        return f"{rate:.0f} ticks/s with one {camera.width_px}x{camera.height_px} view"


def _render_with(name: str) -> str:
    with open_rendered(build_world("town"), build_renderer(name)) as rendered:
        frames = [rendered.reset(0), *(rendered.step(Control(throttle=0.3)) for _ in range(3))]
        styles = ", ".join(rendered.renderer.styles())
    median_ms = 1e3 * sorted(frame.stamps["render"] for frame in frames[1:])[1]
    height, width, _ = _rgb(frames[-1]).shape
    return f"{median_ms:.0f} ms a {width}x{height} frame, styles: {styles}"


def _rgb(frame: SensorFrame) -> ByteArray:
    rgb = next(iter(frame.views.values())).rgb
    assert rgb is not None, "RenderedWorld fills in rgb"
    return rgb


def _listen() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"can listen on 127.0.0.1 (tried port {probe.getsockname()[1]})"


def _encoder() -> str:
    with needs_extra("cli"):
        import av
    if "libx264" not in av.codecs_available:
        raise ConfigError("this build of av has no libx264: pip install --force-reinstall av")
    return f"av {av.__version__} with libx264"


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
    return "no GPU that torch can use (everything runs on the CPU, the neural renderer slower)"
