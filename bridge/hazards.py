"""Who is in the way: actors against the path that the ego is about to drive.

Everything is judged along the path (Frenet coordinates: how far along it, how far to its
left), so that somebody who follows a bend in the next lane is not taken for somebody who
crosses. Only what a `SensorFrame` tells is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import Actor, EgoState
from sim2street.bridge.labels import Tag

Floats = npt.NDArray[np.float64]

FRONT_M, REAR_M, HALF_WIDTH_M = 3.7, 1.0, 0.95
"""Of a usual car, from the middle of the rear axle."""

_ON_FOOT = (Tag.PEDESTRIAN, Tag.RIDER)
_SIDE_GAP_M = 0.25
_SIDE_GAP_ON_FOOT_M = 0.55
_RANGE_M = 60.0
_PATH_M = 45.0
_CROSSING_MPS = 0.3
_LOOK_AHEAD_S = 4.5
_SPARE_S = 1.2
_STARTING_MPS = 3.0
_STOP_BEFORE_M = 1.2


@dataclass(frozen=True, slots=True)
class Hazard:
    """Something to keep behind: bumper to bumper distance and its speed along the path."""

    gap_m: float
    speed_mps: float


@dataclass(frozen=True, slots=True)
class _Path:
    """Points a metre apart in the body frame: x_m, y_m, heading_rad, float64 (N,)."""

    x_m: Floats
    y_m: Floats
    heading_rad: Floats


@dataclass(frozen=True, slots=True)
class _Others:
    """Actors against the path, float64 (K,) each.

    Attributes:
        s_m, left_m: of the middle. along_mps, left_mps: velocity.
        half_m: half its length along the path. beside_m: |left_m| from which it is clear.
    """

    s_m: Floats
    left_m: Floats
    along_mps: Floats
    left_mps: Floats
    half_m: Floats
    beside_m: Floats


def hazards(ego: EgoState, actors: Sequence[Actor]) -> list[Hazard]:
    """Those in the ego's way now, and those about to cross it before it has passed."""
    near = [actor for actor in actors if _is_near(ego, actor)]
    if not near:
        return []
    path = _path(ego)
    others = _against(path, ego, near)
    found = []
    inside = np.abs(others.left_m) < others.beside_m
    for i in np.flatnonzero(inside & (others.s_m > FRONT_M)):
        gap = float(others.s_m[i] - others.half_m[i]) - FRONT_M
        found.append(Hazard(max(gap, 0.0), max(float(others.along_mps[i]), 0.0)))
    closing = -np.sign(others.left_m) * others.left_mps
    for i in np.flatnonzero(~inside & (closing > _CROSSING_MPS)):
        gap_m = _crossing_gap_m(others, int(i), float(closing[i]), ego.speed_mps)
        if gap_m is not None:
            found.append(Hazard(gap_m, 0.0))
    return found


def _crossing_gap_m(others: _Others, i: int, closing_mps: float, speed_mps: float) -> float | None:
    """Distance to where somebody will cross, or None where the two do not meet."""
    away = abs(float(others.left_m[i]))
    comes_s = (away - float(others.beside_m[i])) / closing_mps
    gone_s = (away + float(others.beside_m[i])) / closing_mps
    if comes_s > _LOOK_AHEAD_S:
        return None
    at_m = float(others.s_m[i] + others.along_mps[i] * comes_s)
    half = float(others.half_m[i])
    gap_m = at_m - half - FRONT_M
    if gap_m < 0.0 or gap_m > _PATH_M:  # beside or behind: braking would not help
        return None
    pace = max(speed_mps, _STARTING_MPS)
    passed_s = (at_m + half + REAR_M) / pace
    if passed_s + _SPARE_S < comes_s or gap_m / pace > gone_s + _SPARE_S:
        return None
    return max(gap_m - _STOP_BEFORE_M, 0.0)


def _is_near(ego: EgoState, actor: Actor) -> bool:
    dx, dy = (float(actor.pose[k, 3] - ego.pose[k, 3]) for k in (0, 1))
    return dx * dx + dy * dy < _RANGE_M**2


def _path(ego: EgoState) -> _Path:
    """The route ahead where it is told, else an arc of the lane's curvature."""
    s = np.arange(0.0, _PATH_M + 1.0)
    if len(ego.route_ahead_m) >= 2:
        corners = np.array([(0.0, 0.0), *ego.route_ahead_m])
        steps = np.hypot(*np.diff(corners, axis=0).T)
        marks = np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1e-6))])
        x, y = (np.interp(s, marks, corners[:, k]) for k in (0, 1))
        end = corners[-1] - corners[-2]
        beyond = np.maximum(s - marks[-1], 0.0) / max(float(np.hypot(*end)), 1e-6)
        x, y = x + end[0] * beyond, y + end[1] * beyond
    else:
        bend = -ego.heading_error_rad + ego.curvature_1pm * np.minimum(s, _PATH_M / 2)
        x = np.concatenate([[0.0], np.cumsum(np.cos(bend[:-1]))])
        y = np.concatenate([[0.0], np.cumsum(np.sin(bend[:-1]))]) - ego.lane_offset_m
    heading = np.unwrap(np.arctan2(np.gradient(y), np.gradient(x)))
    return _Path(x, y, heading)


def _against(path: _Path, ego: EgoState, actors: Sequence[Actor]) -> _Others:
    to_body = np.linalg.inv(np.asarray(ego.pose, np.float64))
    poses = to_body @ np.array([actor.pose for actor in actors], np.float64)
    velocity = np.array([actor.velocity_mps for actor in actors]) @ to_body[:3, :3].T
    extent = np.array([actor.extent_m for actor in actors])
    dx, dy = poses[:, 0, 3, None] - path.x_m, poses[:, 1, 3, None] - path.y_m
    nearest = (dx * dx + dy * dy).argmin(axis=1)
    row = np.arange(len(actors))
    cos, sin = np.cos(path.heading_rad[nearest]), np.sin(path.heading_rad[nearest])
    x, y = dx[row, nearest], dy[row, nearest]
    turn = np.arctan2(poses[:, 1, 0], poses[:, 0, 0]) - path.heading_rad[nearest]
    along, across = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    on_foot = np.array([actor.tag in _ON_FOOT for actor in actors])
    gap = np.where(on_foot, _SIDE_GAP_ON_FOOT_M, _SIDE_GAP_M)
    return _Others(
        s_m=nearest + x * cos + y * sin,
        left_m=y * cos - x * sin,
        along_mps=velocity[:, 0] * cos + velocity[:, 1] * sin,
        left_mps=velocity[:, 1] * cos - velocity[:, 0] * sin,
        half_m=along * extent[:, 0] + across * extent[:, 1],
        beside_m=HALF_WIDTH_M + gap + across * extent[:, 0] + along * extent[:, 1],
    )
