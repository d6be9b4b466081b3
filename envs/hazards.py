"""The observation `hazards`: who is on the ego's path, or about to cross it.

Everything that can end an episode with a collision and that is not fixed to the ground: vehicles
ahead, crossing traffic, pedestrians and bicycles. Actors are compared with the path that the ego
is about to drive: the route where it is known, else the lane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim2street.bridge.frame import Actor, EgoState, FloatArray, SensorFrame
from sim2street.bridge.hazards import FRONT_M, REAR_M, on_path
from sim2street.bridge.labels import Tag

HAZARDS = 6
"""Number of hazards in the observation, the nearest first."""

RANGE_M = 50.0
"""Hazards farther ahead than this are not observed."""

HORIZON_S = 6.0
"""Actors beside the path count if they reach it within this time at their present speed."""

MIN_APPROACH_MPS = 0.3
"""Slower actors beside the path do not count."""

ON_FOOT_OR_TWO_WHEELS = (Tag.PEDESTRIAN, Tag.RIDER, Tag.BICYCLE, Tag.MOTORCYCLE)

_BEHIND_M = 8.0
"""Actors that are this far behind the ego, along its heading, are not on its path any more."""

_SCALES = (1.0, 1.0, RANGE_M, 10.0, 20.0, 5.0, 5.0)

_FIELDS = (
    "a car, truck or bus (0 or 1)",
    "a pedestrian, rider, bicycle or motorcycle (0 or 1)",
    "distance along the path / 50 m",
    "offset to the left of the path / 10 m",
    "speed along the path / 20 m/s",
    "speed to the left / 5 m/s",
    "offset from which it is out of the way / 5 m",
)

_EMPTY = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0], np.float32)
"""A place for which there is no hazard: far away, and of neither class."""

HAZARD_FIELDS = tuple(f"hazard {k}: {field}" for k in range(1, HAZARDS + 1) for field in _FIELDS)
"""Elements of `hazards`, in order."""


@dataclass(frozen=True, slots=True)
class HazardAhead:
    """An actor that the ego may hit if it drives on.

    Attributes:
        on_foot_or_two_wheels: whether its tag is one of those, else it is a car, truck or bus.
        distance_m: along the path, from the ego's front bumper to the near end of the actor; 0
            for one beside the ego.
        left_m: offset of its centre to the left of the path.
        along_mps, left_mps: its velocity along the path and to its left.
        free_from_m: the path is free of it where its centre has at least this offset.
    """

    on_foot_or_two_wheels: bool
    distance_m: float
    left_m: float
    along_mps: float
    left_mps: float
    free_from_m: float


def hazards_ahead(frame: SensorFrame) -> tuple[HazardAhead, ...]:
    """The hazards of a frame, the nearest first, at most `HAZARDS`."""
    global _latest
    ego, actors, found = _latest
    if ego is not frame.ego or actors is not frame.actors:
        found = tuple(_find(frame))
        _latest = frame.ego, frame.actors, found
    return found


_latest: tuple[EgoState | None, tuple[Actor, ...], tuple[HazardAhead, ...]] = (None, (), ())
"""What was found last, and for whom: reward and observation look at the same frame."""


def _find(frame: SensorFrame) -> list[HazardAhead]:
    actors = _actors_near(frame)
    if not actors:
        return []
    others = on_path(frame.ego, actors)
    distance_m = others.s_m - others.half_m - FRONT_M
    in_the_way = np.abs(others.left_m) < others.free_from_m
    approach_mps = -np.sign(others.left_m) * others.left_mps
    arrives_s = (np.abs(others.left_m) - others.free_from_m) / np.maximum(approach_mps, 1e-6)
    crossing = (approach_mps > MIN_APPROACH_MPS) & (arrives_s < HORIZON_S)
    ahead = (others.s_m + others.half_m > -REAR_M) & (distance_m < RANGE_M)
    found = np.flatnonzero((in_the_way | crossing) & ahead)
    nearest_first = found[np.argsort(distance_m[found], kind="stable")][:HAZARDS]
    return [
        HazardAhead(
            on_foot_or_two_wheels=actors[i].tag in ON_FOOT_OR_TWO_WHEELS,
            distance_m=max(0.0, float(distance_m[i])),
            left_m=float(others.left_m[i]),
            along_mps=float(others.along_mps[i]),
            left_mps=float(others.left_mps[i]),
            free_from_m=float(others.free_from_m[i]),
        )
        for i in nearest_first.tolist()
    ]


def _actors_near(frame: SensorFrame) -> list[Actor]:
    """The actors in range, without those behind the ego."""
    if not frame.actors:
        return []
    pose = np.asarray(frame.ego.pose, np.float64)
    places_m = np.array([actor.pose[:2, 3] for actor in frame.actors], np.float64)
    offsets_m = places_m - pose[:2, 3]
    near = (offsets_m**2).sum(axis=1) < (RANGE_M + FRONT_M) ** 2
    near &= offsets_m @ pose[:2, 0] > -_BEHIND_M
    return [frame.actors[i] for i in np.flatnonzero(near).tolist()]


def hazards_vector(frame: SensorFrame) -> FloatArray:
    """float32 (len(HAZARD_FIELDS),) in [-1, 1]: `_FIELDS` of each hazard, the nearest first."""
    rows = np.tile(_EMPTY, (HAZARDS, 1))
    for row, hazard in zip(rows, hazards_ahead(frame), strict=False):
        row[:] = (
            not hazard.on_foot_or_two_wheels,
            hazard.on_foot_or_two_wheels,
            hazard.distance_m,
            hazard.left_m,
            hazard.along_mps,
            hazard.left_mps,
            hazard.free_from_m,
        )
        row /= _SCALES
    return np.clip(rows.ravel(), -1.0, 1.0)
