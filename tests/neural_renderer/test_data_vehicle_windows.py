"""Vehicle windows: detected in images, and placed by depth."""

from __future__ import annotations

import numpy as np
import pytest

from sim2street.bridge.frame import SKY_DEPTH_M
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.layout import WINDOW, photo_layout
from sim2street.neural_renderer.conditions.vehicle_windows import BAND, place_panes
from sim2street.neural_renderer.data.photo_vehicle_windows import find_panes

WIDTH, HEIGHT, FOCAL = 512, 256, 300.0
CAMERA = (FOCAL, FOCAL, (WIDTH - 1) / 2.0, (HEIGHT - 1) / 2.0)
CAMERA_M, ROOF_M = 1.5, 1.4


def box_car(near_m: float, left_m: float, tag: Tag = Tag.CAR) -> tuple[np.ndarray, np.ndarray]:
    """Labels and depth of a box 1.8 m wide and 4 m long: its back, and its right side."""
    x = ((np.arange(WIDTH) - CAMERA[2]) / FOCAL)[None]
    y = ((np.arange(HEIGHT) - CAMERA[3]) / FOCAL)[:, None]
    depth = np.full((HEIGHT, WIDTH), np.inf)
    right_m = left_m + 1.8
    back = (x * near_m > left_m) & (x * near_m < right_m)
    flank_m = right_m / np.where(x == 0, 1e-9, x)
    flank = (flank_m >= near_m) & (flank_m < near_m + 4.0)
    for where, at_m in ((flank, flank_m), (back, np.full_like(x, near_m))):
        up_m = CAMERA_M - y * at_m
        depth = np.where(where & (up_m > 0.0) & (up_m < ROOF_M), at_m, depth)
    car = np.isfinite(depth)
    labels = np.where(car, tag, Tag.SKY).astype(np.uint8)
    return labels, np.where(car, depth, SKY_DEPTH_M).astype(np.float32)


def up_m(depth_m: np.ndarray) -> np.ndarray:
    y = ((np.arange(HEIGHT) - CAMERA[3]) / FOCAL)[:, None]
    return CAMERA_M - y * depth_m


@pytest.mark.parametrize("near_m", [3.0, 6.0])
def test_windows_are_a_band_below_the_roof_at_the_back_and_the_side(near_m: float) -> None:
    labels, depth = box_car(near_m, -3.5)
    ids = np.where(labels == Tag.CAR, 7, 0).astype(np.uint32)
    panes = place_panes(labels, ids, depth, CAMERA, level_pose(CAMERA_M))
    high = up_m(depth)[panes] / ROOF_M
    assert BAND[0] - 0.03 < high.min() < BAND[0] + 0.05
    assert BAND[1] - 0.05 < high.max() < BAND[1] + 0.03
    for side in (depth < near_m + 0.01, (depth > near_m + 0.01) & (depth < near_m + 3.0)):
        band = side & (labels == Tag.CAR) & (abs(up_m(depth) / ROOF_M - 0.76) < 0.1)
        assert panes[band].mean() > 0.6
    corner = round(-1.7 / near_m * FOCAL + CAMERA[2])
    assert not panes[:, corner - 1 : corner + 2].any()  # a pillar


def test_windows_do_not_move_when_the_image_cuts_off_the_wheels() -> None:
    labels, depth = box_car(3.0, -2.5)
    whole = place_panes(labels, None, depth, CAMERA, level_pose(CAMERA_M))
    bottom = np.flatnonzero((labels == Tag.CAR).any(axis=1))[-1] - 25
    cut = place_panes(labels[:bottom], None, depth[:bottom], CAMERA, level_pose(CAMERA_M))
    both = whole[:bottom]
    assert (cut & both).sum() / (cut | both).sum() > 0.75


def test_each_vehicle_has_its_own_roof_and_only_some_have_windows() -> None:
    labels, depth = box_car(3.0, -2.5)
    far, far_depth = box_car(9.0, 1.0)
    both = np.where(far == Tag.CAR, far, labels)
    both_depth = np.where(far == Tag.CAR, far_depth, depth)
    pose = level_pose(CAMERA_M)
    ids = (np.where(far == Tag.CAR, 9, 0) + np.where(labels == Tag.CAR, 4, 0)).astype(np.uint32)
    together = place_panes(both, ids, both_depth, CAMERA, pose)
    apart = [
        place_panes(tags, None, d, CAMERA, pose) for tags, d in ((labels, depth), (far, far_depth))
    ]
    assert apart[1].any()
    assert np.array_equal(together, apart[0] | apart[1])
    for tag, some in ((Tag.TRUCK, False), (Tag.BUS, True), (Tag.BUILDING, False)):
        labels, depth = box_car(3.0, -2.5, tag)
        assert place_panes(labels, None, depth, CAMERA, pose).any() == some
    place_panes(both, ids, 0.0 * both_depth, CAMERA, pose)  # no depth known: no error


def test_vehicle_windows_are_detected_in_an_image() -> None:
    tags = np.full((180, 240), Tag.ROAD, np.uint8)
    rgb = np.full((180, 240, 3), 90, np.uint8)
    painted = np.zeros(tags.shape, np.bool_)
    for left, body in ((10, 180), (90, 120), (170, 30)):
        tags[80:140, left : left + 60] = Tag.CAR
        rgb[80:140, left : left + 60] = body
        rgb[125:140, left + 5 : left + 15] = 15  # a tyre is dark too
        painted[88:106, left + 6 : left + 54] = body > 50  # black on black is not seen
    rgb[painted] = 35
    noise = np.random.default_rng(0).normal(0.0, 2.0, rgb.shape)
    rgb = np.clip(rgb + noise, 0, 255).astype(np.uint8)
    found = find_panes(rgb, tags)
    assert (found & painted).sum() / (found | painted).sum() > 0.8
    assert not find_panes(rgb, np.where(tags == Tag.CAR, Tag.TRUCK, tags)).any()


def test_vehicle_windows_do_not_count_as_facades() -> None:
    tags = np.full((8, 12), Tag.CAR, np.uint8)
    facades = np.zeros((8, 12), np.uint8)
    facades[2:5, 3:6] = WINDOW
    planes = photo_layout(tags, facades)
    assert not planes[0].any()
    assert np.array_equal(planes[-1].astype(bool), facades >= WINDOW)
