"""Rendered images against ray casting in simple scenes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from town_views import body_pose, camera_pose

from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import SKY_DEPTH_M, Actor, Camera, View
from sim2street.bridge.geometry import pixel_rays, world_points
from sim2street.bridge.labels import Tag
from sim2street.bridge.town.actor_models import VEHICLE_MODELS
from sim2street.bridge.town.camera.scene import Scene
from sim2street.bridge.town.plan.layout_generator import make_layout
from sim2street.bridge.town.scenery.meshes import Layer, SceneryItem, mesh
from sim2street.bridge.town.scenery.primitives import box, polygon

CAMERAS = [
    Camera.from_fov(512, 256, 62.0),
    Camera(301, 187, 260.0, 240.0, 140.2, 101.7),  # off-centre, odd sizes
]
GROUND = polygon([(-300, -300), (300, -300), (300, 300), (-300, 300)], 0.0)
WALL_M = (30.0, 6.0)


@pytest.fixture(scope="module")
def scene():
    """Ground, a wall at x = 30 of 6 m height, and a cube of 2 m at (12, 3)."""
    wall = box((WALL_M[0], -50.0, 0.0), (WALL_M[0] + 1, 50.0, WALL_M[1]))
    cube = box((11.0, 2.0, 0.0), (13.0, 4.0, 2.0))
    made = Scene(
        make_layout(3),
        [
            SceneryItem(mesh(GROUND, Tag.ROAD), Layer.ROAD, (0.0, 0.0)),
            SceneryItem(mesh(wall, Tag.BUILDING, 500_000), Layer.SOLID, (30.0, 0.0)),
            SceneryItem(mesh(cube, Tag.STATIC, 500_001), Layer.SOLID, (12.0, 3.0)),
        ],
    )
    yield made
    made.close()


def cast(camera, pose):
    """Depth and tags, each (H, W), of that scene by ray casting."""
    rays = pixel_rays(camera).astype(float) @ pose[:3, :3].astype(float).T
    eye = pose[:3, 3].astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(rays[..., 2] < 0, -eye[2] / rays[..., 2], np.inf)
        wall = (WALL_M[0] - eye[0]) / rays[..., 0]
        wall[(wall <= 0) | (eye[2] + wall * rays[..., 2] > WALL_M[1])] = np.inf
        wall[np.abs(eye[1] + wall * rays[..., 1]) > 50.0] = np.inf
        low = (np.array([11.0, 2.0, 0.0]) - eye) / rays
        high = (np.array([13.0, 4.0, 2.0]) - eye) / rays
    enter = np.minimum(low, high).max(axis=-1)
    leave = np.maximum(low, high).min(axis=-1)
    cube = np.where((enter <= leave) & (enter > 0), enter, np.inf)
    depth = np.minimum(np.minimum(ground, wall), cube)
    tags = np.select(
        [~np.isfinite(depth), depth == cube, depth == wall],
        [int(Tag.SKY), int(Tag.STATIC), int(Tag.BUILDING)],
        int(Tag.ROAD),
    )
    return np.minimum(depth, SKY_DEPTH_M), tags


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("pose", [(0.0, 0.0, 0.1, 1.5, 0.07), (-6.0, 4.0, -0.4, 2.7, -0.1)])
def test_depth_and_labels_match_ray_casting(scene, camera, pose):
    x, y, yaw, z, pitch = pose
    matrix = camera_pose(x, y, yaw, z, pitch)
    seen = scene.render(camera, matrix)
    View(camera, matrix, seen.labels, seen.depth_m, seen.instances).validate()
    depth, tags = cast(camera, matrix)
    same = seen.labels == tags
    assert same.mean() > 0.995  # outlines are off by up to a quarter of a pixel
    near = same & (depth < 250.0)
    # Within a quarter of a pixel of the cube's edges, either of two faces may be drawn.
    exact = np.isclose(seen.depth_m, depth, rtol=2e-5)
    assert exact[near].mean() > 0.9995
    assert exact[near & (tags != Tag.STATIC)].all()
    assert (seen.depth_m[tags == Tag.SKY][seen.labels[tags == Tag.SKY] == Tag.SKY] == 1000).all()
    assert set(np.unique(seen.instances[seen.labels == Tag.BUILDING])) == {500_000}
    assert set(np.unique(seen.instances[seen.labels == Tag.ROAD])) == {0}


def test_outlines_are_not_shifted(scene):
    """The cube's mean position agrees with ray casting, averaged over views."""
    camera = CAMERAS[0]
    offset = np.zeros(2)
    for step in range(12):
        matrix = camera_pose(0.3 * step, 0.17 * step, 0.2 + 0.03 * step)
        cube = scene.render(camera, matrix).labels == Tag.STATIC
        truth = cast(camera, matrix)[1] == Tag.STATIC
        offset += np.mean(np.argwhere(cube), axis=0) - np.mean(np.argwhere(truth), axis=0)
    assert np.abs(offset / 12).max() < 0.12


