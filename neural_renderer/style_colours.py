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
from torch.nn import functional

from neural_renderer.data.boundaries import boundaries
from neural_renderer.inputs import (
    ClassMap,
    anchored_noise,
    generator_input,
    pad_to_multiple,
)
from neural_renderer.networks.generator import FrameGenerator, GeneratorInput
from neural_renderer.networks.style import StyleCode
from neural_renderer.reprojection import surface_points

MOST_READINGS = 3
"""Of a label that is a set: painted as one member, then as another, since worlds name one."""
FEWEST_SHARE = 0.003
"""A group this small in the exemplars is corrected by half."""
LEAST_ROOM = 0.1
"""What is painted nearly white or black cannot be bent: a small gap there is left."""
DISTANCE_M = 20.0
"""Where the noise is anchored; exemplars have no depth."""


def in_exemplars_colours(
    generator: FrameGenerator, class_map: ClassMap, style: StyleCode, rgb: Tensor, tags: Tensor
) -> StyleCode:
    """The style with its `colour`, measured on the exemplars that it was made of.

    At half their size: mean colours are the same, for a quarter of the time.

    Args:
        style: a batch of one.
        rgb: float32 (K, 3, H, W) in [-1, 1]. tags: uint8 (K, 29, H, W), multi-hot.
    """
    groups_known = len(class_map.names)
    pixels = torch.zeros(groups_known)
    gap, room = torch.zeros(2, groups_known, 3)
    with torch.inference_mode():
        compiled = generator.compile_style(style)
        for picture, hot in zip(functional.avg_pool2d(rgb, 2), tags[..., ::2, ::2], strict=True):
            for reading in _readings(hot):
                groups = class_map.groups_from_multihot(reading)
                x = exemplar_input(pad_to_multiple(groups[None]), reading)
                height, width = picture.shape[-2:]
                drawn = generator(x, compiled).rgb[0, :, :height, :width].float()
                members = groups.flatten(1)
                pixels += members.sum(dim=1)
                gap += members @ (picture - drawn).flatten(1).T
                room += members @ (1.0 - drawn.square()).flatten(1).T
    share = pixels / pixels.sum().clamp_min(1.0)
    strength = (share / (share + FEWEST_SHARE))[:, None]
    room += LEAST_ROOM * pixels.clamp_min(1.0)[:, None]
    colour = (strength * gap / room).clamp(-1.0, 1.0)
    return replace(style, colour=colour[None])


def exemplar_input(groups: Tensor, tags: Tensor) -> GeneratorInput:
    """Labels without depth, as a generator takes them: groups (1, G, H, W), tags (29, h, w)."""
    height, width = groups.shape[-2:]
    edges = torch.from_numpy(boundaries(tags.argmax(dim=0).byte().numpy())).float()[None, None]
    depth_m = torch.full((1, height, width), DISTANCE_M)
    camera = torch.tensor([[width / 2, width / 2, width / 2, height / 2]])
    points_m = surface_points(depth_m, camera, torch.eye(4)[None, None])
    noise = anchored_noise(points_m, depth_m, camera[:, 0], torch.zeros(1, dtype=torch.int64))
    no_depth = torch.zeros(1, dtype=torch.bool)
    return generator_input(groups, pad_to_multiple(edges), depth_m, no_depth, noise)


def _readings(tags: Tensor) -> list[Tensor]:
    """Multi-hot (29, H, W) with every set as one of its members; one, where nothing is a set."""
    members = tags.int().sum(dim=0)
    order = tags.int().cumsum(dim=0) * tags
    count = min(int(members.max()), MOST_READINGS)
    return [
        (order == torch.remainder(torch.full_like(members, n), members.clamp_min(1)) + 1).byte()
        for n in range(count)
    ]
