"""Exact image motion between two views, computed from depth and poses.

Depth gives the 3-D point behind a pixel of the current view. The camera poses (and, on an
actor, the actor's poses) give where that point was in the previous view. The result is a
*backward* warp: `warp(previous_image, motion.source_px)` looks like the current image wherever
`visible_before` is True.

All functions are pure numpy. They are the reference that other implementations are tested
against. Frames of reference and pixel coordinates are those of `bridge/frame.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sim2street.bridge.errors import FrameError
from sim2street.bridge.frame import SKY_DEPTH_M, Actor, Camera, FloatArray, IdArray, View

BoolArray = npt.NDArray[np.bool_]

DEPTH_TOLERANCE = 0.03
"""Relative part of the depth difference within which two depths are the same surface."""

DEPTH_TOLERANCE_M = 0.10
"""Absolute part of that difference, in metres; the two parts add up."""

CAMERA_HEIGHT_M = 1.5
"""Height above the ground that is assumed for a camera without a pose."""

_MIN_DEPTH_M = 1e-3
"""Points closer to the camera plane than this count as behind the camera."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Where the surface points of the current view were in the previous view.

    Attributes:
        source_px: float32 (H, W, 2), (x, y) in pixels of the previous view. Finite everywhere,
            but possibly outside the image.
        depth_m: float32 (H, W), depth of the point in the previous camera. 1000 for the sky; 0
            where the point was behind that camera or its actor did not exist yet.
    """

    source_px: FloatArray
    depth_m: FloatArray


@dataclass(frozen=True, slots=True)
class Transforms:
    """Matrices from the current camera's frame to the previous camera's frame.

    Attributes:
        static: float32 (4, 4), for points that do not move in the world.
        actor_ids: uint32 (N,), ascending.
        actors: float32 (N, 4, 4), for points that move with each of these actors.
        known: bool (N,), False for an actor that did not exist in the previous frame.
    """

    static: FloatArray
    actor_ids: IdArray
    actors: FloatArray
    known: BoolArray


def pixel_rays(camera: Camera) -> FloatArray:
    """Rays through the pixel centres in camera axes, scaled to z = 1: float32 (H, W, 3)."""
    rays = np.empty((camera.height_px, camera.width_px, 3), np.float32)
    rays[..., 0] = (np.arange(camera.width_px) - camera.cx_px) / camera.fx_px
    rays[..., 1] = ((np.arange(camera.height_px) - camera.cy_px) / camera.fy_px)[:, None]
    rays[..., 2] = 1.0
    return rays


def camera_points(camera: Camera, depth_m: FloatArray) -> FloatArray:
    """Surface points in camera axes, in metres: float32 (H, W, 3)."""
    return pixel_rays(camera) * depth_m[..., None]


def world_points(camera: Camera, pose: FloatArray, depth_m: FloatArray) -> FloatArray:
    """Surface points in world axes, in metres: float32 (H, W, 3)."""
    points = camera_points(camera, depth_m) @ pose[:3, :3].T + pose[:3, 3]
    return points.astype(np.float32)


def level_pose(height_m: float = CAMERA_HEIGHT_M) -> FloatArray:
    """Pose of a level camera above the world's origin, looking along world x: float32 (4, 4)."""
    return np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, height_m], [0, 0, 0, 1]], np.float32)


