"""`Scene`: reproducible images, culling, reuse of meshes, and well-formed scenery."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from town_views import CAMERA, camera_pose, crowd, lane_spots

from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import Camera
from sim2street.bridge.labels import Tag
from sim2street.bridge.town.actor_models import ACTOR_MODELS, model_for
from sim2street.bridge.town.camera.scene import Scene
from sim2street.bridge.town.plan.layout import FIRST_SCENERY_ID
from sim2street.bridge.town.plan.layout_generator import make_layout
from sim2street.bridge.town.scenery.actor_meshes import actor_levels
from sim2street.bridge.town.scenery.build import scenery_items

TOWN = 7

DIGEST = """
import hashlib, sys
sys.path.insert(0, {folder!r})
from test_town_looks_scene import digest
print(digest())
"""


def digest():
    """Hash of all images of a few views of a town with actors."""
    layout, total = make_layout(TOWN), hashlib.sha256()
    scene, rng = Scene(layout), np.random.default_rng(2)
    for x, y, yaw in lane_spots(layout, rng, 4):
        view = scene.render(CAMERA, camera_pose(x, y, yaw), crowd(layout, rng, x, y, 8, 6))
        for array in (view.labels, view.depth_m, view.instances):
            total.update(array.tobytes())
    scene.close()
    return total.hexdigest()


@pytest.fixture(scope="module")
def scene():
    made = Scene(make_layout(TOWN))
    yield made
    made.close()


def test_another_process_renders_identical_images():
    code = DIGEST.format(folder=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout.strip() == digest()


def test_an_image_does_not_depend_on_earlier_images(scene):
    layout, rng = make_layout(TOWN), np.random.default_rng(4)
    spots = list(lane_spots(layout, rng, 5))
    actors = [crowd(layout, rng, x, y, 10, 8) for x, y, _ in spots]

    def look(index):
        x, y, yaw = spots[index]
        buffers = scene.render(CAMERA, camera_pose(x, y, yaw), actors[index])
        return np.stack([buffers.labels, buffers.instances, buffers.depth_m])

    first = [look(index) for index in range(5)]
    for index in (3, 0, 4, 2, 1):
        np.testing.assert_array_equal(look(index), first[index])


def test_towns_look_different():
    views = []
    for town in (7, 8):
        layout = make_layout(town)
        scene = Scene(layout)
        x, y, yaw = next(lane_spots(layout, np.random.default_rng(1), 1))
        views.append(scene.render(CAMERA, camera_pose(x, y, yaw)).labels)
        scene.close()
    assert (views[0] != views[1]).mean() > 0.2


def test_culling_hides_no_visible_scenery(scene):
    """Drawing everything gives the same images, except for very few pixels."""
    layout, rng = make_layout(TOWN), np.random.default_rng(3)
    poses = [camera_pose(x, y, yaw + rng.normal(0, 0.4))
             for x, y, yaw in lane_spots(layout, rng, 8)]  # fmt: skip
    culled = [scene.render(CAMERA, pose).labels for pose in poses]
    hidden = []
    everything = Scene(layout, cull=False)
    for pose, labels in zip(poses, culled, strict=True):
        hidden.append((everything.render(CAMERA, pose).labels != labels).mean())
    everything.close()
    assert max(hidden) < 1e-3
    assert np.mean(hidden) < 1e-4


def test_cameras_and_scenes_are_independent(scene):
    other = Scene(make_layout(8))
    small = Camera.from_fov(128, 64, 90.0)
    x, y, yaw = next(lane_spots(make_layout(TOWN), np.random.default_rng(1), 1))
    pose = camera_pose(x, y, yaw)
    before = scene.render(CAMERA, pose)
    other.render(CAMERA, pose)
    assert scene.render(small, pose).labels.shape == (64, 128)
    other.close()
    np.testing.assert_array_equal(scene.render(CAMERA, pose).labels, before.labels)


def test_meshes_of_actors_are_reused(scene):
    layout, rng = make_layout(TOWN), np.random.default_rng(6)
    x, y, yaw = next(lane_spots(layout, rng, 1))
    crowds = [crowd(layout, rng, x, y, 10, 10) for _ in range(6)]
    pose, counts = camera_pose(x, y, yaw), []
    for _ in range(4):
        for actors in crowds:
            scene.render(CAMERA, pose, actors)
        counts.append(len(scene._table))
    assert counts[1] == counts[3]


def test_buildings_are_instances_and_parked_cars_carry_their_ids(scene):
    layout, rng = make_layout(TOWN), np.random.default_rng(8)
    parked = {car.actor_id for car in layout.parked}
    houses, cars = set(), set()
    for x, y, yaw in lane_spots(layout, rng, 8):
        view = scene.render(CAMERA, camera_pose(x, y, yaw))
        houses |= set(np.unique(view.instances[view.labels == Tag.BUILDING]).tolist())
        cars |= set(np.unique(view.instances[view.labels == Tag.CAR]).tolist())
    houses.discard(0)  # bus shelters are no instances
    assert len(houses) > 30
    assert min(houses) >= FIRST_SCENERY_ID
    assert cars <= parked
    assert len(cars) > 5


@pytest.mark.parametrize("model", ACTOR_MODELS, ids=lambda model: model.name)
def test_meshes_have_their_models_size(model):
    half = np.array(model.extent_m)
    for mesh, _ in actor_levels(model.name):
        points = mesh.triangles.reshape(-1, 3)
        low, high = points.min(axis=0), points.max(axis=0)
        assert np.isfinite(points).all()
        assert low[2] > -0.01
        over = {Tag.CAR: 0.16, Tag.TRUCK: 0.16, Tag.BUS: 0.16}.get(model.tag, 0.10)  # mirrors
        assert (high[:2] <= half[:2] + over).all()
        assert (low[:2] >= -half[:2] - over).all()
        assert high[2] == pytest.approx(2 * half[2], rel=0.06)
        assert high[0] - low[0] > 0.75 * 2 * half[0]
    assert model_for(model.tag, model.extent_m) == model


def test_a_tag_without_a_model_is_refused():
    with pytest.raises(WorldError, match="no actor model of tag 17"):
        model_for(int(Tag.TRAIN), (10.0, 1.5, 2.0))


def test_scenery_items_are_well_formed():
    count = 0
    for item in scenery_items(make_layout(TOWN)):
        assert np.isfinite(item.mesh.triangles).all()
        assert len(item.mesh.tags) == len(item.mesh.instances) == len(item.mesh)
        assert item.near_m < item.far_m
        count += len(item.mesh)
    assert 100_000 < count < 1_000_000


def test_culling_hides_no_visible_actor(scene):
    layout, rng = make_layout(TOWN), np.random.default_rng(9)
    spots = list(lane_spots(layout, rng, 6))
    crowds = [crowd(layout, rng, x, y, 25, 25) for x, y, _ in spots]
    everything = Scene(layout, cull=False)
    shown = 0
    for (x, y, yaw), actors in zip(spots, crowds, strict=True):
        ids = {actor.actor_id for actor in actors}
        pose = camera_pose(x, y, yaw)
        culled, whole = (np.unique(s.render(CAMERA, pose, actors).instances)
                         for s in (scene, everything))  # fmt: skip
        assert ids & set(culled.tolist()) == ids & set(whole.tolist())
        shown += len(ids & set(whole.tolist()))
    everything.close()
    assert shown > 12
