"""The generator: cost, shapes, and that unused paths change nothing at the start."""

import copy

import numpy as np
import pytest
import torch

from sim2street.bridge.errors import RendererError
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.exemplars import LEVEL_UP
from sim2street.neural_renderer.conditions.generator_input import (
    ClassMap,
    generator_input,
    sizes_in_pixels,
)
from sim2street.neural_renderer.conditions.layout import layout
from sim2street.neural_renderer.evaluation.timing import frame_gmac
from sim2street.neural_renderer.networks.generator import (
    LAYOUT_CHANNELS,
    SIZES,
    Generator,
    GeneratorInput,
    History,
    build_generator,
)
from sim2street.neural_renderer.networks.motion import catmull_rom_warp
from sim2street.neural_renderer.networks.style import StyleCode, blend_styles, stack_styles

BUDGET_GMAC = {"tiny": 2.5, "small": 5.0, "base": 15.0}
GROUPS = len(ClassMap.default().names)


def make_input(batch: int, height: int, width: int, seed: int = 0) -> GeneratorInput:
    rng = torch.Generator().manual_seed(seed)
    tags = torch.randint(0, 29, (batch, height, width), generator=rng)
    return generator_input(
        ClassMap.default().groups_from_tags(tags),
        torch.rand(batch, LAYOUT_CHANNELS, height, width, generator=rng) * 2.0 - 1.0,
        torch.rand(batch, height, width, generator=rng) * 100.0 + 1.0,
        torch.tensor([[200.0, 200.0, width / 2, height / 2]]).expand(batch, -1),
        LEVEL_UP.expand(batch, -1),
        torch.ones(batch, dtype=torch.bool),
        torch.rand(batch, 3, height, width, generator=rng) * 2.0 - 1.0,
    )


def bare_road(generator: Generator, inverse_depth: torch.Tensor) -> torch.Tensor:
    """Nothing but road, (3, 256, 256), whose depth changes from row to row."""
    groups = torch.zeros(1, GROUPS, 256, 256)
    groups[:, ClassMap.default().names.index("road")] = 1.0
    things, noise = torch.zeros(1, LAYOUT_CHANNELS, 256, 256), torch.zeros(1, 3, 256, 256)
    geometry = inverse_depth[:, None].expand(1, 2, 256, 256)
    x = GeneratorInput(groups, things, geometry, torch.ones(1, 1, 1, 1), noise)
    return generator(x, generator.compile_style(make_style(generator, 1))).rgb[0]


def make_style(generator: Generator, exemplars: int, seed: int = 0, batch: int = 1) -> StyleCode:
    rng = torch.Generator().manual_seed(seed)
    rgb = torch.rand(batch, exemplars, 3, 64, 128, generator=rng) * 2.0 - 1.0
    tags = torch.randint(0, 29, (batch, exemplars, 64, 128), generator=rng)
    return generator.encode_style(rgb, ClassMap.default().groups_from_tags(tags))


@pytest.fixture(scope="module")
def tiny() -> Generator:
    torch.manual_seed(0)
    return build_generator("tiny", GROUPS).eval().requires_grad_(False)


@pytest.mark.parametrize("size", SIZES)
def test_cost_of_a_512x256_frame_is_within_budget(size: str) -> None:
    gmac = frame_gmac("few-shot", size, history=True)
    assert 0.3 * BUDGET_GMAC[size] < gmac <= BUDGET_GMAC[size]


def test_output_is_a_picture_of_the_inputs_size(tiny: Generator) -> None:
    out = tiny(make_input(2, 64, 96), tiny.compile_style(make_style(tiny, 3, batch=2)))
    assert out.rgb.shape == (2, 3, 64, 96)
    assert out.rgb.abs().max() <= 1.0


def test_invalid_history_changes_nothing(tiny: Generator) -> None:
    """Validity 0 everywhere (a restart) is the same as no history at all."""
    x, style = make_input(1, 64, 64), tiny.compile_style(make_style(tiny, 1))
    nothing = History(torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 1, 1))
    torch.testing.assert_close(tiny(x, style, nothing).rgb, tiny(x, style).rgb)


def test_valid_history_is_blended_in(tiny: Generator) -> None:
    x, style = make_input(1, 64, 64), tiny.compile_style(make_style(tiny, 1))
    valid = torch.ones(1, 1, 64, 64)
    history = History(torch.full((1, 3, 64, 64), 0.9), valid, torch.ones(1, 1, 1, 1))
    out = tiny(x, style, history)
    assert out.keep.mean() > 0.1
    assert (out.rgb - out.raw).abs().max() > 1e-3


