"""`sim2street finetune`: weights and a style adapted to a few photographs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from sim2street.apps.commands.options import DeviceOption, SeedOption, chosen_device
from sim2street.apps.commands.style import network_size
from sim2street.apps.compose import needs_extra, weights_file
from sim2street.apps.console import progress, say
from sim2street.apps.label_folder import find_map
from sim2street.configs import ConfigError, parse

if TYPE_CHECKING:
    from sim2street.neural_renderer.data.prepare import PreparedPhoto
    from sim2street.neural_renderer.metrics.perceptual import Lpips
    from sim2street.neural_renderer.training.finetune import Finetuned


def finetune(
    weights: Annotated[Path, typer.Argument(help="What to adapt: a file, or tiny, small.")],
    photos: Annotated[
        Path, typer.Argument(help="Folder with images/ and labels/ of the same names.")
    ],
    target: Annotated[
        Path, typer.Option("--out", "-o", help="The adapted weights; their style beside them.")
    ],
    naming: Annotated[
        str, typer.Option("--naming", "-n", help="Whose label ids (see sim2street render).")
    ] = "cityscapes-train",
    count: Annotated[
        int, typer.Option("--count", min=1, help="K: exemplars, evenly spread; others held out.")
    ] = 4,
    iterations: Annotated[int, typer.Option("--iterations", min=1, help="How many.")] = 100,
    size: Annotated[
        str, typer.Option("--size", metavar="WxH", help="Size of the pictures in the network.")
    ] = "512x256",
    judges: Annotated[
        Path | None,
        typer.Option("--judges", help="Seed or state.pt whose discriminators take part."),
    ] = None,
    vgg16: Annotated[
        Path | None, typer.Option("--vgg16", help="VGG16's weights for a perceptual loss.")
    ] = None,
    alexnet: Annotated[
        Path | None, typer.Option("--alexnet", help="AlexNet's weights, for LPIPS.")
    ] = None,
    lpips: Annotated[
        Path | None, typer.Option("--lpips", help="LPIPS' linear heads: show the gain in it too.")
    ] = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
) -> None:
    """Adapt weights to K exemplars, and show what that brought on the other photographs."""
    if target.suffix != ".safetensors":
        raise ConfigError(f"--out: weights end in .safetensors, got {target}")
    net, weights = _lpips(alexnet, lpips), weights_file(weights)
    prepared = _photos(photos, naming, target.stem)
    with needs_extra("train"):
        import torch

        from sim2street.neural_renderer.training.finetune import FinetuneConfig
        from sim2street.neural_renderer.training.finetune import finetune as run_finetuning
    config = FinetuneConfig(
        iterations=iterations, exemplars=count, size_px=network_size(size), seed=seed,
        judges=judges, vgg16=vgg16,
    )  # fmt: skip
    with progress() as bar:
        task = bar.add_task("finetuning", total=iterations)
        done = run_finetuning(
            weights, prepared, config, target, torch.device(chosen_device(device)), net,
            lambda now, total: bar.update(task, completed=now, total=total),
        )  # fmt: skip
    for line in gain_lines(done):
        say(line)
    say(f"{escape(str(target))}, its style {escape(str(target.parent / 'styles' / target.name))}")


def _lpips(alexnet: Path | None, heads: Path | None) -> Lpips | None:
    if (heads is None) != (alexnet is None):
        raise ConfigError("LPIPS needs both --alexnet and --lpips")
    if heads is None or alexnet is None:
        return None
    with needs_extra("neural"):
        from sim2street.neural_renderer.metrics.perceptual import load_lpips
    return load_lpips(alexnet, heads)


def _photos(folder: Path, naming: str, name: str) -> list[PreparedPhoto]:
    with needs_extra("neural"):
        from sim2street.neural_renderer.data.photos import PhotoSourceConfig
        from sim2street.neural_renderer.data.prepare import load_photos
    source = {"name": name, "root": folder, "layout": "folder", "labels": find_map(naming).name}
    return load_photos(parse(PhotoSourceConfig, source, "finetune"))


def gain_lines(done: Finetuned) -> list[str]:
    """Before and after in words."""
    if done.before is None or done.after is None:
        return [f"{done.exemplars} exemplars, no photograph held out: the gain is not measured"]
    lines = [
        f"L1 on {done.held_out} held-out photographs: {done.before.l1:.2f} before, "
        f"{done.after.l1:.2f} after (of 255)"
    ]
    if math.isfinite(done.after.lpips):
        lines.append(f"LPIPS: {done.before.lpips:.4f} before, {done.after.lpips:.4f} after")
    return lines
