"""`sim2street train`, `distil`, `seed` and `pack`: training weights, and preparing for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from sim2street.apps.commands.options import (
    DeviceOption,
    SeedOption,
    SizeOption,
    WorldOption,
    chosen_device,
    make_world,
)
from sim2street.apps.compose import needs_extra, opened, weights_file
from sim2street.apps.console import err, out, progress, say
from sim2street.apps.interrupts import Stopped, saving_first
from sim2street.bridge.driver import driver_for
from sim2street.configs import load, parse

if TYPE_CHECKING:
    from sim2street.neural_renderer.training.config import TrainConfig

LOSS_SMOOTHING = 0.95
"""Weight of the earlier steps in the loss that the progress bar shows."""

RunOption = Annotated[
    Path, typer.Option("--out", "-o", help="Folder of the run: state, weights, sample sheets, log.")
]
DataOption = Annotated[
    Path,
    typer.Option("--data", "-d", help="Folder that the config's data folders are relative to."),
]
PacksOption = Annotated[
    Path, typer.Option("--packs", help="Folder with the feature networks and town clips.")
]
StopOption = Annotated[
    int | None,
    typer.Option("--stop-at", min=1, help="Stop after this step; the same command continues."),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print the configuration, look at the data, and do nothing else.",
    ),
]
InitOption = Annotated[
    Path | None,
    typer.Option(
        "--init-from",
        help="Start from the weights in a state.pt, a seed's folder or a checkpoint, as far as "
        "they fit. Ignored if the run's folder has a state.",
    ),
]


def train(
    config: Annotated[
        str,
        typer.Argument(
            help="A training config: cityscapes, photos, street, street_gpu, more, canvas, "
            "compare, or a YAML file."
        ),
    ],
    folder: RunOption,
    data: DataOption = Path(),
    packs: PacksOption = Path("packs"),
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", help="Generator: few-shot, spade (no styles) or plain (as in pix2pixHD)."
        ),
    ] = None,
    random_seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Random seed, in place of the config's.")
    ] = None,
    device: DeviceOption = "auto",
    stop_at: StopOption = None,
    init_from: InitOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Train the neural renderer on labelled street photographs.

    Stop it whenever you like: Ctrl-C saves first (a second one ends at once), and the same
    command continues the run. On several GPUs: torchrun
    --nproc-per-node N -m sim2street.apps.cli train ...
    """
    options = {"kind": kind, "seed": random_seed}
    changes = {key: value for key, value in options.items() if value is not None}
    run = _load_config(config, data, packs, changes)
    _run(run, folder, device, stop_at, init_from, dry_run)


