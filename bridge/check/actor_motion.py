"""Checks of actors over time, without images: ids, velocities, sizes and axes."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from sim2street.bridge.check.findings import Finding
from sim2street.bridge.frame import Actor, SensorFrame

_MOVING_MPS = 1.0
"""Change of position per second from which velocities are checked."""

_MAX_JUMP_M = 5.0
"""An actor that moves farther than this and its speed in one tick is another one."""

_MIN_HALF_M, _MAX_HALF_M = 0.05, 30.0

Tracks = dict[int, list[tuple[int, Actor]]]
"""Actor id -> (tick, actor) in the order of ticks."""


def check_actor_motion(frames: Sequence[SensorFrame], tick_s: float) -> list[Finding]:
    """Findings about the actors of a drive; their ids must be unique in each frame."""
    tracks: Tracks = defaultdict(list)
    for frame in frames:
        for actor in frame.actors:
            tracks[actor.actor_id].append((frame.tick, actor))
    findings = list(_check_sizes(tracks))
    identity = list(_check_identity(tracks, tick_s))
    return findings + (identity or list(_check_velocities(tracks, tick_s)))


def _check_sizes(tracks: Tracks) -> Iterator[Finding]:
    actors = [actor for track in tracks.values() for _, actor in track]
    wrong = [a for a in actors if not all(_MIN_HALF_M <= e <= _MAX_HALF_M for e in a.extent_m)]
    if wrong:
        message = f"actor {wrong[0].actor_id} has extent_m {tuple(map(float, wrong[0].extent_m))}"
        hint = "extent_m holds half sizes of the box along x, y and z, in metres"
        yield Finding("actor_extent", "error", message, hint)
    tilted = [a for a in actors if a.pose[2, 2] < 0.5]
    if tilted:
        message = f"the z axis of actor {tilted[0].actor_id} does not point up"
        hint = "body axes: x forward, y left, z up; pose maps body points to the world"
        yield Finding("actor_axes", "error", message, hint)


def _check_identity(tracks: Tracks, tick_s: float) -> Iterator[Finding]:
    """An id belongs to one actor for a whole episode."""
    for number, track in tracks.items():
        for (before_tick, before), (tick, now) in itertools.pairwise(track):
            elapsed_s = (tick - before_tick) * tick_s
            fastest = max(np.linalg.norm(before.velocity_mps), np.linalg.norm(now.velocity_mps))
            jump_m = float(np.linalg.norm(now.pose[:3, 3] - before.pose[:3, 3]))
            if before.tag != now.tag or jump_m > _MAX_JUMP_M + 2.0 * fastest * elapsed_s:
                what = f"jumps by {jump_m:.1f} m" if before.tag == now.tag else "changes its tag"
                message = f"actor {number} {what} between the ticks {before_tick} and {tick}"
                hint = "ids must be unique in a frame and constant during an episode"
                yield Finding("actor_ids", "error", message, hint)
                return


def _check_velocities(tracks: Tracks, tick_s: float) -> Iterator[Finding]:
    moved, reported = [], []
    for track in tracks.values():
        for (before_tick, before), (tick, now) in itertools.pairwise(track):
            step = (now.pose[:3, 3].astype(np.float64) - before.pose[:3, 3]) / tick_s
            if tick == before_tick + 1 and np.linalg.norm(step) > _MOVING_MPS:
                moved.append(step)
                reported.append(now.velocity_mps)
    if not moved or not np.any(reported):
        return  # velocities may be left out
    measured, sent = np.array(moved), np.array(reported, np.float64)
    lengths = np.linalg.norm(measured, axis=1)
    ratio = float(np.median(np.linalg.norm(sent, axis=1) / lengths))
    cosines = np.sum(sent * measured, axis=1) / np.maximum(
        np.linalg.norm(sent, axis=1) * lengths, 1e-9
    )
    hint = "velocity_mps is in m/s along the axes of the world"
    if not 0.7 < ratio < 1.4:
        message = f"the actors' velocity_mps is {ratio:.3g} times their change of position"
        yield Finding("actor_velocity", "error", message, hint)
    elif np.median(cosines) < 0.8:
        message = "the actors' velocity_mps points in another direction than they move"
        yield Finding("actor_velocity", "error", message, hint)
