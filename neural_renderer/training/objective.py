"""One training step's losses: what the generator and the discriminators are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sim2street.neural_renderer.conditions.generator_input import anchored_noise, generator_input
from sim2street.neural_renderer.conditions.reprojection import surface_points
from sim2street.neural_renderer.data.batch import Batch
from sim2street.neural_renderer.networks.discriminators import Judgement
from sim2street.neural_renderer.networks.generator import CompiledStyle, GeneratorInput
from sim2street.neural_renderer.training import losses, surfaces
from sim2street.neural_renderer.training.config import LossWeights
from sim2street.neural_renderer.training.state import TrainState
from sim2street.neural_renderer.training.targets import Exemplars, exemplars_of, style_of

PERCEPTUAL_TAPS = (0.25, 0.35, 0.4)


@dataclass(frozen=True)
class Conditions:
    """A batch as the networks see it.

    Attributes:
        groups: of the target's labels.
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
    """GeneratorInput of photographs, noise anchored to their pseudo-depth."""
    b = groups.shape[0]
    depth_m = batch.depth_m[:, 0]
    points_m = surface_points(depth_m, batch.camera, batch.pose[:, None])
    seeds = torch.randint(0, 2**20, (b,), generator=rng).to(groups.device)
    noise = anchored_noise(points_m, depth_m, batch.camera[:, 0], seeds)
    return generator_input(
        groups, batch.layout, depth_m, batch.camera, batch.pose[:, 2, :3], batch.has_depth, noise
    )


@dataclass(frozen=True)
class Judged:
    """Both discriminators' opinions of one batch of pictures."""

    patch: Judgement
    semantic: Judgement | None


def judge(state: TrainState, rgb: Tensor, lite_maps: list[Tensor] | None) -> Judged:
    """rgb (B, 3, H, W), already augmented; `lite_maps` its frozen features, if any."""
    semantic = None
    if state.semantic is not None and lite_maps is not None:
        semantic = state.semantic(lite_maps)
    return Judged(state.patch(rgb), semantic)


def discriminator_losses(
    real: Judged, fake: Judged, real_groups: Tensor, paired: bool = True
) -> dict[str, Tensor]:
    """Named terms of the discriminators' loss.

    Pictures without a target teach the segmentation head what is fake, or the generator finds
    patterns that it reads as a car and nobody else does: as long as it never saw town frames as
    fakes, near cars were bark and signs red with a blue rim. The feature network's scores do
    not see them: they would learn that the town's geometry is fake.
    """
    terms = {"d_patch": losses.hinge_discriminator(real.patch, fake.patch)}
    if real.semantic is None or fake.semantic is None:
        return terms
    if paired:
        terms["d_feature"] = losses.hinge_discriminator(real.semantic, fake.semantic)
    logits_real, logits_fake = real.semantic.segmentation, fake.semantic.segmentation
    assert logits_real is not None
    assert logits_fake is not None
    targets = losses.shrunken_labels(real_groups, logits_real.shape[-2:])
    weights = losses.class_weights(targets)
    terms["d_segment"] = losses.segmentation_real(
        logits_real, targets, weights
    ) + losses.segmentation_fake(logits_fake)
    return terms


def adversarial_losses(
    fake: Judged, real: Judged, groups: Tensor, weights: LossWeights, paired: bool = True
) -> dict[str, Tensor]:
    """Named, weighted terms the discriminators give the generator.

    Unpaired pictures are matched in no features, and the feature network's scores, which
    never saw them as fakes, are left out; its segmentation head still reads their labels.
    """
    terms = {
        "g_patch": weights.adversarial * losses.hinge_generator(fake.patch),
    }
    if paired:
        matching = losses.feature_matching(fake.patch, real.patch)
        terms["g_matching"] = weights.feature_matching * matching
    if fake.semantic is None:
        return terms
    if paired:
        terms["g_feature"] = weights.adversarial * losses.hinge_generator(fake.semantic)
    logits = fake.semantic.segmentation
    assert logits is not None
    targets = losses.shrunken_labels(groups, logits.shape[-2:])
    weight = weights.segmentation if paired else weights.segmentation_unpaired
    terms["g_segment"] = weight * losses.segmentation_real(
        logits, targets, losses.class_weights(targets)
    )
    return terms


