"""The losses of one training step: named, weighted terms for generator and discriminators.

Terms of the discriminators' loss are called d_..., terms of the generator's loss g_... . An image
is "paired" when there is a target: a photograph or teacher's image of just its labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sim2street.neural_renderer.conditions.assemble import assemble
from sim2street.neural_renderer.data.batch import Batch
from sim2street.neural_renderer.networks.discriminators import (
    DiscriminatorOutput,
    PatchDiscriminator,
)
from sim2street.neural_renderer.networks.harmonise import Harmonised
from sim2street.neural_renderer.networks.interface import CompiledStyle, GeneratorInput
from sim2street.neural_renderer.training import losses
from sim2street.neural_renderer.training.config import LossWeights
from sim2street.neural_renderer.training.state import TrainState
from sim2street.neural_renderer.training.targets import Exemplars, exemplars_of, style_of

PERCEPTUAL_LAYER_WEIGHTS = (0.25, 0.35, 0.4)
"""For VGG16's relu1_2, relu2_2 and relu3_3."""


@dataclass(frozen=True)
class Conditions:
    """A batch of stills, ready for the generator.

    Attributes:
        x: the generator's input.
        style: computed from the exemplars.
        groups: label groups (B, G, H, W) of the images to paint.
        exemplars: images and label groups of the exemplars.
    """

    x: GeneratorInput
    style: CompiledStyle
    groups: Tensor
    exemplars: Exemplars


def conditions(state: TrainState, batch: Batch, rng: torch.Generator) -> Conditions:
    """Network inputs of a batch of stills."""
    groups = state.class_map.groups_from_multihot(batch.tags)
    exemplars = exemplars_of(state, batch)
    style = style_of(state.generator, exemplars)
    x = still_input(groups, batch, rng)
    return Conditions(x, style, groups, exemplars)


def still_input(groups: Tensor, batch: Batch, rng: torch.Generator) -> GeneratorInput:
    """The generator's input for a batch of photographs, with their pseudo-depth."""
    b = groups.shape[0]
    noise_seed = torch.randint(0, 2**20, (b,), generator=rng).to(groups.device)
    return assemble(
        groups,
        batch.layout,
        batch.depth_m[:, 0],
        batch.camera,
        batch.pose[:, None],
        batch.has_depth,
        noise_seed,
        canvas=batch.canvas,
    )


@dataclass(frozen=True)
class DiscriminatorOutputs:
    """What both discriminators say about a batch of images; `feature` may be missing."""

    patch: DiscriminatorOutput
    feature: DiscriminatorOutput | None


def discriminate(
    state: TrainState, rgb: Tensor, features: list[Tensor] | None
) -> DiscriminatorOutputs:
    """Run the discriminators on images (B, 3, H, W).

    features: the images' EfficientNet features; None leaves the feature discriminator out.
    """
    feature = None
    if state.feature_discriminator is not None and features is not None:
        feature = state.feature_discriminator(features)
    return DiscriminatorOutputs(state.patch_discriminator(rgb), feature)


def discriminator_losses(
    real: DiscriminatorOutputs,
    fake: DiscriminatorOutputs,
    real_groups: Tensor,
    paired: bool = True,
) -> dict[str, Tensor]:
    """Terms of the discriminators' loss.

    Unpaired images train the patch discriminator and the segmentation head as fakes; otherwise
    the generator finds textures that only this head reads as a car. They do not train the feature
    discriminator's real/fake scores, which would learn that a simulated town's geometry is fake.
    """
    terms = {"d_patch": losses.hinge_discriminator(real.patch, fake.patch)}
    if real.feature is None or fake.feature is None:
        return terms
    if paired:
        terms["d_feature"] = losses.hinge_discriminator(real.feature, fake.feature)
    logits_real, logits_fake = real.feature.segmentation, fake.feature.segmentation
    assert logits_real is not None
    assert logits_fake is not None
    targets = losses.resized_labels(real_groups, logits_real.shape[-2:])
    weights = losses.class_weights(targets)
    terms["d_segment"] = losses.segmentation_real(
        logits_real, targets, weights
    ) + losses.segmentation_fake(logits_fake)
    return terms


def temporal_discriminator_losses(
    state: TrainState, fake: Tensor, real: Tensor, r1_weight: float
) -> dict[str, Tensor]:
    """Terms of the temporal discriminator's loss, for pairs of frames (B, 6, H, W)."""
    discriminator = state.temporal_discriminator
    assert discriminator is not None
    with state.autocast():
        outputs = discriminator(real), discriminator(fake.detach())
        terms = {"d_temporal": losses.hinge_discriminator(*outputs)}
    return terms | {"d_temporal_r1": r1_weight * patch_r1(discriminator, real)}


def patch_r1(discriminator: PatchDiscriminator, images: Tensor) -> Tensor:
    """R1 penalty of a discriminator on raw pixels at real images, in float32."""
    images = images.detach().requires_grad_(True)
    (scores,) = discriminator(images).scores
    return losses.r1_penalty(scores, images)


