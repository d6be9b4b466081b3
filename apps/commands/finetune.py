"""`sim2street finetune`: adapt weights to a few photographs of one place."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from sim2street.apps.commands.options import DeviceOption, TrustNamingOption, chosen_device
from sim2street.apps.commands.style import network_size
from sim2street.apps.compose import needs_extra, weights_file
from sim2street.apps.console import progress, say
from sim2street.bridge.datasets.naming import find_map
from sim2street.configs import ConfigError, parse

if TYPE_CHECKING:
    from sim2street.neural_renderer.data.prepare import PreparedPhoto
    from sim2street.neural_renderer.metrics.perceptual import Lpips
    from sim2street.neural_renderer.training.finetune import Finetuned

JudgesOption = Annotated[
    Path | None, typer.Option("--judges", help="Seed or state.pt with discriminators to use.")
]
Vgg16Option = Annotated[
    Path | None, typer.Option("--vgg16", help="Weights of VGG16, for the perceptual loss.")
]


def finetune(
    weights: Annotated[
        Path, typer.Argument(help="The checkpoint to adapt: a file, tiny or small.")
    ],
    photos: Annotated[
        Path, typer.Argument(help="Folder with images/ and labels/ of the same file names.")
    ],
    target: Annotated[
        Path, typer.Option("--out", "-o", help="Where to write the adapted weights (.safetensors).")
    ],
    naming: Annotated[
        str, typer.Option("--naming", "-n", help="Label map of labels/ (see sim2street render).")
    ] = "cityscapes-train",
    trust_naming: TrustNamingOption = False,
    count: Annotated[
        int,
        typer.Option("--count", min=1, help="Photographs to adapt to; the others are held out."),
    ] = 4,
    iterations: Annotated[int, typer.Option("--iterations", min=1, help="Gradient steps.")] = 100,
    size: Annotated[
        str, typer.Option("--size", metavar="WxH", help="Size of the training images.")
    ] = "512x256",
    judges: JudgesOption = None,
    vgg16: Vgg16Option = None,
    alexnet: Annotated[
        Path | None, typer.Option("--alexnet", help="Weights of AlexNet, to measure LPIPS.")
    ] = None,
    lpips: Annotated[
        Path | None, typer.Option("--lpips", help="Linear heads of LPIPS, to measure it.")
    ] = None,
    device: DeviceOption = "auto",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 0,
) -> None:
    """Adapt weights to some of the photographs and measure the gain on the others.

    The style of the photographs is written to the folder `styles` beside the weights.
    """
    if target.suffix != ".safetensors":
        raise ConfigError(f"--out must end in .safetensors, got {target}")
    lpips_network, weights = _load_lpips(alexnet, lpips), weights_file(weights)
    prepared = _load_photos(photos, naming, target.stem, trust_naming)
    with needs_extra("train"):
        import torch

        from sim2street.neural_renderer.training.finetune import FinetuneConfig
        from sim2street.neural_renderer.training.finetune import finetune as run_finetuning
    config = FinetuneConfig(
        iterations=iterations, exemplars=count, size_px=network_size(size), seed=seed,
        discriminators=judges, vgg16=vgg16,
    )  # fmt: skip
    with progress() as bar:
        task = bar.add_task("finetuning", total=iterations)
        result = run_finetuning(
            weights, prepared, config, target, torch.device(chosen_device(device)), lpips_network,
            lambda step, total: bar.update(task, completed=step, total=total),
        )  # fmt: skip
    for line in gain_lines(result):
        say(line)
    style = target.parent / "styles" / target.name
    say(f"weights: {escape(str(target))}, style: {escape(str(style))}")


def _load_lpips(alexnet: Path | None, heads: Path | None) -> Lpips | None:
    if (heads is None) != (alexnet is None):
        raise ConfigError("LPIPS needs both --alexnet and --lpips, and only one was given")
    if heads is None or alexnet is None:
        return None
    with needs_extra("neural"):
        from sim2street.neural_renderer.metrics.perceptual import load_lpips
    return load_lpips(alexnet, heads)


def _load_photos(folder: Path, naming: str, name: str, trust_naming: bool) -> list[PreparedPhoto]:
    with needs_extra("neural"):
        from sim2street.neural_renderer.data.photos import PhotoSourceConfig
        from sim2street.neural_renderer.data.prepare import load_photos
    source = {
        "name": name, "root": folder, "layout": "folder", "labels": find_map(naming).name,
        "trust_naming": trust_naming,
    }  # fmt: skip
    return load_photos(parse(PhotoSourceConfig, source, "finetune"))


def gain_lines(result: Finetuned) -> list[str]:
    """Distances to the held-out photographs before and after, as text."""
    before, after = result.before, result.after
    if before is None or after is None:
        return [f"{result.exemplars} exemplars, no photograph held out: the gain is not measured"]
    lines = [
        f"L1 on {result.held_out} held-out photographs: {before.l1:.2f} before, "
        f"{after.l1:.2f} after (of 255)"
    ]
    if math.isfinite(after.lpips):
        lines.append(f"LPIPS: {before.lpips:.4f} before, {after.lpips:.4f} after")
    return lines
