"""Casts rays into the town: where they meet surfaces, and which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from sim2street.bridge.carla.standin.actors import SimActor
from sim2street.bridge.frame import SKY_DEPTH_M, Camera
from sim2street.bridge.town.camera.scene import Scene

_CAMERA = Camera.from_fov(17, 17, 20.0)
"""A small camera along the ray: the middle pixel of an odd number of pixels lies on the axis."""

_MIDDLE = 8, 8
_GO_ON_M = 0.05
_MAX_SURFACES = 32

Vector = npt.NDArray[np.float64]


def cast_ray(
    scene: Scene, actors: Sequence[SimActor], start: Sequence[float], end: Sequence[float]
) -> list[tuple[list[float], int]]:
    """All surfaces between two points (CARLA's axes), as rows of location and our tag."""
    first, last = _ours(start), _ours(end)
    length_m = float(np.linalg.norm(last - first))
    if length_m == 0.0:
        return []
    direction = (last - first) / length_m
    rows = []
    for along_m, tag in _surfaces(scene, actors, first, direction, length_m):
        x, y, z = (first + along_m * direction).tolist()
        rows.append(([x, -y, z], tag))
    return rows


def _surfaces(
    scene: Scene, actors: Sequence[SimActor], start: Vector, direction: Vector, length_m: float
) -> Iterator[tuple[float, int]]:
    """Distance and tag of every surface along a ray."""
    shown = [actor.frame_actor() for actor in actors if actor.tag]
    pose = np.eye(4)
    pose[:3, :3] = _looking_along(direction)
    travelled_m = 0.0
    for _ in range(_MAX_SURFACES):
        pose[:3, 3] = start + travelled_m * direction
        view = scene.render(_CAMERA, pose.astype(np.float32), shown)
        depth_m = float(view.depth_m[_MIDDLE])
        travelled_m += depth_m
        if depth_m >= SKY_DEPTH_M or travelled_m > length_m:
            return
        yield travelled_m, int(view.labels[_MIDDLE])
        travelled_m += _GO_ON_M


def _looking_along(direction: Vector) -> Vector:
    """Rotation of a camera (OpenCV axes) that looks in this direction."""
    up = np.array([0.0, 0.0, 1.0]) if abs(direction[2]) < 0.99 else np.array([1.0, 0.0, 0.0])
    right = np.cross(direction, up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(direction, right), direction], axis=1)


def _ours(point: Sequence[float]) -> Vector:
    return np.array([point[0], -point[1], point[2]], np.float64)
