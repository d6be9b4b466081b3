"""Colour correction of styles: rendered colours move to those of the exemplars."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sim2street import neural_renderer
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.checkpoint import load_generator
from sim2street.neural_renderer.conditions.assemble import assemble
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.conditions.exemplars import exemplar_input
from sim2street.neural_renderer.networks.build import build_frame_generator
from sim2street.neural_renderer.networks.interface import LAYOUT_CHANNELS, FrameGenerator
from sim2street.neural_renderer.networks.style import StyleCode, blend_styles
from sim2street.neural_renderer.styles.make import compile_style

WEIGHTS = Path(neural_renderer.__file__).parent / "weights"
CLASSES = ClassMap.default()
SKY, ROAD = (CLASSES.group_of[tag] for tag in (Tag.SKY, Tag.ROAD))
SIDEWALK, TERRAIN, VEGETATION = (
    CLASSES.group_of[t] for t in (Tag.SIDEWALK, Tag.TERRAIN, Tag.VEGETATION)
)
HEIGHT, WIDTH = 64, 96


@pytest.fixture(scope="module")
def generator() -> FrameGenerator:
    """The shipped generator; the output of an untrained one depends too much on depth."""
    return load_generator(WEIGHTS / "tiny/tiny.safetensors")[0]


def street(lower: tuple[Tag, ...] = (Tag.ROAD,)) -> Tensor:
    """Sky above, one label or a set of labels below: uint8 (29, H, W)."""
    tags = torch.zeros(29, HEIGHT, WIDTH, dtype=torch.uint8)
    tags[Tag.SKY, : HEIGHT // 2] = 1
    for tag in lower:
        tags[tag, HEIGHT // 2 :] = 1
    return tags


def exemplar(sky: float, ground: float) -> Tensor:
    """Red above and blue below, of the given strengths, with a little noise."""
    rgb = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) * 0.1
    rgb[0, : HEIGHT // 2] += sky
    rgb[2, HEIGHT // 2 :] += ground
    return rgb


def rendered(generator: FrameGenerator, style: StyleCode, tags: Tensor) -> Tensor:
    """The image (3, H, W), for depth and noise that differ from those of the measurement."""
    x = assemble(
        CLASSES.groups_from_multihot(tags)[None], torch.zeros(1, LAYOUT_CHANNELS, HEIGHT, WIDTH),
        torch.full((1, HEIGHT, WIDTH), 30.0),
        torch.tensor([[90.0, 90.0, WIDTH / 2, HEIGHT / 2]]),
        torch.from_numpy(level_pose()).expand(1, 1, 4, 4), torch.ones(1, dtype=torch.bool),
        torch.tensor([5]),
    )  # fmt: skip
    with torch.inference_mode():
        return generator(x, generator.compile_style(style)).rgb[0]


def gaps(rgb: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Mean absolute difference of mean colours, above and below the horizon."""
    upper, lower = slice(0, HEIGHT // 2 - 2), slice(HEIGHT // 2 + 2, HEIGHT)
    return tuple(  # type: ignore[return-value]
        float((rgb[:, rows].mean(dim=(1, 2)) - wanted[:, rows].mean(dim=(1, 2))).abs().mean())
        for rows in (upper, lower)
    )


def test_colours_of_each_group_move_to_the_exemplars(generator: FrameGenerator) -> None:
    tags, wanted = street(), exemplar(0.6, 0.4)
    style = compile_style(generator, CLASSES, [wanted], [tags])
    before = rendered(generator, replace(style, colour=torch.zeros_like(style.colour)), tags)
    after = rendered(generator, style, tags)
    for missed, left in zip(gaps(before, wanted), gaps(after, wanted), strict=True):
        assert missed > 0.1
        assert left < 0.4 * missed


def test_groups_that_no_exemplar_shows_get_no_correction(generator: FrameGenerator) -> None:
    colour = compile_style(generator, CLASSES, [exemplar(0.6, 0.4)], [street()]).colour
    assert (colour[0, [SKY, ROAD]].abs().sum(dim=1) > 0.05).all()
    others = [g for g in range(len(CLASSES.names)) if g not in (SKY, ROAD)]
    assert (colour[0, others] == 0.0).all()


def test_each_member_of_a_set_of_labels_is_corrected(
    generator: FrameGenerator,
) -> None:
    tags, wanted = street((Tag.SIDEWALK, Tag.TERRAIN)), exemplar(0.6, 0.1)
    style = compile_style(generator, CLASSES, [wanted], [tags])
    assert (style.colour[0, [SIDEWALK, TERRAIN]].abs().sum(dim=1) > 0.05).all()
    for tag in (Tag.SIDEWALK, Tag.TERRAIN):
        alone = street((tag,))
        plain = rendered(generator, replace(style, colour=torch.zeros_like(style.colour)), alone)
        assert gaps(rendered(generator, style, alone), wanted)[1] < 0.5 * gaps(plain, wanted)[1]


def test_a_blend_of_styles_blends_their_colours(generator: FrameGenerator) -> None:
    styles = [
        compile_style(generator, CLASSES, [exemplar(*look)], [street()])
        for look in ((0.6, 0.1), (-0.6, 0.5))
    ]
    mixed = blend_styles(styles, [1.0, 3.0])
    torch.testing.assert_close(mixed.colour, 0.25 * styles[0].colour + 0.75 * styles[1].colour)


def test_terrain_that_no_exemplar_shows_looks_like_vegetation(generator: FrameGenerator) -> None:
    def style(*lower: Tag) -> StyleCode:
        tags = street(lower[:1])
        for row, tag in enumerate(lower[1:]):  # stripes of further labels at the bottom
            tags[:, HEIGHT - 12 * (row + 1) : HEIGHT - 12 * row] = 0
            tags[tag, HEIGHT - 12 * (row + 1) : HEIGHT - 12 * row] = 1
        return compile_style(generator, CLASSES, [exemplar(0.6, 0.4)], [tags])

    def terrain_is_vegetation(code: StyleCode) -> bool:
        return torch.equal(code.classes[:, TERRAIN], code.classes[:, VEGETATION])

    assert terrain_is_vegetation(style(Tag.ROAD, Tag.VEGETATION))
    assert not terrain_is_vegetation(style(Tag.ROAD, Tag.VEGETATION, Tag.TERRAIN))
    assert not terrain_is_vegetation(style(Tag.ROAD))


def test_correction_is_weaker_where_exemplars_disagree(generator: FrameGenerator) -> None:
    def correction(*skies: float) -> Tensor:
        pictures = [exemplar(sky, 0.4) for sky in skies]
        return compile_style(generator, CLASSES, pictures, [street()] * len(skies)).colour[0]

    alike, apart = correction(0.6, 0.6, 0.6), correction(0.2, 0.6, 1.0)
    torch.testing.assert_close(alike, correction(0.6), atol=0.05, rtol=0.0)
    free = alike[SKY].abs() < 1.0  # values at the limit cannot be compared
    assert free.any()
    assert apart[SKY][free].norm() < 0.9 * alike[SKY][free].norm()
    torch.testing.assert_close(apart[ROAD], alike[ROAD], atol=0.05, rtol=0.0)


def test_exemplars_are_rendered_with_pseudo_depth() -> None:
    tags = street()
    x = exemplar_input(CLASSES.groups_from_multihot(tags)[None], tags)
    assert x.has_depth.all()
    column = x.geometry[0, 0, :, WIDTH // 2]
    assert (column[: HEIGHT // 2] == 0.0).all()  # the sky
    road = column[HEIGHT // 2 :]
    assert (road.diff() >= 0.0).all()
    assert road[-1] > 2.0 * road[0] > 0.0


@pytest.mark.parametrize("kind", ["spade", "plain"])
def test_generators_without_styles_get_no_correction(kind: str) -> None:
    plain = build_frame_generator(kind, "tiny", CLASSES.names).eval()
    assert (compile_style(plain, CLASSES, [exemplar(0.6, 0.4)], [street()]).colour == 0.0).all()


def test_exemplars_may_have_sizes_that_32_does_not_divide(generator: FrameGenerator) -> None:
    rgb, tags = exemplar(0.6, 0.4)[:, :48, :80], street()[:, :48, :80]
    assert torch.isfinite(compile_style(generator, CLASSES, [rgb], [tags]).colour).all()
