"""Checks of actors against images: their pixels must lie in their boxes, at this tick."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.check.findings import Finding
from sim2street.bridge.frame import Actor, SensorFrame, View
from sim2street.bridge.geometry import inverse_pose, world_points

_MIN_PX = 12
_INSIDE = 0.9
_MARGIN_M = 0.15
_MOVING_MPS = 2.0
_OFF_M = 0.1


@dataclass(frozen=True, slots=True)
class Sighting:
    """An actor with enough pixels to judge, in one view of one frame."""

    index: int
    view: View
    actor: Actor


def check_actors(frames: Sequence[SensorFrame]) -> list[Finding]:
    """Findings about actors that are seen, with instances and depth."""
    for frame in frames:
        ids = [actor.actor_id for actor in frame.actors]
        if len(set(ids)) != len(ids):
            hint = "ids are unique in a frame, and stable in an episode"
            return [Finding("actor_ids", "error", "two actors share an id", hint)]
    sightings = [
        Sighting(index, view, actor)
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


def _check_tags(sightings: Sequence[Sighting]) -> Iterator[Finding]:
    wrong = total = 0
    for seen in sightings:
        if seen.view.labels is not None:
            pixels = seen.view.labels[seen.view.instances == seen.actor.actor_id]
            wrong += int((pixels != seen.actor.tag).sum())
            total += pixels.size
    if total and wrong > 0.2 * total:
        message = f"{wrong / total:.0%} of the actors' pixels have another label than the actor"
        hint = "labels, instances and actors must be of the same tick, and share their tags"
        yield Finding("labels_instances_mixed", "error", message, hint)


def _check_lag(frames: Sequence[SensorFrame], sightings: Sequence[Sighting]) -> Iterator[Finding]:
    """The end of a moving actor's box that faces the camera is where its points end."""
    moving = [s for s in sightings if np.linalg.norm(s.actor.velocity_mps) > _MOVING_MPS]
    off_m = {shift: _end_offset_m(frames, moving, shift) for shift in (0, 1, -1)}
    best = min(off_m, key=lambda shift: off_m[shift])
    if best == 0 or not off_m[0] > _OFF_M or off_m[best] > 0.4 * off_m[0]:
        return
    late = "actor poses lag one tick behind the images"
    if best < 0:
        late = "the images lag one tick behind the actors' poses"
    message = f"{late}: moving actors are {off_m[0]:.2f} m off, else {off_m[best]:.2f} m"
    code = "actors_lag" if best > 0 else "actors_ahead"
    hint = "read images, poses and actors after the same tick"
    yield Finding(code, "error", message, hint)


def _end_offset_m(frames: Sequence[SensorFrame], moving: Sequence[Sighting], shift: int) -> float:
    """Median distance from the points' end to the box's end, with poses of another tick."""
    offsets = []
    for seen in moving:
        actor = _actor_at(frames, seen, shift)
        if actor is None:
            continue
        camera_x_m = (inverse_pose(actor.pose) @ seen.view.pose[:, 3])[0]
        if abs(camera_x_m) > actor.extent_m[0]:
            ends = np.sign(camera_x_m) * body_points(seen.view, actor)[:, 0]
            offsets.append(abs(float(ends.max()) - actor.extent_m[0]))
    return float(np.median(offsets)) if offsets else float("inf")


def _actor_at(frames: Sequence[SensorFrame], seen: Sighting, shift: int) -> Actor | None:
    index = seen.index + shift
    if not 0 <= index < len(frames):
        return None
    same = [a for a in frames[index].actors if a.actor_id == seen.actor.actor_id]
    return same[0] if same else None


def _check_boxes(sightings: Sequence[Sighting]) -> Iterator[Finding]:
    """An actor's visible points lie in its box; if not, in which other one do they?"""
    inside = _inside(sightings, 1.0, 0.0)
    if inside >= _INSIDE:
        if _inside(sightings, 0.55, 0.0) >= _INSIDE or _inside(sightings, 0.55, 0.5) >= _INSIDE:
            message = "the actors fill half of their boxes only"
            hint = "extent_m holds half sizes"
            yield Finding("extent_full", "warning", message, hint)
        return
    message = f"only {inside:.0%} of the actors' points are in their boxes"
    others = {
        "actor_origin": (_inside(sightings, 1.0, 1.0), "the origin is on the ground, not central"),
        "extent_small": (_inside(sightings, 2.0, 0.0), "extent_m holds half sizes, not quarters"),
    }
    best = max(others, key=lambda name: others[name][0])
    share, hint = others[best]
    if share > max(0.8, inside + 0.1):
        yield Finding(best, "error", f"{message}, {share:.0%} otherwise", hint)
        return
    hint = "pose: body to world, at the middle of the footprint; extent_m: half sizes"
    yield Finding("actor_boxes", "error", message, hint)


def _inside(sightings: Sequence[Sighting], scale: float, raised: float) -> float:
    """Share of points in boxes of another size, or with their origin raised by half heights."""
    hits = total = 0
    for seen in sightings:
        points = body_points(seen.view, seen.actor)
        half = np.array(seen.actor.extent_m) * scale
        points[:, 2] += raised * seen.actor.extent_m[2] - half[2]  # to the middle of the box
        hits += int((np.abs(points) <= half * 1.02 + _MARGIN_M).all(axis=1).sum())
        total += len(points)
    return hits / total


def body_points(view: View, actor: Actor) -> np.ndarray:
    """The actor's visible points in its body frame: float64 (N, 3)."""
    assert view.depth_m is not None
    mask = view.instances == actor.actor_id
    points = world_points(view.camera, view.pose, view.depth_m)[mask].astype(np.float64)
    inverse = inverse_pose(actor.pose)
    return np.asarray(points @ inverse[:3, :3].T + inverse[:3, 3])
