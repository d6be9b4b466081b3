"""Losses: pure functions of pictures, labels and judgements."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sim2street.neural_renderer.networks.discriminators import Judgement

FEWEST_AREA = 0.005
"""Share of a picture below which a group's statistics say little."""


def hinge_discriminator(real: Judgement, fake: Judgement) -> Tensor:
    """Hinge loss over all scales (Lim & Ye, 2017; Miyato et al., ICLR 2018)."""
    losses = [
        functional.relu(1.0 - r.float()).mean() + functional.relu(1.0 + f.float()).mean()
        for r, f in zip(real.scores, fake.scores, strict=True)
    ]
    return torch.stack(losses).mean()


def hinge_generator(fake: Judgement) -> Tensor:
    """The generator's side of the hinge loss."""
    return -torch.stack([f.float().mean() for f in fake.scores]).mean()


def shrunken_labels(groups: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Labels at a feature map's resolution: soft multi-hot (B, G, h, w)."""
    return functional.interpolate(groups.float(), size=tuple(size), mode="area")


def class_weights(targets: Tensor) -> Tensor:
    """Rare classes count more (OASIS, eq. 1): inverse frequency per batch, at most 10."""
    share = targets.mean(dim=(0, 2, 3))
    present = (share > 1e-5).float()
    weight = present / (share.clamp_min(1e-5) * present.sum().clamp_min(1.0))
    return weight.clamp_max(10.0)


def segmentation_real(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy against *sets* of allowed classes, weighted by class.

    A pixel whose label is a set (several groups at 1) is right with any of them. Pixels
    without a label (all zeros) do not count.

    Args:
        logits: (B, G + 1, h, w). targets: (B, G, h, w) soft multi-hot. weights: (G,).
    """
    log_p = functional.log_softmax(logits, dim=1)[:, :-1]
    peak = targets.amax(dim=1, keepdim=True)
    allowed = torch.where(peak > 0.05, targets / peak.clamp_min(1e-3), torch.zeros_like(targets))
    log_allowed = torch.logsumexp(log_p + allowed.clamp_min(1e-8).log(), dim=1)
    pixel_weight = (targets * weights[:, None, None]).sum(dim=1)
    return -(log_allowed * pixel_weight).sum() / pixel_weight.sum().clamp_min(1.0)


def segmentation_fake(logits: Tensor) -> Tensor:
    """Every pixel of a generated picture is class "fake"."""
    return -functional.log_softmax(logits, dim=1)[:, -1].mean()


def label_mix(real: Tensor, fake: Tensor, targets: Tensor, pick: Tensor) -> tuple[Tensor, Tensor]:
    """LabelMix (OASIS, eq. 4): real where `pick`ed classes are, fake elsewhere.

    Args:
        pick: bool (G,), the classes shown from the real picture.

    Returns:
        the mixed pictures and the mask (B, 1, H, W) of real pixels.
    """
    mask = (targets * pick[:, None, None]).amax(dim=1, keepdim=True)
    mask = (functional.interpolate(mask, size=real.shape[-2:]) > 0.5).to(real.dtype)
    return mask * real + (1.0 - mask) * fake, mask


def perceptual(fake: Sequence[Tensor], real: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Relative L1 between feature maps: each tap is measured in units of its own mean."""
    total = torch.zeros((), device=fake[0].device)
    for f, r, weight in zip(fake, real, weights, strict=True):
        scale = r.float().abs().mean().clamp_min(1e-4)
        total = total + weight * (f.float() - r.float()).abs().mean() / scale
    return total


def region_statistics(
    fake: Sequence[Tensor],
    fake_groups: Tensor,
    like: Sequence[Tensor],
    like_groups: Tensor,
    weights: Sequence[float],
    one_sided: bool = False,
) -> Tensor:
    """How far the look of each label group is from that group's in other pictures.

    L1 between mean and deviation of every channel inside a group, in units of the other
    pictures' mean deviation: the style statistics of Huang & Belongie (ICCV 2017, eq. 13)
    within regions (Gatys et al., CVPR 2017, section 4). No pixel has a counterpart. A group
    counts by the root of its area, where both show enough of it.

    Args:
        fake: feature maps (B, C, h, w) a tap. fake_groups: (B, G, H, W) multi-hot.
        like: maps of K pictures each (B * K, C, h', w'). like_groups: (B, K, G, H', W').
        weights: one a tap.
        one_sided: less deviation than in the other pictures is fine. Theirs is that of K streets
            at once: a road with shadows, houses with shop fronts, cars of many colours. One
            plain street has nothing real to meet it with.
    """
    k = like_groups.shape[1]
    total = torch.zeros((), device=fake_groups.device)
    for f, other, weight in zip(fake, like, weights, strict=True):
        mean, deviation, area = _group_moments(f.float(), fake_groups, 1)
        wanted_mean, wanted_deviation, wanted_area = _group_moments(
            other.float(), like_groups.flatten(0, 1), k
        )
        present = ((area > FEWEST_AREA) & (wanted_area > FEWEST_AREA)).float() * area.sqrt()
        scale = wanted_deviation.mean(dim=2).clamp_min(1e-2)
        excess = deviation - wanted_deviation
        excess = functional.relu(excess) if one_sided else excess.abs()
        gap = ((mean - wanted_mean).abs() + excess).mean(dim=2)
        total = total + weight * (gap / scale * present).sum() / present.sum().clamp_min(1e-3)
    return total


def _group_moments(x: Tensor, groups: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and deviation (B, G, C) of every group over K pictures each, its area (B, G).

    x: (B * K, C, h, w). groups: (B * K, G, H, W).
    """
    masks = shrunken_labels(groups, x.shape[-2:])
    pixels = masks.sum(dim=(2, 3)).unflatten(0, (-1, k)).sum(dim=1)[..., None]
    sums = [
        torch.einsum("nchw,nghw->ngc", moment, masks).unflatten(0, (-1, k)).sum(dim=1)
        for moment in (x, x.square())
    ]
    mean, square = (s / pixels.clamp_min(1e-3) for s in sums)
    deviation = (square - mean.square()).clamp_min(1e-4).sqrt()
    return mean, deviation, pixels[..., 0] / (k * masks.shape[-2] * masks.shape[-1])


def feature_matching(fake: Judgement, real: Judgement) -> Tensor:
    """L1 between a discriminator's hidden maps (pix2pixHD, eq. 4), averaged over layers."""
    losses = [
        (f.float() - r.detach().float()).abs().mean()
        for f, r in zip(fake.features, real.features, strict=True)
    ]
    return torch.stack(losses).mean()


def coarse_colour(fake: Tensor, real: Tensor, valid: Tensor, factor: int = 8) -> Tensor:
    """L1 on pictures shrunk by `factor`, where labels are known: tone without texture."""
    weight = functional.avg_pool2d(valid, factor)
    difference = (functional.avg_pool2d(fake, factor) - functional.avg_pool2d(real, factor)).abs()
    return (difference * weight).sum() / (3.0 * weight.sum()).clamp_min(1.0)


def temporal(current: Tensor, warped: Tensor, validity: Tensor) -> Tensor:
    """L1 between a frame and its predecessor moved exactly, on non-disoccluded pixels."""
    difference = (current - warped).abs() * validity
    return difference.sum() / (3.0 * validity.sum()).clamp_min(1.0)


def r1_penalty(scores: Tensor, rgb: Tensor) -> Tensor:
    """Squared gradient at real pictures (Mescheder et al., ICML 2018); rgb needs grad.

    Of the mean score of each picture: the sum over patches would weigh so much that the
    discriminator goes blind.
    """
    per_picture = scores.float().mean(dim=(1, 2, 3))
    (gradient,) = torch.autograd.grad(per_picture.sum(), rgb, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean()


def diff_augment(pictures: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Brightness, saturation and contrast drawn once per sample, applied to all alike.

    DiffAugment (Zhao et al., NeurIPS 2020) without cut-out, and with a translation by one
    pixel at most: more would move pictures away from their labels, none would let strided
    features teach a lattice of their own phase. Each picture (B, 3, H, W).
    """
    b, device = pictures[0].shape[0], pictures[0].device

    def draw(low: float, high: float) -> Tensor:
        values = torch.rand(b, 1, 1, 1, generator=generator) * (high - low) + low
        return values.to(device)

    # Gentle, or nobody tells the generator that its blacks are grey.
    brightness, saturation, contrast = draw(-0.1, 0.1), draw(0.7, 1.3), draw(0.85, 1.15)

    def change(x: Tensor) -> Tensor:
        x = x + brightness
        grey = x.mean(dim=1, keepdim=True)
        x = grey + (x - grey) * saturation
        centre = x.mean(dim=(1, 2, 3), keepdim=True)
        return centre + (x - centre) * contrast

    dx, dy = torch.randint(0, 2, (2,), generator=generator).tolist()
    return [
        functional.pad(change(x)[..., dy:, dx:], (0, dx, 0, dy), mode="replicate") for x in pictures
    ]
