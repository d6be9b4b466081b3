"""The generator: cost, shapes, styles, history, and freedom from lattices and streaks."""

import copy

import numpy as np
import pytest
import torch

from sim2street.bridge.errors import RendererError
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.assemble import assemble, sizes_in_pixels
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.conditions.layout import layout
from sim2street.neural_renderer.evaluation.timing import frame_gmac
from sim2street.neural_renderer.networks.build import SIZES
from sim2street.neural_renderer.networks.generator import Generator
from sim2street.neural_renderer.networks.interface import LAYOUT_CHANNELS, GeneratorInput, History
from sim2street.neural_renderer.networks.motion import catmull_rom_warp
from sim2street.neural_renderer.networks.style import StyleCode, blend_styles, stack_styles

BUDGET_GMAC = {"tiny": 2.5, "small": 5.0, "base": 15.0}
GROUPS = len(ClassMap.default().names)


def make_input(batch: int, height: int, width: int, seed: int = 0) -> GeneratorInput:
    rng = torch.Generator().manual_seed(seed)
    tags = torch.randint(0, 29, (batch, height, width), generator=rng)
    return assemble(
        ClassMap.default().groups_from_tags(tags),
        torch.rand(batch, LAYOUT_CHANNELS, height, width, generator=rng) * 2.0 - 1.0,
        torch.rand(batch, height, width, generator=rng) * 100.0 + 1.0,
        torch.tensor([[200.0, 200.0, width / 2, height / 2]]).expand(batch, -1),
        torch.from_numpy(level_pose()).expand(batch, 1, 4, 4),
        torch.ones(batch, dtype=torch.bool),
        torch.arange(batch) + seed,
    )


def bare_road(generator: Generator, inverse_depth: torch.Tensor) -> torch.Tensor:
    """The rendered image (3, 256, 256) of a road whose depth changes from row to row."""
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
    return Generator(GROUPS, *SIZES["tiny"]).eval().requires_grad_(False)


@pytest.mark.parametrize("size", SIZES)
def test_cost_of_a_512x256_frame_is_within_budget(size: str) -> None:
    gmac = frame_gmac("few-shot", size, history=True)
    assert 0.3 * BUDGET_GMAC[size] < gmac <= BUDGET_GMAC[size]


def test_output_has_the_size_of_the_input(tiny: Generator) -> None:
    out = tiny(make_input(2, 64, 96), tiny.compile_style(make_style(tiny, 3, batch=2)))
    assert out.rgb.shape == (2, 3, 64, 96)
    assert out.rgb.abs().max() <= 1.0


def test_history_without_valid_pixels_equals_no_history(tiny: Generator) -> None:
    x, style = make_input(1, 64, 64), tiny.compile_style(make_style(tiny, 1))
    nothing = History(torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 1, 1))
    torch.testing.assert_close(tiny(x, style, nothing).rgb, tiny(x, style).rgb)


def test_valid_history_is_blended_in(tiny: Generator) -> None:
    x, style = make_input(1, 64, 64), tiny.compile_style(make_style(tiny, 1))
    valid = torch.ones(1, 1, 64, 64)
    history = History(torch.full((1, 3, 64, 64), 0.9), valid, torch.ones(1, 1, 1, 1))
    out = tiny(x, style, history)
    assert out.history_weight.mean() > 0.1
    assert (out.rgb - out.raw).abs().max() > 1e-3


def test_styles_of_any_number_of_exemplars_change_the_image(tiny: Generator) -> None:
    x = make_input(1, 64, 64)
    images = [tiny(x, tiny.compile_style(make_style(tiny, k, seed=k))).rgb for k in (1, 2, 5)]
    assert (images[0] - images[1]).abs().max() > 1e-4
    assert (images[1] - images[2]).abs().max() > 1e-4


def test_a_batch_of_different_styles_equals_single_frames(tiny: Generator) -> None:
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


def test_blends_refuse_weights_that_are_not_positive(tiny: Generator) -> None:
    style = make_style(tiny, 1)
    with pytest.raises(RendererError, match="positive weight"):
        blend_styles([style, style], [1.0, 0.0])


def test_padding_affects_only_the_border_of_the_frame(tiny: Generator) -> None:
    """A uniform road is rendered uniformly except near the border."""
    image = bare_road(tiny, torch.zeros(256))[:, 32:-32, 32:-32]
    uneven = (image - image[:, 96:97, 96:97]).abs().max()
    assert uneven < 0.01 * (image.abs().max() + 0.1)


def test_cells_of_coarse_levels_leave_no_lines(tiny: Generator) -> None:
    """Every 16th row of an even road differs from its neighbour no more than other rows do.

    With nearest-neighbour upsampling the difference would be twice as large.
    """
    image = bare_road(tiny, torch.linspace(0.0, 1.0, 256))[:, 32:-32, 128]
    steps = (image[:, 1:] - image[:, :-1]).abs().mean(dim=0)
    at_cells = torch.arange(33, 33 + len(steps)) % 16 == 0
    assert steps[at_cells].mean() < 1.3 * steps[~at_cells].mean()


def test_object_sizes_are_in_pixels() -> None:
    """A car of the same pixels has the same size in frames of different sizes."""
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


def test_flat_areas_have_no_lattice_whatever_the_last_convolution(tiny: Generator) -> None:
    rng = torch.Generator().manual_seed(5)
    flat = torch.randn(1, tiny.widths[0], 1, 1, generator=rng).expand(1, -1, 8, 16)
    net = copy.deepcopy(tiny)
    net.to_pixels.weight.copy_(torch.randn(net.to_pixels.weight.shape, generator=rng))
    assert net.to_pixels(flat)[0, :4, 4, 8].std() > 0.5
    inside = net._to_pixels(flat)[..., 4:-4, 4:-4]
    torch.testing.assert_close(inside, inside[..., :1, :1].expand_as(inside), atol=1e-4, rtol=0.0)
