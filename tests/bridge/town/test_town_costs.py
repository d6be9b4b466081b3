"""What is left out to save time changes no result: pedestrians at reset, culling of meshes."""

from __future__ import annotations

import numpy as np
import pytest

from sim2street.bridge.town.plan.layout_generator import LayoutConfig
from sim2street.bridge.town.plan.town_map import town_map
from sim2street.bridge.town.traffic import pedestrian_spawn


@pytest.mark.parametrize("length_m", [30, 300, 1200])
def test_points_beside_a_route_are_found_without_measuring_all_distances(
    length_m: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = town_map(2, LayoutConfig())
    points = pedestrian_spawn._sidewalk_points(town.walks)
    lane = max(town.layout.lanes, key=lambda lane: len(lane.points_m)).points_m
    rng = np.random.default_rng(length_m)
    steps = rng.normal(0.0, 1.0, (length_m, 2)).cumsum(axis=0) * 0.2
    line = lane[len(lane) // 2] + np.linspace(0.0, length_m / 4, length_m)[:, None] + steps
    place = np.stack([town.walks.paths.x_m[points], town.walks.paths.y_m[points]], axis=1)
    expected = pedestrian_spawn._distance_m(place, line) < pedestrian_spawn._BESIDE_ROUTE_M

    measured = []
    original = pedestrian_spawn._distance_m

    def counted(points_m, line_m):
        measured.append(len(points_m) * len(line_m))
        return original(points_m, line_m)

    monkeypatch.setattr(pedestrian_spawn, "_distance_m", counted)
    assert np.array_equal(pedestrian_spawn._beside(town.walks, points, line), expected)
    assert expected.any()
    assert sum(measured) < 0.3 * len(points) * len(line)


def test_only_meshes_that_are_drawn_are_children_of_a_layer() -> None:
    """panda3d visits every child in each frame; a town has thousands of meshes."""
    pytest.importorskip("panda3d")
    from sim2street.bridge.frame import Camera
    from sim2street.bridge.town.camera.rasteriser import Rasteriser
    from sim2street.bridge.town.scenery.meshes import Layer

    rasteriser = Rasteriser()
    wall = np.array([[[8.0, -4.0, -4.0], [8.0, 4.0, -4.0], [8.0, 0.0, 4.0]]], np.float32)
    meshes = [rasteriser.add(wall, 1 + k, Layer.SHEET) for k in range(30)]
    for mesh in meshes:
        rasteriser.set_visible(mesh, False)
    layer = rasteriser._layers[Layer.SHEET]
    assert layer.get_num_children() == 0
    camera = Camera.from_fov(64, 32, 60.0)
    pose = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], np.float32)
    assert not rasteriser.draw(camera, pose).any()
    for index in (7, 21, 3):  # shown in any order, drawn in that in which they were added
        rasteriser.set_visible(meshes[index], True)
    assert layer.get_num_children() == 3
    first = rasteriser.draw(camera, pose).copy()
    for index in (3, 7, 21):
        rasteriser.set_visible(meshes[index], False)
        rasteriser.set_visible(meshes[index], True)
    assert np.array_equal(rasteriser.draw(camera, pose), first)
    assert set(np.unique(first)) == {0, 4}  # the wall that was added first
    rasteriser.close()


def test_meshes_and_actors_in_visible_cells() -> None:
    from sim2street.bridge.town.camera.occlusion_culling import CullingResult, OcclusionCuller

    rng = np.random.default_rng(0)
    meshes = []
    for _ in range(60):
        corner = rng.uniform(0.0, 200.0, 2)
        size = rng.uniform(1.0, 30.0, 2)
        shape = np.zeros((1, 3, 3), np.float32)
        shape[0, :, :2] = [corner, corner + size, corner + size * (1.0, 0.0)]
        meshes.append(shape)
    culler = OcclusionCuller(meshes, [])
    cells = rng.random(culler._mesh_top.shape) < 0.02
    found = culler._meshes_in(cells)
    for index, shape in enumerate(meshes):
        low, high = (
            ((edge - culler._origin) / 8.0).astype(int)
            for edge in (shape[0, :, :2].min(axis=0), shape[0, :, :2].max(axis=0))
        )
        touches = cells[low[0] : high[0] + 1, low[1] : high[1] + 1].any()
        assert found[index] == touches, index
    assert 0 < found.sum() < len(meshes)

    cells[...] = False
    cells[5, 5] = True
    result = CullingResult(found, cells, culler._origin)
    inside = culler._origin + 8.0 * np.array([[5.5, 5.5], [4.2, 6.9], [7.5, 5.5], [3.5, 3.5]])
    off_map = np.array([[-1e4, 0.0], [0.0, 1e4]])
    assert result.actors_may_be_visible(np.concatenate([inside, off_map])).tolist() == [
        True, True, False, False, True, True,
    ]  # fmt: skip
