"""Finds out which actor an instance in an image is, where CARLA's instance ids do not tell.

Up to 0.9.15, and on large maps of 0.9.16, instance images carry ids of Unreal instead of
actor ids. An instance is the actor whose bounding box contains most of its 3-D points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sim2street.bridge.carla.child.images import FIRST_OTHER_ID
from sim2street.bridge.frame import Actor, IdArray, View
from sim2street.bridge.geometry import world_points
from sim2street.bridge.labels import Tag

_ACTOR_TAGS = (*range(Tag.PEDESTRIAN, Tag.BICYCLE + 1),)
_BOX_MARGIN_M = 0.3
_MAX_POINTS = 4000
_MIN_SHARE_IN_BOX = 0.5
_MAX_DEPTH_M = 120.0


def with_actor_ids(view: View, actors: Sequence[Actor], known: dict[int, int]) -> IdArray:
    """Instances uint32 (H, W) of a view, with actor ids where the actor could be found.

    Args:
        view: with labels, depth and instances; all instances are 0 or from 65536 up.
        actors: with ids below 65536.
        known: instance to actor id, of this episode so far; new ones are added.
    """
    assert view.labels is not None
    assert view.depth_m is not None
    assert view.instances is not None
    moving = np.isin(view.labels, _ACTOR_TAGS) & (view.depth_m < _MAX_DEPTH_M)
    flat = np.flatnonzero(moving & (view.instances >= FIRST_OTHER_ID))
    ids = view.instances.reshape(-1)[flat]
    unknown = ~np.isin(ids, list(known))
    if unknown.any():
        step = max(1, int(unknown.sum()) // _MAX_POINTS)
        sample = flat[unknown][::step]
        points = world_points(view.camera, view.pose, view.depth_m).reshape(-1, 3)[sample]
        _match(view.instances.reshape(-1)[sample], points, actors, known)
    instances = view.instances.copy()
    for instance in np.unique(ids).tolist():
        if instance in known:
            instances.reshape(-1)[flat[ids == instance]] = known[instance]
    return instances


def _match(
    ids: IdArray, points_m: np.ndarray, actors: Sequence[Actor], known: dict[int, int]
) -> None:
    """Add to `known` the actor whose box holds most of an instance's points, at least half."""
    instances, index, counts = np.unique(ids, return_inverse=True, return_counts=True)
    best = np.full(len(instances), _MIN_SHARE_IN_BOX)
    for actor in actors:
        extent = np.array(actor.extent_m) + _BOX_MARGIN_M
        local = (points_m - actor.pose[:3, 3]) @ actor.pose[:3, :3]
        local[:, 2] -= actor.extent_m[2]
        inside = (np.abs(local) < extent).all(axis=1)
        share = np.bincount(index, inside, len(instances)) / counts
        for i in np.flatnonzero(share > best):
            known[int(instances[i])] = actor.actor_id
            best[i] = share[i]
