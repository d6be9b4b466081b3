"""`sim2street train`, `distil`, `seed`, `pack`: weights from photographs and from weights."""

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
from sim2street.apps.console import out, progress, say
from sim2street.bridge.driver import driver_for
from sim2street.configs import load, parse

if TYPE_CHECKING:
    from sim2street.neural_renderer.training.config import TrainConfig

LOSS_SMOOTHING = 0.95

RunOption = Annotated[
    Path, typer.Option("--out", "-o", help="Folder of the run: state, weights, sheets, log.")
]
DataOption = Annotated[
    Path, typer.Option("--data", "-d", help="Where the config's relative data folders lie.")
]
PacksOption = Annotated[
    Path, typer.Option("--packs", help="Where its feature networks and town clips lie.")
]
StopOption = Annotated[
    int | None, typer.Option("--stop-at", min=1, help="Stop at this step; continue later.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what the run would be, and do nothing.")
]
InitOption = Annotated[
    Path | None,
    typer.Option(
        "--init-from",
        help="Start from what fits of a state.pt, a seed's folder or a checkpoint; "
        "says what was taken. A run that has begun goes on from its own state.",
    ),
]


def train(
    config: Annotated[
        str,
        typer.Argument(
            help="A training config: photos, street, street_gpu, more, compare, or a YAML file."
        ),
    ],
    folder: RunOption,
    data: DataOption = Path(),
    packs: PacksOption = Path("packs"),
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="few-shot, spade (no style) or plain (as pix2pixHD)."),
    ] = None,
    random_seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Instead of the config's.")
    ] = None,
    device: DeviceOption = "auto",
    stop_at: StopOption = None,
    init_from: InitOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Train the neural renderer on labelled street photographs.

    The same command again goes on where the run was: stop it whenever you like. On several
    GPUs: torchrun --nproc-per-node N -m sim2street.apps.cli train ...
    """
    given = {"kind": kind, "seed": random_seed}
    changes = {key: value for key, value in given.items() if value is not None}
    run = _config(config, data, packs, changes)
    _run(run, folder, device, stop_at, init_from, dry_run)


def distil(
    teacher: Annotated[
        Path, typer.Argument(help="The checkpoint to learn from: a file, or tiny, small.")
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
    """Train a smaller generator to paint what a larger one paints."""
    run = _config(config, data, packs, {"teacher": weights_file(teacher)})
    _run(run, folder, device, stop_at, init_from, dry_run)


def seed(
    source: Annotated[
        Path, typer.Argument(help="A run's folder, its state.pt, or a checkpoint (.safetensors).")
    ],
    folder: Annotated[Path, typer.Argument(help="The seed: a folder of files of 15 MiB at most.")],
) -> None:
    """Write what a later run needs to go on from here, small enough to keep.

    Generator, average and discriminators in float16, no optimiser state; `sim2street train
    --init-from FOLDER` starts from it.
    """
    with needs_extra("neural"):
        from sim2street.neural_renderer.training.trainer import STATE_FILE
        from sim2street.neural_renderer.training.transfer import write_seed
    state = source / STATE_FILE
    files = write_seed(state if state.is_file() else source, folder)
    size_mib = sum(path.stat().st_size for path in files) / 2**20
    say(f"seed of {len(files)} files, {size_mib:.1f} MiB: {escape(str(folder))}")


def pack(
    folder: Annotated[Path, typer.Argument(help="Folder of the clips; those there are kept.")],
    world: WorldOption = "town",
    clips: Annotated[int, typer.Option("--clips", min=1, help="How many episodes.")] = 48,
    frames: Annotated[int, typer.Option("--frames", min=2, help="Frames of each clip.")] = 16,
    every: Annotated[int, typer.Option("--every", min=1, help="Ticks from frame to frame.")] = 2,
    warm_up: Annotated[
        int, typer.Option("--warm-up", min=0, help="Ticks driven before a clip begins.")
    ] = 40,
    seed_of_first: SeedOption = 0,
    size: SizeOption = None,
) -> None:
    """Drive a world with the autopilot and keep clips of it for training and evaluation.

    Of a recording (.mcap), one clip of each episode is kept, from episode --seed on.
    """
    with needs_extra("neural"):
        from sim2street.neural_renderer.data.town_pack import PackConfig, pack_clips
    settings = PackConfig(
        clips=clips, frames=frames, every=every, warm_up=warm_up, seed=seed_of_first
    )
    with opened(make_world(world, size)) as inner, progress() as bar:
        task = bar.add_task("packing clips", total=clips)
        written = pack_clips(
            inner, driver_for(inner), folder, settings,
            lambda done, total: bar.update(task, completed=done, total=total),
            recorded=world.endswith(".mcap"),
        )  # fmt: skip
    say(f"{clips} clips, {written / 2**20:.1f} MiB written: {escape(str(folder))}")


def _config(name: str, data: Path, packs: Path, changes: Mapping[str, object]) -> TrainConfig:
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
    with needs_extra("train"):
        import torch

        from sim2street.neural_renderer.training.ranks import joined_ranks, rank
        from sim2street.neural_renderer.training.trainer import EXPORT_FILE, Progress
        from sim2street.neural_renderer.training.trainer import train as run_training
        from sim2street.neural_renderer.training.transfer import Transfer
    if dry_run:
        out.print_json(run.model_dump_json())
        out.print(f"{run.total_steps} steps in {len(run.phases)} phases")
        return

    def transferred(transfer: Transfer) -> None:
        for line in transfer.lines():
            say(f"init-from: {escape(line)}")

    with joined_ranks(torch.device(chosen_device(device))) as own, progress() as bar:
        bar.disable = rank() > 0
        task = bar.add_task("training", total=stop_at or run.total_steps)
        loss = 0.0

        def show(seen: Progress) -> None:
            nonlocal loss
            now = sum(seen.terms.values())
            loss = now if loss == 0.0 else LOSS_SMOOTHING * loss + (1.0 - LOSS_SMOOTHING) * now
            text = f"training, loss {loss:.2f}, {seen.images_per_s:.1f} images/s"
            bar.update(task, completed=seen.step, total=seen.total, description=text)

        state = run_training(run, folder, own, stop_at, show, init_from, transferred)
        first = rank() == 0
    if first:
        say(f"step {state.step}: {escape(str(folder / EXPORT_FILE))}")
