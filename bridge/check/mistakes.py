"""Mistakes that engines make with depth, poses and images, and how to undo each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.check.frames import planar_from_euclidean
from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, Camera, FloatArray, View
from sim2street.bridge.geometry import inverse_pose

Views = tuple[View, ...]
"""The views of one camera, tick by tick."""

Undo = Callable[[Views], Views]
"""Turns views that were sent with a mistake into the views without it."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake, its message and hint for the user, and how to undo it."""

    undo: Undo
    message: str
    hint: str


def images_of(view: View) -> tuple[ByteArray, FloatArray]:
    """Labels and depth of a view that has both."""
    assert view.labels is not None
    assert view.depth_m is not None
    return view.labels, view.depth_m


def _each_view(change: Callable[[View], View]) -> Undo:
    return lambda views: tuple(change(view) for view in views)


def _depth(change: Callable[[View, FloatArray], FloatArray]) -> Undo:
    def undo(view: View) -> View:
        depth_m = np.clip(change(view, images_of(view)[1]), 0.0, SKY_DEPTH_M).astype(np.float32)
        return dataclasses.replace(view, depth_m=depth_m)

    return _each_view(undo)


def _pose(change: Callable[[FloatArray], FloatArray]) -> Undo:
    return _each_view(
        lambda view: dataclasses.replace(view, pose=change(view.pose).astype(np.float32))
    )


def _poses_from(ticks_later: int) -> Undo:
    """Give every view the pose of another tick; views at the end keep their own."""

    def undo(views: Views) -> Views:
        last = len(views) - 1
        poses = [views[min(max(i + ticks_later, 0), last)].pose for i in range(last + 1)]
        return tuple(
            dataclasses.replace(view, pose=pose) for view, pose in zip(views, poses, strict=True)
        )

    return undo


def _upside_down(view: View) -> View:
    labels, depth_m = images_of(view)
    return dataclasses.replace(view, labels=labels[::-1], depth_m=depth_m[::-1])


def _focal_length(factor: Callable[[Camera], float]) -> Undo:
    def undo(view: View) -> View:
        camera, k = view.camera, factor(view.camera)
        camera = dataclasses.replace(camera, fx_px=camera.fx_px * k, fy_px=camera.fy_px * k)
        return dataclasses.replace(view, camera=camera)

    return _each_view(undo)


def _scaled_position(pose: FloatArray, factor: float) -> FloatArray:
    changed = pose.copy()
    changed[:3, 3] *= factor
    return changed


def _camera_axes(columns: Sequence[Sequence[float]]) -> Undo:
    """Replace the pose's camera axes; the columns are OpenCV's axes in the engine's axes."""
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] = columns
    return _pose(lambda pose: pose @ matrix)


def _negated_y(pose: FloatArray) -> FloatArray:
    changed = pose.copy()
    changed[1, 3] *= -1.0
    return changed


def _transposed_rotation(pose: FloatArray) -> FloatArray:
    changed = pose.copy()
    changed[:3, :3] = pose[:3, :3].T
    return changed


_MIRROR_X = np.array([-1, 1, 1, 1], np.float32)
_MIRROR_Y = np.array([1, -1, 1, 1], np.float32)
_AXES_HINT = "camera axes are OpenCV's: x right, y down, z forward"
_UNIT_HINT = "depth and positions are both in metres"
_TICK_HINT = "read images, poses and actors after the same tick, and send them together"
_POSE_HINT = "view.pose maps camera points to the world; it is stored row by row"
_FOCAL_HINT = "fx_px = width_px / (2 tan(horizontal field of view / 2))"

MISTAKES: Mapping[str, Mistake] = {
    "depth_euclidean": Mistake(
        _depth(planar_from_euclidean),
        "depth looks Euclidean (measured along the rays)",
        "send the distance along the optical axis, not along the ray",
    ),
    "depth_centimetres": Mistake(
        _depth(lambda _, depth: depth * 0.01), "depth looks like centimetres", _UNIT_HINT
    ),
    "depth_millimetres": Mistake(
        _depth(lambda _, depth: depth * 0.001), "depth looks like millimetres", _UNIT_HINT
    ),
    "positions_centimetres": Mistake(
        _pose(lambda pose: _scaled_position(pose, 0.01)),
        "positions look like centimetres",
        _UNIT_HINT,
    ),
    "axes_opengl": Mistake(
        _camera_axes([[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
        "axes flipped: the camera looks along -z (OpenGL)",
        _AXES_HINT,
    ),
    "axes_body": Mistake(
        _camera_axes([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]),
        "axes flipped: the camera looks along x (body axes)",
        _AXES_HINT,
    ),
    "left_right_swapped": Mistake(
        _pose(lambda pose: np.diag(_MIRROR_Y) @ pose @ np.diag(_MIRROR_X)),
        "axes flipped: left and right are swapped between images and poses",
        "either the world's y axis points right (left-handed: negate y and yaw), or the images "
        "are mirrored",
    ),
    "position_mirrored": Mistake(
        _pose(_negated_y),
        "axes flipped: the y coordinate of the position has the wrong sign",
        "negate y, keep yaw",
    ),
    "pose_inverted": Mistake(
        _pose(lambda pose: inverse_pose(pose).astype(np.float32)),
        "poses are inverted (world to camera)",
        _POSE_HINT,
    ),
    "rotation_transposed": Mistake(
        _pose(_transposed_rotation), "the rotations are transposed", _POSE_HINT
    ),
    "poses_lag": Mistake(_poses_from(1), "poses lag one tick behind the images", _TICK_HINT),
    "images_lag": Mistake(_poses_from(-1), "images lag one tick behind the poses", _TICK_HINT),
    "images_flipped": Mistake(
        _each_view(_upside_down),
        "images are upside down",
        "row 0 is the top row; send all images the same way up",
    ),
    "fov_vertical": Mistake(
        _focal_length(lambda camera: camera.width_px / camera.height_px),
        "the focal length is too short; was a vertical field of view taken for a horizontal one?",
        _FOCAL_HINT,
    ),
    "fov_horizontal": Mistake(
        _focal_length(lambda camera: camera.height_px / camera.width_px),
        "the focal length is too long; was a horizontal field of view taken for a vertical one?",
        _FOCAL_HINT,
    ),
}
"""Code of the finding -> the mistake."""