def test_style_changes_the_picture_and_any_number_of_exemplars_works(tiny: Generator) -> None:
    x = make_input(1, 64, 64)
    pictures = [tiny(x, tiny.compile_style(make_style(tiny, k, seed=k))).rgb for k in (1, 2, 5)]
    assert (pictures[0] - pictures[1]).abs().max() > 1e-4
    assert (pictures[1] - pictures[2]).abs().max() > 1e-4


def test_batch_of_different_styles_equals_one_by_one(tiny: Generator) -> None:
    x = make_input(2, 64, 64)
    styles = [make_style(tiny, 1, seed=1), make_style(tiny, 3, seed=2)]
    both = tiny(x, tiny.compile_style(stack_styles(styles))).rgb
    for i, style in enumerate(styles):
        parts = (x.groups, x.layout, x.geometry, x.has_depth, x.noise)
        alone = tiny(
            GeneratorInput(*(part[i : i + 1] for part in parts)), tiny.compile_style(style)
        ).rgb
        torch.testing.assert_close(both[i : i + 1], alone, atol=1e-4, rtol=1e-4)


def test_blend_of_a_style_with_itself_is_that_style(tiny: Generator) -> None:
    x, style = make_input(1, 64, 64), make_style(tiny, 2)
    blended = blend_styles([style, style], [0.3, 0.7])
    torch.testing.assert_close(
        tiny(x, tiny.compile_style(blended)).rgb,
        tiny(x, tiny.compile_style(style)).rgb,
        atol=1e-4,
        rtol=1e-4,
    )


def test_blend_refuses_weights_that_are_not_positive(tiny: Generator) -> None:
    style = make_style(tiny, 1)
    with pytest.raises(RendererError, match="positive weight"):
        blend_styles([style, style], [1.0, 0.0])


def test_where_the_frame_ends_shows_no_further_in(tiny: Generator) -> None:
    """An even road is even, but for its rim: coarse levels are not told where the frame ends."""
    picture = bare_road(tiny, torch.zeros(256))[:, 32:-32, 32:-32]
    uneven = (picture - picture[:, 96:97, 96:97]).abs().max()
    assert uneven < 0.01 * (picture.abs().max() + 0.1)


def test_cells_of_coarse_levels_end_in_no_lines(tiny: Generator) -> None:
    """On a road that leads away evenly no 16th row steps more than others (copied cells: twice)."""
    picture = bare_road(tiny, torch.linspace(0.0, 1.0, 256))[:, 32:-32, 128]
    steps = (picture[:, 1:] - picture[:, :-1]).abs().mean(dim=0)
    at_cells = torch.arange(33, 33 + len(steps)) % 16 == 0
    assert steps[at_cells].mean() < 1.3 * steps[~at_cells].mean()


def test_a_thing_is_as_large_as_its_pixels() -> None:
    """The same car on a frame twice as wide and high is half of it, and looks the same."""
    sizes = []
    for side in (64, 128):
        labels = np.zeros((side, 2 * side), np.uint8)
        labels[20:52, 40:104] = Tag.CAR
        planes = torch.from_numpy(layout(labels))[None]
        sizes.append(sizes_in_pixels(planes[:, 5:7])[0, :, 30, 60])
    torch.testing.assert_close(sizes[0], torch.tensor([0.25, 0.25]))
    torch.testing.assert_close(sizes[0], sizes[1])
    assert sizes_in_pixels(torch.ones(1, 2, 512, 1024)).max() == 1.0


def test_catmull_rom_shifts_exactly_and_keeps_detail() -> None:
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 16, 24, generator=rng)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    shifted = catmull_rom_warp(image, torch.stack([x + 3.0, y - 2.0], dim=-1)[None])
    torch.testing.assert_close(shifted[..., 2:, :-3], image[..., :-2, 3:])
    half = catmull_rom_warp(image, torch.stack([x + 0.5, y], dim=-1)[None])
    bilinear = (image[..., :-1] + image[..., 1:]) / 2.0
    assert half[..., 2:-2].std() > bilinear[..., 2:-2].std()


def test_a_lattice_of_two_pixels_a_period_never_comes_out(tiny: Generator) -> None:
    """Whatever the last convolution says of its four sub-pixels, flat areas come out flat."""
    rng = torch.Generator().manual_seed(5)
    flat = torch.randn(1, tiny.widths[0], 1, 1, generator=rng).expand(1, -1, 8, 16)
    net = copy.deepcopy(tiny)
    net.to_pixels.weight.copy_(torch.randn(net.to_pixels.weight.shape, generator=rng))
    assert net.to_pixels(flat)[0, :4, 4, 8].std() > 0.5
    inside = net._to_pixels(flat)[..., 4:-4, 4:-4]
    torch.testing.assert_close(inside, inside[..., :1, :1].expand_as(inside), atol=1e-4, rtol=0.0)