def test_an_actor_is_drawn_at_its_pose(scene):
    model = VEHICLE_MODELS[1]
    actor = Actor(77, model.tag, body_pose(9.0, -2.0, 0.5), model.extent_m)
    pose = camera_pose(0.0, 0.0, -0.2)
    seen = scene.render(CAMERAS[0], pose, [actor])
    mine = seen.instances == 77
    assert mine.sum() > 2000
    assert (seen.labels[mine] == Tag.CAR).all()
    points = world_points(CAMERAS[0], pose, seen.depth_m)[mine]
    local = (points - actor.pose[:3, 3]) @ actor.pose[:3, :3]
    reach = np.array(model.extent_m[:2]) + np.array([0.02, 0.17])  # mirrors stick out
    assert (np.abs(local[:, :2]) <= reach).all()
    assert local[:, 2].min() > -0.02
    assert local[:, 2].max() < 2 * model.extent_m[2] + 0.02
    gone = scene.render(CAMERAS[0], pose)
    assert not (gone.instances == 77).any()


def test_two_actors_of_one_model_have_their_own_ids(scene):
    model = VEHICLE_MODELS[3]
    pose = camera_pose(0.0, 0.0, 0.0)
    for ids in ((5, 6), (6, 7), (7, 5)):
        actors = [Actor(number, model.tag, body_pose(10.0, side, 0.0), model.extent_m)
                  for number, side in zip(ids, (-2.5, 2.5), strict=True)]  # fmt: skip
        seen = scene.render(CAMERAS[0], pose, actors).instances
        assert np.argwhere(seen == ids[0])[:, 1].min() > 256
        assert np.argwhere(seen == ids[1])[:, 1].max() < 256


def test_depth_of_triangles_that_reach_behind_the_camera():
    """A wall runs past the camera, so that part of its triangles lies behind it."""
    sheet = box((-40.0, 1.0, 0.0), (60.0, 1.2, 3.0))
    scene = Scene(make_layout(3), [SceneryItem(mesh(sheet, Tag.WALL), Layer.SOLID, (0.0, 0.0))])
    camera, pose = CAMERAS[0], camera_pose(0.0, 0.0, 0.3, pitch_rad=0.0)
    seen = scene.render(camera, pose)
    scene.close()
    rays = pixel_rays(camera).astype(float) @ pose[:3, :3].astype(float).T
    on_wall = seen.labels == Tag.WALL
    depth = 1.0 / rays[..., 1][on_wall]
    near = depth < 40
    assert near.mean() > 0.9
    np.testing.assert_allclose(seen.depth_m[on_wall][near], depth[near], rtol=1e-4)


def test_a_closed_scene_cannot_render_and_may_be_closed_again():
    scene = Scene(make_layout(3), [])
    assert (scene.render(CAMERAS[0], camera_pose(0, 0, 0)).labels == Tag.SKY).all()
    scene.close()
    scene.close()
    with pytest.raises(WorldError, match="closed"):
        scene.render(CAMERAS[0], camera_pose(0, 0, 0))


def test_a_camera_rolled_by_half_a_turn(scene):
    """The image is mirrored in both directions."""
    camera = CAMERAS[0]
    pose = camera_pose(0.0, 0.0, 0.1, pitch_rad=0.0)
    rolled = pose.copy()
    rolled[:3, :2] *= -1
    upright, other = scene.render(camera, pose).labels, scene.render(camera, rolled).labels
    assert (upright == other[::-1, ::-1]).mean() > 0.99
    assert math.isclose(np.linalg.det(rolled[:3, :3]), 1.0, abs_tol=1e-5)
