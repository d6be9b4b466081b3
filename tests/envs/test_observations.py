"""Observations: keys, sizes, stacking and latency, with known numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from straight_road import StraightRoadWorld

from sim2street.bridge.frame import (
    ROUTE_POINTS,
    Camera,
    EgoState,
    LightState,
    NextLight,
    SensorFrame,
    View,
    WorldSpec,
)
from sim2street.bridge.labels import Tag, taxonomy_fingerprint
from sim2street.configs import ConfigError, parse
from sim2street.envs.observations import ObservationConfig, Observer
from sim2street.envs.state import ROUTE_FIELDS, STATE_FIELDS, route_vector, state_vector

EGO = EgoState(pose=np.eye(4, dtype=np.float32))
CAMERA = Camera.from_fov(8, 4, 60.0)
SPEC = WorldSpec("made", "1", 0.1, {"front": CAMERA}, frozenset(), taxonomy_fingerprint())


def frame(tick: int, episode: int = 0, rgb: bool = True, speed_mps: float = 0.0) -> SensorFrame:
    """A frame in which every pixel holds the tick."""
    view = View(
        CAMERA,
        EGO.pose,
        np.full((4, 8), tick, np.uint8),
        np.full((4, 8), float(tick), np.float32),
        rgb=np.full((4, 8, 3), tick, np.uint8) if rgb else None,
    )
    ego = dataclasses.replace(EGO, speed_mps=speed_mps)
    return SensorFrame(tick, episode, tick * 0.1, ego, views={"front": view})


def make_observer(**config) -> Observer:
    return Observer(parse(ObservationConfig, config), SPEC)


def test_a_stack_is_oldest_first_and_repeats_the_first_observation() -> None:
    observer = make_observer(keys=["image", "labels", "state"], stack=3)
    space = observer.space
    first = observer.observe(frame(5, speed_mps=2.0))
    second = observer.observe(frame(6, speed_mps=4.0))
    assert space.contains(first)
    assert space.contains(second)
    assert second["image"].shape == (4, 8, 9)
    assert second["image"][0, 0].tolist() == [5, 5, 5, 5, 5, 5, 6, 6, 6]
    assert second["labels"][0, 0].tolist() == [5, 5, 6]
    assert second["state"][[0, 13, 26]].tolist() == pytest.approx([0.1, 0.1, 0.2])
    assert np.array_equal(observer.observe(frame(6))["image"], second["image"]), (
        "the same tick again"
    )
    assert observer.observe(frame(0, episode=1))["labels"][0, 0].tolist() == [0, 0, 0]


def test_latency_delays_images_only() -> None:
    observer = make_observer(keys=["image", "depth_m", "state"], latency_ticks=2)
    seen = []
    for tick in range(5):
        arrays = observer.observe(frame(tick, speed_mps=float(tick)))
        seen.append((int(arrays["image"][0, 0, 0]), float(arrays["depth_m"][0, 0])))
        assert arrays["state"][0] == pytest.approx(tick / 20.0)
    assert seen == [(0, 0.0), (0, 0.0), (0, 0.0), (1, 1.0), (2, 2.0)]


def test_ticks_recorded_but_not_observed_count_for_latency_only() -> None:
    observer = make_observer(keys=["image"], latency_ticks=1, stack=2)
    observer.observe(frame(0))
    observer.record(frame(1))
    observer.record(frame(2))
    assert observer.observe(frame(3))["image"][0, 0].tolist() == [0, 0, 0, 2, 2, 2]


def test_a_tick_without_rgb_repeats_the_last_image() -> None:
    observer = make_observer(keys=["image", "labels"])
    observer.observe(frame(0))
    between = observer.observe(frame(1, rgb=False))
    assert (between["image"][0, 0, 0], between["labels"][0, 0]) == (0, 1)
    unseen = dataclasses.replace(frame(2), views={})
    assert observer.observe(unseen)["labels"][0, 0] == 1
    assert observer.observe(frame(3))["image"][0, 0, 0] == 3


def test_flat_is_one_image_or_all_vectors_joined() -> None:
    picture = make_observer(keys=["image"], flat=True)
    assert picture.space.contains(picture.observe(frame(7)))
    vectors = make_observer(keys=["state", "route"], flat=True, stack=2)
    values = vectors.observe(frame(0, speed_mps=10.0))
    assert values.shape == vectors.space.shape == (2 * (len(STATE_FIELDS) + 2 * ROUTE_POINTS),)
    assert values[0] == pytest.approx(0.5)
    with pytest.raises(ConfigError, match="plain array"):
        make_observer(keys=["image", "state"], flat=True)


def test_downscaled_labels_take_the_middle_or_the_majority() -> None:
    labels = np.full((4, 8), Tag.ROAD, np.uint8)
    labels[1, 1] = Tag.CAR  # the middle of the first 2 x 2 block, one of four
    labels[2:, 6:] = Tag.CAR
    view = View(CAMERA, EGO.pose, labels, rgb=np.zeros((4, 8, 3), np.uint8))
    whole = SensorFrame(0, 0, 0.0, EGO, views={"front": view})
    small = {"downscale": 2}
    nearest = make_observer(keys=["labels"], pictures=small).observe(whole)["labels"]
    assert nearest.tolist() == [[14, 1, 1, 1], [1, 1, 1, 14]]
    most = {**small, "label_filter": "majority"}
    assert make_observer(keys=["labels"], pictures=most).observe(whole)["labels"].tolist() == [
        [1, 1, 1, 1],
        [1, 1, 1, 14],
    ]
    groups = {**most, "label_groups": {"street": ["road"], "traffic": ["car", "bus"]}}
    grouped = make_observer(keys=["labels"], pictures=groups)
    assert grouped.observe(whole)["labels"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 2]]
    hot = make_observer(keys=["labels"], pictures={**groups, "one_hot": True}, flat=True)
    values = hot.observe(whole)
    assert hot.space.contains(values)
    assert values[1].tolist() == [[255, 0], [255, 0], [255, 0], [0, 255]]


def test_downscaled_images_are_means_and_depths_minima() -> None:
    depth_m = np.arange(32, dtype=np.float32).reshape(4, 8)
    rgb = (np.arange(32, dtype=np.uint8) * 2).reshape(4, 8, 1).repeat(3, axis=2)
    view = View(CAMERA, EGO.pose, np.zeros((4, 8), np.uint8), depth_m, rgb=rgb)
    observer = make_observer(keys=["image", "depth_m"], pictures={"downscale": 4})
    arrays = observer.observe(SensorFrame(0, 0, 0.0, EGO, views={"front": view}))
    assert arrays["depth_m"].tolist() == [[0.0, 4.0]]
    assert arrays["image"][0, :, 0].tolist() == [27, 35]


def test_observations_may_be_overwritten() -> None:
    for stack in (1, 2):
        observer = make_observer(keys=["image", "labels", "depth_m", "state", "route"], stack=stack)
        made = frame(3)
        first = observer.observe(made)
        for array in first.values():
            array[...] = 0
        again = observer.observe(made)
        assert again["image"].min() == 3
        assert made.view.rgb is not None
        assert made.view.rgb.min() == 3


def test_a_snapshot_continues_exactly() -> None:
    observer = make_observer(keys=["labels", "state"], stack=2, latency_ticks=1)
    for tick in range(3):
        observer.observe(frame(tick))
    saved = observer.get_state()
    after = observer.observe(frame(3))
    observer.observe(frame(4))
    observer.set_state(saved)
    again = observer.observe(frame(3))
    assert all(np.array_equal(after[key], again[key]) for key in after)


def test_the_route_vector_is_points_over_distance() -> None:
    bend = tuple((5.0 * i, 0.5 * i) for i in range(1, ROUTE_POINTS + 1))
    values = route_vector(dataclasses.replace(EGO, route_ahead_m=bend))
    assert len(values) == len(ROUTE_FIELDS)
    assert values.reshape(-1, 2) == pytest.approx(np.tile([1.0, 0.1], (ROUTE_POINTS, 1)))
    straight = route_vector(EGO).reshape(-1, 2)
    assert straight.tolist() == [[1.0, 0.0]] * ROUTE_POINTS


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"keys": ["image"], "pictures": {"downscale": 3}}, "does not divide"),
        ({"pictures": {"label_groups": {"a": ["cra"]}}}, "did you mean 'car'"),
        ({"pictures": {"downscail": 2}}, "did you mean 'downscale'"),
        ({"keys": []}, "empty"),
    ],
)
def test_bad_configs_are_refused(config, message) -> None:
    with pytest.raises(ConfigError, match=message):
        make_observer(**config)


def test_a_world_without_cameras_has_vector_observations_only() -> None:
    blind = dataclasses.replace(StraightRoadWorld().spec, cameras={})
    Observer(ObservationConfig(keys=("state",)), blind)
    with pytest.raises(ConfigError, match="no camera"):
        Observer(ObservationConfig(keys=("labels",)), blind)


@pytest.mark.parametrize(
    ("light", "told"),
    [
        (None, (0.0, 1.0, 1.0, 0.0)),
        (NextLight(LightState.GREEN, 9.0), (0.0, 0.09, 1.0, 0.0)),
        (NextLight(LightState.YELLOW, 9.0), (1.0, 0.09, 0.45, 36.0 / (2 * 8.0) / 8.0)),
        (NextLight(LightState.RED, 9.0), (1.0, 0.09, 0.45, 36.0 / (2 * 8.0) / 8.0)),
        (NextLight(LightState.RED, 60.0), (1.0, 0.6, 1.0, 36.0 / (2 * 59.0) / 8.0)),
        (NextLight(LightState.RED, 0.5), (1.0, 0.005, 0.025, 1.0)),
    ],
)
def test_the_state_gives_distance_and_braking_for_a_light(light, told) -> None:
    ego = dataclasses.replace(EGO, speed_mps=6.0, next_light=light)
    state = dict(zip(STATE_FIELDS, state_vector(ego).tolist(), strict=True))
    names = [name for name in STATE_FIELDS if "light" in name or "braking" in name]
    assert [state[name] for name in names] == pytest.approx(told)
