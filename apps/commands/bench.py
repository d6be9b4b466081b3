"""`sim2street bench`: speed of renderers and environments compared with known systems."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from sim2street.apps.commands.bench_env import env
from sim2street.apps.commands.options import DeviceOption, chosen_device
from sim2street.apps.commands.style import network_size
from sim2street.apps.compose import needs_extra
from sim2street.apps.console import out, progress, say
from sim2street.configs import ConfigError, did_you_mean

bench = typer.Typer(name="bench", help="Measure speed on this machine.", no_args_is_help=True)

if TYPE_CHECKING:
    from sim2street.neural_renderer.evaluation.timing import Timing

PRECISIONS = ("float32", "bfloat16")
UNET = "U-Net of 15 GMAC"

bench.command("env")(env)


@bench.command("renderer")
def renderer(
    sizes: Annotated[
        str, typer.Option("--sizes", help="Generator sizes to compare, such as tiny,small,base.")
    ] = "tiny,small",
    size: Annotated[
        str, typer.Option("--size", metavar="WxH", help="Size of the frames.")
    ] = "512x256",
    turns: Annotated[
        int,
        typer.Option(
            "--turns", min=1, help="Number of turns, of four frames each, per contestant."
        ),
    ] = 6,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Number of CPU threads for torch.")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Frames per second of the renderer, compared with an image-to-image U-Net of 15 GMAC.

    A frame is everything from a view to an image: labels to tensors, motion, the warped previous
    frame, the network. The contestants take turns, so that all run under the same conditions; stop
    other work on the machine first. "x U-Net" is the number of frames that a renderer makes while
    the U-Net of the same precision makes one.
    """
    with needs_extra("neural"):
        import torch

        from sim2street.neural_renderer.evaluation.timing import (
            renderer_frames,
            time_in_turns,
            unet_frames,
        )
        from sim2street.neural_renderer.networks.build import SIZES
    size_px, place = network_size(size), chosen_device(device)
    names = [name.strip() for name in sizes.split(",")]
    for name in names:
        if name not in SIZES:
            raise ConfigError(f"--sizes: no size '{name}'{did_you_mean(name, list(SIZES))}")
    if threads is not None:
        torch.set_num_threads(threads)
    with ExitStack() as stack, progress() as bar:
        contestants = {}
        for name in names:
            for precision in PRECISIONS:
                frame, engine = renderer_frames(name, precision, size_px, place)
                stack.callback(engine.close)
                contestants[f"{name}, {precision}"] = frame
        for precision in PRECISIONS:
            dtype = getattr(torch, precision)
            contestants[f"{UNET}, {precision}"] = unet_frames(dtype, size_px, place)
        task = bar.add_task("taking turns", total=(turns + 1) * len(contestants))
        timings = time_in_turns(contestants, turns, lambda: bar.advance(task))
    out.print(_timing_table(timings))
    frames, used = next(iter(timings.values())).frames, torch.get_num_threads()
    say(f"{size_px[0]}x{size_px[1]}, {place}, {used} threads, {frames} frames each")


def _timing_table(timings: Mapping[str, Timing]) -> Table:
    table = Table("", box=box.SIMPLE_HEAD)
    for heading in ("frames/s", "median ms", "fastest ms", "x U-Net"):
        table.add_column(heading, justify="right")
    for name, taken in timings.items():
        unet = timings[f"{UNET}, {name.rsplit(', ', 1)[-1]}"]
        table.add_row(
            name, f"{taken.frames_per_s:.1f}", f"{1e3 * taken.median_s:.1f}",
            f"{1e3 * taken.fastest_s:.1f}",
            f"{taken.speedup_over(unet):.2f}",
        )  # fmt: skip
    return table
