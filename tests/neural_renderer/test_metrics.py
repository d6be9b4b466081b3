"""Each measure gets worse when the defect that it measures is added to an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from support.toy_world import ToyWorld
from torch import Tensor, nn

from sim2street.bridge.frame import Control, SensorFrame, View
from sim2street.bridge.geometry import world_points
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError
from sim2street.neural_renderer.metrics.distances import fid, kid
from sim2street.neural_renderer.metrics.label_agreement import (
    NOT_SCORED,
    confusion,
    load_segmenter,
    score,
    truth_groups,
)
from sim2street.neural_renderer.metrics.perceptual import (
    ALEXNET_PLAN,
    AlexNetFeatures,
    Lpips,
    load_alexnet,
    load_lpips,
    pooled_features,
)
from sim2street.neural_renderer.metrics.style import (
    Queries,
    block_sizes,
    fit_style_space,
    look_features,
    normalise_channels,
    recognisable_drives,
    retrieve,
)
from sim2street.neural_renderer.metrics.temporal import (
    PairScore,
    compare_views,
    high_frequency_energy,
)

Paint = Callable[[View, int], np.ndarray]
BLOCKS = block_sizes([plan[0] for plan in ALEXNET_PLAN])


def one_hot(tags: np.ndarray) -> Tensor:
    return torch.from_numpy((tags[:, None] == np.arange(29)[:, None, None]).astype(np.uint8))


# ---- label agreement


def test_perfect_labels_score_one_and_swapped_labels_less() -> None:
    rng = np.random.default_rng(0)
    tags = rng.choice([Tag.ROAD, Tag.SKY, Tag.CAR, Tag.BUILDING], (2, 16, 32)).astype(np.uint8)
    truth = truth_groups(one_hot(tags))
    perfect = score(confusion(tags, truth))
    assert (perfect.mean_iou, perfect.accuracy) == (1.0, 1.0)
    assert set(perfect.iou) == {"road", "sky", "vehicle", "building"}
    swapped = np.where(tags == Tag.CAR, Tag.BUILDING, tags).astype(np.uint8)
    worse = score(confusion(swapped, truth))
    assert worse.iou["vehicle"] == 0.0
    assert worse.mean_iou < 0.8
    assert worse.accuracy == pytest.approx((tags != Tag.CAR).mean())


def test_only_pixels_of_exactly_one_group_are_scored() -> None:
    tags = np.full((1, 1, 5), Tag.ROAD, dtype=np.uint8)
    hot = one_hot(tags)
    hot[0, :, 0, 1] = 0
    hot[0, [Tag.BUILDING, Tag.WALL], 0, 1] = 1  # one group
    hot[0, Tag.VEGETATION, 0, 2] = 1  # two groups
    hot[0, :, 0, 3] = 0  # nothing
    hot[0, Tag.UNKNOWN, 0, 4] = 1
    groups = truth_groups(hot)[0, 0]
    assert groups.tolist() == [0, 2, NOT_SCORED, NOT_SCORED, NOT_SCORED]
    with pytest.raises(ConfigError, match="no pixel"):
        score(confusion(tags, np.full_like(tags, NOT_SCORED)))


def test_label_agreement_falls_with_wrong_colours() -> None:
    def segment(rgb: Tensor) -> Tensor:  # bright is sky, dark is road
        return torch.where(rgb.mean(dim=1) > 0, Tag.SKY.value, Tag.ROAD.value).to(torch.uint8)

    tags = np.full((1, 8, 8), Tag.ROAD, dtype=np.uint8)
    tags[:, :4] = Tag.SKY
    rgb = torch.from_numpy(np.where(tags == Tag.SKY, 0.8, -0.5)).float()[:, None]
    rgb = rgb.expand(1, 3, 8, 8)

    def mean_iou(image: Tensor) -> float:
        return score(confusion(segment(image).numpy(), truth_groups(one_hot(tags)))).mean_iou

    assert mean_iou(rgb) == 1.0
    assert mean_iou(-rgb) == 0.0


def test_exported_segmenters_are_loaded_and_other_files_refused(tmp_path: Path) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x.mean(dim=1, keepdim=True) * k for k in range(20)], dim=1)

    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(Net(), (torch.zeros(1, 3, 8, 16),)), path)
    tags = load_segmenter(path)(torch.ones(1, 3, 8, 16))
    assert tags.dtype == torch.uint8
    assert set(tags.unique().tolist()) == {19}  # tag of the last of the 19 channels that are used
    (tmp_path / "bad.pt2").write_bytes(b"not a program")
    with pytest.raises(ConfigError, match="not a program"):
        load_segmenter(tmp_path / "bad.pt2")
    with pytest.raises(ConfigError, match="no segmenter"):
        load_segmenter(tmp_path / "none.pt2")


# ---- distances of sets


def test_kid_is_zero_for_one_distribution_and_grows_with_the_distance() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 150, 12))
    same = kid(a, b)
    assert same.low < 0.0 < same.high
    assert same.n == 150
    near, far = kid(a, b + 0.5), kid(a, b + 1.0)
    assert same.value < near.value < far.value
    assert near.low > same.high
    assert kid(a, b, seed=3) == kid(a, b, seed=3)
    few = kid(a[:2], b[:2])
    assert few.low <= few.value <= few.high


def test_kid_uses_sets_of_equal_size_and_refuses_bad_input() -> None:
    rng = np.random.default_rng(1)
    assert kid(rng.normal(size=(40, 5)), rng.normal(size=(25, 5))).n == 25
    with pytest.raises(ConfigError, match="at least 2"):
        kid(np.zeros((1, 4)), np.zeros((9, 4)))
    with pytest.raises(ConfigError, match="4 features against 5"):
        kid(np.zeros((9, 4)), np.zeros((9, 5)))


def test_fid_of_known_gaussians() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 4000, 3))
    assert fid(a, b) == pytest.approx(0.0, abs=0.02)
    assert fid(a, b + 2.0) == pytest.approx(12.0, rel=0.05)  # three axes, two apart
    assert fid(a, b * 3.0) == pytest.approx(3 * (3.0 - 1.0) ** 2, rel=0.1)
    with pytest.raises(ConfigError, match="needs more than 3 images"):
        fid(a[:3], b)


# ---- LPIPS


def fake_alexnet(tmp_path: Path) -> tuple[Path, Path]:
    torch.manual_seed(0)
    net, heads = tmp_path / "alex.pth", tmp_path / "heads.pth"
    torch.save(AlexNetFeatures().state_dict(), net)
    torch.save(
        {f"lin{k}.model.1.weight": torch.rand(1, p[0], 1, 1) for k, p in enumerate(ALEXNET_PLAN)},
        heads,
    )
    return net, heads


def test_lpips_is_zero_for_equal_images_and_grows_with_noise(tmp_path: Path) -> None:
    net: Lpips = load_lpips(*fake_alexnet(tmp_path))
    rng = torch.Generator().manual_seed(1)
    rgb = torch.rand(2, 3, 64, 96, generator=rng) * 2 - 1
    noise = torch.randn(rgb.shape, generator=rng)
    with torch.inference_mode():
        assert torch.equal(net(rgb, rgb), torch.zeros(2))
        little = net(rgb, (rgb + 0.1 * noise).clamp(-1, 1))
        much = net(rgb, (rgb + 0.6 * noise).clamp(-1, 1))
    assert (little > 0).all()
    assert (much > little).all()


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    net, heads = fake_alexnet(tmp_path)
    with pytest.raises(ConfigError, match="another network: missing features"):
        load_alexnet(heads)
    with pytest.raises(ConfigError, match="another network: missing lin0"):
        load_lpips(net, net)


# ---- motion


@pytest.fixture(scope="module")
def drive() -> list[SensorFrame]:
    with ToyWorld(160, 80) as world:
        frames = [world.reset(3)]
        frames += [world.step(Control(throttle=1.0)) for _ in range(14)]
    return frames[8:]


def world_texture(view: View, frame: int) -> np.ndarray:
    """An image with texture fixed to the world, as a perfect renderer makes it; actors are grey."""
    assert view.depth_m is not None
    assert view.labels is not None
    x, y, z = np.moveaxis(world_points(view.camera, view.pose, view.depth_m), -1, 0)
    wave = np.sin(1.1 * x) + np.sin(1.3 * y + 1.0) + np.sin(1.7 * z)
    fade = np.exp(-view.depth_m / 40.0)
    grey = np.where(np.isin(view.labels, (Tag.SKY, Tag.CAR)), 120.0, 120.0 + 35.0 * wave * fade)
    return np.repeat(grey[..., None], 3, axis=2)


def consecutive_scores(frames: list[SensorFrame], paint: Paint) -> list[PairScore]:
    """Scores of consecutive frames with the images that `paint` makes."""
    views = []
    for index, frame in enumerate(frames):
        rgb = np.clip(paint(frame.view, index), 0, 255).astype(np.uint8)
        views.append(dataclasses.replace(frame.view, rgb=rgb))
    return [
        compare_views(views[i], views[i - 1], frames[i].actors, frames[i - 1].actors)
        for i in range(1, len(views))
    ]


def mean(scores: list[PairScore], name: str) -> float:
    return float(np.mean([getattr(score, name) for score in scores]))


def unwarped_difference(frames: list[SensorFrame], paint: Paint) -> float:
    """Mean absolute difference of consecutive images at the same pixel."""
    images = [np.clip(paint(frame.view, i), 0, 255) for i, frame in enumerate(frames)]
    return float(np.mean([np.abs(b - a) for a, b in pairwise(images)]))


def test_world_texture_has_a_low_temporal_error(drive: list[SensorFrame]) -> None:
    scores = consecutive_scores(drive, world_texture)
    assert mean(scores, "visible") > 0.7
    assert mean(scores, "error") < 0.35 * unwarped_difference(drive, world_texture)
    assert abs(mean(scores, "ghosting")) < 0.1


def test_flicker_and_shifts_raise_the_temporal_error(drive: list[SensorFrame]) -> None:
    still = mean(consecutive_scores(drive, world_texture), "error")
    rng = np.random.default_rng(0)
    flicker = consecutive_scores(
        drive, lambda v, i: world_texture(v, i) + rng.normal(0, 10, (80, 160, 1))
    )
    shifted = consecutive_scores(
        drive, lambda v, i: np.roll(world_texture(v, i), 5 * (i % 2), axis=1)
    )
    assert mean(flicker, "error") > 2 * still
    assert abs(mean(flicker, "ghosting")) < 0.1
    assert mean(shifted, "error") > 1.5 * still


def test_ghosts_and_static_patterns_raise_ghosting(drive: list[SensorFrame]) -> None:
    steady = mean(consecutive_scores(drive, world_texture), "ghosting")
    last = np.zeros((80, 160, 3))

    def ghost(view: View, index: int) -> np.ndarray:
        nonlocal last
        last = 0.5 * world_texture(view, index) + 0.5 * (
            last if index else world_texture(view, index)
        )
        return last

    pattern = 25.0 * (np.indices((80, 160)).sum(axis=0) % 2 * 2 - 1)[..., None]
    patterned = consecutive_scores(drive, lambda v, i: world_texture(v, i) + pattern)
    assert mean(consecutive_scores(drive, ghost), "ghosting") > steady + 0.2
    assert mean(patterned, "ghosting") > steady + 0.2


def test_blur_lowers_the_high_frequency_energy(drive: list[SensorFrame]) -> None:
    sharp = world_texture(drive[0].view, 0)
    blurred = sum(np.roll(sharp, s, axis=1) for s in range(-3, 4)) / 7.0
    sharp_energy = high_frequency_energy(sharp.astype(np.uint8))
    assert high_frequency_energy(blurred.astype(np.uint8)) < 0.7 * sharp_energy


def test_larger_images_are_compared_at_the_size_of_the_labels(drive: list[SensorFrame]) -> None:
    def big(frame: SensorFrame) -> View:
        rgb = np.clip(world_texture(frame.view, 0), 0, 255).astype(np.uint8)
        return dataclasses.replace(frame.view, rgb=rgb.repeat(2, axis=0).repeat(2, axis=1))

    small = consecutive_scores(drive[:2], world_texture)[0]
    double = compare_views(big(drive[1]), big(drive[0]), drive[1].actors, drive[0].actors)
    assert double.error == pytest.approx(small.error)


def test_changed_colours_show_as_an_error_on_revisits(drive: list[SensorFrame]) -> None:
    first = dataclasses.replace(drive[0].view, rgb=world_texture(drive[0].view, 0).astype(np.uint8))
    drifted = np.clip(world_texture(drive[0].view, 0) + 20.0, 0, 255).astype(np.uint8)
    later = dataclasses.replace(drive[0].view, rgb=drifted)
    assert compare_views(first, first).error < 1e-4
    assert compare_views(later, first).error == pytest.approx(20.0, abs=1.5)


# ---- style


STYLES = [f"style{k}" for k in range(10)]


def street(style: int, rng: np.random.Generator, light: float = 1.0) -> tuple[Tensor, Tensor]:
    """An image whose style is the colour and texture of its buildings, and its multi-hot tags.

    The horizon and the noise differ from image to image.
    """
    horizon = int(rng.integers(24, 40))
    tags = np.full((1, 64, 96), Tag.ROAD, np.uint8)
    tags[:, :horizon] = Tag.BUILDING
    hue = np.array([np.cos(style), np.cos(style + 2.1), np.cos(style + 4.2)])
    wave = np.sin(np.arange(96) * (0.2 + 0.13 * style) + rng.uniform(0, 6))
    walls = 0.25 * hue[:, None, None] + 0.2 * wave
    rgb = np.where(tags == Tag.BUILDING, walls, -0.3) + rng.normal(0, 0.03, (3, 64, 96))
    return torch.from_numpy(light * rgb).float().clamp(-1, 1), one_hot(tags)[0]


def look(net: nn.Module, style: int, rng: np.random.Generator, light: float = 1.0) -> np.ndarray:
    return look_features(net, *street(style, rng, light))


@pytest.fixture(scope="module")
def gallery() -> tuple[AlexNetFeatures, np.ndarray, list[str]]:
    torch.manual_seed(0)
    net = AlexNetFeatures().eval()
    rng = np.random.default_rng(0)
    looks = [look(net, k, rng) for k in range(10) for _ in range(6)]
    return net, np.stack(looks), [name for name in STYLES for _ in range(6)]


def queries(net: nn.Module, paint: Callable[[int], int], light: bool = False) -> Queries:
    """Three label maps in every style k, by a renderer that renders style `paint(k)` instead."""
    looks = [
        look(net, paint(k), np.random.default_rng(100 + m), 0.4 + 0.1 * k if light else 1.0)
        for k in range(10)
        for m in range(3)
    ]
    return Queries(np.stack(looks), [n for n in STYLES for _ in range(3)], [0, 1, 2] * 10)


def test_photographs_and_rendered_images_are_assigned_to_their_style(
    gallery: tuple[AlexNetFeatures, np.ndarray, list[str]],
) -> None:
    net, looks, owners = gallery
    kept, share = recognisable_drives(looks, owners, BLOCKS)
    assert kept == tuple(STYLES)
    assert share >= 0.9
    space = fit_style_space(looks, owners, BLOCKS)
    right = retrieve(space, queries(net, lambda k: k))
    assert (right.styles, right.queries) == (10, 30)
    assert right.accuracy > 0.8
    wrong = retrieve(space, queries(net, lambda k: (k + 3) % 10))
    assert wrong.accuracy < 0.2
    with pytest.raises(ConfigError, match="no photographs of style 'x'"):
        retrieve(space, Queries(looks[:1], ["x"], [0]))


def test_brightness_alone_does_not_help_retrieval(
    gallery: tuple[AlexNetFeatures, np.ndarray, list[str]],
) -> None:
    net, looks, owners = gallery
    space = fit_style_space(looks, owners, BLOCKS)
    one_style = queries(net, lambda k: 4, light=True)
    assert retrieve(space, one_style).accuracy < 0.35  # chance is 0.1
    plain = queries(net, lambda k: k).looks
    lit = queries(net, lambda k: k, light=True).looks
    rest = np.abs(plain - queries(net, lambda k: (k + 1) % 10).looks)
    assert np.nanmean(np.abs(lit - plain)) < 0.2 * np.nanmean(rest)


def test_drives_that_cannot_be_told_apart_are_left_out(
    gallery: tuple[AlexNetFeatures, np.ndarray, list[str]],
) -> None:
    net, looks, owners = gallery
    rng = np.random.default_rng(5)
    mixed = np.stack([look(net, k, rng) for k in (0, 3, 5, 7, 8, 9)])
    everything = np.concatenate([looks, mixed, mixed[::-1]])
    names = [*owners, *["mixed"] * 6, *["mixed too"] * 6]
    kept, share = recognisable_drives(everything, names, BLOCKS)
    assert "mixed" not in kept or "mixed too" not in kept
    assert share >= 0.9
    with pytest.raises(ConfigError, match="at least 10 styles, got 9"):
        recognisable_drives(looks[:54], owners[:54], BLOCKS)


def test_absent_regions_are_ignored(
    gallery: tuple[AlexNetFeatures, np.ndarray, list[str]],
) -> None:
    _, looks, owners = gallery
    assert len(looks[0]) == sum(BLOCKS)
    assert np.isnan(looks).any(axis=0).sum() > 0  # no image has sky
    found = fit_style_space(looks, owners, BLOCKS).offsets(looks)
    assert np.isfinite(found).all()
    some = looks.copy()
    some[::2, -3:] = np.nan
    assert np.isfinite(fit_style_space(some, owners, BLOCKS).offsets(some)).all()


def test_channels_are_normalised() -> None:
    rgb = torch.rand(2, 3, 16, 16) * torch.tensor([0.1, 0.9]).view(2, 1, 1, 1) - 0.5
    even = normalise_channels(rgb, 0.0, 0.25)
    assert torch.allclose(even.mean(dim=(2, 3)), torch.zeros(2, 3), atol=0.02)
    assert torch.allclose(even.std(dim=(2, 3)), torch.full((2, 3), 0.25), atol=0.02)


def test_pooled_features_have_one_number_per_channel() -> None:
    net = AlexNetFeatures().eval()
    assert pooled_features(net, torch.zeros(2, 3, 64, 64)).shape == (2, 64 + 192 + 384 + 512)
