"""A few iterations on K exemplars, as few-shot vid2vid does before it serves a new place.

As in the paper (section 3 and its public schedule): only what generates weights from the
style and what turns features into pixels is adapted; the target of an iteration is one
random exemplar, moved a little and mirrored, and all K are its references. Deviations: the
discriminators take part where a seed brings them (a serving checkpoint has none), and without
features for a perceptual loss an L1 term takes its place.
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

from sim2street.configs import ConfigError, StrictModel
from sim2street.neural_renderer.checkpoint import (
    CheckpointError,
    CheckpointInfo,
    read_checkpoint,
    save_generator,
)
from sim2street.neural_renderer.data.batch import Batch, to_device
from sim2street.neural_renderer.data.dataset import PhotoDataset, PhotoDatasetConfig
from sim2street.neural_renderer.data.photos import spread
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.evaluation.painter import Painter
from sim2street.neural_renderer.evaluation.scenes import as_tensor, still_of
from sim2street.neural_renderer.metrics.perceptual import Lpips
from sim2street.neural_renderer.styles.files import write_style
from sim2street.neural_renderer.training.config import LossWeights, Phase, TrainConfig
from sim2street.neural_renderer.training.state import TrainState, build_state
from sim2street.neural_renderer.training.trainer import Share, still_step, update_average
from sim2street.neural_renderer.training.transfer import start_from

ADAPTED = (
    "generate", "gain", "class_maps", "start_from_code", "attended", "ups", "to_pixels", "smooth",
)  # fmt: skip
"""Parts of parameter names that learn: E_P, its outputs, and the way up to pixels."""

AVERAGING = 0.95
"""Weights are averaged over about twenty iterations: single pictures make noisy steps."""

HELD_OUT = 8
"""At most so many photographs that are no exemplars are compared before and after."""


class FinetuneConfig(StrictModel):
    """How a checkpoint is adapted to K exemplars.

    Attributes:
        exemplars: K, evenly spread over the photographs; the others are held out.
        learning_rate: of the first iteration, falling linearly to nothing. Serving weights
            are an average: at the trainer's own rate they lose contrast within some steps.
        shift: an exemplar is moved by up to this share of its size, as a crop.
        judges: seed or state.pt whose discriminators take part; None: none do.
        vgg16: feature weights of the perceptual loss; None: L1 alone.
    """

    iterations: int = Field(100, ge=1)
    exemplars: int = Field(4, ge=1)
    size_px: tuple[int, int] = (512, 256)
    batch_size: int = Field(1, ge=1)
    learning_rate: float = Field(4e-5, gt=0.0)
    shift: float = Field(1.0 / 16.0, ge=0.0, le=0.5)
    seed: int = 0
    judges: Path | None = None
    vgg16: Path | None = None


@dataclass(frozen=True, slots=True)
class Gain:
    """Distance to held-out photographs; L1 of 255, LPIPS nan where it was not measured."""

    l1: float
    lpips: float


@dataclass(frozen=True, slots=True)
class Finetuned:
    """What a finetuning did; `before` and `after` None where no photograph is held out."""

    exemplars: int
    held_out: int
    before: Gain | None
    after: Gain | None


def finetune(
    weights: Path,
    photos: Sequence[PreparedPhoto],
    config: FinetuneConfig,
    target: Path,
    device: torch.device,
    lpips: Lpips | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Finetuned:
    """Adapt `weights` to exemplars among `photos`; writes `target` and its style.

    The style is `styles/NAME.safetensors` beside `target`, NAME its stem.
    """
    chosen, held_out = split(photos, config.exemplars)
    state, info, run = _state(weights, config, device)
    for iteration in range(config.iterations):
        batch = to_device(_batch(chosen, config, iteration), device)
        rng = torch.Generator().manual_seed(config.seed * 1_000_003 + iteration)
        for group in state.optimiser_g.param_groups:
            group["lr"] = config.learning_rate * (1.0 - iteration / config.iterations)
        still_step(state, run, batch, rng, Share())
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
    """K exemplars evenly spread, and at most HELD_OUT of the others, evenly spread too."""
    if not photos:
        raise ConfigError("finetuning needs at least one photograph with labels")
    places = spread(range(len(photos)), count)
    others = [photo for i, photo in enumerate(photos) if i not in places]
    return [photos[i] for i in places], spread(others, HELD_OUT)


def measure(
    weights: Path,
    exemplars: Sequence[PreparedPhoto],
    held_out: Sequence[PreparedPhoto],
    size_px: tuple[int, int],
    lpips: Lpips | None,
) -> Gain:
    """Render held-out photographs' labels in the exemplars' style and compare."""
    painter = Painter(weights)
    style = painter.style(exemplars, size_px, "finetuned")
    l1, distances = [], []
    for photo in held_out:
        still = still_of(photo, size_px)
        rgb = as_tensor(painter.still(still.view, style))
        l1.append(float((rgb - still.rgb).abs().mean()) * 127.5)
        if lpips is not None:
            with torch.inference_mode():
                distances.append(float(lpips(rgb[None], still.rgb[None])))
    painter.close()
    return Gain(float(np.mean(l1)), float(np.mean(distances)) if distances else float("nan"))


def _state(
    weights: Path, config: FinetuneConfig, device: torch.device
) -> tuple[TrainState, CheckpointInfo, TrainConfig]:
    """A training state that starts from the checkpoint and learns ADAPTED alone."""
    _, info = read_checkpoint(weights)
    judged = config.judges is not None
    losses = LossWeights(
        pixel=0.0 if config.vgg16 else 5.0,
        adversarial=1.0 if judged else 0.0,
        feature_matching=2.0 if judged else 0.0,
    )
    run = TrainConfig.model_validate({
        "size": info.size, "kind": info.kind, "seed": config.seed, "sources": (),
        "phases": (Phase(steps=1, size_px=config.size_px, batch_size=1, mix={}),),
        "weights": losses, "vgg16": config.vgg16, "ema_decay": AVERAGING,
    })  # fmt: skip
    state = build_state(run, device)
    if state.class_map != info.class_map:
        raise CheckpointError(f"{weights} knows other label groups than this version trains")
    if config.judges is not None:
        taken = start_from(state, config.judges).taken
        if not any(name.startswith("patch.") for name in taken):
            raise ConfigError(
                f"{config.judges} has no discriminators: give a state.pt or a seed's folder"
            )
    start_from(state, weights)
    named = state.generator.named_parameters()
    adapted = [p for name, p in named if any(part in name for part in ADAPTED)]
    state.optimiser_g = torch.optim.Adam(adapted, lr=config.learning_rate, betas=(0.0, 0.99))
    return state, info, run


def _batch(exemplars: Sequence[PreparedPhoto], config: FinetuneConfig, iteration: int) -> Batch:
    """Random exemplars, moved and mirrored, each with all K as references."""
    settings = PhotoDatasetConfig(
        size_px=config.size_px,
        zoom=(1.0 - config.shift, 1.0),
        exemplars=1,
        tone=0.0,
        roughen=None,
    )
    dataset = PhotoDataset(settings, {"exemplars": exemplars}, config.seed)
    drawn = dataset.batch(iteration, config.batch_size)
    rgb, tags = _references(exemplars, config.size_px)
    b = drawn.rgb.shape[0]
    return dataclasses.replace(
        drawn,
        exemplar_rgb=rgb[None].expand(b, -1, -1, -1, -1),
        exemplar_tags=tags[None].expand(b, -1, -1, -1, -1),
    )


def _references(
    exemplars: Sequence[PreparedPhoto], size_px: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """All exemplars as a style sees them: (K, 3, H, W) and (K, 29, H, W)."""
    stills = [still_of(photo, size_px) for photo in exemplars]
    return torch.stack([s.rgb for s in stills]), torch.stack([s.tags for s in stills])


def _write(
    state: TrainState,
    info: CheckpointInfo,
    exemplars: Sequence[PreparedPhoto],
    config: FinetuneConfig,
    target: Path,
) -> None:
    """The adapted weights, then the exemplars' style for just these weights."""
    target.parent.mkdir(parents=True, exist_ok=True)
    networks = tuple(sorted({*info.loss_networks, *state.loss_networks}))
    written = dataclasses.replace(info, loss_networks=networks, step=info.step + state.step)
    save_generator(target, state.ema, written)
    painter = Painter(target)
    style = painter.style_code(exemplars, config.size_px)
    (target.parent / "styles").mkdir(exist_ok=True)
    write_style(target.parent / "styles" / f"{target.stem}.safetensors", style, painter.info.sha256)
    painter.close()
