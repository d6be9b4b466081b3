"""Lane markings, pseudo-depth, facades and layout planes, on a synthetic street."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from street_photos import (
    BUILDING,
    HEIGHT,
    HORIZON,
    LINE_COLUMNS,
    ROAD,
    WIDTH,
    painted_street,
    write_drives,
)

from sim2street.bridge.frame import SKY_DEPTH_M
from sim2street.bridge.label_maps import label_map
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.layout import (
    POSITION_CHANNELS,
    boundaries,
    fill_positions,
    layout,
)
from sim2street.neural_renderer.conditions.pseudo_depth import (
    GroundCamera,
    estimate_horizon,
    pseudo_depth,
)
from sim2street.neural_renderer.data.photo_cache import load_cached_photos
from sim2street.neural_renderer.data.photo_facades import facade_edges, split_facades
from sim2street.neural_renderer.data.photos import PhotoSourceConfig, list_photos
from sim2street.neural_renderer.data.prepare import LINE_CODE, PreparedPhoto, load_photos
from sim2street.neural_renderer.data.road_lines import find_road_lines
from sim2street.neural_renderer.networks.interface import LAYOUT_CHANNELS

CAMERA = GroundCamera(focal_px=220.0, horizon_px=float(HORIZON), height_m=1.4)


def tags() -> np.ndarray:
    return label_map("camvid11").primary[painted_street()[1]]


def test_only_the_painted_line_is_detected() -> None:
    rgb, ids = painted_street()
    lines = find_road_lines(rgb, ids == ROAD, HORIZON, 1.4)
    truth = np.zeros_like(lines)
    truth[110:, LINE_COLUMNS] = True
    assert (lines & truth).sum() > 0.9 * truth.sum()
    assert (lines & ~truth).sum() < 0.1 * truth.sum()


def test_a_wide_bright_patch_is_no_lane_marking() -> None:
    rgb, ids = painted_street()
    rgb[140:170, 20:60] = 230  # 1 m wide at this distance: no brush is
    lines = find_road_lines(rgb, ids == ROAD, HORIZON, 1.4)
    assert not lines[145:165, 25:55].any()
    assert lines[120:, LINE_COLUMNS].mean() > 0.8


def test_ground_is_a_plane_and_objects_stand_on_it() -> None:
    depth = pseudo_depth(tags(), CAMERA)
    assert depth.dtype == np.float32
    row = 150
    assert depth[row, 10] == pytest.approx(220.0 * 1.4 / (row - HORIZON), rel=1e-4)
    car_foot = HORIZON + 29
    assert np.allclose(depth[HORIZON + 4 : car_foot, 145:165], 220.0 * 1.4 / 29, rtol=0.05)
    assert (depth[tags() == Tag.SKY] == SKY_DEPTH_M).all()
    assert depth.max() == SKY_DEPTH_M
    assert np.isfinite(depth).all()


def test_depth_of_a_facade_along_the_street_grows_with_distance() -> None:
    street = np.full((HEIGHT, WIDTH), Tag.SKY, dtype=np.uint8)
    rows = np.arange(HEIGHT)[:, None]
    foot = HORIZON + 60 - np.arange(WIDTH) // 3  # nearer on the left
    street[rows > foot] = Tag.ROAD
    street[(rows <= foot) & (rows > 20)] = Tag.BUILDING
    depth = pseudo_depth(street, CAMERA)
    wall = depth[30, 30:150]
    expected = 220.0 * 1.4 / (foot[30:150] - HORIZON)
    assert (np.diff(wall) >= 0).all()
    assert np.median(np.abs(wall / expected - 1.0)) < 0.1


def test_a_row_of_cars_has_more_than_one_depth() -> None:
    street = np.full((HEIGHT, WIDTH), Tag.SKY, dtype=np.uint8)
    street[HORIZON:] = Tag.ROAD
    for left, foot in ((0, HORIZON + 80), (40, HORIZON + 40), (80, HORIZON + 20)):
        street[HORIZON - 10 : foot, left : left + 42] = Tag.CAR
    depth = pseudo_depth(street, CAMERA)
    assert depth[HORIZON, 100] > 2.0 * depth[HORIZON, 10]


def test_the_horizon_is_estimated_from_the_road() -> None:
    found = estimate_horizon(tags())
    assert found == pytest.approx(HORIZON / HEIGHT, abs=0.02)
    assert estimate_horizon(np.full((HEIGHT, WIDTH), Tag.SKY, np.uint8)) is None


def test_facades_are_split_where_the_colour_changes() -> None:
    rgb, ids = painted_street()
    (edge,) = facade_edges(rgb, ids == BUILDING)
    assert abs(edge - 45) <= 3
    numbers = split_facades(rgb, ids == BUILDING)
    assert set(np.unique(numbers)) == {0, 1, 2}
    assert (numbers[ids != BUILDING] == 0).all()
    rgb[ids == BUILDING] = 120
    assert facade_edges(rgb, ids == BUILDING) == []


def test_boundaries_separate_tags_and_instances_but_not_markings() -> None:
    labels = np.full((4, 6), Tag.BUILDING, dtype=np.uint8)
    labels[3] = Tag.ROAD
    labels[3, 2] = Tag.ROAD_LINES
    assert boundaries(labels).tolist() == [[0] * 6, [0] * 6, [1] * 6, [0] * 6]
    instances = np.zeros((4, 6), dtype=np.uint32)
    instances[:3, 3:] = 70000
    edges = boundaries(labels, instances)
    assert edges[:3, 2].all()
    assert edges.sum() == 3 + 6 - 1


def places(labels: np.ndarray, instances: np.ndarray | None = None) -> np.ndarray:
    planes = np.zeros((POSITION_CHANNELS, *labels.shape), np.float32)
    fill_positions(planes, labels, instances)
    return planes


def test_positions_in_objects_with_and_without_instances() -> None:
    labels = np.full((8, 12), Tag.ROAD, dtype=np.uint8)
    labels[2:6, 1:9] = Tag.CAR
    labels[0:2, 10] = Tag.PEDESTRIAN
    apart = places(labels)
    assert (apart[:, labels == Tag.ROAD] == 0).all()
    u, v, cos_u, cos_v, width, height = apart[:, 2:6, 1:9]
    assert np.allclose(u, np.linspace(-7 / 8, 7 / 8, 8)[None])
    assert np.allclose(v, np.linspace(-3 / 4, 3 / 4, 4)[:, None])
    assert np.allclose(cos_u, np.cos(np.pi * (u + 1)), atol=1e-6)
    assert np.allclose(cos_v, np.cos(np.pi * (v + 1)), atol=1e-6)
    assert np.allclose((width, height), [[[8 / 12]], [[4 / 8]]])
    assert np.allclose(apart[4:, 0, 10], [1 / 12, 2 / 8])

    # Two cars that touch, one of them seen on both sides of a pole; instances tell.
    labels[2:6, 3] = Tag.POLE
    instances = np.zeros(labels.shape, dtype=np.uint32)
    instances[2:6, 1:6] = 70001
    instances[2:6, 6:9] = 70002
    told = places(labels, instances)
    assert np.allclose(told[4, 3, [1, 2, 4, 5]], 5 / 12)
    assert np.allclose(told[4, 3, 6:9], 3 / 12)
    assert (told[:, 2:6, 3] == 0).all()
    assert np.allclose(told[:, 0:2, 10], apart[:, 0:2, 10])  # no instance: by connection
    guessed = places(labels)
    assert np.allclose(guessed[4, 3, [1, 2]], 2 / 12)
    assert np.allclose(guessed[4, 3, 4:9], 5 / 12)


def test_layout_planes_are_boundaries_then_positions() -> None:
    labels = np.full((4, 6), Tag.SKY, dtype=np.uint8)
    assert not layout(labels).any()
    labels[1:3, 2:5] = Tag.BUS
    planes = layout(labels)
    assert planes.shape == (LAYOUT_CHANNELS, 4, 6)
    assert np.array_equal(planes[0], boundaries(labels))
    assert np.array_equal(planes[1:-1], places(labels))
    assert planes[1:].any()


def test_prepared_photos(tmp_path: Path) -> None:
    config = PhotoSourceConfig(name="demo", root=write_drives(tmp_path), layout="camvid")
    photos = load_photos(config)
    assert [photo.drive for photo in photos] == ["demo/a", "demo/a", "demo/b", "demo/b"]
    photo = photos[0]
    assert photo.camera.horizon_px / HEIGHT == pytest.approx(HORIZON / HEIGHT, abs=0.02)
    assert photo.depth_m.dtype == np.float16
    assert np.flatnonzero(photo.sets[LINE_CODE]).tolist() == [Tag.ROAD_LINES]
    assert (photo.tags[130:, LINE_COLUMNS] == Tag.ROAD_LINES).mean() > 0.8
    assert photo.facades.max() == 2
    plain = load_photos(config.model_copy(update={"find_lines": False, "horizon": 0.4}))[0]
    assert LINE_CODE not in plain.ids
    assert plain.camera.horizon_px == pytest.approx(0.4 * HEIGHT)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12, pytest's threads
def test_workers_give_the_same_result(tmp_path: Path) -> None:
    config = PhotoSourceConfig(name="demo", root=write_drives(tmp_path), layout="camvid")
    for alone, shared in zip(load_photos(config), load_photos(config, workers=2), strict=True):
        assert np.array_equal(alone.ids, shared.ids)
        assert np.array_equal(alone.depth_m, shared.depth_m)
        assert alone.drive == shared.drive


def test_the_cache_is_used_until_something_changes(tmp_path: Path) -> None:
    config = PhotoSourceConfig(
        name="demo", root=write_drives(tmp_path / "data"), layout="camvid", drives=("a",)
    )
    folder = tmp_path / "cache"
    items = list_photos(config)
    first = load_cached_photos(config, items, folder)
    (path,) = folder.iterdir()
    written_ns = path.stat().st_mtime_ns
    for made, kept in zip(first, load_cached_photos(config, items, folder), strict=True):
        for name in PreparedPhoto.__slots__:
            assert np.array_equal(getattr(made, name), getattr(kept, name)), name
    assert path.stat().st_mtime_ns == written_ns
    path.write_bytes(path.read_bytes()[:1000])  # a full disk
    assert len(load_cached_photos(config, items, folder)) == 2
    assert path.stat().st_size > 1000
    other = config.model_copy(update={"horizon": 0.4})
    load_cached_photos(other, items, folder)
    assert len(list(folder.iterdir())) == 2
