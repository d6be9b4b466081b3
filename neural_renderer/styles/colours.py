"""The colours of a style: what exemplars show, against what the generator paints for their labels.

A few drives teach a generator textures, but not every tint of sky and soil: left alone, it
paints grey skies in the blue it knows. What it paints for the exemplars' own labels tells by
how much it misses, label group by label group, and every frame is bent back by so much: the
mean of each channel meets the exemplars' (the first moment of Reinhard et al., IEEE CG&A
2001). Once per style; a frame costs one product with the labels at half size.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sim2street.neural_renderer.conditions.exemplars import exemplar_input
from sim2street.neural_renderer.conditions.generator_input import ClassMap, pad_to_multiple
from sim2street.neural_renderer.networks.generator import FrameGenerator
from sim2street.neural_renderer.networks.style import StyleCode

MOST_READINGS = 3
"""Of a label that is a set: painted as one member, then as another, since worlds name one."""
FEWEST_SHARE = 0.003
"""A group this small in the exemplars is corrected by half."""
LEAST_ROOM = 0.1
"""What is painted nearly white or black cannot be bent: a small gap there is left."""


def in_exemplars_colours(
    generator: FrameGenerator, class_map: ClassMap, style: StyleCode, rgb: Tensor, tags: Tensor
) -> StyleCode:
    """The style with its `colour`, measured on the exemplars that it was made of.

    At their full size: at half of it a generator paints other colours.

    Args:
        style: a batch of one.
        rgb: float32 (K, 3, H, W) in [-1, 1]. tags: uint8 (K, 29, H, W), multi-hot.
    """
    known = len(class_map.names)
    pixels = torch.zeros(len(rgb), known)
    gap, room = torch.zeros(2, len(rgb), known, 3)
    with torch.inference_mode():
        compiled = generator.compile_style(style)
        for k, (picture, hot) in enumerate(zip(rgb, tags, strict=True)):
            for reading in _readings(hot):
                groups = class_map.groups_from_multihot(reading)
                x = exemplar_input(pad_to_multiple(groups[None]), reading)
                height, width = picture.shape[-2:]
                drawn = generator(x, compiled).rgb[0, :, :height, :width].float()
                members = groups.flatten(1)
                pixels[k] += members.sum(dim=1)
                gap[k] += members @ (picture - drawn).flatten(1).T
                room[k] += members @ (1.0 - drawn.square()).flatten(1).T
    together = pixels.sum(dim=0)
    share = together / together.sum().clamp_min(1.0)
    strength = (share / (share + FEWEST_SHARE))[:, None] * _agreement(pixels, gap)
    needed = gap.sum(dim=0) / (room.sum(dim=0) + LEAST_ROOM * together.clamp_min(1.0)[:, None])
    return replace(style, colour=(strength * needed).clamp(-1.0, 1.0)[None])


def _agreement(pixels: Tensor, gap: Tensor) -> Tensor:
    """How far K exemplars miss a group alike, (G, 1): 1 where they do, or where one shows it.

    The square of the mean gap as a share of the mean square, K - 1 as the number of what
    varies. A camera's exposure changes along a drive, and one bright exemplar is no reason
    to brighten every frame. pixels (K, G), gap (K, G, 3): sums.
    """
    weight = pixels / pixels.sum(dim=0).clamp_min(1.0)
    each = gap / pixels.clamp_min(1.0)[..., None]
    mean = (weight[..., None] * each).sum(dim=0)
    spread = (weight[..., None] * (each - mean).square()).sum(dim=(0, 2))
    spare = 1.0 - weight.square().sum(dim=0)  # (n - 1) / n of the exemplars that count
    spread = torch.where(spare > 0.01, spread / spare.clamp_min(0.01), torch.zeros(()))
    square = mean.square().sum(dim=1)
    return (square / (square + spread).clamp_min(1e-8))[:, None]


def _readings(tags: Tensor) -> list[Tensor]:
    """Multi-hot (29, H, W) with every set as one of its members; one, where nothing is a set."""
    members = tags.int().sum(dim=0)
    order = tags.int().cumsum(dim=0) * tags
    count = min(int(members.max()), MOST_READINGS)
    return [
        (order == torch.remainder(torch.full_like(members, n), members.clamp_min(1)) + 1).byte()
        for n in range(count)
    ]
