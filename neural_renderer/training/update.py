"""One update of the networks: discriminators first, then the generator."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sim2street.neural_renderer.training import losses, objective
from sim2street.neural_renderer.training.config import TrainConfig
from sim2street.neural_renderer.training.optimise import BatchOfStep, backward_and_step, frozen
from sim2street.neural_renderer.training.state import TrainState
from sim2street.neural_renderer.training.targets import Exemplars

R1_EVERY = 16
"""Steps between R1 penalties of the patch discriminator."""

LABEL_MIX_EVERY = 8
"""Steps between LabelMix terms of the feature discriminator."""


@dataclass(frozen=True)
class StepImages:
    """Generated and real images of one batch, and what is known about them.

    Attributes:
        fake, real: (B, 3, H, W) in [-1, 1].
        fake_groups, real_groups: their label groups (B, G, H, W).
        valid: (B, 1, H, W), 1 where a target counts.
        paired: `real` is the target of `fake`; if not, it is only an example of real images.
        trust: (B, 1, H, W), how much the target's details count: less where the canvas is foreign.
        exemplars: what the style of `fake` was read from.
        extra_terms: further terms of the generator's loss.
        temporal_pairs: generated and real frames with their predecessors, (B, 6, H, W) each; None
            without real video or without a temporal discriminator.
    """

    fake: Tensor
    real: Tensor
    fake_groups: Tensor
    real_groups: Tensor
    valid: Tensor
    trust: Tensor
    paired: bool
    exemplars: Exemplars
    extra_terms: dict[str, Tensor] = field(default_factory=dict)
    temporal_pairs: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Augmented:
    """The same images after `losses.diff_augment`, with their EfficientNet features, if any."""

    fake: Tensor
    real: Tensor
    fake_features: list[Tensor] | None
    real_features: list[Tensor] | None


def update_networks(
    state: TrainState,
    config: TrainConfig,
    images: StepImages,
    rng: torch.Generator,
    batch: BatchOfStep,
) -> dict[str, Tensor]:
    """Update discriminators and generator; returns all loss terms by name."""
    with state.autocast():
        fake, real = losses.diff_augment([images.fake, images.real], rng)
        fake_features = state.efficientnet(fake) if state.efficientnet is not None else None
        with torch.no_grad():
            real_features = state.efficientnet(real) if state.efficientnet is not None else None
    augmented = Augmented(fake, real, fake_features, real_features)
    d_terms = discriminator_terms(state, config, images, augmented, rng)
    backward_and_step(state.optimiser_d, d_terms, batch)
    with state.autocast(), frozen(state.optimiser_d):
        g_terms = generator_terms(state, config, images, augmented, rng)
        backward_and_step(state.optimiser_g, g_terms, batch)
    return d_terms | g_terms


def discriminator_terms(
    state: TrainState,
    config: TrainConfig,
    images: StepImages,
    augmented: Augmented,
    rng: torch.Generator,
) -> dict[str, Tensor]:
    """Terms of the discriminators' loss; no gradients reach the generator."""
    weights, paired = config.weights, images.paired
    fake, real = augmented.fake.detach(), augmented.real
    with state.autocast():
        features = augmented.fake_features
        detached = [f.detach() for f in features] if features else None
        real_outputs = objective.discriminate(state, real, augmented.real_features)
        fake_outputs = objective.discriminate(state, fake, detached)
        terms = objective.discriminator_losses(
            real_outputs, fake_outputs, images.real_groups, paired
        )
    if state.step % R1_EVERY == 0:
        penalty = objective.patch_r1(state.patch_discriminator, images.real)
        terms["d_r1"] = weights.r1 * penalty
    if augmented.real_features is not None and paired and state.step % LABEL_MIX_EVERY == 0:
        terms["d_label_mix"] = objective.label_mix_loss(state, real, fake, images.fake_groups, rng)
    if images.temporal_pairs is not None:
        # Clips of real video are rare, so each of their steps has R1, with a small weight.
        r1_weight = weights.r1 / R1_EVERY
        terms |= objective.temporal_discriminator_losses(state, *images.temporal_pairs, r1_weight)
    return terms


def generator_terms(
    state: TrainState,
    config: TrainConfig,
    images: StepImages,
    augmented: Augmented,
    rng: torch.Generator,
) -> dict[str, Tensor]:
    """Terms of the generator's loss."""
    weights, paired = config.weights, images.paired
    fake, groups = images.fake, images.fake_groups
    with torch.no_grad():
        real_outputs = objective.discriminate(state, augmented.real, None)
    fake_outputs = objective.discriminate(state, augmented.fake, augmented.fake_features)
    terms = objective.adversarial_losses(
        fake_outputs, real_outputs, groups, weights, paired, images.trust
    )
    if paired:
        terms |= objective.target_losses(
            state, fake, images.real, images.valid, images.trust, weights, rng
        )
    else:
        terms |= objective.style_losses(state, fake, groups, images.exemplars, weights, rng)
    if images.temporal_pairs is not None and state.temporal_discriminator is not None:
        output = state.temporal_discriminator(images.temporal_pairs[0])
        hinge = losses.hinge_generator(output)
        terms["g_temporal_adversarial"] = weights.temporal_adversarial * hinge
    return terms | images.extra_terms
