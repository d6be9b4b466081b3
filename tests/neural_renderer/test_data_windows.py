"""Facade windows: detected in images, and placed on walls of known geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sim2street.bridge.frame import SKY_DEPTH_M
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.assemble import assemble
from sim2street.neural_renderer.conditions.facade_windows import (
    HEIGHT_M,
    PITCH_M,
    SILL_M,
    place_windows,
)
from sim2street.neural_renderer.conditions.layout import WINDOW, layout, photo_layout
from sim2street.neural_renderer.data.photo_windows import find_windows

WIDTH, HEIGHT, FOCAL = 512, 256, 300.0
CAMERA = (FOCAL, FOCAL, (WIDTH - 1) / 2.0, (HEIGHT - 1) / 2.0)


def pose_at(x_m: float, y_m: float = 0.0) -> np.ndarray:
    """A level camera 1.5 m up that looks along the world's x."""
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    pose[:3, 3] = x_m, y_m, 1.5
    return pose


def rays(pose: np.ndarray) -> np.ndarray:
    """Direction in the world per metre of depth, (H, W, 3)."""
    x = (np.arange(WIDTH) - CAMERA[2]) / FOCAL
    y = (np.arange(HEIGHT) - CAMERA[3]) / FOCAL
    grid = np.stack(np.broadcast_arrays(x[None], y[:, None], np.ones((1, 1))), axis=-1)
    return grid @ pose[:3, :3].T.astype(np.float64)


