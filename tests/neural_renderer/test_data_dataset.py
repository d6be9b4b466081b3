"""Batches of photographs: shapes, determinism, geometry of the crops, augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from street_photos import LINE_COLUMNS, write_drives

from sim2street.bridge.frame import SKY_DEPTH_M
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError, parse
from sim2street.neural_renderer.data.augment import RoughenConfig, apply_tone, draw_tone, roughen
from sim2street.neural_renderer.data.batch import to_device
from sim2street.neural_renderer.data.crops import (
    MAX_ENLARGEMENT,
    Crop,
    choose_crop,
    crop_camera,
    crop_labels,
    multihot_tags,
)
from sim2street.neural_renderer.data.dataset import (
    PhotoDataset,
    PhotoDatasetConfig,
    resolve_label_sets,
)
from sim2street.neural_renderer.data.photos import PhotoSourceConfig
from sim2street.neural_renderer.data.prefetch import prefetched
from sim2street.neural_renderer.data.prepare import PreparedPhoto, load_photos

SIZE = (64, 32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[PreparedPhoto]:
    root: Path = write_drives(tmp_path_factory.mktemp("street"))
    return load_photos(PhotoSourceConfig(name="demo", root=root, layout="camvid", fov_deg=58.0))


def make(photos: list[PreparedPhoto], **more: object) -> PhotoDataset:
    config = parse(PhotoDatasetConfig, {"size_px": SIZE, "exemplars": 2, **more})
    return PhotoDataset(config, {"demo": photos}, seed=5)


def test_shapes_types_and_ranges(photos: list[PreparedPhoto]) -> None:
    batch = to_device(make(photos).batch(3, 4), "cpu")
    b, (w, h) = 4, SIZE
    assert batch.rgb.shape == (b, 3, h, w)
    assert batch.rgb.dtype == torch.float32
    assert batch.rgb.min() >= -1.0
    assert batch.rgb.max() <= 1.0
    assert batch.tags.shape == (b, 29, h, w)
    assert batch.tags.dtype == torch.uint8
    assert (batch.tags.sum(dim=1) >= 1).all()
    assert batch.depth_m.shape == batch.valid.shape == (b, 1, h, w)
    assert (batch.depth_m > 0).all()
    assert (batch.depth_m <= SKY_DEPTH_M).all()
    assert batch.exemplar_rgb.shape == (b, 2, 3, h, w)
    assert batch.exemplar_tags.shape == (b, 2, 29, h, w)
    assert batch.camera.shape == (b, 4)
    assert batch.pose.shape == (b, 4, 4)
    assert len(batch.drives) == b
    sky = batch.tags[:, Tag.SKY : Tag.SKY + 1].bool()
    assert (batch.depth_m[sky] == SKY_DEPTH_M).float().mean() > 0.9


def test_a_batch_depends_on_seed_and_step_only(photos: list[PreparedPhoto]) -> None:
    dataset = make(photos)
    first = dataset.batch(8, 3)
    dataset.batch(9, 2)
    again = make(photos).batch(8, 3)
    for name in ("rgb", "tags", "depth_m", "exemplar_rgb", "pose", "has_depth"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
    assert not torch.equal(first.rgb, dataset.batch(9, 3).rgb)


def test_exemplars_are_other_photographs_of_the_same_drive(photos: list[PreparedPhoto]) -> None:
    dataset = make(photos, tone=0.0)
    brighter = [
        p if p.drive == "demo/a" else PreparedPhoto(**{**_fields(p), "rgb": p.rgb // 2 + 127})
        for p in photos
    ]
    dataset = PhotoDataset(dataset.config, {"demo": brighter}, seed=5)
    for step in range(6):
        batch = dataset.batch(step, 1)
        bright = batch.drives[0] == "demo/b"
        assert (batch.exemplar_rgb.min() > -0.1) == bright
        assert (batch.rgb.min() > -0.1) == bright


def test_weights_select_sources_and_unknown_sources_are_an_error(
    photos: list[PreparedPhoto],
) -> None:
    dataset = PhotoDataset(
        PhotoDatasetConfig(size_px=SIZE), {"one": photos[:2], "two": photos[2:]}, seed=1
    )
    assert {d for s in range(4) for d in dataset.batch(s, 2, {"two": 1.0}).drives} == {"demo/b"}
    with pytest.raises(ConfigError, match="no photo source 'tow'; did you mean 'two'"):
        dataset.batch(0, 1, {"tow": 1.0})
    with pytest.raises(ConfigError, match="more than 0"):
        dataset.batch(0, 1, {"two": 0.0})
    with pytest.raises(ConfigError, match="at least one source"):
        PhotoDataset(PhotoDatasetConfig(), {}, seed=1)


def test_the_horizon_lies_where_a_driving_camera_has_it(photos: list[PreparedPhoto]) -> None:
    batch = make(photos, roughen=None).batch(1, 12)
    horizon = (batch.camera[:, 3] + 0.5) / SIZE[1]
    assert (horizon > 0.3).all()
    assert (horizon < 0.55).all()


def test_crops_are_not_enlarged_more_than_the_limit(
    photos: list[PreparedPhoto],
) -> None:
    config = parse(PhotoDatasetConfig, {"size_px": [128, 64], "zoom": [0.1, 0.2]})
    crops = [choose_crop(photos[0], config, np.random.default_rng(i)) for i in range(20)]
    assert {crop.width for crop in crops} == {round(128 / MAX_ENLARGEMENT)}
    larger = config.model_copy(update={"size_px": (512, 256)})
    assert choose_crop(photos[0], larger, np.random.default_rng(1)).width == photos[0].ids.shape[1]
    few = config.model_copy(update={"size_px": (16, 8)})
    assert choose_crop(photos[0], few, np.random.default_rng(1)).width <= 0.2 * 240


def test_depth_and_camera_of_a_crop_agree(photos: list[PreparedPhoto]) -> None:
    """Ground points, unprojected with the crop's camera and pose, lie on z = 0."""
    batch = make(photos, roughen=None, zoom=[0.6, 0.9]).batch(2, 4)
    fx, fy, cx, cy = batch.camera.unbind(1)
    v, u = torch.meshgrid(torch.arange(32.0), torch.arange(64.0), indexing="ij")
    z = batch.depth_m[:, 0]
    x = (u - cx.view(-1, 1, 1)) / fx.view(-1, 1, 1) * z
    y = (v - cy.view(-1, 1, 1)) / fy.view(-1, 1, 1) * z
    points = torch.stack([x, y, z, torch.ones_like(z)], dim=-1)
    world = torch.einsum("bij,bhwj->bhwi", batch.pose, points)
    near_road = (batch.tags[:, Tag.ROAD] == 1) & (z < 12.0)
    assert near_road.sum() > 200
    assert world[..., 2][near_road].abs().median() < 0.05
    assert world[..., 2][near_road].abs().max() < 0.2


