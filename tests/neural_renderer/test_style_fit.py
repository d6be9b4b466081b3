"""Fitting of styles: the style approaches its exemplars, and the weights do not change."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sim2street import neural_renderer
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError
from sim2street.neural_renderer.checkpoint import load_generator
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.conditions.exemplars import exemplar_input
from sim2street.neural_renderer.networks.build import build_frame_generator
from sim2street.neural_renderer.networks.features import Vgg16Features
from sim2street.neural_renderer.networks.interface import FrameGenerator
from sim2street.neural_renderer.networks.style import StyleCode
from sim2street.neural_renderer.styles.files import StyleError
from sim2street.neural_renderer.styles.make import compile_style
from sim2street.neural_renderer.training.style_fit import (
    StyleFitConfig,
    fit_style,
    style_distance,
    style_fit,
)

WEIGHTS = Path(neural_renderer.__file__).parent / "weights"
CLASSES = ClassMap.default()
SIZE = (64, 96)


@pytest.fixture(scope="module")
def generator() -> FrameGenerator:
    return load_generator(WEIGHTS / "tiny/tiny.safetensors")[0]


def wall(stripes_px: int, phase: int = 0, foot_px: int = 40) -> Tensor:
    """Red and white stripes, which do not occur in training, above a road: (3, H, W)."""
    rgb = torch.full((3, *SIZE), -0.4)
    columns = (torch.arange(SIZE[1]) + phase) // stripes_px % 2
    stripes = torch.where(columns == 0, torch.tensor([[0.8], [-0.6], [-0.6]]), 0.9)
    rgb[:, :foot_px] = stripes[:, None]
    return rgb


def labels(foot_px: int = 40) -> Tensor:
    tags = torch.zeros(29, *SIZE, dtype=torch.uint8)
    tags[Tag.BUILDING, :foot_px], tags[Tag.ROAD, foot_px:] = 1, 1
    return tags


def encoded(generator: FrameGenerator, rgb: Tensor) -> StyleCode:
    groups = CLASSES.groups_from_multihot(labels())
    with torch.inference_mode():
        return generator.encode_style(rgb[None, None], groups[None, None])


@functools.cache
def vgg() -> Vgg16Features:
    """Untrained; its features are random, but the same in all tests."""
    torch.manual_seed(0)
    return Vgg16Features().requires_grad_(False)


def distance(generator: FrameGenerator, style: StyleCode, rgb: Tensor, foot_px: int = 40) -> float:
    """Distance between the rendered image and a picture, in the loss of the fit."""
    groups = CLASSES.groups_from_multihot(labels(foot_px))[None]
    x = exemplar_input(groups, labels(foot_px))
    with torch.inference_mode():
        drawn = generator(x, generator.compile_style(style)).rgb
        return float(style_distance(vgg(), drawn, rgb[None], groups))


def contrast(generator: FrameGenerator, style: StyleCode) -> float:
    """Mean absolute difference of neighbouring pixels."""
    x = exemplar_input(CLASSES.groups_from_multihot(labels())[None], labels())
    with torch.inference_mode():
        drawn = generator(x, generator.compile_style(style)).rgb
    return float((drawn[..., 1:] - drawn[..., :-1]).abs().mean())


def fitted(generator: FrameGenerator, rgb: Tensor, **changes: object) -> StyleCode:
    config = StyleFitConfig.model_validate({"iterations": 20} | changes)
    style, told = encoded(generator, rgb), []
    result = fit_style(
        vgg(), config, lambda *n: told.append(n),
        generator, CLASSES, style, rgb[None], labels()[None],
    )  # fmt: skip
    assert told == [(n + 1, config.iterations) for n in range(config.iterations)]
    return result


def test_fitted_styles_match_the_exemplar_and_other_images_of_the_same_look(generator) -> None:
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    rgb = wall(8)
    start, end = encoded(generator, rgb), fitted(generator, rgb, iterations=40)
    elsewhere, other_street = (wall(8, phase=3), 40), (wall(8, phase=3, foot_px=24), 24)
    for seen in ((rgb, 40), elsewhere, other_street):
        assert distance(generator, end, *seen) < 0.8 * distance(generator, start, *seen)
    assert not end.classes.requires_grad
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    # Keys only depend on the exemplars' labels.
    assert torch.equal(end.keys, start.keys)
    assert torch.equal(end.log_weight, start.log_weight)


def test_fitting_keeps_texture(generator) -> None:
    """Random grain must not be replaced by its mean."""
    rng = torch.Generator().manual_seed(3)
    rgb = (torch.rand(3, *SIZE, generator=rng) - 0.5).sign() * 0.5
    start, end = encoded(generator, rgb), fitted(generator, rgb)
    assert contrast(generator, end) > 0.9 * contrast(generator, start)


def test_the_same_seed_gives_the_same_style(generator) -> None:
    one, two = (fitted(generator, wall(8), iterations=3, crop_px=(64, 32)) for _ in range(2))
    other = fitted(generator, wall(8), iterations=3, crop_px=(64, 32), seed=1)
    assert torch.equal(one.classes, two.classes)
    assert not torch.equal(one.classes, other.classes)


def test_colours_are_measured_on_the_fitted_style(generator) -> None:
    seen: list[StyleCode] = []

    def fit(*given: object) -> StyleCode:
        style = given[2]
        assert isinstance(style, StyleCode)
        seen.append(replace(style, code=style.code + 1.0))
        return seen[-1]

    with torch.inference_mode():
        style = compile_style(generator, CLASSES, [wall(8)], [labels()], fit)
        plain = compile_style(generator, CLASSES, [wall(8)], [labels()])
    assert torch.equal(style.code, seen[0].code)
    assert not torch.equal(style.colour, plain.colour)


def test_fit_is_refused_for_generators_without_styles() -> None:
    plain = build_frame_generator("spade", "tiny", CLASSES.names).eval()
    with pytest.raises(StyleError, match="nothing to fit"):
        compile_style(plain, CLASSES, [wall(8)], [labels()], lambda *given: given[2])


def test_a_missing_feature_network_raises_a_config_error(tmp_path) -> None:
    with pytest.raises(ConfigError, match="no feature weights at"):
        style_fit(tmp_path / "none.safetensors", StyleFitConfig())
