"""The torch twin of sim2street.bridge.geometry agrees with it."""

import numpy as np
import torch

from sim2street.bridge import geometry
from sim2street.bridge.frame import SKY_DEPTH_M, Actor, Camera, View
from sim2street.neural_renderer.conditions.assemble import HEIGHT_SPAN_M, height_over_camera
from sim2street.neural_renderer.conditions.reprojection import (
    Moves,
    movers_in,
    reproject,
    surface_points,
    visible_before,
)

CAMERA = Camera.from_fov(96, 48, 62.0)


def pose(x: float, yaw: float) -> np.ndarray:
    matrix = np.eye(4, dtype=np.float32)
    c, s = np.cos(yaw), np.sin(yaw)
    matrix[:3, :3] = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    matrix[0, 3], matrix[2, 3] = 200.0 + x, -80.0 + 2.0 * x
    return matrix


def scene(seed: int, shift: float) -> tuple[View, tuple[Actor, ...]]:
    rng = np.random.default_rng(seed)
    depth_m = (5.0 + 20.0 * rng.random((48, 96))).astype(np.float32)
    depth_m[:10] = SKY_DEPTH_M
    instances = np.zeros((48, 96), np.uint32)
    instances[20:30, 30:50], instances[25:40, 60:80], instances[35:, :20] = 7, 3, 11
    view = View(CAMERA, pose(shift, 0.1 * shift), depth_m=depth_m, instances=instances)
    ids = (3, 7) if seed == 1 else (3, 7, 11)
    actors = tuple(Actor(i, 14, pose(shift * i, 0.05 * i * shift), (2, 1, 1)) for i in ids)
    return view, actors


def test_motion_and_visibility_equal_the_numpy_reference() -> None:
    previous, earlier_actors = scene(1, 0.0)
    current, actors = scene(2, 0.3)
    expected = geometry.motion(current, previous, actors, earlier_actors)
    seen = geometry.visible_before(expected, current, previous)

    transforms = geometry.relative_transforms(current.pose, previous.pose, actors, earlier_actors)
    moves = Moves(
        torch.from_numpy(np.concatenate([transforms.static[None], transforms.actors]))[None],
        torch.from_numpy(np.concatenate([[True], transforms.known]))[None],
    )
    order = {int(actor_id): i + 1 for i, actor_id in enumerate(transforms.actor_ids)}
    slots = torch.from_numpy(np.vectorize(lambda i: order.get(int(i), 0))(current.instances))
    intrinsics = torch.tensor([[CAMERA.fx_px, CAMERA.fy_px, CAMERA.cx_px, CAMERA.cy_px]])
    depth = torch.from_numpy(current.depth_m)[None]
    twin = reproject(depth, intrinsics, moves, movers_in(slots[None]))
    visible = visible_before(
        twin,
        torch.from_numpy(previous.depth_m)[None],
        torch.from_numpy(current.instances.astype(np.int64))[None],
        torch.from_numpy(previous.instances.astype(np.int64))[None],
    )
    known = expected.depth_m > 0
    np.testing.assert_allclose(twin.depth_m[0].numpy(), expected.depth_m, atol=2e-3)
    np.testing.assert_allclose(
        twin.source_px[0].numpy()[known], expected.source_px[known], atol=5e-2
    )
    assert (visible[0].numpy() == seen).mean() > 0.995
    assert 0.05 < seen.mean() < 0.95


def test_height_over_the_camera_is_the_worlds_however_the_camera_is_turned() -> None:
    level = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # looks along x, z is up
    pitch, roll = 0.3, -0.2
    pitched = np.array(
        [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    )
    rolled = np.array(
        [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    )
    turned = torch.eye(4)
    turned[:3, :3] = torch.from_numpy(level @ pitched @ rolled)
    turned[:3, 3] = torch.tensor([40.0, -7.0, 1.5])
    intrinsics = torch.tensor([[CAMERA.fx_px, CAMERA.fy_px, CAMERA.cx_px, CAMERA.cy_px]])
    depth_m = 2.0 + 8.0 * torch.rand(1, 48, 96, generator=torch.Generator().manual_seed(1))
    points_m = surface_points(depth_m, intrinsics, turned[None, None])
    expected = ((points_m[:, 2] - 1.5) / HEIGHT_SPAN_M).clamp(-0.5, 1.5)
    height = height_over_camera(depth_m, intrinsics, turned[None, 2, :3])
    torch.testing.assert_close(height, expected, atol=1e-4, rtol=0.0)
    assert expected.std() > 0.1
