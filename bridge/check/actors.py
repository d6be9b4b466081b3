"""Checks of actors against images: an actor's visible points must lie in its bounding box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.check.findings import Finding
from sim2street.bridge.frame import Actor, SensorFrame, View
from sim2street.bridge.geometry import inverse_pose, world_points

_NEAR_M = 40.0
"""Actors up to this distance are used to check ids."""

_MIN_ACTOR_PX = 50
"""Number of their pixels that this needs."""

_MIN_UNMATCHED = 0.5
"""Share of these with another id that is reported."""

_MIN_PX = 12
"""Number of pixels that an actor needs in a view to be checked."""

_MIN_WRONG_TAGS = 0.2
"""Share of the actors' pixels with another label that is reported."""

_MIN_INSIDE = 0.9
"""Share of the points that must lie in the boxes."""

_MARGIN_M = 0.15
"""How far points may lie outside a box; pixels at edges have the depth of what is behind."""

_MOVING_MPS = 2.0
"""Speed above which an actor is used to find lags."""

_MAX_OFFSET_M = 0.1
"""Distance between the ends of points and box that needs no explanation."""


@dataclass(frozen=True, slots=True)
class _Sighting:
    """An actor that is visible in one view of one frame."""

    frame_index: int
    view: View
    actor: Actor


def check_actors(frames: Sequence[SensorFrame]) -> list[Finding]:
    """Findings about actors in views that have instances, and boxes in those with depth."""
    unknown = list(_check_instances(frames))
    if unknown:
        return unknown
    sightings = [
        _Sighting(index, view, actor)
        for index, frame in enumerate(frames)
        for view in frame.views.values()
        if view.instances is not None and view.depth_m is not None
        for actor in frame.actors
        if (view.instances == actor.actor_id).sum() >= _MIN_PX
    ]
    if not sightings:
        return []
    findings = list(_check_tags(sightings))
    lags = list(_check_lag(frames, sightings))
    return [*findings, *(lags or _check_boxes(sightings))]


def _check_instances(frames: Sequence[SensorFrame]) -> Iterator[Finding]:
    """Do the pixels that lie in an actor's box, and have its tag, have its id?"""
    without_id = other_id = total = 0
    for frame in frames:
        near = [actor for actor in frame.actors if _is_near(actor, frame)]
        for view in frame.views.values():
            for actor, ids in _ids_in_boxes(view, near):
                total += ids.size
                without_id += int((ids == 0).sum())
                other_id += int(((ids != 0) & (ids != actor.actor_id)).sum())
    if total < _MIN_ACTOR_PX:
        return
    hint = "pixels of an actor carry its actors.id; other objects have other ids, or 0"
    if other_id > _MIN_UNMATCHED * total:
        message = f"{other_id / total:.0%} of the actors' pixels have another id than the actor"
        yield Finding("instances_unknown", "error", message, hint)
    elif without_id > _MIN_UNMATCHED * total:
        message = f"{without_id / total:.0%} of the actors' pixels have no id"
        yield Finding("instances_missing", "warning", message, hint)


def _is_near(actor: Actor, frame: SensorFrame) -> bool:
    distances = (np.linalg.norm(v.pose[:3, 3] - actor.pose[:3, 3]) for v in frame.views.values())
    return any(distance < _NEAR_M for distance in distances)


def _ids_in_boxes(
    view: View, actors: Sequence[Actor]
) -> Iterator[tuple[Actor, npt.NDArray[np.uint32]]]:
    """For each actor, the instance ids of the pixels of its tag that lie in its box."""
    if view.labels is None or view.instances is None or view.depth_m is None:
        return
    own = np.isin(view.labels, [actor.tag for actor in actors]) & (view.depth_m < _NEAR_M)
    points_m = world_points(view.camera, view.pose, view.depth_m)[own].astype(np.float64)
    labels, ids = view.labels[own], view.instances[own]
    for actor in actors:
        to_body = inverse_pose(actor.pose)
        in_body_m = points_m @ to_body[:3, :3].T + to_body[:3, 3]
        in_body_m[:, 2] -= actor.extent_m[2]  # relative to the middle of the box
        inside = (np.abs(in_body_m) <= np.array(actor.extent_m)).all(axis=1)
        found = ids[inside & (labels == actor.tag)]
        if found.size:
            yield actor, found


def _check_tags(sightings: Sequence[_Sighting]) -> Iterator[Finding]:
    wrong = total = 0
    for sighting in sightings:
        if sighting.view.labels is not None:
            pixels = sighting.view.labels[sighting.view.instances == sighting.actor.actor_id]
            wrong += int((pixels != sighting.actor.tag).sum())
            total += pixels.size
    if total and wrong > _MIN_WRONG_TAGS * total:
        message = f"{wrong / total:.0%} of the actors' pixels have a label other than actor.tag"
        hint = "labels, instances and actors must be of the same tick and use the same tags"
        yield Finding("labels_instances_mixed", "error", message, hint)