def inverse_pose(pose: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Inverse of rigid poses (..., 4, 4), in float64.

    Does not transpose the rotation instead: a float32 rotation is orthogonal only to 1e-7, and
    positions hundreds of metres from the origin would be off by visible millimetres.
    """
    inverse: npt.NDArray[np.float64] = np.linalg.inv(np.asarray(pose, np.float64))
    return inverse


def project(camera: Camera, points: FloatArray) -> FloatArray:
    """Pixel coordinates (..., 2) of points (..., 3) in camera axes with z > 0."""
    xy = points[..., :2] / points[..., 2:]
    xy *= np.array([camera.fx_px, camera.fy_px], np.float32)
    xy += np.array([camera.cx_px, camera.cy_px], np.float32)
    return xy


def xy_tuples(points_m: npt.NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """Points (N, 2) as tuples of plain floats, the type of `EgoState.route_ahead_m`."""
    return tuple((x, y) for x, y in points_m.tolist())


def relative_transforms(
    current_pose: FloatArray,
    previous_pose: FloatArray,
    current_actors: Sequence[Actor] = (),
    previous_actors: Sequence[Actor] = (),
) -> Transforms:
    """Matrices that map points from the current camera's frame to the previous camera's.

    With camera poses C and actor poses A: X_previous = inv(C_previous) C_current X for static
    points, inv(C_previous) A_previous inv(A_current) C_current X for an actor's. Composed in
    float64, because world coordinates are large and their differences small.
    """
    to_previous = inverse_pose(previous_pose)
    to_world = np.asarray(current_pose, np.float64)
    static = to_previous @ to_world
    previous_by_id = {actor.actor_id: actor for actor in previous_actors}
    actors = sorted(current_actors, key=lambda actor: actor.actor_id)
    current_poses = np.array([a.pose for a in actors], np.float64)
    previous_poses = np.array([previous_by_id.get(a.actor_id, a).pose for a in actors], np.float64)
    moved = previous_poses.reshape(-1, 4, 4) @ inverse_pose(current_poses.reshape(-1, 4, 4))
    matrices = (to_previous @ moved @ to_world).astype(np.float32)
    ids = np.array([actor.actor_id for actor in actors], np.uint32)
    known = np.array([actor.actor_id in previous_by_id for actor in actors], np.bool_)
    return Transforms(static.astype(np.float32), ids, matrices, known)


def motion(
    current: View,
    previous: View,
    current_actors: Sequence[Actor] = (),
    previous_actors: Sequence[Actor] = (),
) -> Motion:
    """Where the surface point of every pixel of `current` was in `previous`.

    Pixels of actors move with their actor if `current.instances` is given. The sky (depth 1000)
    is infinitely far away, so only the camera's rotation moves it.

    Raises:
        FrameError: `current` has no depth.
    """
    if current.depth_m is None:
        raise FrameError("motion needs view.depth_m: configure a depth camera in the world")
    transforms = relative_transforms(current.pose, previous.pose, current_actors, previous_actors)
    points = camera_points(current.camera, current.depth_m)
    sky = current.depth_m >= SKY_DEPTH_M
    moved = points @ transforms.static[:3, :3].T
    moved[~sky] += transforms.static[:3, 3]
    exists = np.ones(sky.shape, np.bool_)
    if current.instances is not None and len(transforms.actor_ids):
        _move_actor_pixels(points, current.instances, transforms, moved, exists)
    in_front = (moved[..., 2] > _MIN_DEPTH_M) & exists
    depth_m = np.where(in_front, moved[..., 2], np.float32(0.0))
    depth_m[sky & in_front] = SKY_DEPTH_M
    moved[..., 2] = np.maximum(moved[..., 2], _MIN_DEPTH_M)
    return Motion(project(previous.camera, moved), depth_m)


def visible_before(motion: Motion, current: View, previous: View) -> BoolArray:
    """Whether the surface point of each pixel was visible in the previous view: bool (H, W).

    True if the point was inside the previous image and in front of its camera, with the expected
    depth and the same instance there. The depth may match either the interpolation of the four
    neighbours or the nearest pixel, which is right at depth edges.
    """
    height, width = previous.camera.height_px, previous.camera.width_px
    x, y = motion.source_px[..., 0], motion.source_px[..., 1]
    visible: BoolArray = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    visible &= motion.depth_m > 0.0
    if previous.depth_m is not None:
        # On a plane 1/z is affine in image coordinates. Interpolating it is exact even on a road
        # that recedes to the horizon; interpolating z is not.
        inverse = warp(1.0 / np.maximum(previous.depth_m, _MIN_DEPTH_M), motion.source_px)
        plane_m = np.reciprocal(inverse)
        nearest_m = warp(previous.depth_m, motion.source_px, nearest=True)
        same = _same_depth(motion.depth_m, plane_m) | _same_depth(motion.depth_m, nearest_m)
        visible &= same
    if current.instances is not None and previous.instances is not None:
        visible &= warp(previous.instances, motion.source_px, nearest=True) == current.instances
    return visible


def warp(image: npt.NDArray[Any], source_px: FloatArray, nearest: bool = False) -> npt.NDArray[Any]:
    """Sample `image` (H, W) or (H, W, C) at `source_px` (h, w, 2), bilinearly.

    Coordinates outside the image are clamped to its border. Returns float32, or with `nearest`
    the dtype of `image`. Ids and labels need `nearest`.
    """
    height, width = image.shape[:2]
    x = np.clip(source_px[..., 0], 0.0, width - 1.0)
    y = np.clip(source_px[..., 1], 0.0, height - 1.0)
    if nearest:
        return image[np.rint(y).astype(np.intp), np.rint(x).astype(np.intp)]
    x0 = np.minimum(x.astype(np.intp), max(width - 2, 0))
    y0 = np.minimum(y.astype(np.intp), max(height - 2, 0))
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    if image.ndim == 3:
        fx, fy = fx[..., None], fy[..., None]
    pixels = image.astype(np.float32)
    top = pixels[y0, x0] * (1.0 - fx) + pixels[y0, x1] * fx
    bottom = pixels[y1, x0] * (1.0 - fx) + pixels[y1, x1] * fx
    sampled: npt.NDArray[Any] = top * (1.0 - fy) + bottom * fy
    return sampled


def _move_actor_pixels(
    points: FloatArray,
    instances: IdArray,
    transforms: Transforms,
    moved: FloatArray,
    exists: BoolArray,
) -> None:
    """Set `moved` and `exists`, in place, on the pixels that belong to actors."""
    row = np.searchsorted(transforms.actor_ids, instances)
    row = np.minimum(row, len(transforms.actor_ids) - 1)
    on_actor = transforms.actor_ids[row] == instances
    row = row[on_actor]
    matrices = transforms.actors[row]
    rotated = np.einsum("nij,nj->ni", matrices[:, :3, :3], points[on_actor])
    moved[on_actor] = rotated + matrices[:, :3, 3]
    exists[on_actor] = transforms.known[row]


def _same_depth(expected_m: FloatArray, seen_m: npt.NDArray[Any]) -> BoolArray:
    tolerance_m = DEPTH_TOLERANCE_M + DEPTH_TOLERANCE * expected_m
    same: BoolArray = np.abs(expected_m - seen_m) <= tolerance_m
    return same