def test_a_mirrored_crop_is_the_mirror_of_the_crop(photos: list[PreparedPhoto]) -> None:
    photo = photos[0]
    rng = np.random.default_rng(0)
    window = {"top": 30, "left": 20, "height": 64, "width": 128}
    plain = crop_labels(photo, Crop(**window, flip=False), SIZE, rng, None)
    mirrored = crop_labels(photo, Crop(**window, flip=True), SIZE, rng, None)
    assert np.array_equal(mirrored.ids, plain.ids[:, ::-1])
    fx, _, cx, _ = crop_camera(photo, Crop(**window, flip=False), SIZE).tolist()
    fx_mirrored, _, cx_mirrored, _ = crop_camera(photo, Crop(**window, flip=True), SIZE).tolist()
    assert fx == fx_mirrored
    assert cx + cx_mirrored == pytest.approx(SIZE[0] - 1)


def test_thin_objects_survive_reduction(photos: list[PreparedPhoto]) -> None:
    photo = photos[0]
    ids = photo.ids.copy()
    ids[20:90, 100] = 2  # a pole, one pixel wide
    thin = PreparedPhoto(**{**_fields(photo), "ids": ids})
    full = Crop(20, 0, 120, 240, False)
    small = crop_labels(thin, full, (120, 60), np.random.default_rng(0), None)
    assert (small.ids[2:34] == 2).any(axis=1).all()
    assert LINE_COLUMNS.start > 100  # the pole does not cover the lane marking


def test_multihot_tags_follow_the_label_sets() -> None:
    sets = np.zeros((256, 29), dtype=np.uint8)
    sets[7, [3, 9]] = 1
    sets[0, 11] = 1
    hot = multihot_tags(np.array([[7, 0]], dtype=np.uint8), sets)
    assert hot.shape == (29, 1, 2)
    assert hot[:, 0, 0].nonzero().flatten().tolist() == [3, 9]
    assert hot[:, 0, 1].nonzero().flatten().tolist() == [11]


def test_label_sets_are_resolved_to_single_members(photos: list[PreparedPhoto]) -> None:
    building = [Tag.BUILDING, Tag.WALL, Tag.BRIDGE]
    whole = make(photos, single_tag=0.0, roughen=None).batch(0, 8).tags[:, building].sum(1)
    assert set(whole.unique().tolist()) == {0, 3}
    single = make(photos, single_tag=1.0, roughen=None).batch(0, 8).tags[:, building].sum(1)
    assert set(single.unique().tolist()) == {0, 1}


