"""Which actors the ego has to brake for, by what a `SensorFrame` tells.

Actors are compared with the path that the ego is about to drive, in Frenet coordinates: distance
along the path and offset to its left. In a bend, an actor that follows the next lane is then told
from one that crosses the ego's lane.
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
"""Size of an average car: from the middle of its rear axle to its bumpers, and half its width."""

_VULNERABLE = (Tag.PEDESTRIAN, Tag.RIDER)
_SIDE_CLEARANCE_M = 0.25
_SIDE_CLEARANCE_VULNERABLE_M = 0.55
_RANGE_M = 60.0
_PATH_LENGTH_M = 45.0
_MIN_CROSSING_SPEED_MPS = 0.3
_MAX_ARRIVAL_S = 4.5
"""Actors that reach the path later are ignored."""

_TIME_MARGIN_S = 1.2
_START_SPEED_MPS = 3.0
"""An ego that stands or is slow is assumed to drive at this speed."""

_CROSSING_GAP_M = 1.2
"""The ego stops this far before the place where somebody crosses."""


@dataclass(frozen=True, slots=True)
class Hazard:
    """Something that the ego has to stay behind.

    Attributes:
        gap_m: from the ego's front bumper. speed_mps: along the ego's path.
    """

    gap_m: float
    speed_mps: float


@dataclass(frozen=True, slots=True)
class _Path:
    """Points of the ego's path, one per metre, in the body frame: float64 (N,) each."""

    x_m: Floats
    y_m: Floats
    heading_rad: Floats


@dataclass(frozen=True, slots=True)
class ActorsOnPath:
    """Actors in Frenet coordinates of the ego's path: float64 (K,) each.

    Attributes:
        s_m, left_m: of the centre, along the path (from the ego's origin) and to its left.
        along_mps, left_mps: velocity along the path and to its left.
        half_m: half of the actor's length along the path.
        free_from_m: the ego's way is free of an actor with at least this |left_m|.
    """

    s_m: Floats
    left_m: Floats
    along_mps: Floats
    left_mps: Floats
    half_m: Floats
    free_from_m: Floats


def hazards(ego: EgoState, actors: Sequence[Actor]) -> list[Hazard]:
    """The actors in the ego's way, and those that will cross it before the ego has passed."""
    near = [actor for actor in actors if _is_near(ego, actor)]
    if not near:
        return []
    others = on_path(ego, near)
    found = []
    in_the_way = np.abs(others.left_m) < others.free_from_m
    for i in np.flatnonzero(in_the_way & (others.s_m > FRONT_M)):
        gap = float(others.s_m[i] - others.half_m[i]) - FRONT_M
        found.append(Hazard(max(gap, 0.0), max(float(others.along_mps[i]), 0.0)))
    approach_mps = -np.sign(others.left_m) * others.left_mps
    for i in np.flatnonzero(~in_the_way & (approach_mps > _MIN_CROSSING_SPEED_MPS)):
        gap_m = _gap_to_crossing_m(others, int(i), float(approach_mps[i]), ego.speed_mps)
        if gap_m is not None:
            found.append(Hazard(gap_m, 0.0))
    return found


def _gap_to_crossing_m(
    others: ActorsOnPath, i: int, approach_mps: float, speed_mps: float
) -> float | None:
    """Distance to where the ego has to wait for actor i to cross; None if they do not meet.

    Args:
        approach_mps: speed of the actor towards the path. speed_mps: of the ego.
    """
    offset_m = abs(float(others.left_m[i]))
    arrives_s = (offset_m - float(others.free_from_m[i])) / approach_mps
    leaves_s = (offset_m + float(others.free_from_m[i])) / approach_mps
    if arrives_s > _MAX_ARRIVAL_S:
        return None
    crosses_at_m = float(others.s_m[i] + others.along_mps[i] * arrives_s)
    half = float(others.half_m[i])
    gap_m = crosses_at_m - half - FRONT_M
    if gap_m < 0.0 or gap_m > _PATH_LENGTH_M:  # beside or behind the ego braking does not help
        return None
    pace_mps = max(speed_mps, _START_SPEED_MPS)
    ego_arrives_s, ego_has_passed_s = gap_m / pace_mps, (crosses_at_m + half + REAR_M) / pace_mps
    if ego_has_passed_s + _TIME_MARGIN_S < arrives_s or ego_arrives_s > leaves_s + _TIME_MARGIN_S:
        return None
    return max(gap_m - _CROSSING_GAP_M, 0.0)


def _is_near(ego: EgoState, actor: Actor) -> bool:
    dx, dy = (float(actor.pose[k, 3] - ego.pose[k, 3]) for k in (0, 1))
    return dx * dx + dy * dy < _RANGE_M**2


def _path(ego: EgoState) -> _Path:
    """The route ahead if it is known, else an arc with the lane's curvature."""
    s = np.arange(0.0, _PATH_LENGTH_M + 1.0)
    if len(ego.route_ahead_m) >= 2:
        corners = np.array([(0.0, 0.0), *ego.route_ahead_m])
        steps = np.hypot(*np.diff(corners, axis=0).T)
        marks = np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1e-6))])
        x, y = (np.interp(s, marks, corners[:, k]) for k in (0, 1))
        last_step = corners[-1] - corners[-2]
        beyond = np.maximum(s - marks[-1], 0.0) / max(float(np.hypot(*last_step)), 1e-6)
        x, y = x + last_step[0] * beyond, y + last_step[1] * beyond
    else:
        turn = -ego.heading_error_rad + ego.curvature_1pm * np.minimum(s, _PATH_LENGTH_M / 2)
        x = np.concatenate([[0.0], np.cumsum(np.cos(turn[:-1]))])
        y = np.concatenate([[0.0], np.cumsum(np.sin(turn[:-1]))]) - ego.lane_offset_m
    heading = np.arctan2(_slopes(y), _slopes(x))
    if np.abs(heading[1:] - heading[:-1]).max() >= np.pi:  # rare, and unwrapping is slow
        heading = np.unwrap(heading)
    return _Path(x, y, heading)


def _slopes(values: Floats) -> Floats:
    """Central differences, as `np.gradient`, whose checks take longer than the arithmetic."""
    slopes = np.empty_like(values)
    slopes[1:-1] = (values[2:] - values[:-2]) / 2.0
    slopes[0], slopes[-1] = values[1] - values[0], values[-1] - values[-2]
    return slopes


def on_path(ego: EgoState, actors: Sequence[Actor]) -> ActorsOnPath:
    """Actors (at least one) relative to the path that the ego is about to drive."""
    path = _path(ego)
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
    vulnerable = np.array([actor.tag in _VULNERABLE for actor in actors])
    clearance = np.where(vulnerable, _SIDE_CLEARANCE_VULNERABLE_M, _SIDE_CLEARANCE_M)
    return ActorsOnPath(
        s_m=nearest + x * cos + y * sin,
        left_m=y * cos - x * sin,
        along_mps=velocity[:, 0] * cos + velocity[:, 1] * sin,
        left_mps=velocity[:, 1] * cos - velocity[:, 0] * sin,
        half_m=along * extent[:, 0] + across * extent[:, 1],
        free_from_m=HALF_WIDTH_M + clearance + across * extent[:, 0] + along * extent[:, 1],
    )
