"""Code that is rearranged for speed computes the same as the plain formula."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from sim2street.bridge.frame import Actor
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.conditions.noise import anchored_noise
from sim2street.neural_renderer.conditions.view_tensors import movers_among, signed_ids
from sim2street.neural_renderer.networks.blend import clamp_to_neighbourhood
from sim2street.neural_renderer.networks.build import SIZES
from sim2street.neural_renderer.networks.generator import Generator
from sim2street.neural_renderer.networks.interface import (
    GEOMETRY_CHANNELS,
    LAYOUT_CHANNELS,
    GeneratorInput,
)
from sim2street.neural_renderer.networks.motion import catmull_rom_warp
from sim2street.neural_renderer.networks.style import StyleCode, attend, attention_tokens

GROUPS = len(ClassMap.default().names)


@pytest.fixture(scope="module")
def tiny() -> Generator:
    torch.manual_seed(0)
    return Generator(GROUPS, *SIZES["tiny"]).eval().requires_grad_(False)


def sixteen_taps(image: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Catmull-Rom interpolation by its definition: 4x4 taps, border replicated."""
    (b, _, h, w), base = image.shape, at.floor()
    t = (at - base)[..., None]
    weights = torch.cat(
        [-0.5 * t + t**2 - 0.5 * t**3, 1 - 2.5 * t**2 + 1.5 * t**3,
         0.5 * t + 2 * t**2 - 1.5 * t**3, -0.5 * t**2 + 0.5 * t**3], dim=-1
    )  # fmt: skip
    out = torch.zeros(*at.shape[:3], image.shape[1])
    sample = torch.arange(b)[:, None, None]
    for i in range(4):
        for j in range(4):
            x = (base[..., 0].long() + i - 1).clamp(0, w - 1)
            y = (base[..., 1].long() + j - 1).clamp(0, h - 1)
            weight = weights[..., 0, i] * weights[..., 1, j]
            out += weight[..., None] * image.permute(0, 2, 3, 1)[sample, y, x]
    return out.permute(0, 3, 1, 2)


@pytest.mark.parametrize("batch", [1, 2])
def test_catmull_rom_by_bilinear_sampling_equals_sixteen_taps(batch: int) -> None:
    rng = torch.Generator().manual_seed(batch)
    image = torch.rand(batch, 3, 20, 31, generator=rng) * 2.0 - 1.0
    at = torch.rand(batch, 20, 31, 2, generator=rng) * torch.tensor([37.0, 26.0]) - 3.0
    at[:, :2] = at[:, :2].round()  # on pixel centres, where the pieces of the spline meet
    at[:, 2] *= 40.0  # far outside the image
    torch.testing.assert_close(
        catmull_rom_warp(image, at), sixteen_taps(image, at), atol=2e-5, rtol=0.0
    )


def test_history_is_clamped_to_the_5x5_neighbourhood() -> None:
    rng = torch.Generator().manual_seed(1)
    raw, history = (torch.rand(1, 3, 12, 17, generator=rng) for _ in range(2))
    history[..., ::3] += 3.0
    wide = functional.pad(raw, (2, 2, 2, 2), mode="replicate")
    high = functional.max_pool2d(wide, 5, stride=1) + 0.25
    low = -functional.max_pool2d(-wide, 5, stride=1) - 0.25
    expected = history.minimum(high).maximum(low)
    torch.testing.assert_close(clamp_to_neighbourhood(history, raw), expected)


def test_smoothing_before_the_pixel_shuffle_equals_smoothing_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A single pixel keeps its sum and moves by the kernel's offset, at any place in its cell."""
    net = Generator(GROUPS, *SIZES["tiny"]).requires_grad_(False)
    monkeypatch.setattr(net, "to_pixels", torch.nn.Identity())
    net.smooth.weight.zero_()
    net.smooth.weight[:, 0, 0, 2] = (
        1.0  # each pixel takes the value of the one above and to the right
    )
    at = torch.arange(16.0)
    for row, column in ((6, 7), (7, 7), (6, 8), (7, 8)):
        picture = torch.zeros(1, 4, 16, 16)
        picture[..., row, column] = 1.0
        seen = net._to_pixels(functional.pixel_unshuffle(picture, 2))
        seen = seen - net._to_pixels(torch.zeros(1, 16, 8, 8))
        torch.testing.assert_close(seen.sum(dim=(2, 3)), torch.ones(1, 4))
        centre = (seen.sum(dim=3) @ at, seen.sum(dim=2) @ at)
        torch.testing.assert_close(
            centre, (torch.full((1, 4), row + 1.0), torch.full((1, 4), column - 1.0))
        )


