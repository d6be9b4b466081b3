"""Adapting a checkpoint to a few photographs of one place, as few-shot vid2vid does.

As in the paper (Wang et al., NeurIPS 2019, section 3, and its public schedule), only the layers
that turn the style into weights and features into an image are trained. The target of each
iteration is a random exemplar, shifted a little and mirrored half of the time; all exemplars give
the style. Unlike the paper, discriminators take part only if they are given (a serving checkpoint
has none), and an L1 term replaces the perceptual loss if VGG16 is not given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from sim2street.bridge.datasets.files import evenly_spaced
from sim2street.configs import ConfigError, StrictModel
from sim2street.neural_renderer.checkpoint import (
    CheckpointError,
    CheckpointInfo,
    read_checkpoint,
    save_generator,
)
from sim2street.neural_renderer.data.batch import Batch, to_device
from sim2street.neural_renderer.data.dataset import PhotoDataset, PhotoDatasetConfig
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.evaluation.rendering import CheckpointRenderer
from sim2street.neural_renderer.evaluation.scenes import still_from_photo
from sim2street.neural_renderer.images import to_tensor
from sim2street.neural_renderer.metrics.perceptual import Lpips
from sim2street.neural_renderer.styles.files import write_style
from sim2street.neural_renderer.training.config import LossWeights, Phase, TrainConfig
from sim2street.neural_renderer.training.optimise import BatchOfStep, update_average
from sim2street.neural_renderer.training.state import TrainState, build_state
from sim2street.neural_renderer.training.trainer import still_step
from sim2street.neural_renderer.training.transfer import start_from

ADAPTED = (
    "generate", "gain", "class_maps", "start_from_code", "attended", "ups", "to_pixels", "smooth",
)  # fmt: skip
"""Parameters whose name contains one of these are trained: the weights that depend on the style,
and the layers that upsample to the image."""

EMA_DECAY = 0.95
"""Averages the weights over about twenty iterations, because single images give noisy gradients."""

MAX_HELD_OUT = 8
"""Most photographs that the gain is measured on."""

MAX_SHIFT = 1.0 / 16.0
"""Exemplars are shifted by up to this share of their size, as crops."""


class FinetuneConfig(StrictModel):
    """How a checkpoint is adapted.

    Attributes:
        iterations: number of gradient steps, one exemplar each.
        exemplars: number of exemplars, evenly spread over the photographs; the others are held out.
        size_px: (width, height) of the images, multiples of 32.
        learning_rate: of the first iteration; falls linearly to 0. The trainer's rate is too high:
            served weights are an average, and lose contrast under it.
        seed: of all random numbers.
        discriminators: seed or state.pt whose discriminators take part; None: none.
        vgg16: weights of VGG16 for the perceptual loss; None: L1 instead.
    """

    iterations: int = Field(100, ge=1)
    exemplars: int = Field(4, ge=1)
    size_px: tuple[int, int] = (512, 256)
    learning_rate: float = Field(4e-5, gt=0.0)
    seed: int = 0
    discriminators: Path | None = None
    vgg16: Path | None = None


@dataclass(frozen=True, slots=True)
class Distances:
    """Mean distances between rendered images and held-out photographs.

    Attributes:
        l1: mean absolute difference in grey levels of 255.
        lpips: NaN if not measured.
    """

    l1: float
    lpips: float


@dataclass(frozen=True, slots=True)
class Finetuned:
    """The result of a finetuning.

    Attributes:
        exemplars, held_out: numbers of photographs.
        before, after: distances to the held-out photographs; None if there are none.
    """

    exemplars: int
    held_out: int
    before: Distances | None
    after: Distances | None


def finetune(
    weights: Path,
    photos: Sequence[PreparedPhoto],
    config: FinetuneConfig,
    target: Path,
    device: torch.device,
    lpips: Lpips | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Finetuned:
    """Adapt a checkpoint to some of the photographs and measure the gain on the others.

    Args:
        weights: the checkpoint to adapt.
        photos: prepared photographs with labels.
        config: how to adapt.
        target: where to write the new checkpoint. The exemplars' style gets the same file name, in
            the folder `styles` beside it.
        device: where the networks run.
        lpips: measures LPIPS; None: only L1 is measured.
        report: called after each iteration with its number and the number of iterations.

    Raises:
        ConfigError: no photographs, or `config.discriminators` has no discriminators.
        CheckpointError: weights that cannot be read or do not fit this version.
    """
    chosen, held_out = split(photos, config.exemplars)
    state, info, run = _state(weights, config, device)
    for iteration in range(config.iterations):
        batch = to_device(_batch(chosen, config, iteration), device)
        rng = torch.Generator().manual_seed(config.seed * 1_000_003 + iteration)
        for group in state.optimiser_g.param_groups:
            group["lr"] = config.learning_rate * (1.0 - iteration / config.iterations)
        still_step(state, run, batch, rng, BatchOfStep())
        update_average(state, run)
        state.step += 1
        report(iteration + 1, config.iterations)
    _write(state, info, chosen, config, target)
    if not held_out:
        return Finetuned(len(chosen), 0, None, None)
    before, after = (
        measure(path, chosen, held_out, config.size_px, lpips) for path in (weights, target)
    )
    return Finetuned(len(chosen), len(held_out), before, after)


def split(
    photos: Sequence[PreparedPhoto], count: int
) -> tuple[list[PreparedPhoto], list[PreparedPhoto]]:
    """`count` evenly spaced exemplars, and at most `MAX_HELD_OUT` of the other photographs."""
    if not photos:
        raise ConfigError("finetuning needs at least one photograph with labels")
    places = evenly_spaced(range(len(photos)), count)
    others = [photo for i, photo in enumerate(photos) if i not in places]
    return [photos[i] for i in places], evenly_spaced(others, MAX_HELD_OUT)


def measure(
    weights: Path,
    exemplars: Sequence[PreparedPhoto],
    held_out: Sequence[PreparedPhoto],
    size_px: tuple[int, int],
    lpips: Lpips | None,
) -> Distances:
    """Render the held-out photographs' labels in the exemplars' style and compare with them."""
    renderer = CheckpointRenderer(weights)
    style = renderer.style(exemplars, size_px, "finetuned")
    l1, distances = [], []
    for photo in held_out:
        still = still_from_photo(photo, size_px)
        rgb = to_tensor(renderer.still(still.view, style))
        l1.append(float((rgb - still.rgb).abs().mean()) * 127.5)
        if lpips is not None:
            with torch.inference_mode():
                distances.append(float(lpips(rgb[None], still.rgb[None])))
    renderer.close()
    return Distances(float(np.mean(l1)), float(np.mean(distances)) if distances else float("nan"))


def _state(
    weights: Path, config: FinetuneConfig, device: torch.device
) -> tuple[TrainState, CheckpointInfo, TrainConfig]:
    """A training state with the checkpoint's weights, of which only `ADAPTED` are trained."""
    _, info = read_checkpoint(weights)
    adversarial = config.discriminators is not None
    losses = LossWeights(
        pixel=0.0 if config.vgg16 else 5.0,
        adversarial=1.0 if adversarial else 0.0,
        feature_matching=2.0 if adversarial else 0.0,
    )
    run = TrainConfig.model_validate({
        "size": info.size, "kind": info.kind, "seed": config.seed, "sources": (),
        "phases": (Phase(steps=1, size_px=config.size_px, batch_size=1, mix={}),),
        "weights": losses, "vgg16": config.vgg16, "ema_decay": EMA_DECAY,
    })  # fmt: skip
    state = build_state(run, device)
    if state.class_map != info.class_map:
        raise CheckpointError(
            f"{weights} has other label groups than this version of sim2street trains"
        )
    if config.discriminators is not None:
        taken = start_from(state, config.discriminators).taken
        if not any(name.startswith("patch.") for name in taken):
            raise ConfigError(
                f"{config.discriminators} has no discriminators: give a state.pt or a seed's folder"
            )
    start_from(state, weights)
    named = state.generator.named_parameters()
    adapted = [p for name, p in named if any(part in name for part in ADAPTED)]
    state.optimiser_g = torch.optim.Adam(adapted, lr=config.learning_rate, betas=(0.0, 0.99))
    return state, info, run