def distil(
    teacher: Annotated[
        Path, typer.Argument(help="The checkpoint to learn from: a file, tiny or small.")
    ],
    folder: RunOption,
    config: Annotated[
        str, typer.Option("--config", "-c", help="A training config: distil, or a YAML file.")
    ] = "distil",
    data: DataOption = Path(),
    packs: PacksOption = Path("packs"),
    device: DeviceOption = "auto",
    stop_at: StopOption = None,
    init_from: InitOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Train a small generator to reproduce the images of a larger one."""
    run = _load_config(config, data, packs, {"teacher": weights_file(teacher)})
    _run(run, folder, device, stop_at, init_from, dry_run)


def seed(
    source: Annotated[
        Path, typer.Argument(help="A run's folder, its state.pt, or a checkpoint (.safetensors).")
    ],
    folder: Annotated[
        Path, typer.Argument(help="Where to write the seed: files of 15 MiB at most.")
    ],
) -> None:
    """Write the weights of a run as a seed, small files that later runs can start from.

    A seed holds the averaged generator and the discriminators in float16, and no optimiser
    state. `sim2street train --init-from FOLDER` starts from it.
    """
    with needs_extra("neural"):
        from sim2street.neural_renderer.training.trainer import STATE_FILE
        from sim2street.neural_renderer.training.transfer import write_seed
    state = source / STATE_FILE
    files = write_seed(state if state.is_file() else source, folder)
    size_mib = sum(path.stat().st_size for path in files) / 2**20
    say(f"seed of {len(files)} files, {size_mib:.1f} MiB: {escape(str(folder))}")


def pack(
    folder: Annotated[
        Path, typer.Argument(help="Where to write the clips; existing ones are kept.")
    ],
    world: WorldOption = "town",
    clips: Annotated[
        int, typer.Option("--clips", min=1, help="Number of clips, one per episode.")
    ] = 48,
    frames: Annotated[int, typer.Option("--frames", min=2, help="Frames in each clip.")] = 16,
    every: Annotated[int, typer.Option("--every", min=1, help="Ticks between two frames.")] = 2,
    warm_up: Annotated[
        int, typer.Option("--warm-up", min=0, help="Ticks before the first frame.")
    ] = 40,
    seed_of_first: SeedOption = 0,
    size: SizeOption = None,
) -> None:
    """Drive a world with the autopilot and write clips for training and evaluation.

    From a recording (.mcap) one clip of each episode is written, starting with episode --seed.
    """
    with needs_extra("neural"):
        from sim2street.neural_renderer.canvas.atlas import load_atlas
        from sim2street.neural_renderer.canvas.source import CanvasSource
        from sim2street.neural_renderer.data.town_pack import PackConfig, pack_clips
    settings = PackConfig(
        clips=clips, frames=frames, every=every, warm_up=warm_up, seed=seed_of_first
    )
    canvas = CanvasSource(load_atlas())
    with opened(make_world(world, size, surfaces=True)) as inner, progress() as bar:
        task = bar.add_task("packing clips", total=clips)
        written = pack_clips(
            inner, driver_for(inner), folder, settings,
            lambda done, total: bar.update(task, completed=done, total=total),
            recorded=world.endswith(".mcap"),
            canvas=canvas,
        )  # fmt: skip
    say(f"{clips} clips, {written / 2**20:.1f} MiB written: {escape(str(folder))}")


def _load_config(name: str, data: Path, packs: Path, changes: Mapping[str, object]) -> TrainConfig:
    """The named config with some keys changed and its paths completed."""
    with needs_extra("train"):
        from sim2street.neural_renderer.training.config import TrainConfig
        from sim2street.neural_renderer.training.sources import at_root
    run = load(TrainConfig, "train", name)
    run = parse(TrainConfig, {**run.model_dump(), **changes}, name)
    return at_root(run, data).with_packs(packs)


def _run(
    run: TrainConfig,
    folder: Path,
    device: str,
    stop_at: int | None,
    init_from: Path | None,
    dry_run: bool,
) -> None:
    """Train and show the progress; with `dry_run` only print the config and look at the data.

    Ctrl-C or SIGTERM saves the state after the current step, and ends with 130 or 143.
    """
    with needs_extra("train"):
        import torch

        from sim2street.neural_renderer.training.ranks import process_group, rank
        from sim2street.neural_renderer.training.trainer import EXPORT_FILE, STATE_FILE, Progress
        from sim2street.neural_renderer.training.trainer import train as run_training
        from sim2street.neural_renderer.training.transfer import Transfer
    if dry_run:
        _show_plan(run)
        return

    def transferred(transfer: Transfer) -> None:
        for line in transfer.lines():
            say(f"init-from: {escape(line)}")

    end = min(run.total_steps, stop_at or run.total_steps)
    with (
        process_group(torch.device(chosen_device(device))) as own_device,
        progress() as bar,
        saving_first("finishing this step, then saving the state") as stop,
    ):
        is_first = rank() == 0
        task = bar.add_task("training", total=end, visible=is_first)
        loss = 0.0

        def show(done: Progress) -> None:
            nonlocal loss
            stop.has_work = True
            now = sum(done.terms.values())
            loss = now if loss == 0.0 else LOSS_SMOOTHING * loss + (1.0 - LOSS_SMOOTHING) * now
            text = f"training, loss {loss:.2f}, {done.images_per_s:.1f} images/s"
            bar.update(task, completed=done.step, total=done.total, description=text)

        state = run_training(
            run, folder, own_device, stop_at, show, init_from, transferred,
            lambda: stop.requested,
        )  # fmt: skip
    if is_first:
        say(f"step {state.step}: {escape(str(folder / EXPORT_FILE))}")
    if stop.requested and state.step < end:
        if is_first:
            saved = escape(str(folder / STATE_FILE))
            err.print(
                f"stopped at step {state.step} of {end}: the state is saved in {saved}; the same "
                "command continues",
                soft_wrap=True,
            )
        raise Stopped(stop.exit_code)


def _show_plan(run: TrainConfig) -> None:
    """Print the config of a run and what its data looks like."""
    from sim2street.neural_renderer.training.sources import check_data

    out.print_json(run.model_dump_json())
    for report in check_data(run):
        for line in report.lines():
            say(escape(line))
    out.print(f"{run.total_steps} steps in {len(run.phases)} phases")
