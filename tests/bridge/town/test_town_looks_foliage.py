"""Outlines of foliage are cut along leaves; nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from street_statistics import foliage_roughness
from town_views import CAMERA, camera_pose

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.camera import leaf_cutting, triangle_table
from sim2street.bridge.town.camera.scene import Scene
from sim2street.bridge.town.plan.layout_generator import make_layout
from sim2street.bridge.town.scenery.meshes import Layer, SceneryItem, mesh
from sim2street.bridge.town.scenery.primitives import box

POSE = camera_pose(0.0, 0.0, 0.0)


def item(tag, low, high):
    return SceneryItem(mesh(box(low, high, bottom=True), tag), Layer.SOLID, low[:2])


@pytest.fixture(scope="module")
def pictures():
    """A plant with a pole before it and a wall behind it, and a trunk; with and without cutting."""
    scene = Scene(
        make_layout(3),
        [
            item(Tag.WALL, (20.0, -30.0, 0.0), (21.0, 30.0, 6.0)),
            item(Tag.VEGETATION, (12.0, -2.5, 0.4), (12.2, 2.5, 3.0)),
            item(Tag.VEGETATION, (12.0, 4.0, 0.0), (12.1, 4.1, 3.0)),
            item(Tag.POLE, (8.0, -2.0, 0.0), (8.1, -1.9, 4.0)),
        ],
    )
    cut = scene.render(CAMERA, POSE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triangle_table, "cut_leaves", lambda *_: None)
        whole = scene.render(CAMERA, POSE)
    again = scene.render(CAMERA, POSE)
    scene.close()
    return cut, whole, again


def test_outlines_become_rough(pictures):
    cut, whole, _ = pictures
    straight, rough = (foliage_roughness([images.labels])[4] for images in (whole, cut))
    assert straight < 1.1
    assert rough > 1.25


def test_what_is_cut_away_shows_what_is_behind(pictures):
    cut, whole, _ = pictures
    changed = cut.labels != whole.labels
    assert changed.any()
    assert (whole.labels[changed] == Tag.VEGETATION).all()
    assert set(np.unique(cut.labels[changed])) <= {Tag.WALL, Tag.SKY}
    on_wall = changed & (cut.labels == Tag.WALL)
    np.testing.assert_allclose(cut.depth_m[on_wall], 20.0, rtol=0.1)  # the camera looks down a bit
    assert (cut.depth_m[changed] > whole.depth_m[changed]).all()
    assert np.array_equal(cut.depth_m[~changed], whole.depth_m[~changed])


def test_cuts_are_at_most_a_few_pixels_deep_and_spare_trunks(pictures):
    cut, whole, _ = pictures
    foliage = whole.labels == Tag.VEGETATION
    inner = foliage.copy()
    for _ in range(leaf_cutting._REACH_PX):
        shrunk = inner.copy()
        shrunk[1:] &= inner[:-1]
        shrunk[:-1] &= inner[1:]
        shrunk[:, 1:] &= inner[:, :-1]
        shrunk[:, :-1] &= inner[:, 1:]
        inner = shrunk
    assert (cut.labels[inner] == Tag.VEGETATION).all()
    trunk = foliage.copy()
    trunk[:, 150:] = False  # it stands to the left of the plant
    assert trunk.sum() > 100
    assert (cut.labels[trunk] == Tag.VEGETATION).mean() > 0.97


def test_the_same_pose_gives_the_same_cuts(pictures):
    cut, _, again = pictures
    for name in ("labels", "depth_m", "instances"):
        assert np.array_equal(getattr(cut, name), getattr(again, name))


def test_the_noise_is_fixed_to_the_world():
    """Points of the world keep their number when the camera moves and turns."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-20.0, 20.0, (3, 500))
    cell_m = np.full(500, 0.05)
    numbers = []
    for pose in (camera_pose(-50.0, 3.0, 0.1), camera_pose(-44.0, -5.0, 0.3)):
        to_world = pose.astype(np.float64)
        local = np.linalg.inv(to_world) @ np.concatenate([points, np.ones((1, 500))])
        rays, z = local[:2] / local[2], local[2]
        numbers.append(leaf_cutting._noise(rays, z, cell_m, to_world))
    assert (numbers[0] == numbers[1]).mean() > 0.99  # all but those on the bounds of a cell
    assert numbers[0].mean() == pytest.approx(0.5, abs=0.05)
