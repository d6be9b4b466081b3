"""Exact image motion between any two rendered views, from what a simulator knows.

A surface point seen in the current view was somewhere in the previous one: depth gives the
point, the camera poses (and, on an actor, the actor's poses) give its earlier place. The
result is a *backward* warp: `warp(previous_image, motion.source_px)` looks like the
current image wherever `visible_before` says that the point was visible already.

Everything here is a pure function of arrays; this is the reference for other backends.
Conventions are those of `bridge/frame.py`: OpenCV camera axes, pixel (0, 0) is the centre of
the top left pixel, a pose takes points of its own frame to the world.
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
"""Relative difference of depth that still counts as the same surface."""

DEPTH_TOLERANCE_M = 0.10
"""Absolute difference of depth in metres that still counts as the same surface."""


CAMERA_HEIGHT_M = 1.5
"""Over the ground, of a camera that nobody says anything about."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Where the current view's surface points were in the previous view.

    Attributes:
        source_px: float32 (H, W, 2), x and y in pixels of the previous view; may lie
            outside it; finite everywhere.
        depth_m: float32 (H, W), the point's z in the previous camera; sky = 1000;
            0 where the point was not in front of that camera or did not exist.
    """

    source_px: FloatArray
    depth_m: FloatArray


@dataclass(frozen=True, slots=True)
class Transforms:
    """Current camera to previous camera, once for all that stands still, once per actor.

    Attributes:
        static: float32 (4, 4).
        actor_ids: uint32 (N,), ascending.
        actors: float32 (N, 4, 4): where a point fixed to that actor was.
        known: bool (N,): False for an actor that did not exist in the previous frame.
    """

    static: FloatArray
    actor_ids: IdArray
    actors: FloatArray
    known: BoolArray


def pixel_rays(camera: Camera) -> FloatArray:
    """Rays through the pixel centres, scaled to z = 1: float32 (H, W, 3), camera axes."""
    rays = np.empty((camera.height_px, camera.width_px, 3), np.float32)
    rays[..., 0] = (np.arange(camera.width_px) - camera.cx_px) / camera.fx_px
    rays[..., 1] = ((np.arange(camera.height_px) - camera.cy_px) / camera.fy_px)[:, None]
    rays[..., 2] = 1.0
    return rays


def camera_points(camera: Camera, depth_m: FloatArray) -> FloatArray:
    """Surface points in camera axes: float32 (H, W, 3) metres."""
    return pixel_rays(camera) * depth_m[..., None]


def world_points(camera: Camera, pose: FloatArray, depth_m: FloatArray) -> FloatArray:
    """Surface points in world axes: float32 (H, W, 3) metres."""
    points = camera_points(camera, depth_m) @ pose[:3, :3].T + pose[:3, 3]
    return points.astype(np.float32)


def level_pose(height_m: float = CAMERA_HEIGHT_M) -> FloatArray:
    """Of a level camera over the world's origin that looks along x: float32 (4, 4)."""
    return np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, height_m], [0, 0, 0, 1]], np.float32)


