"""The observations `state`, `route` and `hazards`: vectors of numbers that need no camera.

`state` describes the ego vehicle, its lane, the next traffic light and the vehicle ahead;
`route` gives points of the route ahead; `hazards` (in `hazards.py`) tells who is in the way or
about to cross it. Every element is scaled and clipped to [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.frame import (
    ROUTE_POINTS,
    ROUTE_SPACING_M,
    EgoState,
    FloatArray,
    LightState,
    SensorFrame,
)
from sim2street.envs.hazards import HAZARD_FIELDS, hazards_vector

FAR_M = 100.0
"""Scale of distances to lights, vehicles and the goal; one that is missing counts as 1."""

NEAR_LIGHT_M = 20.0
"""Finer scale of the distance to a red or yellow light, for the last metres before it."""

STOP_MARGIN_M = 1.0
"""The braking needed for a red or yellow light stops this far before its line."""

FULL_BRAKE_MPS2 = 8.0
"""Deceleration that counts as 1."""

STATE_FIELDS: Mapping[str, Callable[[EgoState], float]] = {
    "speed / 20 m/s": lambda ego: ego.speed_mps / 20.0,
    "speed limit / 20 m/s": lambda ego: ego.speed_limit_mps / 20.0,
    "yaw rate / 1 rad/s": lambda ego: ego.yaw_rate_rps,
    "lane offset / 2 m": lambda ego: ego.lane_offset_m / 2.0,
    "heading error / 1 rad": lambda ego: ego.heading_error_rad,
    "curvature / 0.1 1/m": lambda ego: ego.curvature_1pm / 0.1,
    "next light is red or yellow (0 or 1)": lambda ego: float(_must_stop(ego)),
    "distance to the next light / 100 m": lambda ego: (
        ego.next_light.distance_m / FAR_M if ego.next_light else 1.0
    ),
    "distance to the vehicle ahead / 100 m": lambda ego: (
        ego.lead.distance_m / FAR_M if ego.lead else 1.0
    ),
    "speed of the vehicle ahead / 20 m/s": lambda ego: (
        ego.lead.speed_mps / 20.0 if ego.lead else 1.0
    ),
    "route left / 100 m": lambda ego: (
        ego.route_distance_m / FAR_M if ego.route_distance_m is not None else 1.0
    ),
    "distance to a red or yellow light / 20 m": lambda ego: _stop_distance_m(ego) / NEAR_LIGHT_M,
    "braking needed to stop 1 m before that light / 8 m/s²": lambda ego: (
        ego.speed_mps**2 / (2.0 * max(_stop_distance_m(ego) - STOP_MARGIN_M, 0.1)) / FULL_BRAKE_MPS2
    ),
}
"""Elements of `state`, in order: name with its scale -> value before clipping."""

ROUTE_FIELDS = tuple(
    f"{axis} of the route {ROUTE_SPACING_M * step:.0f} m ahead / {ROUTE_SPACING_M * step:.0f} m"
    for step in range(1, ROUTE_POINTS + 1)
    for axis in ("x (forward)", "y (left)")
)
"""Elements of `route`, in order. Points that the world does not give are straight ahead."""

_ROUTE_DISTANCES_M = tuple(ROUTE_SPACING_M * step for step in range(1, ROUTE_POINTS + 1))


def state_vector(ego: EgoState) -> FloatArray:
    """float32 (len(STATE_FIELDS),) in [-1, 1]."""
    return _clipped([field(ego) for field in STATE_FIELDS.values()])


def route_vector(ego: EgoState) -> FloatArray:
    """float32 (len(ROUTE_FIELDS),) in [-1, 1]: route points divided by their distance."""
    known = ego.route_ahead_m[:ROUTE_POINTS]
    straight = ((distance_m, 0.0) for distance_m in _ROUTE_DISTANCES_M[len(known) :])
    points = zip((*known, *straight), _ROUTE_DISTANCES_M, strict=True)
    return _clipped([value / distance_m for point, distance_m in points for value in point])


@dataclass(frozen=True, slots=True)
class VectorObservation:
    """An observation that is a vector.

    Attributes:
        fields: what each element means.
        compute: the vector, float32 (len(fields),) in [-1, 1], a new array.
    """

    fields: tuple[str, ...]
    compute: Callable[[SensorFrame], FloatArray]


VECTOR_OBSERVATIONS: Mapping[str, VectorObservation] = {
    "state": VectorObservation(tuple(STATE_FIELDS), lambda frame: state_vector(frame.ego)),
    "route": VectorObservation(ROUTE_FIELDS, lambda frame: route_vector(frame.ego)),
    "hazards": VectorObservation(HAZARD_FIELDS, hazards_vector),
}
"""Observation key -> the vector behind it."""


def vector_observation(key: str, frame: SensorFrame) -> FloatArray:
    """The vector `key` of a frame, float32, a new array."""
    return VECTOR_OBSERVATIONS[key].compute(frame)


def _clipped(values: list[float]) -> FloatArray:
    return np.array([min(1.0, max(-1.0, value)) for value in values], np.float32)


def _must_stop(ego: EgoState) -> bool:
    return ego.next_light is not None and ego.next_light.state is not LightState.GREEN


def _stop_distance_m(ego: EgoState) -> float:
    """Metres to the line of a red or yellow light; infinite without one."""
    return ego.next_light.distance_m if ego.next_light and _must_stop(ego) else math.inf
