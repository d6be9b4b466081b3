"""Where pedestrians start, and how they are moved to where the ego will drive.

A town has kilometres of sidewalk, and a camera sees about a hundred metres. Pedestrians far from
the ego and its route are out of sight, so they are placed again along the route ahead. A few dozen
pedestrians are then enough for busy streets.
"""

from __future__ import annotations

import numpy as np

from sim2street.bridge.town.actor_models import PEDESTRIAN_MODELS
from sim2street.bridge.town.plan.lane_map import Bools
from sim2street.bridge.town.plan.layout import Points
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats
from sim2street.bridge.town.plan.walk_map import WalkMap
from sim2street.bridge.town.traffic.pedestrians import PedestrianState

_SPEED_MPS = (1.0, 1.6)
_STANDING_SHARE = 0.12
_BESIDE_ROUTE_M = 32.0
_ELSEWHERE_WEIGHT = 0.06
"""Weight of sidewalks away from the route, where those along the route weigh 1."""

_GROUP_SIZES = np.array([1, 1, 1, 2, 2, 3])
_GROUP_SPREAD_M = 0.8
_LEFT_BEHIND_M = 165.0
_PLACE_AHEAD_M = (155, 215)
"""Along the route ahead, which has a point per metre."""

_OUT_OF_SIGHT_M = 100.0
_ROUTE_STEP = 4
"""Distances to a route are measured to every fourth of its points."""

_PIECE = 16 * _ROUTE_STEP
"""Points of a route that are looked at together."""


def spawn_pedestrians(
    rng: np.random.Generator, walks: WalkMap, count: int, route_m: Points
) -> PedestrianState:
    """Pedestrians alone or in groups of two and three, most of them along `route_m` (R, 2)."""
    points = _sidewalk_points(walks)
    weight = np.where(_beside(walks, points, route_m), 1.0, _ELSEWHERE_WEIGHT)
    names = [model.name for model in PEDESTRIAN_MODELS]
    standing = rng.random(count) < _STANDING_SHARE
    standing_models = [i for i, name in enumerate(names) if name.startswith("standing")]
    walking_models = [i for i in range(len(names)) if i not in standing_models]
    model = np.where(
        standing, rng.choice(standing_models, count), rng.choice(walking_models, count)
    )
    state = PedestrianState(
        model=model.astype(np.int64),
        walkway=np.zeros(count, np.int64),
        s_m=np.zeros(count),
        forward=np.zeros(count, np.bool_),
        side=np.zeros(count),
        speed_mps=np.zeros(count),
        waiting_since=np.full(count, -1, np.int64),
        rng=rng,
    )
    _place(state, walks, np.arange(count), points, weight)
    state.speed_mps[standing] = 0.0
    return state


def follow_ego(state: PedestrianState, walks: WalkMap, ego_m: Floats, ahead_m: Points) -> None:
    """Place pedestrians that the ego has left behind again along its route, out of sight.

    Args:
        ego_m: float64 (2,). ahead_m: (R, 2), the route from the ego on, a point per metre.
    """
    x, y, _ = walks.paths.poses(state.walkway, state.s_m)
    left_behind = np.hypot(x - ego_m[0], y - ego_m[1]) > _LEFT_BEHIND_M
    who = np.nonzero(left_behind)[0]
    if not len(who):
        return
    who = who[_distance_m(np.stack([x[who], y[who]], axis=1), ahead_m) > 2 * _BESIDE_ROUTE_M]
    stretch = ahead_m[slice(*_PLACE_AHEAD_M)]
    stretch = stretch[np.hypot(*(stretch - ego_m).T) > _OUT_OF_SIGHT_M]
    if not len(who) or not len(stretch):
        return
    points = _sidewalk_points(walks)
    near = _beside(walks, points, stretch)
    if near.any():
        standing = state.speed_mps[who] == 0.0
        _place(state, walks, who, points[near], np.ones(int(near.sum())))
        state.speed_mps[who[standing]] = 0.0


def _place(state: PedestrianState, walks: WalkMap, who: Ints, points: Ints, weight: Floats) -> None:
    """Place the pedestrians `who` (indices) on sidewalk points, each group on one point.

    `points`: (P,) indices into the points of the walkways. `weight`: (P,), their frequency.
    """
    rng, paths = state.rng, walks.paths
    sizes = rng.choice(_GROUP_SIZES, len(who))
    group = np.repeat(np.arange(len(who)), sizes)[: len(who)]
    point = rng.choice(points, len(who), p=weight / weight.sum())[group]
    speed, forward = rng.uniform(*_SPEED_MPS, len(who))[group], (rng.random(len(who)) < 0.5)[group]
    walkway = np.searchsorted(paths.first, point, side="right") - 1
    s_m = (point - paths.first[walkway]) * paths.spacing_m[walkway]
    s_m += rng.uniform(-_GROUP_SPREAD_M, _GROUP_SPREAD_M, len(who))
    state.walkway[who], state.forward[who], state.speed_mps[who] = walkway, forward, speed
    state.s_m[who] = np.clip(s_m, 0.0, paths.length_m[walkway])
    state.side[who] = rng.uniform(-1.0, 1.0, len(who))
    state.waiting_since[who] = -1


def _sidewalk_points(walks: WalkMap) -> Ints:
    """Indices of the points of the walkways that lie on the sidewalks of roads."""
    return np.nonzero(np.repeat(walks.along_road, walks.paths.count))[0]


def _beside(walks: WalkMap, points: Ints, line_m: Points) -> Bools:
    """bool: which of the points (indices) lie beside the line (R, 2).

    Piece by piece of the line, and only for the points near its bounding box: a town has tens of
    thousands of points, most of them far from every piece.
    """
    x, y = walks.paths.x_m[points], walks.paths.y_m[points]
    beside = np.zeros(len(points), np.bool_)
    for begin in range(0, len(line_m), _PIECE):
        piece = line_m[begin : begin + _PIECE]
        (left, bottom), (right, top) = piece.min(axis=0), piece.max(axis=0)
        near = (x > left - _BESIDE_ROUTE_M) & (x < right + _BESIDE_ROUTE_M)
        near &= (y > bottom - _BESIDE_ROUTE_M) & (y < top + _BESIDE_ROUTE_M)
        left_to_check = np.flatnonzero(near & ~beside)
        if len(left_to_check):
            place = np.stack([x[left_to_check], y[left_to_check]], axis=1)
            beside[left_to_check] = _distance_m(place, piece) < _BESIDE_ROUTE_M
    return beside


def _distance_m(points_m: Points, line_m: Points) -> Floats:
    """Distance (N,) of points (N, 2) from every fourth point of a line (R, 2)."""
    line = line_m[::_ROUTE_STEP]
    dx = points_m[:, :1] - line[:, 0]
    dy = points_m[:, 1:] - line[:, 1]
    nearest: Floats = np.sqrt((dx * dx + dy * dy).min(axis=1))
    return nearest
