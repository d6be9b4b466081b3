"""Converts between Unreal's left-handed axes and this project's right-handed ones.

CARLA's bodies have x forward, y right, z up, in metres; rotations are pitch, yaw, roll in
degrees. Its world has y to the south. In this project, y is left in bodies and north in the
world. So in both cases CARLA's point (x, y, z) is (x, -y, z) here.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import FloatArray

Pose = npt.NDArray[np.float64]
"""float64 (4, 4)."""

UnrealTransform = tuple[float, float, float, float, float, float]
"""x, y, z (m), pitch, yaw, roll (degrees), in the order of CARLA's protocol."""

_MIRROR = np.diag([1.0, -1.0, 1.0, 1.0])
_OPENCV_FROM_BODY = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], np.float64)


def unreal_matrix(transform: UnrealTransform) -> Pose:
    """The matrix of `carla.Transform.get_matrix`: columns forward, right, up, location."""
    x, y, z, *angles = transform
    (cp, sp), (cy, sy), (cr, sr) = ((math.cos(a), math.sin(a)) for a in map(math.radians, angles))
    return np.array(
        [
            [cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr, x],
            [cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr, y],
            [sp, -cp * sr, cp * cr, z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def pose_of(transform: UnrealTransform) -> Pose:
    """float64 (4, 4): our body frame (x forward, y left, z up) to our world frame."""
    return np.asarray(_MIRROR @ unreal_matrix(transform) @ _MIRROR)


def poses_of(transforms: Pose) -> Pose:
    """`pose_of` for many transforms: float64 (N, 6) to (N, 4, 4)."""
    angles = np.radians(transforms[:, 3:])
    (cp, cy, cr), (sp, sy, sr) = np.cos(angles).T, np.sin(angles).T
    cos_up, sin_up = cy * sp, sy * sp
    poses = np.zeros((len(transforms), 4, 4))
    poses[:, 0, 0], poses[:, 1, 0], poses[:, 2, 0] = cp * cy, -cp * sy, sp
    poses[:, 0, 1], poses[:, 1, 1] = sy * cr - cos_up * sr, sin_up * sr + cy * cr
    poses[:, 0, 2], poses[:, 1, 2] = -cos_up * cr - sy * sr, sin_up * cr - cy * sr
    poses[:, 2, 1], poses[:, 2, 2] = cp * sr, cp * cr
    poses[:, :3, 3] = transforms[:, :3]
    poses[:, 1, 3] *= -1.0
    poses[:, 3, 3] = 1.0
    return poses


def camera_pose_of(transform: UnrealTransform) -> FloatArray:
    """float32 (4, 4): a CARLA camera's frame (OpenCV axes) to our world frame."""
    return (pose_of(transform) @ _OPENCV_FROM_BODY).astype(np.float32)


def unreal_of(pose: npt.NDArray[np.floating]) -> UnrealTransform:
    """The CARLA transform of a body-to-world pose (4, 4): the inverse of `pose_of`."""
    matrix = _MIRROR @ np.asarray(pose, np.float64) @ _MIRROR
    flat = math.hypot(matrix[0, 0], matrix[1, 0])
    pitch = math.atan2(matrix[2, 0], flat)
    yaw = math.atan2(matrix[1, 0], matrix[0, 0])
    roll = math.atan2(-matrix[2, 1], matrix[2, 2])
    x, y, z = (float(v) for v in matrix[:3, 3])
    return x, y, z, math.degrees(pitch), math.degrees(yaw), math.degrees(roll)


def mirrored(vector: tuple[float, float, float]) -> tuple[float, float, float]:
    """A point or velocity of CARLA in our axes, or one of ours in CARLA's."""
    return vector[0], -vector[1], vector[2]