def inverse_pose(pose: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Inverse of rigid poses (..., 4, 4), float64.

    Solved rather than transposed: a float32 rotation is orthogonal only to 1e-7, which a
    lever of hundreds of metres turns into visible millimetres.
    """
    inverse: npt.NDArray[np.float64] = np.linalg.inv(np.asarray(pose, np.float64))
    return inverse


def project(camera: Camera, points: FloatArray) -> FloatArray:
    """Pixel coordinates float32 (..., 2) of camera-axes points (..., 3) with z > 0."""
    xy = points[..., :2] / points[..., 2:]
    xy *= np.array([camera.fx_px, camera.fy_px], np.float32)
    xy += np.array([camera.cx_px, camera.cy_px], np.float32)
    return xy


def relative_transforms(
    current_pose: FloatArray,
    previous_pose: FloatArray,
    current_actors: Sequence[Actor] = (),
    previous_actors: Sequence[Actor] = (),
) -> Transforms:
    """Matrices that take current camera points to the previous camera.

    Composed in float64: world coordinates are large, their differences are small.
    For an actor: X_previous = inv(C_previous) A_previous inv(A_current) C_current X.
    """
    to_previous = inverse_pose(previous_pose)
    to_world = np.asarray(current_pose, np.float64)
    static = to_previous @ to_world
    before = {actor.actor_id: actor for actor in previous_actors}
    now = sorted(current_actors, key=lambda actor: actor.actor_id)
    poses = np.array([actor.pose for actor in now], np.float64).reshape(-1, 4, 4)
    earlier = np.array([before.get(a.actor_id, a).pose for a in now], np.float64)
    moved = earlier.reshape(-1, 4, 4) @ inverse_pose(poses)
    matrices = (to_previous @ moved @ to_world).astype(np.float32)
    ids = np.array([actor.actor_id for actor in now], np.uint32)
    known = np.array([actor.actor_id in before for actor in now], np.bool_)
    return Transforms(static.astype(np.float32), ids, matrices, known)


def motion(
    current: View,
    previous: View,
    current_actors: Sequence[Actor] = (),
    previous_actors: Sequence[Actor] = (),
) -> Motion:
    """Where every pixel of `current` was in `previous`. Needs `current.depth_m`.

    Actors move their pixels where `current.instances` is given. The sky (depth 1000) has
    no place, only a direction: it moves with the camera's rotation alone.
    """
    if current.depth_m is None:
        raise FrameError("motion needs view.depth_m: ask the world for a depth camera")
    transforms = relative_transforms(current.pose, previous.pose, current_actors, previous_actors)
    points = camera_points(current.camera, current.depth_m)
    sky = current.depth_m >= SKY_DEPTH_M
    moved = points @ transforms.static[:3, :3].T
    moved[~sky] += transforms.static[:3, 3]
    exists = np.ones(sky.shape, np.bool_)
    if current.instances is not None and len(transforms.actor_ids):
        _move_actor_pixels(points, current.instances, transforms, moved, exists)
    in_front = (moved[..., 2] > 1e-3) & exists
    depth_m = np.where(in_front, moved[..., 2], np.float32(0.0))
    depth_m[sky & in_front] = SKY_DEPTH_M
    moved[..., 2] = np.maximum(moved[..., 2], 1e-3)
    return Motion(project(previous.camera, moved), depth_m)


def visible_before(motion: Motion, current: View, previous: View) -> BoolArray:
    """bool (H, W): True where the point was visible in the previous view.

    That is: inside the image, in front of the camera, the depth there is the depth
    expected (of the plane through the four neighbours, or of the nearest pixel at a
    depth edge), and the instance there is the same. The complement is disoccluded.
    """
    height, width = previous.camera.height_px, previous.camera.width_px
    x, y = motion.source_px[..., 0], motion.source_px[..., 1]
    visible: BoolArray = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    visible &= motion.depth_m > 0.0
    if previous.depth_m is not None:
        # 1/z is affine in the image on a plane, so its bilinear sample is exact there
        # even on a road that recedes to the horizon.
        inverse = warp(1.0 / np.maximum(previous.depth_m, 1e-3), motion.source_px)
        plane_m = np.reciprocal(inverse)
        nearest_m = warp(previous.depth_m, motion.source_px, nearest=True)
        same = _same_depth(motion.depth_m, plane_m) | _same_depth(motion.depth_m, nearest_m)
        visible &= same
    if current.instances is not None and previous.instances is not None:
        visible &= warp(previous.instances, motion.source_px, nearest=True) == current.instances
    return visible


def warp(image: npt.NDArray[Any], source_px: FloatArray, nearest: bool = False) -> npt.NDArray[Any]:
    """Sample `image` (H, W) or (H, W, C) at `source_px` (h, w, 2): a backward warp.

    Coordinates outside are clamped to the border. Ids and labels need `nearest`;
    bilinear results are float32.
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
    """Overwrite `moved` and `exists` where a pixel belongs to a known or a new actor."""
    slot = np.searchsorted(transforms.actor_ids, instances)
    slot = np.minimum(slot, len(transforms.actor_ids) - 1)
    mask = transforms.actor_ids[slot] == instances
    slot = slot[mask]
    matrices = transforms.actors[slot]
    at = points[mask]
    moved[mask] = np.einsum("nij,nj->ni", matrices[:, :3, :3], at) + matrices[:, :3, 3]
    exists[mask] = transforms.known[slot]


def _same_depth(expected_m: FloatArray, seen_m: npt.NDArray[Any]) -> BoolArray:
    same: BoolArray = np.abs(expected_m - seen_m) <= (
        DEPTH_TOLERANCE_M + DEPTH_TOLERANCE * expected_m
    )
    return same
