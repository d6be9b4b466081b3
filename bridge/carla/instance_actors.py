"""Which actor an instance of a picture is, where CARLA's ids do not say it.

Up to 0.9.15, and on large maps of 0.9.16, instance pictures carry Unreal's own ids. The
points that their pixels show lie in the box of one actor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sim2street.bridge.carla.child.images import OTHERS_FROM
from sim2street.bridge.frame import Actor, IdArray, View
from sim2street.bridge.geometry import world_points
from sim2street.bridge.labels import Tag

_ACTOR_TAGS = (*range(Tag.PEDESTRIAN, Tag.BICYCLE + 1),)
_MARGIN_M = 0.3
_MOST_POINTS = 4000
_LEAST_SHARE = 0.5
_FAR_M = 120.0


def associated(view: View, actors: Sequence[Actor], known: dict[int, int]) -> IdArray:
    """Instances uint32 (H, W) with the ids of actors where it is clear which they are.

    Args:
        view: with labels, depth and instances, all of them from 65536 up.
        known: instance to actor id so far in this episode; grows.
    """
    assert view.labels is not None
    assert view.depth_m is not None
    assert view.instances is not None
    may_be = np.isin(view.labels, _ACTOR_TAGS) & (view.depth_m < _FAR_M)
    flat = np.flatnonzero(may_be & (view.instances >= OTHERS_FROM))
    numbers = view.instances.reshape(-1)[flat]
    strange = ~np.isin(numbers, list(known))
    if strange.any():
        step = max(1, int(strange.sum()) // _MOST_POINTS)
        where = flat[strange][::step]
        points = world_points(view.camera, view.pose, view.depth_m).reshape(-1, 3)[where]
        _learn(view.instances.reshape(-1)[where], points, actors, known)
    instances = view.instances.copy()
    for number in np.unique(numbers).tolist():
        if number in known:
            instances.reshape(-1)[flat[numbers == number]] = known[number]
    return instances


def _learn(
    numbers: IdArray, points_m: np.ndarray, actors: Sequence[Actor], known: dict[int, int]
) -> None:
    """Give each new instance the actor whose box holds most of its points."""
    names, index, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    best = np.full(len(names), _LEAST_SHARE)
    for actor in actors:
        extent = np.array(actor.extent_m) + _MARGIN_M
        local = (points_m - actor.pose[:3, 3]) @ actor.pose[:3, :3]
        local[:, 2] -= actor.extent_m[2]
        inside = (np.abs(local) < extent).all(axis=1)
        share = np.bincount(index, inside, len(names)) / counts
        for i in np.flatnonzero(share > best):
            known[int(names[i])] = actor.actor_id
            best[i] = share[i]