def plane_view(
    pose: np.ndarray, normal: tuple[float, float, float], offset_m: float
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and depth of the plane normal . p = offset, 6 m high from the ground, and sky."""
    ray = rays(pose)
    facing = ray @ np.array(normal)
    depth = (offset_m - pose[:3, 3] @ np.array(normal)) / np.where(facing == 0, 1e-9, facing)
    up_m = pose[2, 3] + depth * ray[..., 2]
    wall = (depth > 0.5) & (depth < 90.0) & (up_m > 0.0) & (up_m < 6.0)
    labels = np.where(wall, Tag.BUILDING, Tag.SKY).astype(np.uint8)
    return labels, np.where(wall, depth, SKY_DEPTH_M).astype(np.float32)


def in_world(pose: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
    return pose[:3, 3] + rays(pose) * depth_m[..., None]


@pytest.mark.parametrize("turned", [0.0, 0.35, 1.2])
def test_windows_stay_on_the_wall_when_the_camera_moves(turned: float) -> None:
    normal = (float(np.sin(turned)), float(np.cos(turned)), 0.0)
    first, second = pose_at(200.0, 130.0), pose_at(201.7, 129.5)
    offset = float(np.array(normal[:2]) @ first[:2, 3]) + 7.0
    ids = np.full((HEIGHT, WIDTH), 4_000_000_000, np.uint32)
    seen = []
    for pose in (first, second):
        labels, depth = plane_view(pose, normal, offset)
        seen.append((place_windows(labels, ids, depth, CAMERA, pose), in_world(pose, depth), depth))
    windows, points, depth = seen[0]
    near = windows & (depth < 25.0)
    assert 0.05 < near.sum() / (depth < 25.0).sum() < 0.35
    above = points[near][:, 2] % 3.0
    assert above.min() > SILL_M - 0.1
    assert above.max() < SILL_M + HEIGHT_M[1] + 0.1

    # The same places of the wall, looked up in the second picture.
    known = depth < 25.0
    local = (points[known] - second[:3, 3]) @ second[:3, :3]
    column = np.rint(local[:, 0] / local[:, 2] * FOCAL + CAMERA[2]).astype(int)
    row = np.rint(local[:, 1] / local[:, 2] * FOCAL + CAMERA[3]).astype(int)
    shown = (column >= 2) & (column < WIDTH - 2) & (row >= 2) & (row < HEIGHT - 2)
    again = seen[1][0][row[shown], column[shown]]
    assert (windows[known][shown] == again).mean() > 0.96
    assert (windows[known][shown] == np.roll(again, 1)).mean() < 0.99  # it is no constant


def test_distance_between_windows() -> None:
    pose = pose_at(0.0)
    labels, depth = plane_view(pose, (1.0, 0.0, 0.0), 12.0)  # straight ahead
    row = place_windows(labels, None, depth, CAMERA, pose)[HEIGHT // 2 + 2]
    starts_m = np.flatnonzero(np.diff(row.astype(int)) == 1) * 12.0 / FOCAL
    pitches_m = np.diff(starts_m)
    assert len(pitches_m) > 3
    assert np.ptp(pitches_m) < 0.1
    assert PITCH_M[0] - 0.05 < pitches_m.mean() < PITCH_M[1] + 0.05


def test_chimneys_have_no_windows() -> None:
    pose = pose_at(0.0)
    labels, depth = plane_view(pose, (1.0, 0.0, 0.0), 12.0)
    for wide_m, some in ((1.4, False), (6.0, True)):
        half_px = round(wide_m / 2.0 / 12.0 * FOCAL)
        narrow = np.full_like(labels, Tag.SKY)
        columns = slice(WIDTH // 2 - half_px, WIDTH // 2 + half_px)
        narrow[:, columns] = labels[:, columns]
        assert place_windows(narrow, None, depth, CAMERA, pose).any() == some


def test_neighbours_differ_in_their_windows() -> None:
    pose = pose_at(0.0)
    labels, depth = plane_view(pose, (1.0, 0.0, 0.0), 12.0)
    ids = [np.full(labels.shape, number, np.uint32) for number in (5, 6)]
    one, other = (place_windows(labels, number, depth, CAMERA, pose) for number in ids)
    assert (one != other).any()


def test_roofs_and_other_objects_have_no_windows() -> None:
    pose = pose_at(0.0)
    labels, depth = plane_view(pose, (0.7, 0.0, -0.7), 7.0)
    assert (labels == Tag.BUILDING).any()
    assert not place_windows(labels, None, depth, CAMERA, pose).any()
    labels, depth = plane_view(pose, (1.0, 0.0, 0.0), 12.0)
    labels[labels == Tag.BUILDING] = Tag.WALL
    assert not place_windows(labels, None, depth, CAMERA, pose).any()
    labels[labels == Tag.WALL] = Tag.BUILDING
    place_windows(labels, None, 0.0 * depth, CAMERA, pose)  # no depth known: no error


def test_facade_windows_are_detected_in_an_image() -> None:
    rgb = np.full((180, 240, 3), 200, np.uint8)
    building = np.zeros((180, 240), np.bool_)
    building[30:120, 20:200] = True
    rgb[building] = (150, 110, 90)
    painted = np.zeros_like(building)
    for left in range(30, 190, 22):
        for top in (40, 75):
            painted[top : top + 14, left : left + 8] = True
    rgb[painted] = 40
    rgb[100:103, 20:200] = 40  # a plinth: dark, but no window
    rgb[130:150, 50:60] = 40  # dark, off the building
    noise = np.random.default_rng(0).normal(0.0, 2.0, rgb.shape)
    found = find_windows(np.clip(rgb + noise, 0, 255).astype(np.uint8), building)
    assert (found & painted).sum() / (found | painted).sum() > 0.8
    assert not found[98:].any()
    assert not find_windows(rgb, np.zeros_like(building)).any()


def test_windows_do_not_add_edges_to_the_layout() -> None:
    tags = np.full((8, 12), Tag.BUILDING, np.uint8)
    facades = np.ones((8, 12), np.uint8)
    facades[2:5, 3:6] |= WINDOW
    planes = photo_layout(tags, facades)
    assert not planes[:-1].any()
    assert np.array_equal(planes[-1].astype(bool), facades >= WINDOW)
    assert np.array_equal(layout(tags, None, facades >= WINDOW)[-1], planes[-1])
    assert not photo_layout(np.full_like(tags, Tag.SKY), facades).any()


def test_without_depth_the_generator_gets_no_windows() -> None:
    planes = torch.ones(2, 8, 4, 6)
    pose = torch.from_numpy(level_pose()).expand(2, 1, 4, 4)
    x = assemble(
        torch.ones(2, 3, 4, 6), planes, torch.ones(2, 4, 6), torch.ones(2, 4),
        pose, torch.tensor([True, False]), torch.zeros(2, dtype=torch.int64),
    )  # fmt: skip
    assert x.layout[0].all()
    assert x.layout[1, :-1].all()
    assert not x.layout[1, -1].any()