def _check_lag(frames: Sequence[SensorFrame], sightings: Sequence[_Sighting]) -> Iterator[Finding]:
    """Are the images or the actors' poses one tick late?

    The end of a moving actor that faces the camera must coincide with that end of its box.
    """
    moving = [s for s in sightings if np.linalg.norm(s.actor.velocity_mps) > _MOVING_MPS]
    offset_m = {shift: _end_offset_m(frames, moving, shift) for shift in (0, 1, -1)}
    best = min(offset_m, key=lambda shift: offset_m[shift])
    if best == 0 or not offset_m[0] > _MAX_OFFSET_M or offset_m[best] > 0.4 * offset_m[0]:
        return
    lag = "actor poses lag one tick behind the images"
    if best < 0:
        lag = "images lag one tick behind the actor poses"
    message = (
        f"{lag}: moving actors are {offset_m[0]:.2f} m away from their pixels, "
        f"{offset_m[best]:.2f} m with the poses of the neighbouring tick"
    )
    code = "actors_lag" if best > 0 else "actors_ahead"
    hint = "read images, poses and actors after the same tick"
    yield Finding(code, "error", message, hint)


def _end_offset_m(frames: Sequence[SensorFrame], moving: Sequence[_Sighting], shift: int) -> float:
    """Median distance between the ends of points and box, with poses from `shift` ticks later.

    Infinite if there is nothing to compare.
    """
    offsets = []
    for sighting in moving:
        actor = _actor_at(frames, sighting, shift)
        if actor is None:
            continue
        camera_x_m = (inverse_pose(actor.pose) @ sighting.view.pose[:, 3])[0]
        if abs(camera_x_m) > actor.extent_m[0]:
            ends = np.sign(camera_x_m) * _body_points(sighting.view, actor)[:, 0]
            offsets.append(abs(float(ends.max()) - actor.extent_m[0]))
    return float(np.median(offsets)) if offsets else float("inf")


def _actor_at(frames: Sequence[SensorFrame], sighting: _Sighting, shift: int) -> Actor | None:
    index = sighting.frame_index + shift
    if not 0 <= index < len(frames):
        return None
    same = [a for a in frames[index].actors if a.actor_id == sighting.actor.actor_id]
    return same[0] if same else None


def _check_boxes(sightings: Sequence[_Sighting]) -> Iterator[Finding]:
    """Do the points lie in the boxes? If not, which common mistake about boxes explains it?"""
    inside = _share_inside(sightings, 1.0, 0.0)
    if inside >= _MIN_INSIDE:
        # Boxes of twice the size are half empty, wherever their origin is.
        in_half_boxes = max(_share_inside(sightings, 0.55, raised) for raised in (0.0, 0.5))
        if in_half_boxes >= _MIN_INSIDE:
            message = "actors fill only half of their boxes"
            yield Finding("extent_full", "warning", message, "extent_m holds half sizes")
        return
    message = f"only {inside:.0%} of the actors' points are in their boxes"
    alternatives = {
        "actor_origin": (
            _share_inside(sightings, 1.0, 1.0),
            "the origin of an actor is on the ground, not in the middle of its box",
        ),
        "extent_small": (
            _share_inside(sightings, 2.0, 0.0),
            "extent_m holds half sizes, not quarter sizes",
        ),
    }
    best = max(alternatives, key=lambda code: alternatives[code][0])
    share, hint = alternatives[best]
    if share > max(0.8, inside + 0.1):
        yield Finding(best, "error", f"{message}, {share:.0%} without this mistake", hint)
        return
    hint = "pose: body to world, origin on the ground below the box's centre; extent_m: half sizes"
    yield Finding("actor_boxes", "error", message, hint)


def _share_inside(sightings: Sequence[_Sighting], scale: float, raised: float) -> float:
    """Share of the actors' points that lie in their boxes after a change of the boxes.

    Args:
        scale: factor on the size of the boxes.
        raised: how far the points are raised, in half heights of the boxes as sent.
    """
    hits = total = 0
    for sighting in sightings:
        points_m = _body_points(sighting.view, sighting.actor)
        half_m = np.array(sighting.actor.extent_m) * scale
        # Relative to the centre of the box; the actor's origin is at its bottom.
        points_m[:, 2] += raised * sighting.actor.extent_m[2] - half_m[2]
        hits += int((np.abs(points_m) <= half_m * 1.02 + _MARGIN_M).all(axis=1).sum())
        total += len(points_m)
    return hits / total


def _body_points(view: View, actor: Actor) -> npt.NDArray[np.float64]:
    """The actor's visible points in its body frame, in metres: (N, 3)."""
    assert view.depth_m is not None
    mask = view.instances == actor.actor_id
    points_m = world_points(view.camera, view.pose, view.depth_m)[mask].astype(np.float64)
    to_body = inverse_pose(actor.pose)
    body_points_m: npt.NDArray[np.float64] = points_m @ to_body[:3, :3].T + to_body[:3, 3]
    return body_points_m