def picture_losses(
    state: TrainState,
    fake: Tensor,
    real: Tensor,
    valid: Tensor,
    weights: LossWeights,
    rng: torch.Generator,
) -> dict[str, Tensor]:
    """Named, weighted terms that compare with the target picture."""
    terms = {"g_colour": weights.coarse_colour * losses.coarse_colour(fake, real, valid)}
    if weights.pixel:
        difference = (fake.float() - real.float()).abs() * valid
        terms["g_pixel"] = weights.pixel * difference.sum() / (3.0 * valid.sum()).clamp_min(1.0)
    if state.vgg is None or not weights.perceptual:
        return terms
    (both,) = _looked_at(state, [torch.cat([fake, real.to(fake.dtype)])], rng)
    terms["g_perceptual"] = weights.perceptual * _vgg_term(state, both, fake.shape[0])
    return terms


def style_losses(
    state: TrainState,
    fake: Tensor,
    groups: Tensor,
    exemplars: Exemplars,
    weights: LossWeights,
    rng: torch.Generator,
) -> dict[str, Tensor]:
    """What a picture without a target can be compared with: the look of its exemplars.

    All at half size and a quarter at full size in turn, as in `picture_losses`: the same
    quarter of each, for streets lie alike.
    """
    if state.vgg is None or not weights.style:
        return {}
    like, like_groups = exemplars
    shown = [fake, groups, like.flatten(0, 1), like_groups.flatten(0, 1)]
    fake, groups, like, labels = _looked_at(state, shown, rng)
    with torch.no_grad():
        wanted = state.vgg(like.to(fake.dtype))
    gap = losses.region_statistics(
        state.vgg(fake), groups, wanted, labels.unflatten(0, like_groups.shape[:2]),
        PERCEPTUAL_TAPS, one_sided=True,
    )  # fmt: skip
    return {"g_style": weights.style * gap}


def surface_losses(
    names: Sequence[str],
    fake: Tensor,
    groups: Tensor,
    windows: Tensor,
    weights: LossWeights,
    paired: bool = True,
) -> dict[str, Tensor]:
    """Shade of the windows that the generator was told of; how even and how bright things are.

    How bright people and signs are, a target tells better than the middle half of photographs,
    which the other half exceeds: that term is for pictures without one. So are those for roads
    and facades, on which a target may have shadows and shop fronts.

    Args:
        names: of the groups (B, G, H, W).
    """
    fake = fake.float()

    def of(*members: str) -> Tensor:
        return groups[:, [names.index(name) for name in members]].amax(dim=1, keepdim=True)

    terms = {}
    if weights.windows:
        wall, body = of("building"), of("car", "truck")
        shade = surfaces.window_shade(fake, wall, windows)
        terms["g_windows"] = weights.windows * shade
        shade = surfaces.window_shade(fake, body, windows, surfaces.PANE_SHADE)
        terms["g_panes"] = weights.windows * shade
    if weights.paint:
        cars = surfaces.uneven_paint(fake, of("car"))
        signs = surfaces.uneven_paint(fake, of("sign"), surfaces.SIGN_UNREST)
        if not paired:
            cars = cars + surfaces.lumpy_paint(fake, of("car"), windows)
        terms["g_paint"] = weights.paint * (cars + signs)
    if weights.ground and not paired:
        uneven = surfaces.lumpy_ground(fake, of("road")) + surfaces.patchy_ground(fake, of("road"))
        terms["g_ground"] = weights.ground * uneven
    if weights.walls and not paired:
        terms["g_walls"] = weights.walls * surfaces.restless_walls(fake, of("building"), windows)
    if weights.tone and not paired:
        people = surfaces.out_of_tone(fake, of("person"), surfaces.PERSON_TONE)
        signs = surfaces.out_of_tone(fake, of("sign"), surfaces.SIGN_TONE)
        terms["g_tone"] = weights.tone * (people + signs)
    return terms


def _looked_at(state: TrainState, pictures: Sequence[Tensor], rng: torch.Generator) -> list[Tensor]:
    """In turn: all of each (B, C, H, W) at half size, the same quarter of each at full size."""
    if state.step % 2:
        return [functional.avg_pool2d(x, 2) for x in pictures]
    h, w = pictures[0].shape[-2:]
    top = int(torch.randint(0, h - h // 2, (), generator=rng))
    left = int(torch.randint(0, w - w // 2, (), generator=rng))
    return [x[..., top : top + h // 2, left : left + w // 2] for x in pictures]


def _vgg_term(state: TrainState, both: Tensor, b: int) -> Tensor:
    assert state.vgg is not None
    with torch.no_grad():
        real = state.vgg(both[b:].detach())
    return losses.perceptual(state.vgg(both[:b]), real, PERCEPTUAL_TAPS)