def test_the_stem_equals_space_to_depth_and_a_1x1_convolution(tiny: Generator) -> None:
    rng = torch.Generator().manual_seed(3)
    parts = [
        torch.rand(2, c, 32, 64, generator=rng)
        for c in (GROUPS, LAYOUT_CHANNELS, GEOMETRY_CHANNELS, 3)
    ]
    flag = torch.tensor([1.0, 0.0])[:, None, None, None]
    groups, layout, geometry, noise = parts
    x = GeneratorInput(groups, layout, geometry, flag, noise)
    stack = torch.cat([groups, layout, geometry, flag.expand_as(noise[:, :1]), noise], dim=1)
    expected = functional.leaky_relu(tiny.stem(functional.pixel_unshuffle(stack, 2)), 0.2)
    torch.testing.assert_close(tiny._embed(x)[0], expected)


def test_compiled_modulation_equals_class_features_weighted_by_coverage(tiny: Generator) -> None:
    rng = torch.Generator().manual_seed(4)
    style = StyleCode(
        torch.randn(1, GROUPS, 64, generator=rng), torch.randn(1, 64, generator=rng),
        torch.randn(1, 5, 32, generator=rng), torch.randn(1, 5, 64, generator=rng),
        torch.zeros(1, 5), torch.zeros(1, GROUPS, 3),
    )  # fmt: skip
    block, width = tiny.blocks_of(1)[0], 48
    embedding, past = torch.randn(7, width, generator=rng), torch.randn(7, 16, generator=rng)
    coverage = torch.rand(7, GROUPS, generator=rng)
    features = coverage @ tiny.class_maps[1](style.classes)[0]
    plain = block.weights(style.code)[0]
    expected = torch.cat([embedding, features, past], dim=1) @ plain.weight[0].t()
    compiled = tiny.compile_style(style).modulation[1][0][0]
    given = torch.cat([embedding, coverage, past], dim=1) @ compiled.weight[0].t()
    torch.testing.assert_close(given, expected, atol=1e-4, rtol=1e-4)


def test_attention_with_log_weights_in_the_keys_equals_masked_attention() -> None:
    rng = torch.Generator().manual_seed(5)
    query = torch.randn(1, 32, 3, 4, generator=rng)
    keys, values = torch.randn(1, 9, 32, generator=rng), torch.randn(1, 9, 64, generator=rng)
    log_weight = torch.log(torch.rand(1, 9, generator=rng))
    log_weight[:, 6:] = -torch.inf  # padding
    logits = query.flatten(2).transpose(1, 2) @ keys.transpose(1, 2) / 32**0.5
    expected = (logits + log_weight[:, None]).softmax(dim=-1) @ values
    style = StyleCode(
        torch.zeros(1, 1, 64), torch.zeros(1, 64), keys, values, log_weight, torch.zeros(1, 1, 3)
    )
    given = attend(query, *attention_tokens(style))
    torch.testing.assert_close(given.flatten(2).transpose(1, 2), expected)


@pytest.mark.parametrize("known", [[7, 3, 90_000], [7, 7 + (1 << 16), 4_000_000_000]])
def test_movers_are_the_pixels_of_actors_and_of_nobody_else(known: list[int]) -> None:
    """Also where a facade's id, or another actor's, has the same lower bits."""
    rng = np.random.default_rng(0)
    strangers = [0, known[1] + (1 << 17), known[2] - 65_536, 123_456]
    instances = rng.choice(np.array([*known, *strangers], np.uint32), size=(9, 14))
    pose = np.eye(4, dtype=np.float32)
    actors = [Actor(i, 14, pose, (1.0, 1.0, 1.0)) for i in known]
    movers = movers_among(torch.from_numpy(signed_ids(instances))[None], actors)
    assert movers is not None
    slots = np.zeros((9, 14), np.int64)
    slots[movers.row.numpy(), movers.column.numpy()] = movers.slot.numpy()
    order = sorted(known)
    expected = [[order.index(i) + 1 if i in known else 0 for i in row] for row in instances]
    np.testing.assert_array_equal(slots, expected)


def test_noise_has_the_octaves_of_the_logarithm() -> None:
    """One value per cell; the cell is the power of two nearest to the footprint in ratio."""
    depth_m = torch.full((1, 1, 400), 30.0)
    points_m = torch.zeros(1, 3, 1, 400)
    points_m[:, 0, 0] = torch.arange(400) * 0.01
    noise = anchored_noise(points_m, depth_m, torch.tensor([300.0]), torch.tensor([5]))
    for octave, footprint_px in enumerate((2.0, 6.0, 18.0)):
        cell_m = 2.0 ** np.round(np.log2(30.0 / 300.0 * footprint_px))
        cells = np.floor(np.arange(400) * 0.01 / cell_m + 0.37)
        changes = np.flatnonzero(np.diff(noise[0, octave, 0].numpy()))
        np.testing.assert_allclose(changes, np.flatnonzero(np.diff(cells)), atol=1)
