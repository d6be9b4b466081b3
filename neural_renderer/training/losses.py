"""Losses: pure functions of images, labels and discriminator outputs.

Unless a docstring says otherwise, images are (B, 3, H, W) in [-1, 1], label groups are multi-hot
(B, G, H, W) with values 0 and 1, and every loss is a scalar.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sim2street.neural_renderer.networks.discriminators import DiscriminatorOutput

MIN_AREA = 0.005
"""Label groups that cover a smaller share of an image are left out of `region_statistics`."""


def hinge_discriminator(real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Tensor:
    """The discriminator's hinge loss, averaged over scales (Lim & Ye, 2017)."""
    losses = [
        functional.relu(1.0 - r.float()).mean() + functional.relu(1.0 + f.float()).mean()
        for r, f in zip(real.scores, fake.scores, strict=True)
    ]
    return torch.stack(losses).mean()


def hinge_generator(fake: DiscriminatorOutput) -> Tensor:
    """The generator's hinge loss: minus the mean score, averaged over scales."""
    return -torch.stack([f.float().mean() for f in fake.scores]).mean()


def resized_labels(groups: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Label groups averaged down to a feature map's size (h, w): soft multi-hot (B, G, h, w)."""
    return functional.interpolate(groups.float(), size=tuple(size), mode="area")


def class_weights(targets: Tensor) -> Tensor:
    """Weight of each class (G,): its inverse frequency in the batch, at most 10 (OASIS, eq. 1).

    OASIS: Schönfeld et al., ICLR 2021. targets: (B, G, h, w) soft multi-hot.
    """
    share = targets.mean(dim=(0, 2, 3))
    present = (share > 1e-5).float()
    weight = present / (share.clamp_min(1e-5) * present.sum().clamp_min(1.0))
    return weight.clamp_max(10.0)


def segmentation_real(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross entropy between the segmentation head's logits and the label groups.

    Where several groups are 1 (coarse labels), any of them counts as correct. Pixels without a
    label (all groups 0) do not count.

    Args:
        logits: (B, G + 1, h, w); the last class is "fake".
        targets: (B, G, h, w) soft multi-hot.
        weights: (G,), see `class_weights`.
    """
    log_p = functional.log_softmax(logits, dim=1)[:, :-1]
    peak = targets.amax(dim=1, keepdim=True)
    allowed = torch.where(peak > 0.05, targets / peak.clamp_min(1e-3), torch.zeros_like(targets))
    log_allowed = torch.logsumexp(log_p + allowed.clamp_min(1e-8).log(), dim=1)
    pixel_weight = (targets * weights[:, None, None]).sum(dim=1)
    return -(log_allowed * pixel_weight).sum() / pixel_weight.sum().clamp_min(1.0)


def segmentation_fake(logits: Tensor) -> Tensor:
    """Cross entropy against the last class, "fake", at every pixel of a generated image."""
    return -functional.log_softmax(logits, dim=1)[:, -1].mean()


def label_mix(real: Tensor, fake: Tensor, targets: Tensor, pick: Tensor) -> tuple[Tensor, Tensor]:
    """Mix real and generated images along class borders (LabelMix; OASIS, eq. 4).

    Args:
        targets: label groups (B, G, h, w).
        pick: bool (G,), the classes taken from the real image.

    Returns:
        The mixed images, and the mask (B, 1, H, W), 1 where a pixel is real.
    """
    mask = (targets * pick[:, None, None]).amax(dim=1, keepdim=True)
    mask = (functional.interpolate(mask, size=real.shape[-2:]) > 0.5).to(real.dtype)
    return mask * real + (1.0 - mask) * fake, mask


def perceptual(
    fake: Sequence[Tensor],
    real: Sequence[Tensor],
    weights: Sequence[float],
    trust: Tensor | None = None,
) -> Tensor:
    """Weighted L1 between lists of feature maps, each divided by the real map's mean magnitude.

    Args:
        weights: one for each map.
        trust: (B, 1, H, W), how much each pixel counts; None: 1.
    """
    total = torch.zeros((), device=fake[0].device)
    for f, r, weight in zip(fake, real, weights, strict=True):
        scale = r.float().abs().mean().clamp_min(1e-4)
        total = total + weight * _trusted_mean((f.float() - r.float()).abs(), trust) / scale
    return total


def region_statistics(
    fake: Sequence[Tensor],
    fake_groups: Tensor,
    reference: Sequence[Tensor],
    reference_groups: Tensor,
    weights: Sequence[float],
    one_sided: bool = False,
) -> Tensor:
    """How far each label group's feature statistics are from the same group's in other images.

    Per channel, L1 between the means plus L1 between the standard deviations over the group's
    pixels, in units of the reference's mean deviation: the style loss of Huang & Belongie (ICCV
    2017, eq. 13) within regions (Gatys et al., CVPR 2017, section 4). Places do not matter. Groups
    are weighted by the square root of their area; those too small on either side are left out.

    Args:
        fake: feature maps (B, C, h, w) of generated images, one for each layer.
        fake_groups: their label groups (B, G, H, W).
        reference: feature maps (B * K, C, h', w') of K reference images for each generated one.
        reference_groups: their label groups (B, K, G, H', W').
        weights: one for each layer.
        one_sided: do not penalise a smaller deviation than the reference's. The reference pools K
            streets (roads with shadows, cars of many colours), and one plain street rightly varies
            less.
    """
    k = reference_groups.shape[1]
    total = torch.zeros((), device=fake_groups.device)
    for f, other, weight in zip(fake, reference, weights, strict=True):
        mean, deviation, area = _group_moments(f.float(), fake_groups, 1)
        reference_mean, reference_deviation, reference_area = _group_moments(
            other.float(), reference_groups.flatten(0, 1), k
        )
        present = ((area > MIN_AREA) & (reference_area > MIN_AREA)).float() * area.sqrt()
        scale = reference_deviation.mean(dim=2).clamp_min(1e-2)
        excess = deviation - reference_deviation
        excess = functional.relu(excess) if one_sided else excess.abs()
        gap = ((mean - reference_mean).abs() + excess).mean(dim=2)
        total = total + weight * (gap / scale * present).sum() / present.sum().clamp_min(1e-3)
    return total


def _group_moments(x: Tensor, groups: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Statistics of each label group over k images together.

    Args:
        x: feature maps (B * k, C, h, w).
        groups: label groups (B * k, G, H, W).

    Returns:
        Mean (B, G, C), standard deviation (B, G, C), and share of the area (B, G).
    """
    masks = resized_labels(groups, x.shape[-2:])
    pixels = masks.sum(dim=(2, 3)).unflatten(0, (-1, k)).sum(dim=1)[..., None]
    sums = [
        torch.einsum("nchw,nghw->ngc", moment, masks).unflatten(0, (-1, k)).sum(dim=1)
        for moment in (x, x.square())
    ]
    mean, square = (s / pixels.clamp_min(1e-3) for s in sums)
    deviation = (square - mean.square()).clamp_min(1e-4).sqrt()
    return mean, deviation, pixels[..., 0] / (k * masks.shape[-2] * masks.shape[-1])


def _trusted_mean(difference: Tensor, trust: Tensor | None) -> Tensor:
    """Mean of (B, C, h, w), each pixel times the mean trust of the pixels below it."""
    if trust is None:
        return difference.mean()
    h, w = difference.shape[-2:]
    return (difference * functional.adaptive_avg_pool2d(trust, (h, w))).mean()


def feature_matching(
    fake: DiscriminatorOutput, real: DiscriminatorOutput, trust: Tensor | None = None
) -> Tensor:
    """L1 between a discriminator's hidden maps, averaged over layers.

    pix2pixHD (Wang et al., CVPR 2018, eq. 4). No gradients flow into the real maps. trust: see
    `perceptual`.
    """
    losses = [
        _trusted_mean((f.float() - r.detach().float()).abs(), trust)
        for f, r in zip(fake.features, real.features, strict=True)
    ]
    return torch.stack(losses).mean()


def coarse_colour(fake: Tensor, real: Tensor, valid: Tensor, factor: int = 8) -> Tensor:
    """L1 between images shrunk by `factor`: compares colours but not texture.

    valid: (B, 1, H, W), 1 where a pixel counts.
    """
    weight = functional.avg_pool2d(valid, factor)
    difference = (functional.avg_pool2d(fake, factor) - functional.avg_pool2d(real, factor)).abs()
    return (difference * weight).sum() / (3.0 * weight.sum()).clamp_min(1.0)


def temporal(current: Tensor, warped: Tensor, validity: Tensor) -> Tensor:
    """L1 between a frame and its warped predecessor.

    validity: (B, 1, H, W), 1 where the predecessor shows the same surface point.
    """
    difference = (current - warped).abs() * validity
    return difference.sum() / (3.0 * validity.sum()).clamp_min(1.0)


def r1_penalty(scores: Tensor, rgb: Tensor) -> Tensor:
    """Squared gradient of the scores at real images (R1; Mescheder et al., ICML 2018).

    Uses the mean score of each image: with the sum over patches the penalty outweighs the
    discriminator's loss.

    Args:
        scores: (B, 1, h, w), computed from `rgb`.
        rgb: real images; must require gradients.
    """
    per_image = scores.float().mean(dim=(1, 2, 3))
    (gradient,) = torch.autograd.grad(per_image.sum(), rgb, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean()


def diff_augment(images: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Random brightness, saturation, contrast and shift, the same in every batch of `images`.

    DiffAugment (Zhao et al., NeurIPS 2020) without cut-out. Colours are drawn once per sample. The
    shift is at most one pixel, because more would move images away from their labels; without it,
    strided networks would reward a lattice aligned with their stride.
    """
    b, device = images[0].shape[0], images[0].device

    def draw(low: float, high: float) -> Tensor:
        values = torch.rand(b, 1, 1, 1, generator=generator) * (high - low) + low
        return values.to(device)

    # Narrow ranges: under stronger changes, grey in place of black would go unpunished.
    brightness, saturation, contrast = draw(-0.1, 0.1), draw(0.7, 1.3), draw(0.85, 1.15)

    def change(x: Tensor) -> Tensor:
        x = x + brightness
        grey = x.mean(dim=1, keepdim=True)
        x = grey + (x - grey) * saturation
        centre = x.mean(dim=(1, 2, 3), keepdim=True)
        return centre + (x - centre) * contrast

    dx, dy = torch.randint(0, 2, (2,), generator=generator).tolist()
    return [
        functional.pad(change(x)[..., dy:, dx:], (0, dx, 0, dy), mode="replicate") for x in images
    ]
