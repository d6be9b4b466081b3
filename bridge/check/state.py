"""Checks of the ego's state over a drive, and of the cameras' places on the ego."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from sim2street.bridge.check.findings import Finding
from sim2street.bridge.frame import EGO_UNKNOWN, POSE_UNKNOWN, Control, FloatArray, SensorFrame
from sim2street.bridge.geometry import inverse_pose

_MIN_SPEED_MPS = 1.0
"""Ticks at lower speed are not used to check velocities."""

_MIN_MOVE_M = 0.3
"""Length of the whole drive below which the ego counts as not moving."""

_MAX_MOUNT_SPREAD_M = 0.05
"""How far a camera's place on the ego may vary."""

_SPEED_UNITS = {3.6: "km/h", 100.0: "cm/s", 0.01: "units of 100 m/s", 2.237: "mph"}
"""Value of 1 m/s in other units -> name of the unit."""

_LAG_HINT = "read everything in a frame after the same tick"

Floats = npt.NDArray[np.float64]


def check_state(
    frames: Sequence[SensorFrame], controls: Sequence[Control], tick_s: float
) -> list[Finding]:
    """Findings about the ego and its cameras.

    Args:
        frames: tick 0 and one frame per control.
        controls: the control that led from each frame to the next.
        tick_s: simulated seconds per tick.
    """
    findings: list[Finding] = []
    if not any(EGO_UNKNOWN in frame.flags for frame in frames):
        findings += _check_ego(frames, tick_s)
        findings += _check_steering(frames, controls)
        if not any(POSE_UNKNOWN in frame.flags for frame in frames):
            findings += _check_mounts(frames)
    return findings


def _check_ego(frames: Sequence[SensorFrame], tick_s: float) -> Iterator[Finding]:
    """Compare the ego's velocity and heading with how its position changes."""
    positions_m = np.array([frame.ego.pose[:3, 3] for frame in frames], np.float64)
    moved_m = np.diff(positions_m, axis=0)
    if _norm(moved_m).sum() < _MIN_MOVE_M:
        message = "the ego hardly moved during the check"
        hint = "full throttle should move it; without motion, poses and images cannot be checked"
        yield Finding("stands_still", "warning", message, hint)
        return
    up = frames[0].ego.pose[2, 2]
    if up < 0.7:
        hint = "world z and body z point up; convert the engine's axes first"
        message = f"the ego's z axis does not point up (its z component is {up:+.2f})"
        yield Finding("ego_axes", "error", message, hint)
        return
    moves = _norm(moved_m) / tick_s > _MIN_SPEED_MPS
    if not moves.any():
        return
    measured_mps = moved_m[moves] / tick_s
    reported_mps = np.array([frame.ego.velocity_mps for frame in frames[1:]], np.float64)[moves]
    ratio = float(np.median(_norm(reported_mps) / _norm(measured_mps)))
    if not 0.8 < ratio < 1.25:
        message = f"velocity_mps is {ratio:.3g} times the change of position per second"
        yield Finding("velocity", "error", message, _unit_hint(ratio))
        return
    if np.median(_cosine(reported_mps, measured_mps)) < 0.9:
        message = "velocity_mps points in another direction than the ego moves"
        yield Finding("velocity", "error", message, "velocity_mps is in the world frame")
    forward = np.array([frame.ego.pose[:3, 0] for frame in frames[1:]], np.float64)[moves]
    along = np.median(_cosine(forward, measured_mps))
    if along < 0.8:
        angle_deg = np.degrees(np.arccos(np.clip(along, -1.0, 1.0)))
        message = f"the ego's x axis is {angle_deg:.0f} deg away from the direction of its motion"
        yield Finding("ego_axes", "error", message, "body axes: x forward, y left, z up")


def _unit_hint(ratio: float) -> str:
    for factor, unit in _SPEED_UNITS.items():
        if 0.9 < ratio / factor < 1.1:
            return f"this looks like {unit} (or positions are not in metres)"
    return "send m/s and metres, and advance by exactly tick_s per step"


def _check_steering(
    frames: Sequence[SensorFrame], controls: Sequence[Control]
) -> Iterator[Finding]:
    """Correlate steering with turning in the same tick and in the next, as steering takes time."""
    yaw_rad = np.unwrap([np.arctan2(f.ego.pose[1, 0], f.ego.pose[0, 0]) for f in frames])
    turned_rad = np.diff(yaw_rad)
    steer = np.array([control.steer for control in controls])
    if np.abs(turned_rad).max(initial=0.0) < 1e-3:
        return
    with np.errstate(invalid="ignore"):
        same_tick = np.corrcoef(steer, turned_rad)[0, 1]
        next_tick = np.corrcoef(steer[:-1], turned_rad[1:])[0, 1]
    if same_tick > 0.4 and next_tick > -0.2:
        message = "steering right turns the ego to the left"
        hint = "steer > 0 turns right, and yaw grows to the left (z is up); check the handedness"
        yield Finding("steer_sign", "warning", message, hint)


def _check_mounts(frames: Sequence[SensorFrame]) -> Iterator[Finding]:
    """Check that every camera is fixed to the ego."""
    for name in frames[0].views:
        egos = [frame.ego.pose for frame in frames]
        cameras = [frame.views[name].pose for frame in frames]
        spread_m = _mount_spread_m(egos, cameras)
        if spread_m < _MAX_MOUNT_SPREAD_M:
            continue
        if _mount_spread_m(egos[:-1], cameras[1:]) < _MAX_MOUNT_SPREAD_M:
            message = f"{name}: poses lag one tick behind the rest of the frame"
            yield Finding("poses_lag", "error", message, _LAG_HINT)
        elif _mount_spread_m(egos[1:], cameras[:-1]) < _MAX_MOUNT_SPREAD_M:
            message = f"{name}: the ego's poses lag one tick behind the rest of the frame"
            yield Finding("ego_lags", "error", message, _LAG_HINT)
        else:
            message = f"{name}: the camera's place on the ego varies by {spread_m:.2f} m"
            hint = "view.pose maps camera points, ego.pose body points, to the same world"
            yield Finding("mount", "warning", message, hint)


def _mount_spread_m(egos: Sequence[FloatArray], cameras: Sequence[FloatArray]) -> float:
    """How far two points fixed to the camera move in the body frame: its centre, 10 m ahead."""
    points_m = np.array([[0, 0, 0, 1], [0, 0, 10, 1]], np.float64).T
    in_body_m = np.array(
        [
            (inverse_pose(ego) @ camera @ points_m)[:3]
            for ego, camera in zip(egos, cameras, strict=True)
        ]
    )
    return float(np.abs(in_body_m - np.median(in_body_m, axis=0)).max())


def _norm(vectors: Floats) -> Floats:
    """Lengths of vectors (N, 3)."""
    lengths: Floats = np.linalg.norm(vectors, axis=1)
    return lengths


def _cosine(a: Floats, b: Floats) -> Floats:
    """Cosines of the angles between vectors (N, 3); a zero vector gives NaN."""
    cosines: Floats = np.sum(a * b, axis=1) / (_norm(a) * _norm(b))
    return cosines
