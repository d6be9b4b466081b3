"""A neural renderer with random weights: its pictures are noise, but it follows the contract."""

from __future__ import annotations

from pathlib import Path

import torch

from sim2street.neural_renderer.checkpoint import CheckpointInfo, load_generator, save_generator
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.networks.build import build_frame_generator
from sim2street.neural_renderer.session import NeuralRenderer
from sim2street.neural_renderer.styles.files import write_style
from sim2street.neural_renderer.styles.make import compile_style


def untrained_weights(folder: Path, canvas: bool = False) -> tuple[Path, Path]:
    """A checkpoint file and a folder with two styles.

    Noise is added to all parameters, because some start at zero and would switch parts of the
    network off.
    """
    weights, styles = folder / "tiny.safetensors", folder / "styles"
    styles.mkdir()
    torch.manual_seed(3)
    generator = build_frame_generator("few-shot", "tiny", ClassMap.default().names, canvas)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    known = CheckpointInfo(
        "tiny", 1, ClassMap.default(), tuple(range(1, 20)), "test only", canvas=canvas
    )
    save_generator(weights, generator, known)
    generator, info = load_generator(weights)
    for seed, name in enumerate(("day", "dusk")):
        rng = torch.Generator().manual_seed(seed)
        rgb = [torch.rand(3, 32, 64, generator=rng) * 2 - 1]
        tags = torch.zeros(29, 32, 64, dtype=torch.uint8)
        tags[1 + seed] = 1
        style = compile_style(generator, info.class_map, rgb, [tags])
        write_style(styles / f"{name}.safetensors", style, info.sha256)
    return weights, styles


def untrained_renderer(weights: Path, styles: Path) -> NeuralRenderer:
    """Runs on the CPU, in float32."""
    return NeuralRenderer(weights, styles, device="cpu", precision="float32")