def _batch(exemplars: Sequence[PreparedPhoto], config: FinetuneConfig, iteration: int) -> Batch:
    """A random exemplar, shifted and perhaps mirrored; the style comes from all exemplars."""
    settings = PhotoDatasetConfig(
        size_px=config.size_px,
        zoom=(1.0 - MAX_SHIFT, 1.0),
        exemplars=1,
        tone=0.0,
        roughen=None,
    )
    dataset = PhotoDataset(settings, {"exemplars": exemplars}, config.seed)
    batch = dataset.batch(iteration, batch_size=1)
    rgb, tags = _style_images(exemplars, config.size_px)
    return dataclasses.replace(batch, exemplar_rgb=rgb[None], exemplar_tags=tags[None])


def _style_images(
    exemplars: Sequence[PreparedPhoto], size_px: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """All exemplars uncropped: images (K, 3, H, W), multi-hot tags (K, 29, H, W)."""
    stills = [still_from_photo(photo, size_px) for photo in exemplars]
    return torch.stack([s.rgb for s in stills]), torch.stack([s.tags for s in stills])


def _write(
    state: TrainState,
    info: CheckpointInfo,
    exemplars: Sequence[PreparedPhoto],
    config: FinetuneConfig,
    target: Path,
) -> None:
    """Write the adapted weights, then the exemplars' style, which fits these weights only."""
    target.parent.mkdir(parents=True, exist_ok=True)
    networks = tuple(sorted({*info.loss_networks, *state.loss_networks}))
    written = dataclasses.replace(info, loss_networks=networks, step=info.step + state.step)
    save_generator(target, state.ema, written)
    renderer = CheckpointRenderer(target)
    style = renderer.style_code(exemplars, config.size_px)
    (target.parent / "styles").mkdir(exist_ok=True)
    write_style(
        target.parent / "styles" / f"{target.stem}.safetensors", style, renderer.info.sha256
    )
    renderer.close()