def label_mix_loss(
    state: TrainState, real: Tensor, fake: Tensor, groups: Tensor, rng: torch.Generator
) -> Tensor:
    """Segmentation logits of mixed images must be the mix of the logits (OASIS, eq. 4)."""
    efficientnet, discriminator = state.efficientnet, state.feature_discriminator
    assert efficientnet is not None
    assert discriminator is not None
    pick = (torch.rand(groups.shape[1], generator=rng) < 0.5).to(groups.device)
    mixed, mask = losses.label_mix(real, fake, groups, pick)
    with state.autocast():
        with torch.no_grad():
            features = [efficientnet(x) for x in (mixed, real, fake)]
        of_mixed, of_real, of_fake = (discriminator(f).segmentation for f in features)
    small = functional.adaptive_avg_pool2d(mask.float(), of_mixed.shape[-2:])
    loss: Tensor = (of_mixed - (small * of_real + (1.0 - small) * of_fake)).square().mean()
    return loss


def adversarial_losses(
    fake: DiscriminatorOutputs,
    real: DiscriminatorOutputs,
    groups: Tensor,
    weights: LossWeights,
    paired: bool = True,
    trust: Tensor | None = None,
) -> dict[str, Tensor]:
    """Terms of the generator's loss that come from the discriminators.

    trust: (B, 1, H, W), how much feature matching counts at each pixel; None: 1.

    Unpaired images get no feature matching, which needs a target, and no score from the feature
    discriminator, which never saw such images as fakes.
    """
    terms = {"g_patch": weights.adversarial * losses.hinge_generator(fake.patch)}
    if paired:
        matching = losses.feature_matching(fake.patch, real.patch, trust)
        terms["g_matching"] = weights.feature_matching * matching
    if fake.feature is None:
        return terms
    if paired:
        terms["g_feature"] = weights.adversarial * losses.hinge_generator(fake.feature)
    logits = fake.feature.segmentation
    assert logits is not None
    targets = losses.resized_labels(groups, logits.shape[-2:])
    weight = weights.segmentation if paired else weights.segmentation_unpaired
    terms["g_segment"] = weight * losses.segmentation_real(
        logits, targets, losses.class_weights(targets)
    )
    return terms


def target_losses(
    state: TrainState,
    fake: Tensor,
    target: Tensor,
    valid: Tensor,
    trust: Tensor,
    weights: LossWeights,
    rng: torch.Generator,
) -> dict[str, Tensor]:
    """Terms of the generator's loss that compare with the target image.

    Args:
        valid: (B, 1, H, W), 1 where the target counts (not used by the perceptual term).
        trust: (B, 1, H, W), how much its details count; its coarse colours count fully.
    """
    terms = {"g_colour": weights.coarse_colour * losses.coarse_colour(fake, target, valid)}
    if weights.pixel:
        difference = (fake.float() - target.float()).abs() * valid * trust
        terms["g_pixel"] = weights.pixel * difference.sum() / (3.0 * valid.sum()).clamp_min(1.0)
    if state.vgg is None or not weights.perceptual:
        return terms
    images = [fake, target.to(fake.dtype), trust]
    fake, target, trust = _half_size_or_quarter(state.step, images, rng)
    with torch.no_grad():
        target_features = state.vgg(target.detach())
    distance = losses.perceptual(state.vgg(fake), target_features, PERCEPTUAL_LAYER_WEIGHTS, trust)
    terms["g_perceptual"] = weights.perceptual * distance
    return terms


def canvas_losses(
    harmonised: Harmonised | None, canvas: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """Terms that keep the generator from replacing the canvas, or painting on it.

    canvas: (B, 4, H, W).
    """
    if harmonised is None:
        return {}
    coverage = canvas[:, 3:]
    replaced = (coverage - harmonised.take).sum() / coverage.sum().clamp_min(1.0)
    grid = harmonised.grid
    roughness = grid.diff(dim=-1).abs().mean() + grid.diff(dim=-2).abs().mean()
    return {"g_take": weights.take * replaced, "g_grid": weights.grid * roughness}


def style_losses(
    state: TrainState,
    fake: Tensor,
    groups: Tensor,
    exemplars: Exemplars,
    weights: LossWeights,
    rng: torch.Generator,
) -> dict[str, Tensor]:
    """Term of the generator's loss that compares unpaired images with their exemplars."""
    if state.vgg is None or not weights.style:
        return {}
    reference, reference_groups = exemplars
    images = [fake, groups, reference.flatten(0, 1), reference_groups.flatten(0, 1)]
    fake, groups, reference, labels = _half_size_or_quarter(state.step, images, rng)
    with torch.no_grad():
        reference_features = state.vgg(reference.to(fake.dtype))
    distance = losses.region_statistics(
        state.vgg(fake), groups,
        reference_features, labels.unflatten(0, reference_groups.shape[:2]),
        PERCEPTUAL_LAYER_WEIGHTS, one_sided=True,
    )  # fmt: skip
    return {"g_style": weights.style * distance}


def _half_size_or_quarter(
    step: int, images: Sequence[Tensor], rng: torch.Generator
) -> list[Tensor]:
    """Odd steps: whole images at half size. Even steps: a random quarter at full size.

    The quarter is the same in all images (B, C, H, W). Either costs a fourth of VGG16 at full size.
    """
    if step % 2:
        return [functional.avg_pool2d(x, 2) for x in images]
    h, w = images[0].shape[-2:]
    top = int(torch.randint(0, h - h // 2, (), generator=rng))
    left = int(torch.randint(0, w - w // 2, (), generator=rng))
    return [x[..., top : top + h // 2, left : left + w // 2] for x in images]
