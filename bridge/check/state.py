"""Checks of what a world says about its ego and where its cameras sit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sim2street.bridge.check.findings import Finding
from sim2street.bridge.frame import EGO_UNKNOWN, POSE_UNKNOWN, Control, SensorFrame
from sim2street.bridge.geometry import inverse_pose

_MIN_SPEED_MPS = 1.0
_MIN_MOVE_M = 0.3
_MOUNT_M = 0.05
_KNOWN_SPEED_FACTORS = {3.6: "km/h", 100.0: "cm/s", 0.01: "units of 100 m/s", 2.237: "mph"}


def check_state(
    frames: Sequence[SensorFrame], controls: Sequence[Control], tick_s: float
) -> list[Finding]:
    """The ego and the cameras on it, over a drive."""
    findings: list[Finding] = []
    if not any(EGO_UNKNOWN in frame.flags for frame in frames):
        findings += _check_ego(frames, tick_s)
        findings += _check_steering(frames, controls)
        if not any(POSE_UNKNOWN in frame.flags for frame in frames):
            findings += _check_mounts(frames)
    return findings


def _check_ego(frames: Sequence[SensorFrame], tick_s: float) -> Iterator[Finding]:
    at = np.array([frame.ego.pose[:3, 3] for frame in frames], np.float64)
    moved = np.diff(at, axis=0)
    if np.linalg.norm(moved, axis=1).sum() < _MIN_MOVE_M:
        hint = "full throttle should move it; poses and images could not be checked against it"
        yield Finding("stands_still", "warning", "the ego hardly moved during the check", hint)
        return
    up = frames[0].ego.pose[2, 2]
    if up < 0.7:
        hint = "world z and body z point up; map the engine's axes first"
        yield Finding("ego_axes", "error", f"the ego's z axis points {up:+.2f} up", hint)
        return
    told = np.array([frame.ego.velocity_mps for frame in frames[1:]], np.float64)
    measured = moved / tick_s
    fast = np.linalg.norm(measured, axis=1) > _MIN_SPEED_MPS
    if not fast.any():
        return
    ratio = float(np.median(_norm(told[fast]) / _norm(measured[fast])))
    if not 0.8 < ratio < 1.25:
        hint = _unit_hint(ratio)
        message = f"the velocity is {ratio:.3g} times the way per second"
        yield Finding("velocity", "error", message, hint)
        return
    cosine = np.sum(told[fast] * measured[fast], axis=1) / (
        _norm(told[fast]) * _norm(measured[fast])
    )
    if np.median(cosine) < 0.9:
        message = "the velocity points elsewhere than the ego goes"
        yield Finding("velocity", "error", message, "velocity_mps is in the world frame")
    forward = np.array([frame.ego.pose[:3, 0] for frame in frames[1:]], np.float64)[fast]
    along = np.median(np.sum(forward * measured[fast], axis=1) / _norm(measured[fast]))
    if along < 0.8:
        angle_deg = np.degrees(np.arccos(along))
        message = f"the ego's x axis makes an angle of {angle_deg:.0f} deg with its way"
        yield Finding("ego_axes", "error", message, "body axes: x forward, y left, z up")


def _unit_hint(ratio: float) -> str:
    for factor, unit in _KNOWN_SPEED_FACTORS.items():
        if 0.9 < ratio / factor < 1.1:
            return f"this looks like {unit} (or positions in another unit than metres)"
    return "velocities in m/s, positions in metres, one tick of tick_s per step"


def _check_steering(
    frames: Sequence[SensorFrame], controls: Sequence[Control]
) -> Iterator[Finding]:
    """Yaw against steer, at the tick and one later (steering takes a while)."""
    yaws = np.unwrap([np.arctan2(f.ego.pose[1, 0], f.ego.pose[0, 0]) for f in frames])
    rates = np.diff(yaws)
    steer = np.array([control.steer for control in controls])
    if np.abs(rates).max(initial=0.0) < 1e-3:
        return
    with np.errstate(invalid="ignore"):
        now = np.corrcoef(steer, rates)[0, 1]
        later = np.corrcoef(steer[:-1], rates[1:])[0, 1]
    if now > 0.4 and later > -0.2:
        message = "steering right turns the ego to the left"
        hint = "steer > 0 turns right, and yaw grows to the left (z up): check the handedness"
        yield Finding("steer_sign", "warning", message, hint)


def _check_mounts(frames: Sequence[SensorFrame]) -> Iterator[Finding]:
    """A camera rides on the ego: its place in the body is the same at every tick."""
    for name in frames[0].views:
        egos = [frame.ego.pose for frame in frames]
        poses = [frame.views[name].pose for frame in frames]
        if _spread_m(egos, poses) < _MOUNT_M:
            continue
        for code, lag in (
            ("poses_lag", (egos[:-1], poses[1:])),
            ("ego_lags", (egos[1:], poses[:-1])),
        ):
            if _spread_m(*lag) < _MOUNT_M:
                late = "poses lag" if code == "poses_lag" else "the ego's poses lag"
                message = f"{name}: {late} one tick behind the rest of the frame"
                yield Finding(code, "error", message, "read everything after the same tick")
                break
        else:
            message = f"{name}: the camera moves {_spread_m(egos, poses):.2f} m about in the ego"
            hint = "view.pose takes camera points to the world, ego.pose body points: same world"
            yield Finding("mount", "warning", message, hint)


def _spread_m(egos: Sequence[np.ndarray], poses: Sequence[np.ndarray]) -> float:
    """How far the mount, at arm's length too, strays from its median."""
    arm = np.array([[0, 0, 0, 1], [0, 0, 10, 1]], np.float64).T
    places = [(inverse_pose(ego) @ pose @ arm)[:3] for ego, pose in zip(egos, poses, strict=True)]
    stacked = np.array(places)
    return float(np.abs(stacked - np.median(stacked, axis=0)).max())


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(vectors, axis=1))
