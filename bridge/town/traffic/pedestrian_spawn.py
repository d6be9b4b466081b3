"""Where people on foot begin, and how the crowd keeps to the streets the ego drives.

A town has kilometres of sidewalk and a frame shows a hundred metres of it. People far from
the ego and from its way are out of every frame, so they are set down again where the ego
will come by: as many people are met as on a busy street, at the cost of a few dozen.
"""

from __future__ import annotations

import numpy as np

from sim2street.bridge.town.models import PEDESTRIAN_MODELS
from sim2street.bridge.town.plan.layout import Points
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats
from sim2street.bridge.town.plan.walk_map import WalkMap
from sim2street.bridge.town.traffic.pedestrians import WalkState

PACE_MPS = (1.0, 1.6)
_STANDING_SHARE = 0.12
_BESIDE_M = 32.0
_ELSEWHERE = 0.06
_GROUPS = np.array([1, 1, 1, 2, 2, 3])
_APART_M = 0.8
_FORGET_M = 165.0
_RIM_M = (155.0, 215.0)
_UNSEEN_M = 100.0
_ROUTE_STEP = 4


def spawn_pedestrians(
    rng: np.random.Generator, walks: WalkMap, count: int, route_m: Points
) -> WalkState:
    """People in twos and threes or alone, most of them along `route_m` (R, 2)."""
    points = _sidewalk_points(walks)
    weight = np.where(_beside(walks, points, route_m), 1.0, _ELSEWHERE)
    names = [model.name for model in PEDESTRIAN_MODELS]
    standing = rng.random(count) < _STANDING_SHARE
    still = [i for i, name in enumerate(names) if name.startswith("standing")]
    moving = [i for i in range(len(names)) if i not in still]
    model = np.where(standing, rng.choice(still, count), rng.choice(moving, count))
    state = WalkState(
        model=model.astype(np.int64),
        way=np.zeros(count, np.int64),
        s_m=np.zeros(count),
        onward=np.zeros(count, np.bool_),
        side=np.zeros(count),
        speed_mps=np.zeros(count),
        waits=np.full(count, -1, np.int64),
        rng=rng,
    )
    _set_down(state, walks, np.arange(count), points, weight)
    state.speed_mps[standing] = 0.0
    return state


def follow_ego(state: WalkState, walks: WalkMap, ego_m: Floats, ahead_m: Points) -> None:
    """Set those down again, out of sight along the way ahead, who were left far behind.

    Args:
        ego_m: float64 (2,). ahead_m: (R, 2), the route from the ego on, a metre apart.
    """
    x, y, _ = walks.paths.poses(state.way, state.s_m)
    left = np.hypot(x - ego_m[0], y - ego_m[1]) > _FORGET_M
    who = np.nonzero(left)[0]
    if not len(who):
        return
    who = who[_distance(np.stack([x[who], y[who]], axis=1), ahead_m) > 2 * _BESIDE_M]
    rim = ahead_m[int(_RIM_M[0]) : int(_RIM_M[1])]
    rim = rim[np.hypot(*(rim - ego_m).T) > _UNSEEN_M]
    if not len(who) or not len(rim):
        return
    points = _sidewalk_points(walks)
    near = _beside(walks, points, rim)
    if near.any():
        standing = state.speed_mps[who] == 0.0
        _set_down(state, walks, who, points[near], np.ones(int(near.sum())))
        state.speed_mps[who[standing]] = 0.0


def _set_down(state: WalkState, walks: WalkMap, who: Ints, points: Ints, weight: Floats) -> None:
    """Put people (by index) on sidewalk points drawn by weight, a group to a point."""
    rng, paths = state.rng, walks.paths
    sizes = rng.choice(_GROUPS, len(who))
    group = np.repeat(np.arange(len(who)), sizes)[: len(who)]
    at = rng.choice(points, len(who), p=weight / weight.sum())[group]
    pace, onward = rng.uniform(*PACE_MPS, len(who))[group], (rng.random(len(who)) < 0.5)[group]
    way = np.searchsorted(paths.first, at, side="right") - 1
    s_m = (at - paths.first[way]) * paths.spacing_m[way]
    s_m += rng.uniform(-_APART_M, _APART_M, len(who))
    state.way[who], state.onward[who], state.speed_mps[who] = way, onward, pace
    state.s_m[who] = np.clip(s_m, 0.0, paths.length_m[way])
    state.side[who] = rng.uniform(-1.0, 1.0, len(who))
    state.waits[who] = -1


def _sidewalk_points(walks: WalkMap) -> Ints:
    """Indices, into the paths' points, of those on the sidewalks of roads."""
    return np.nonzero(np.repeat(walks.on_road, walks.paths.count))[0]


def _beside(walks: WalkMap, points: Ints, line_m: Points) -> np.ndarray:
    """bool: which of the points (by index) lie along the line (R, 2)."""
    place = np.stack([walks.paths.x_m[points], walks.paths.y_m[points]], axis=1)
    return _distance(place, line_m) < _BESIDE_M


def _distance(points_m: Points, line_m: Points) -> Floats:
    """Distance (N,) of points (N, 2) from the points of a line, every few metres of it."""
    line = line_m[::_ROUTE_STEP]
    dx = points_m[:, :1] - line[:, 0]
    dy = points_m[:, 1:] - line[:, 1]
    nearest: Floats = np.sqrt((dx * dx + dy * dy).min(axis=1))
    return nearest