def test_label_sets_are_not_resolved_to_thinner_tags(photos: list[PreparedPhoto]) -> None:
    """A label for cars or bicycles becomes car; one for people or riders becomes either."""
    sets = photos[0].sets.copy()
    sets[8] = sets[9] = 0
    sets[8, [Tag.CAR, Tag.TRUCK, Tag.BICYCLE]] = sets[9, [Tag.PEDESTRIAN, Tag.RIDER]] = 1
    mixed = PreparedPhoto(**{**_fields(photos[0]), "sets": sets})
    assert mixed.primary[8] == Tag.CAR
    assert mixed.primary[9] == Tag.PEDESTRIAN
    drawn = [resolve_label_sets(mixed, np.random.default_rng(i), 1.0) for i in range(200)]
    shares = np.mean(drawn, axis=0)
    assert set(np.flatnonzero(shares[8])) == {Tag.CAR, Tag.TRUCK}
    assert shares[8, Tag.CAR] == pytest.approx(0.85, abs=0.08)
    assert set(np.flatnonzero(shares[9])) == {Tag.PEDESTRIAN, Tag.RIDER}


def test_crops_are_moved_to_rare_objects(photos: list[PreparedPhoto]) -> None:
    """A sign at the left edge of one photograph of the second drive, at the horizon."""
    ids = photos[-1].ids.copy()
    ids[60:90, 2:32] = 6
    posted = PreparedPhoto(**{**_fields(photos[-1]), "ids": ids})
    shown = [*photos[:-1], posted]
    few: dict[str, object] = {"zoom": [0.3, 0.5], "roughen": None, "flip": False}
    signs = {}
    for share in (0.0, 0.5, 1.0):
        dataset = make(shown, rare_share=share, **few)
        batch = dataset.batch(3, 60)
        signs[share] = float(batch.tags[:, Tag.TRAFFIC_SIGN].flatten(1).any(dim=1).float().mean())
        assert torch.equal(batch.rgb, make(shown, rare_share=share, **few).batch(3, 60).rgb)
    assert signs[0.0] < 0.25
    assert 0.3 < signs[0.5] < 0.7
    assert signs[1.0] == 1.0
    sources = {"one": photos[:2], "two": [posted]}
    split = PhotoDataset(make(shown, rare_share=1.0, **few).config, sources, seed=1)
    assert set(split.batch(0, 8, {"one": 1.0}).drives) == {photos[0].drive}


def test_tone_changes_brightness_and_can_be_switched_off(photos: list[PreparedPhoto]) -> None:
    rgb = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    assert np.array_equal(apply_tone(rgb, None), rgb)
    assert draw_tone(np.random.default_rng(0), 0.0) is None
    tones = [draw_tone(np.random.default_rng(seed), 1.0) for seed in range(40)]
    means = [float(apply_tone(rgb, tone).mean()) for tone in tones]
    assert np.std(means) > 0.05
    assert all(tone is None or np.isfinite(apply_tone(rgb, tone)).all() for tone in tones)
    plain = make(photos, tone=0.0, roughen=None)
    strong = make(photos, tone=2.0, roughen=None)
    for step in range(4):
        a, b = plain.batch(step, 1), strong.batch(step, 1)
        assert a.rgb.shape == b.rgb.shape


def test_roughening_rounds_outlines_and_closes_gaps_in_trees() -> None:
    primary = np.arange(256, dtype=np.uint8) % 29
    ids = np.full((64, 128), Tag.SKY, dtype=np.uint8)
    ids[:, 64:] = Tag.BUILDING
    ids[::3, 64] = Tag.SKY  # a ragged outline
    ids[10:40, 10:40] = Tag.VEGETATION
    ids[20:23, 20:23] = Tag.SKY  # sky between leaves
    ids[:, 50] = Tag.POLE
    config = RoughenConfig(smooth_px=8, merge_trees_px=8, drop={})
    rough = [roughen(ids, primary, np.random.default_rng(s), config) for s in range(8)]
    assert all((r[:, 50] == Tag.POLE).all() for r in rough)
    assert any((r[20:23, 20:23] == Tag.VEGETATION).all() for r in rough)
    assert any(len(np.unique(r[8:56, 64])) == 1 for r in rough)
    lost = roughen(ids, primary, np.random.default_rng(0), RoughenConfig(drop={"POLE": 1.0}))
    assert not (lost == Tag.POLE).any()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12, pytest's threads
@pytest.mark.parametrize("workers", [0, 2])
def test_prefetched_batches_are_the_same_in_the_same_order(
    photos: list[PreparedPhoto], workers: int
) -> None:
    dataset = make(photos)
    ahead = list(prefetched(lambda step: dataset.batch(step, 2), 3, 6, workers))
    assert len(ahead) == 3
    for step, batch in zip(range(3, 6), ahead, strict=True):
        assert torch.equal(batch.rgb, dataset.batch(step, 2).rgb)
        assert batch.drives == dataset.batch(step, 2).drives


def _fields(photo: PreparedPhoto) -> dict[str, object]:
    return {name: getattr(photo, name) for name in PreparedPhoto.__slots__}
