"""Motion and visibility in scenes where every ray can be computed in closed form."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from sim2street.bridge.errors import FrameError
from sim2street.bridge.frame import SKY_DEPTH_M, Actor, Camera, View
from sim2street.bridge.geometry import (
    camera_points,
    inverse_pose,
    motion,
    pixel_rays,
    project,
    visible_before,
    warp,
    world_points,
)

CAMERA = Camera.from_fov(160, 80, 62.0)
BALL = 7
RADIUS_M = 1.5


def camera_pose(x, y, yaw_rad, z=1.5, pitch_rad=0.0):
    """Camera at (x, y, z) that looks along the yaw, `pitch_rad` > 0 downwards."""
    forward = np.array(
        [math.cos(yaw_rad) * math.cos(pitch_rad), math.sin(yaw_rad) * math.cos(pitch_rad),
         -math.sin(pitch_rad)]
    )  # fmt: skip
    right = np.array([math.sin(yaw_rad), -math.cos(yaw_rad), 0.0])
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, np.cross(forward, right), forward
    pose[:3, 3] = x, y, z
    return pose.astype(np.float32)


def ball_actor(x, y, yaw_rad=0.0, actor_id=BALL):
    pose = np.eye(4)
    pose[:2, :2] = [
        [math.cos(yaw_rad), -math.sin(yaw_rad)],
        [math.sin(yaw_rad), math.cos(yaw_rad)],
    ]
    pose[:3, 3] = x, y, RADIUS_M
    return Actor(actor_id, 14, pose.astype(np.float32), (RADIUS_M,) * 3)


def render(pose, ball=None, camera=CAMERA):
    """Ray-cast the ground z = 0, a wall at x = 40 and a ball, labelled with a fixed pattern."""
    rays = pixel_rays(camera).astype(np.float64) @ pose[:3, :3].astype(np.float64).T
    origin = pose[:3, 3].astype(np.float64)
    with np.errstate(divide="ignore"):
        ground = np.where(rays[..., 2] < 0, -origin[2] / rays[..., 2], np.inf)
        wall = np.where(rays[..., 0] > 0, (40.0 - origin[0]) / rays[..., 0], np.inf)
    wall[origin[2] + wall * rays[..., 2] > 6.0] = np.inf  # the wall is 6 m high
    depth = np.minimum(ground, wall)
    instances = np.zeros(depth.shape, np.uint32)
    if ball is not None:
        centre = ball.pose[:3, 3].astype(np.float64) - origin
        a, b = (rays**2).sum(-1), rays @ centre
        root = b**2 - a * (centre @ centre - RADIUS_M**2)
        hit = np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
        instances[(hit < depth) & (hit > 0)] = ball.actor_id
        depth = np.where(instances > 0, hit, depth)
    sky = ~np.isfinite(depth) | (depth >= SKY_DEPTH_M)
    depth[sky] = SKY_DEPTH_M
    points = origin + rays * depth[..., None]
    labels = 1 + ((points // 2.0).astype(int).sum(-1) % 2)
    if ball is not None:
        local = (points - ball.pose[:3, 3]) @ ball.pose[:3, :3].astype(np.float64)
        labels = np.where(instances > 0, 14 + (local[..., 0] > 0), labels)
    labels[sky] = 11
    return View(
        camera, pose, labels.astype(np.uint8), depth.astype(np.float32), instances
    )  # fmt: skip


def interior(labels):
    """Pixels whose 3x3 neighbourhood carries one label."""
    padded = np.pad(labels, 1, mode="edge")
    same = np.ones(labels.shape, bool)
    for dy in range(3):
        for dx in range(3):
            same &= padded[dy : dy + labels.shape[0], dx : dx + labels.shape[1]] == labels
    return same


def agreement(current, previous, now=(), before=(), source_px=None):
    """Share of the visible interior pixels with the same label after warping; and visibility."""
    found = motion(current, previous, now, before)
    visible = visible_before(found, current, previous)
    source_px = found.source_px if source_px is None else source_px
    warped = warp(previous.labels, source_px, nearest=True)
    inside = visible & interior(current.labels)
    inside &= interior(warped)
    assert inside.mean() > 0.2
    return float((warped == current.labels)[inside].mean()), visible


def test_points_project_back_to_their_pixels():
    pose = camera_pose(3.0, -2.0, 0.4, pitch_rad=0.1)
    view = render(pose)
    ground = world_points(CAMERA, pose, view.depth_m)[60:]
    np.testing.assert_allclose(ground[..., 2], 0.0, atol=1e-5)
    pixels = project(CAMERA, camera_points(CAMERA, view.depth_m))
    np.testing.assert_allclose(pixels[..., 0], np.arange(160)[None].repeat(80, 0), atol=1e-3)
    np.testing.assert_allclose(pixels[..., 1], np.arange(80)[:, None].repeat(160, 1), atol=1e-3)


def test_no_motion_is_the_identity_even_far_from_the_origin():
    pose = camera_pose(0.0, 0.0, 0.3)
    view = render(pose)
    far = pose.copy()
    far[:3, 3] += (2000.0, -3000.0, 0.0)
    view = dataclasses.replace(view, pose=far)
    found = motion(view, view)
    expected = project(CAMERA, pixel_rays(CAMERA))
    np.testing.assert_allclose(found.source_px, expected, atol=1e-3)
    assert visible_before(found, view, view).all()


def test_forward_motion_matches_the_closed_form():
    """Driving 1 m towards a wall at z metres: x_prev - c = (x - c) z / (z + 1)."""
    previous, current = render(camera_pose(0, 0, 0)), render(camera_pose(1, 0, 0))
    found = motion(current, previous)
    z = current.depth_m
    solid = z < SKY_DEPTH_M
    x = np.arange(160)[None] - CAMERA.cx_px
    expected = CAMERA.cx_px + x * z / (z + 1)
    np.testing.assert_allclose(found.source_px[..., 0][solid], expected[solid], atol=1e-3)
    np.testing.assert_allclose(found.depth_m[solid], z[solid] + 1, rtol=1e-5)


MOVES = [(1.0, 0.0, 0.0), (0.5, 0.6, 0.0), (0.0, 0.0, 0.12), (1.5, -0.3, -0.08), (-1.0, 0.2, 0.05)]


@pytest.mark.parametrize(("dx", "dy", "dyaw"), MOVES)
def test_warped_labels_agree_in_both_directions(dx, dy, dyaw):
    first = render(camera_pose(0, 0, 0.05))
    second = render(camera_pose(dx, dy, 0.05 + dyaw))
    for current, previous in ((second, first), (first, second)):
        share, visible = agreement(current, previous)
        assert share > 0.995
        assert visible.mean() > 0.5


@pytest.mark.parametrize(("dx", "dy", "dyaw"), MOVES)
def test_a_warp_in_the_wrong_direction_disagrees(dx, dy, dyaw):
    previous = render(camera_pose(0, 0, 0.05))
    current = render(camera_pose(dx, dy, 0.05 + dyaw))
    right = motion(current, previous).source_px
    identity = project(CAMERA, pixel_rays(CAMERA))
    mirrored = 2 * identity - right
    assert agreement(current, previous, source_px=mirrored)[0] < 0.97
    swapped = motion(previous, current).source_px
    assert agreement(current, previous, source_px=swapped)[0] < 0.97


def test_actor_pixels_move_with_the_actor():
    before, now = ball_actor(9.0, 1.0), ball_actor(9.4, -0.2, yaw_rad=0.2)
    previous, current = render(camera_pose(0, 0, 0), before), render(camera_pose(0.4, 0, 0), now)
    on_ball = current.instances == BALL
    found = motion(current, previous, [now], [before])
    expected = np.linalg.inv(previous.pose.astype(float)) @ before.pose @ inverse_pose(now.pose)
    world = world_points(CAMERA, current.pose, current.depth_m)[on_ball]
    points = (world @ expected[:3, :3].T + expected[:3, 3]).astype(np.float32)
    np.testing.assert_allclose(found.source_px[on_ball], project(CAMERA, points), atol=5e-3)
    share, visible = agreement(current, previous, [now], [before])
    assert share > 0.995
    assert visible[on_ball].mean() > 0.8
    frozen = motion(current, previous, [now], [now]).source_px
    warped = warp(previous.labels, frozen, nearest=True)
    assert (warped == current.labels)[on_ball & visible].mean() < 0.9


def test_what_a_moving_ball_uncovers_was_not_visible():
    before, now = ball_actor(9.0, 1.0), ball_actor(9.0, -1.5)
    pose = camera_pose(0, 0, 0)
    previous, current = render(pose, before), render(pose, now)
    found = motion(current, previous, [now], [before])
    visible = visible_before(found, current, previous)
    uncovered = (previous.instances == BALL) & (current.instances == 0)
    assert uncovered.sum() > 200
    assert not visible[uncovered].any()
    assert visible[(previous.instances == 0) & (current.instances == 0)].all()


def test_a_new_actor_was_never_visible():
    pose, ball = camera_pose(0, 0, 0), ball_actor(9.0, 0.0)
    previous, current = render(pose), render(pose, ball)
    visible = visible_before(motion(current, previous, [ball], []), current, previous)
    assert not visible[current.instances == BALL].any()
    assert visible[current.instances == 0].all()


def test_the_sky_moves_with_the_rotation_only():
    previous, current = render(camera_pose(0, 0, 0)), render(camera_pose(5, 0, 0.1))
    found = motion(current, previous)
    sky = current.depth_m >= SKY_DEPTH_M
    turn = motion(dataclasses.replace(current, pose=camera_pose(0, 0, 0.1)), previous)
    np.testing.assert_allclose(found.source_px[sky], turn.source_px[sky], atol=1e-4)
    assert (found.depth_m[sky] == SKY_DEPTH_M).all()


def test_points_behind_the_previous_camera_are_invisible_and_finite():
    previous, current = render(camera_pose(20, 0, 0)), render(camera_pose(0, 0, 0))
    found = motion(current, previous)
    assert np.isfinite(found.source_px).all()
    near = current.depth_m < 15.0
    assert (found.depth_m[near] == 0.0).all()
    assert not visible_before(found, current, previous)[near].any()


def test_views_of_different_sizes_map_onto_each_other():
    small = CAMERA.resized(80, 40)
    previous = render(camera_pose(0, 0, 0), camera=small)
    current = render(camera_pose(0, 0, 0))
    source_px = motion(current, previous).source_px
    np.testing.assert_allclose(source_px[0, 0], (-0.25, -0.25), atol=1e-3)
    np.testing.assert_allclose(source_px[-1, -1], (79.25, 39.25), atol=1e-3)


def test_warp_samples_bilinear_nearest_and_colour():
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    source_px = np.array([[[1.25, 0.5], [9.0, -3.0]]], np.float32)
    np.testing.assert_allclose(warp(image, source_px), [[3.25, 3.0]])
    assert warp(image.astype(np.uint8), source_px, nearest=True).tolist() == [[1, 3]]
    colour = np.stack([image, image + 1], -1)
    np.testing.assert_allclose(warp(colour, source_px)[0, 0], (3.25, 4.25))


def test_motion_without_depth_says_what_to_do():
    view = dataclasses.replace(render(camera_pose(0, 0, 0)), depth_m=None)
    with pytest.raises(FrameError, match="depth camera"):
        motion(view, view)
