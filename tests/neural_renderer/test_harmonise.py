"""Harmonising a canvas: what the generator may do to it, and what it may not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.networks.build import build_frame_generator
from sim2street.neural_renderer.networks.generator import Generator
from sim2street.neural_renderer.networks.harmonise import (
    SLOT_COUNT,
    TAKE_BIAS,
    Harmoniser,
    slot_of_groups,
)
from sim2street.neural_renderer.networks.interface import CompiledStyle, GeneratorInput, History

NAMES = ClassMap.default().names
H, W = 64, 96


def some_input(canvas: torch.Tensor | None, seed: int = 1) -> GeneratorInput:
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, len(NAMES), (1, H // 16, W // 16), generator=rng)
    labels = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)
    groups = torch.nn.functional.one_hot(labels, len(NAMES)).movedim(-1, 1).float()
    return GeneratorInput(
        groups,
        torch.rand(1, 8, H, W, generator=rng),
        torch.rand(1, 2, H, W, generator=rng),
        torch.ones(1, 1, 1, 1),
        torch.rand(1, 3, H, W, generator=rng) * 2.0 - 1.0,
        canvas,
    )


def some_canvas(coverage: torch.Tensor) -> torch.Tensor:
    rgb = torch.rand(1, 3, H, W, generator=torch.Generator().manual_seed(2)) * 2.0 - 1.0
    return torch.cat([rgb * coverage, coverage], dim=1)


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    built = build_frame_generator("few-shot", "tiny", NAMES, canvas=True)
    assert isinstance(built, Generator)
    return built.eval().requires_grad_(False)


def style_for(generator: Generator) -> CompiledStyle:
    rng = torch.Generator().manual_seed(3)
    rgb = torch.rand(1, 2, 3, H, W, generator=rng) * 2.0 - 1.0
    groups = some_input(None).groups[:, None].expand(-1, 2, -1, -1, -1)
    return generator.compile_style(generator.encode_style(rgb, groups))


def test_untrained_it_shows_the_canvas_as_it_is(generator: Generator) -> None:
    """A share of sigmoid(2.2) of it, where it covers the picture; elsewhere what was painted."""
    coverage = torch.zeros(1, 1, H, W)
    coverage[..., : W // 2] = 1.0
    canvas = some_canvas(coverage)
    style = style_for(generator)
    out = generator(some_input(canvas), style)
    assert out.harmonised is not None
    share = torch.sigmoid(torch.tensor(TAKE_BIAS)) * coverage
    torch.testing.assert_close(out.harmonised.take, share)
    torch.testing.assert_close(out.rgb, torch.lerp(out.painted, canvas[:, :3], share))
    plain = generator(some_input(None), style)
    torch.testing.assert_close(out.painted, plain.rgb)


def test_colours_of_soft_edges_are_not_darkened() -> None:
    """The canvas is premultiplied: half coverage of white is white, at half the share."""
    harmoniser = Harmoniser(slot_of_groups(NAMES), 8, 8, 8)
    coverage = torch.full((1, 1, H, W), 0.5)
    canvas = torch.cat([coverage.expand(-1, 3, -1, -1), coverage], dim=1)
    painted = -torch.ones(1, 3, H, W)
    groups = some_input(None).groups
    features = torch.zeros(1, 8, H // 8, W // 8), torch.zeros(1, 8, H // 2, W // 2)
    out = harmoniser(canvas, groups, *features, painted)
    share = 0.5 * float(torch.sigmoid(torch.tensor(TAKE_BIAS)))
    torch.testing.assert_close(out.rgb, torch.full_like(painted, -1.0 + 2.0 * share))


def test_no_gain_crosses_an_outline() -> None:
    """Only the sky is made brighter: a pixel beside it keeps its value exactly."""
    harmoniser = Harmoniser(slot_of_groups(NAMES), 8, 8, 8)
    with torch.no_grad():
        assert harmoniser.to_grid.bias is not None
        harmoniser.to_grid.bias.view(SLOT_COUNT, 6)[0, :3] = 3.0  # the slot of the sky
    groups = torch.zeros(1, len(NAMES), H, W)
    groups[:, NAMES.index("sky"), :, :37] = 1.0
    groups[:, NAMES.index("building"), :, 37:] = 1.0
    canvas = torch.cat([torch.full((1, 3, H, W), -0.5), torch.ones(1, 1, H, W)], dim=1)
    features = torch.zeros(1, 8, H // 8, W // 8), torch.zeros(1, 8, H // 2, W // 2)
    out = harmoniser(canvas, groups, *features, canvas[:, :3])
    torch.testing.assert_close(out.rgb[..., 37:], canvas[:, :3, :, 37:])
    assert float((out.rgb - canvas[:, :3])[..., :37].detach().min()) > 0.2


def test_the_history_never_shows_the_canvas(generator: Generator) -> None:
    """The history is blended with what was painted; the canvas of the frame stays sharp."""
    canvas = some_canvas(torch.ones(1, 1, H, W))
    style, history_rgb = style_for(generator), torch.zeros(1, 3, H, W)
    history = History(history_rgb, torch.ones(1, 1, H, W), torch.zeros(1, 1, 1, 1))
    out = generator(some_input(canvas), style, history)
    assert float(out.history_weight.max()) > 0.1
    share = torch.sigmoid(torch.tensor(TAKE_BIAS))
    torch.testing.assert_close(out.rgb, torch.lerp(out.painted, canvas[:, :3], share))


def test_weather_changes_nothing_before_it_is_trained(generator: Generator) -> None:
    x, style = some_input(None), style_for(generator)
    weather = torch.rand(1, 5, 1, 1)
    torch.testing.assert_close(
        generator(replace(x, weather=weather), style).rgb, generator(x, style).rgb
    )


def test_groups_without_a_slot_of_their_own_share_one() -> None:
    slots = dict(zip(NAMES, slot_of_groups(NAMES), strict=True))
    assert slots["pole"] == slots["sign"] == slots["unknown"] == SLOT_COUNT - 1
    assert slots["building"] != slots["vegetation"]
    assert slot_of_groups(("of somebody else",)) == [SLOT_COUNT - 1]
