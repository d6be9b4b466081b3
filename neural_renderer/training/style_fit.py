"""A style fitted to its exemplars: the encoder's answer, bettered on the exemplars themselves.

E_F sees K photographs once and was taught by a few drives. Here its answer is the start of a
short descent: crops of the exemplars' labels are painted, compared with the photographs, and
the style alone learns (Abdal et al., ICCV 2019, do so with the latents of a face generator).
The weights stay as they are, so any number of fitted styles serve side by side, unlike
finetuned weights.

What is compared is statistics by label group, not places: a style cannot know where a window
is, and what brings features nearer place by place is fog.
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
from sim2street.neural_renderer.conditions.exemplars import exemplar_input
from sim2street.neural_renderer.conditions.generator_input import ClassMap
from sim2street.neural_renderer.networks.features import Vgg16Features, load_vgg16
from sim2street.neural_renderer.networks.generator import FrameGenerator, GeneratorInput
from sim2street.neural_renderer.networks.style import StyleCode
from sim2street.neural_renderer.styles.files import StyleFit
from sim2street.neural_renderer.training import losses
from sim2street.neural_renderer.training.objective import PERCEPTUAL_TAPS

LEARNT = ("classes", "code", "values")
"""Parts of a `StyleCode` that are fitted; keys only say where the exemplars' labels are."""


class StyleFitConfig(StrictModel):
    """How a style is fitted.

    Attributes:
        learning_rate: of the first iteration, falling linearly to nothing.
        crop_px: (width, height) of what is painted at a time, or the exemplar where smaller.
        colour: weight of the tone, an eighth the size.
        style: weight of the statistics of VGG's features, see `losses.region_statistics`.
    """

    iterations: int = Field(60, ge=1)
    learning_rate: float = Field(0.03, gt=0.0)
    crop_px: tuple[int, int] = (256, 128)
    colour: float = 5.0
    style: float = 5.0
    seed: int = 0


def style_fit(
    vgg16: Path, config: StyleFitConfig, report: Callable[[int, int], None] = lambda done, of: None
) -> StyleFit:
    """Fitting with the features of this file, for `styles.compile_style`.

    Raises:
        ConfigError: no such file, or other weights.
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
    """The style after `config.iterations` steps on its exemplars.

    Args:
        style: a batch of one. rgb: float32 (K, 3, H, W) in [-1, 1]. tags: uint8
            (K, 29, H, W); H and W divisible by 32.
    """
    rng = torch.Generator().manual_seed(config.seed)
    # A caller may be in inference mode, whose tensors cannot learn.
    with torch.inference_mode(False), torch.enable_grad():
        rgb, tags = rgb.clone(), tags.clone()
        groups = torch.stack([class_map.groups_from_multihot(hot) for hot in tags])
        inputs = [exemplar_input(g[None], hot) for g, hot in zip(groups, tags, strict=True)]
        start = replace(style, **{f.name: getattr(style, f.name).clone() for f in fields(style)})
        learnt = {name: getattr(start, name).requires_grad_() for name in LEARNT}
        optimiser = torch.optim.Adam(learnt.values(), lr=config.learning_rate, betas=(0.8, 0.99))
        for iteration in range(config.iterations):
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * (1.0 - iteration / config.iterations)
            k = int(torch.randint(0, len(rgb), (), generator=rng))
            x, shown, labels = _crop((inputs[k], rgb[k][None], groups[k][None]), config, rng)
            drawn = generator(x, generator.compile_style(start)).rgb
            loss = look_distance(vgg, config, drawn, shown, labels)
            optimiser.zero_grad()
            loss.backward(inputs=list(learnt.values()))  # the weights get no gradients
            optimiser.step()
            report(iteration + 1, config.iterations)
    return replace(start, **{name: tensor.detach() for name, tensor in learnt.items()})


def _crop(
    exemplar: tuple[GeneratorInput, Tensor, Tensor], config: StyleFitConfig, rng: torch.Generator
) -> tuple[GeneratorInput, Tensor, Tensor]:
    """The same stretch of an exemplar's input, picture and groups, on the 32 pixel grid."""
    x, rgb, groups = exemplar
    height, width = rgb.shape[-2:]
    w, h = min(config.crop_px[0], width), min(config.crop_px[1], height)
    top = 32 * int(torch.randint(0, (height - h) // 32 + 1, (), generator=rng))
    left = 32 * int(torch.randint(0, (width - w) // 32 + 1, (), generator=rng))

    def cut(plane: Tensor) -> Tensor:
        return plane[..., top : top + h, left : left + w]

    cropped = GeneratorInput(
        cut(x.groups), cut(x.layout), cut(x.geometry), x.has_depth, cut(x.noise)
    )
    return cropped, cut(rgb), cut(groups)


def look_distance(
    vgg: Vgg16Features, config: StyleFitConfig, drawn: Tensor, shown: Tensor, groups: Tensor
) -> Tensor:
    """Painted crop to photograph: tone, and the look of each label group.

    drawn, shown: (B, 3, H, W). groups: (B, G, H, W), of both.
    """
    with torch.no_grad():
        wanted = vgg(shown)
    statistics = losses.region_statistics(
        vgg(drawn), groups, wanted, groups[:, None], PERCEPTUAL_TAPS
    )
    known = groups[:, 1:].amax(dim=1, keepdim=True)
    return config.colour * losses.coarse_colour(drawn, shown, known) + config.style * statistics
