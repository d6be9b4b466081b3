"""Making a style from a few labelled photographs; done once, used for every frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.networks.interface import FrameGenerator
from sim2street.neural_renderer.networks.style import StyleCode
from sim2street.neural_renderer.styles.colours import match_exemplar_colours
from sim2street.neural_renderer.styles.files import StyleError

UNSTYLED = "these weights do not use styles, so there is nothing to fit: leave --fit out"

StyleFit = Callable[[FrameGenerator, ClassMap, StyleCode, Tensor, Tensor], StyleCode]
"""Optimises an encoded style on its exemplars: RGB (K, 3, H, W) and label tags (K, 29, H, W)."""


def compile_style(
    generator: FrameGenerator,
    class_map: ClassMap,
    rgb: Sequence[Tensor],
    tags: Sequence[Tensor],
    fit: StyleFit | None = None,
) -> StyleCode:
    """Encode K exemplars and measure the colour correction of their style.

    Args:
        rgb: K tensors (3, H, W) in [-1, 1], all of one size; H and W divisible by 16.
        tags: K uint8 tensors (29, H, W), multi-hot.
        fit: optimises the encoded style before colours are measured.

    Returns:
        A batch of one style.

    Raises:
        StyleError: no exemplar, no known label, or `fit` for a generator without styles.
    """
    if not rgb or len(rgb) != len(tags):
        raise StyleError(
            f"a style needs at least one photograph, each with labels; got {len(rgb)} photographs "
            f"and {len(tags)} label maps"
        )
    groups = torch.stack([class_map.groups_from_multihot(t) for t in tags])[None]
    if fit is not None and not generator.styled:
        raise StyleError(UNSTYLED)
    if not (groups[:, :, 1:].sum() > 0):
        raise StyleError("none of the exemplars' labels is a known class: check the label naming")
    images = torch.stack(list(rgb)).float()
    with torch.inference_mode():
        style = generator.encode_style(images[None], groups)
    if not generator.styled:
        return style
    style = _terrain_from_vegetation(class_map, style, groups)
    labels = torch.stack(list(tags))
    if fit is not None:
        style = fit(generator, class_map, style, images, labels)
    return match_exemplar_colours(generator, class_map, style, images, labels)


def _terrain_from_vegetation(class_map: ClassMap, style: StyleCode, groups: Tensor) -> StyleCode:
    """Give terrain (grass) the class feature of vegetation if no exemplar shows terrain.

    The learned fallback for terrain comes from few images and is too bright in other light.
    """
    terrain, vegetation = (class_map.group_of[tag] for tag in (Tag.TERRAIN, Tag.VEGETATION))
    shown = groups.sum(dim=(0, 1, 3, 4)) > 0
    if shown[terrain] or not shown[vegetation]:
        return style
    classes = style.classes.clone()
    classes[:, terrain] = classes[:, vegetation]
    return replace(style, classes=classes)
