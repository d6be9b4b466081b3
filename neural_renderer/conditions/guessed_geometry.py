"""Depth, horizon and a level camera guessed for views of worlds that send no depth.

Training photographs have no depth either: they get the same pseudo-depth, so a view without depth
looks to the generator as a photograph did.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sim2street.bridge.frame import Camera, FloatArray, View
from sim2street.neural_renderer.conditions.pseudo_depth import (
    USUAL_HEIGHT_M,
    GroundCamera,
    estimate_horizon,
    pseudo_depth,
)

USUAL_HORIZON = 0.45
"""Row of the horizon as a share of the height, where too little road is visible to estimate it."""

HEIGHT_RANGE_M = (0.5, 4.0)
"""A camera whose z lies outside is not z metres above the ground (hills): the usual height is
assumed."""


def guess_horizon(view: View) -> float | None:
    """Row of the horizon as a share of the height; None where too little road is visible."""
    return None if view.labels is None else estimate_horizon(view.labels)


def with_guessed_depth(view: View, horizon: float | None) -> View:
    """The view with pseudo-depth, as seen by a level camera.

    The pose keeps its position and its direction in the ground plane, so that noise and windows
    stay in place while the camera drives. Pitch is expressed by the principal point, which moves
    to the horizon, as in training.

    Args:
        view: with labels, without depth.
        horizon: row of the horizon as a share of the height; None: the usual one.
    """
    assert view.labels is not None
    height_m = float(view.pose[2, 3])
    if not HEIGHT_RANGE_M[0] <= height_m <= HEIGHT_RANGE_M[1]:
        height_m = USUAL_HEIGHT_M
    share = USUAL_HORIZON if horizon is None else horizon
    camera: Camera = dataclasses.replace(view.camera, cy_px=share * view.camera.height_px)
    ground = GroundCamera(camera.fy_px, camera.cy_px, height_m)
    return dataclasses.replace(
        view,
        camera=camera,
        pose=_levelled(view.pose, height_m),
        depth_m=pseudo_depth(view.labels, ground),
    )


def _levelled(pose: FloatArray, height_m: float) -> FloatArray:
    """The pose without pitch and roll, `height_m` above the ground at z = 0."""
    forward_x, forward_y = float(pose[0, 2]), float(pose[1, 2])
    length = math.hypot(forward_x, forward_y)
    if length < 1e-6:  # looks straight up or down
        forward_x, forward_y, length = 1.0, 0.0, 1.0
    x, y = forward_x / length, forward_y / length
    level = np.eye(4, dtype=np.float32)
    level[:3, 0] = (y, -x, 0.0)  # right
    level[:3, 1] = (0.0, 0.0, -1.0)  # down
    level[:3, 2] = (x, y, 0.0)  # forward
    level[:3, 3] = (pose[0, 3], pose[1, 3], height_m)
    return level
