"""Fitting a style to its exemplars by gradient descent, starting from the encoder's result.

The style encoder was trained on a few drives and sees the exemplars once. Fitting renders crops of
the exemplars' labels, compares them with the photographs and changes the style only, as Abdal et
al. (ICCV 2019) do with the latents of a face generator. The generator's weights stay the same, so
that any number of fitted styles can be served with them.

The loss compares feature statistics of each label group, not pixels: a style cannot say where a
window is, and a loss that compares places is minimised by blur.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from sim2street.configs import StrictModel
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.conditions.exemplars import exemplar_input
from sim2street.neural_renderer.networks.features import Vgg16Features, load_vgg16
from sim2street.neural_renderer.networks.interface import FrameGenerator, GeneratorInput
from sim2street.neural_renderer.networks.style import StyleCode
from sim2street.neural_renderer.styles.make import StyleFit
from sim2street.neural_renderer.training import losses
from sim2street.neural_renderer.training.objective import PERCEPTUAL_LAYER_WEIGHTS

FITTED = ("classes", "code", "values")
"""Fields of `StyleCode` that are fitted; `keys` only describe the exemplars' labels."""


COLOUR_WEIGHT, STATISTICS_WEIGHT = 5.0, 5.0
"""Weights of `losses.coarse_colour` and of `losses.region_statistics`."""


class StyleFitConfig(StrictModel):
    """How a style is fitted.

    Attributes:
        iterations: number of gradient steps.
        learning_rate: of the first iteration; falls linearly to 0.
        crop_px: largest (width, height) of the crop that one iteration renders.
        seed: of the random crops.
    """

    iterations: int = Field(60, ge=1)
    learning_rate: float = Field(0.03, gt=0.0)
    crop_px: tuple[int, int] = (256, 128)
    seed: int = 0


def style_fit(
    vgg16: Path, config: StyleFitConfig, report: Callable[[int, int], None] = lambda done, of: None
) -> StyleFit:
    """The function that fits styles, for `styles.compile_style`.

    Args:
        vgg16: file with the weights of VGG16.
        config: how styles are fitted.
        report: called after each iteration with its number and the number of iterations.

    Raises:
        ConfigError: the file is missing or holds other weights.
    """
    return partial(fit_style, load_vgg16(vgg16), config, report)


def fit_style(
    vgg: Vgg16Features,
    config: StyleFitConfig,
    report: Callable[[int, int], None],
    generator: FrameGenerator,
    class_map: ClassMap,
    style: StyleCode,
    rgb: Tensor,
    tags: Tensor,
) -> StyleCode:
    """The style after `config.iterations` gradient steps on its exemplars.

    Args:
        vgg: frozen VGG16.
        config: how to fit.
        report: called after each iteration with its number and the number of iterations.
        generator: renders with the style; its weights stay the same.
        class_map: tags to label groups.
        style: where to start; a batch of one.
        rgb: exemplar images, float32 (K, 3, H, W) in [-1, 1]; H and W divisible by 32.
        tags: their labels, uint8 (K, 29, H, W), multi-hot.
    """
    rng = torch.Generator().manual_seed(config.seed)
    # Leave the caller's inference mode, in which tensors cannot have gradients.
    with torch.inference_mode(False), torch.enable_grad():
        rgb, tags = rgb.clone(), tags.clone()
        groups = torch.stack([class_map.groups_from_multihot(hot) for hot in tags])
        inputs = [exemplar_input(g[None], hot) for g, hot in zip(groups, tags, strict=True)]
        start = replace(style, **{f.name: getattr(style, f.name).clone() for f in fields(style)})
        fitted = {name: getattr(start, name).requires_grad_() for name in FITTED}
        optimiser = torch.optim.Adam(fitted.values(), lr=config.learning_rate, betas=(0.8, 0.99))
        for iteration in range(config.iterations):
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * (1.0 - iteration / config.iterations)
            k = int(torch.randint(0, len(rgb), (), generator=rng))
            x, photo, labels = _crop((inputs[k], rgb[k][None], groups[k][None]), config, rng)
            rendered = generator(x, generator.compile_style(start)).rgb
            loss = style_distance(vgg, rendered, photo, labels)
            optimiser.zero_grad()
            loss.backward(inputs=list(fitted.values()))  # no gradients for the generator
            optimiser.step()
            report(iteration + 1, config.iterations)
    return replace(start, **{name: tensor.detach() for name, tensor in fitted.items()})


def _crop(
    exemplar: tuple[GeneratorInput, Tensor, Tensor], config: StyleFitConfig, rng: torch.Generator
) -> tuple[GeneratorInput, Tensor, Tensor]:
    """The same random crop of an exemplar's input, image and label groups, on a 32 pixel grid."""
    x, rgb, groups = exemplar
    height, width = rgb.shape[-2:]
    w, h = min(config.crop_px[0], width), min(config.crop_px[1], height)
    top = 32 * int(torch.randint(0, (height - h) // 32 + 1, (), generator=rng))
    left = 32 * int(torch.randint(0, (width - w) // 32 + 1, (), generator=rng))

    def cut(plane: Tensor) -> Tensor:
        return plane[..., top : top + h, left : left + w]

    cropped = replace(
        x,
        groups=cut(x.groups),
        layout=cut(x.layout),
        geometry=cut(x.geometry),
        noise=cut(x.noise),
        canvas=None if x.canvas is None else cut(x.canvas),
    )
    return cropped, cut(rgb), cut(groups)


def style_distance(vgg: Vgg16Features, rendered: Tensor, photo: Tensor, groups: Tensor) -> Tensor:
    """Distance of a rendered image to a photograph: coarse colours and group statistics.

    Args:
        vgg: frozen VGG16.
        rendered, photo: (B, 3, H, W) in [-1, 1].
        groups: label groups of both, (B, G, H, W).
    """
    with torch.no_grad():
        photo_features = vgg(photo)
    statistics = losses.region_statistics(
        vgg(rendered), groups, photo_features, groups[:, None], PERCEPTUAL_LAYER_WEIGHTS
    )
    labelled = groups[:, 1:].amax(dim=1, keepdim=True)
    colour = losses.coarse_colour(rendered, photo, labelled)
    return COLOUR_WEIGHT * colour + STATISTICS_WEIGHT * statistics
