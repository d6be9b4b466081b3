"""`sim2street train` and `sim2street style`: weights from photographs, styles from a few."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape

from apps.commands.options import SeedOption, parse_size
from apps.compose import needs_extra
from apps.console import out, progress, say
from apps.label_folder import find_map
from apps.output import partial_file
from configs import ConfigError, load, parse

style = typer.Typer(name="style", help="Make styles out of photographs.", no_args_is_help=True)

LOSS_SMOOTHING = 0.95


def train(
    config: Annotated[str, typer.Argument(help="A training config: photos, or a YAML file.")],
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the run: state, weights, sheets, log.")
    ],
    data: Annotated[
        Path, typer.Option("--data", "-d", help="Where the config's relative data folders lie.")
    ] = Path(),
    device: Annotated[
        str, typer.Option("--device", help="auto (a GPU where there is one), cpu, cuda.")
    ] = "auto",
    stop_at: Annotated[
        int | None, typer.Option("--stop-at", min=1, help="Stop at this step; continue later.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what the run would be, and do nothing.")
    ] = False,
) -> None:
    """Train the neural renderer on labelled street photographs.

    The same command again goes on where the run was: stop it whenever you like.
    """
    with needs_extra("train"):
        import torch

        from neural_renderer.training.config import TrainConfig
        from neural_renderer.training.sources import at_root
        from neural_renderer.training.trainer import EXPORT_FILE, Progress
        from neural_renderer.training.trainer import train as run_training
    run = at_root(load(TrainConfig, "train", config), data)
    if dry_run:
        out.print_json(run.model_dump_json())
        out.print(f"{run.total_steps} steps in {len(run.phases)} phases")
        return
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    with progress() as bar:
        task = bar.add_task("training", total=stop_at or run.total_steps)
        loss = 0.0

        def show(seen: Progress) -> None:
            nonlocal loss
            now = sum(seen.terms.values())
            loss = now if loss == 0.0 else LOSS_SMOOTHING * loss + (1.0 - LOSS_SMOOTHING) * now
            text = f"training, loss {loss:.2f}, {seen.images_per_s:.1f} images/s"
            bar.update(task, completed=seen.step, total=seen.total, description=text)

        state = run_training(run, folder, torch.device(chosen), stop_at, show)
    say(f"step {state.step}: {escape(str(folder / EXPORT_FILE))}")


@style.command("make")
def make(
    name: Annotated[str, typer.Argument(help="Name of the style, such as dusk.")],
    photos: Annotated[
        Path, typer.Argument(help="Folder with images/ and labels/ of the same names.")
    ],
    weights: Annotated[
        Path, typer.Option("--weights", help="The checkpoint that the style is for.")
    ],
    folder: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of styles; beside the weights.")
    ] = None,
    naming: Annotated[
        str, typer.Option("--naming", "-n", help="Whose label ids (see sim2street render).")
    ] = "cityscapes-train",
    count: Annotated[
        int, typer.Option("--count", min=1, help="How many of the photographs, evenly spread.")
    ] = 4,
    size: Annotated[
        str, typer.Option("--size", metavar="WxH", help="Size of the exemplars in the network.")
    ] = "512x256",
    seed: SeedOption = 0,
) -> None:
    """Make a style out of a few labelled photographs; done once, used for every frame."""
    with needs_extra("neural"):
        import torch

        from neural_renderer.checkpoint import load_generator
        from neural_renderer.data.crops import (
            CropConfig,
            choose_crop,
            crop_labels,
            crop_rgb,
            planes,
        )
        from neural_renderer.data.photos import PhotoSourceConfig, list_photos
        from neural_renderer.data.prepare import load_photos
        from neural_renderer.styles import compile_style, style_to_bytes
    size_px = parse_size(size)
    if size_px is None or size_px[0] % 32 or size_px[1] % 32:
        raise ConfigError(f"--size: expected multiples of 32 such as 512x256, got '{size}'")
    generator, info = load_generator(weights)
    source = {"name": name, "root": photos, "layout": "folder", "labels": find_map(naming).name}
    config = parse(PhotoSourceConfig, source, "style make")
    every = max(1, len(list_photos(config)) // count)
    exemplars = load_photos(config.model_copy(update={"every": every}))[:count]
    rng = np.random.default_rng(seed)
    crops = CropConfig(size_px=size_px, zoom=(1.0, 1.0), flip=False)
    rgb, tags = [], []
    for photo in exemplars:
        crop = choose_crop(photo, crops, rng)
        rgb.append(crop_rgb(photo, crop, size_px, None))
        tags.append(planes(crop_labels(photo, crop, size_px, rng, None).ids, photo.sets))
    with torch.inference_mode():
        code = compile_style(generator, info.class_map, rgb, tags)
    target = (folder or weights.parent / "styles") / f"{name}.safetensors"
    with partial_file(target) as unfinished:
        unfinished.write_bytes(style_to_bytes(code, name, info.sha256))
    say(f"style of {len(exemplars)} photographs: {escape(str(target))}")
