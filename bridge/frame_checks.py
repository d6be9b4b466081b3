"""Checks of arrays that the types of `bridge/frame.py` share; each raises FrameError."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sim2street.bridge.errors import FrameError

Array = npt.NDArray[Any]

MAX_VOLUME_ERROR = 0.1
"""How far the determinant of a pose's 3x3 part may be from 1 or -1."""


def check_array(
    name: str, array: Array | None, dtype: type[np.generic], shape: tuple[int, ...]
) -> None:
    """Check dtype and shape exactly. None passes: optional arrays may be absent."""
    if array is not None and (array.dtype != dtype or array.shape != shape):
        raise FrameError(
            f"{name}: expected {np.dtype(dtype).name} {shape}, got {array.dtype} {array.shape}"
        )


def check_range(name: str, array: Array, low: float, high: float, advice: str) -> None:
    """Check that every value is a number in [low, high]; `advice` ends the error message."""
    least, most = float(array.min()), float(array.max())
    if not (low <= least and most <= high):  # NaN fails as well
        raise FrameError(
            f"{name}: values must be in [{low:g}, {high:g}], "
            f"got values in [{least:g}, {most:g}]; {advice}"
        )


def check_pose(name: str, pose: Array) -> None:
    """Check that a pose is a finite float32 (4, 4) matrix without scale.

    A mirroring rotation (determinant -1) passes here; `sim2street check-world` explains it.
    """
    check_array(name, pose, np.float32, (4, 4))
    if not np.isfinite(pose).all():
        raise FrameError(f"{name}: all 16 numbers must be finite, got {pose.tolist()}")
    # The determinant is written out because `np.linalg.det` takes longer than all other checks.
    (a, b, c), (d, e, f), (g, h, i) = pose[:3, :3].tolist()
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if abs(abs(determinant) - 1.0) >= MAX_VOLUME_ERROR:
        raise FrameError(
            f"{name}: expected a rotation and a translation without scale, got a 3x3 part with "
            f"determinant {determinant:.3g} instead of 1"
        )


def check_motion(name: str, motion: Array | None, height_px: int, width_px: int) -> None:
    """Check for finite float32 (height_px, width_px, 2). None passes."""
    check_array(name, motion, np.float32, (height_px, width_px, 2))
    if motion is not None and not np.isfinite(motion).all():
        raise FrameError(
            f"{name}: must be finite; for a surface that was not visible at tick "
            "motion_from_tick, use an offset to a point outside the image"
        )


def check_rgb(name: str, rgb: Array | None, height_px: int, width_px: int) -> None:
    """Check for uint8 (k*height_px, k*width_px, 3) with any whole k >= 1. None passes."""
    if rgb is None:
        return
    shape = rgb.shape
    is_image = rgb.dtype == np.uint8 and len(shape) == 3 and shape[0] > 0 and shape[2] == 3
    if not is_image or shape[0] % height_px or shape[0] * width_px != shape[1] * height_px:
        raise FrameError(
            f"{name}: expected uint8 (k*{height_px}, k*{width_px}, 3) with a whole number k, "
            f"got {rgb.dtype} {shape}"
        )
