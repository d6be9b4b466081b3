"""Colour correction of a style: from the colours the generator paints to those of the exemplars.

A generator trained on a few drives knows textures, but not every tint of sky and soil. It is run
once on the exemplars' own labels. The difference between its mean colour and the photograph's, per
label group and channel, sets the strength of the tone curve that every frame then gets. This
matches first moments, as in Reinhard et al., "Color Transfer between Images", IEEE CG&A 2001.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sim2street.neural_renderer.conditions.assemble import pad_to_multiple
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.conditions.exemplars import exemplar_input
from sim2street.neural_renderer.networks.interface import FrameGenerator
from sim2street.neural_renderer.networks.style import StyleCode

MAX_READINGS = 3
"""Photographs may be labelled with sets of tags, views carry one tag per pixel. So each exemplar is
rendered with the first tag of every set, then with the second, ..., at most this often."""

HALF_STRENGTH_SHARE = 0.003
"""A group with this share of the exemplars' pixels is corrected by half."""

MIN_ROOM = 0.1
"""Added to the room for change, which is small near black and white, so that a small difference
there does not ask for a large correction."""


def match_exemplar_colours(
    generator: FrameGenerator, class_map: ClassMap, style: StyleCode, rgb: Tensor, tags: Tensor
) -> StyleCode:
    """The style with `colour` measured on its exemplars.

    Exemplars are rendered at full size, because generators paint other colours at half of it.

    Args:
        style: a batch of one.
        rgb: float32 (K, 3, H, W) in [-1, 1], the exemplars.
        tags: uint8 (K, 29, H, W), multi-hot.
    """
    groups_count = len(class_map.names)
    pixels = torch.zeros(len(rgb), groups_count)
    gap, room = torch.zeros(2, len(rgb), groups_count, 3)
    with torch.inference_mode():
        compiled = generator.compile_style(style)
        for k, (photo, photo_tags) in enumerate(zip(rgb, tags, strict=True)):
            for reading in _readings(photo_tags):
                groups = class_map.groups_from_multihot(reading)
                x = exemplar_input(pad_to_multiple(groups[None]), reading)
                height, width = photo.shape[-2:]
                rendered = generator(x, compiled).rgb[0, :, :height, :width].float()
                members = groups.flatten(1)
                pixels[k] += members.sum(dim=1)
                gap[k] += members @ (photo - rendered).flatten(1).T
                # The derivative of the tone curve x + a (1 - x^2) by its strength a.
                room[k] += members @ (1.0 - rendered.square()).flatten(1).T
    total = pixels.sum(dim=0)
    share = total / total.sum().clamp_min(1.0)
    confidence = (share / (share + HALF_STRENGTH_SHARE))[:, None] * _agreement(pixels, gap)
    needed = gap.sum(dim=0) / (room.sum(dim=0) + MIN_ROOM * total.clamp_min(1.0)[:, None])
    return replace(style, colour=(confidence * needed).clamp(-1.0, 1.0)[None])


def _agreement(pixels: Tensor, gap: Tensor) -> Tensor:
    """How well the exemplars agree on the correction of each group: (G, 1) in [0, 1].

    The squared mean gap divided by itself plus the variance between exemplars (unbiased); 1 if
    only one exemplar shows the group. Exposure varies along a drive, and one bright exemplar should
    not brighten every frame.

    Args:
        pixels: (K, G), of each group in each exemplar.
        gap: (K, G, 3), summed difference between photograph and rendered image.
    """
    weight = pixels / pixels.sum(dim=0).clamp_min(1.0)
    exemplar_gap = gap / pixels.clamp_min(1.0)[..., None]
    mean = (weight[..., None] * exemplar_gap).sum(dim=0)
    variance = (weight[..., None] * (exemplar_gap - mean).square()).sum(dim=(0, 2))
    freedom = 1.0 - weight.square().sum(dim=0)  # (n - 1) / n for n equal exemplars
    variance = torch.where(freedom > 0.01, variance / freedom.clamp_min(0.01), torch.zeros(()))
    square = mean.square().sum(dim=1)
    return (square / (square + variance).clamp_min(1e-8))[:, None]


def _readings(tags: Tensor) -> list[Tensor]:
    """Resolve sets of tags: multi-hot (29, H, W) to one-hot versions, one per member of the set."""
    members = tags.int().sum(dim=0)
    order = tags.int().cumsum(dim=0) * tags
    count = min(int(members.max()), MAX_READINGS)
    return [
        (order == torch.remainder(torch.full_like(members, n), members.clamp_min(1)) + 1).byte()
        for n in range(count)
    ]
