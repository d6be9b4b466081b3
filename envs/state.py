"""Observations that need no camera: what the ego and its route know, as numbers near one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from sim2street.bridge.frame import (
    ROUTE_POINTS,
    ROUTE_SPACING_M,
    EgoState,
    FloatArray,
    LightState,
    SensorFrame,
)

FAR_M = 100.0
"""Distance at which a light, a vehicle ahead or a goal counts as far away."""

NEAR_M = 20.0
SHORT_OF_LINE_M = 1.0
FULL_BRAKE_MPS2 = 8.0
"""Lights that ask to stop are told of a second time, finely: where, and how hard to brake."""

STATE_FIELDS: Mapping[str, Callable[[EgoState], float]] = {
    "speed / 20 m/s": lambda ego: ego.speed_mps / 20.0,
    "speed limit / 20 m/s": lambda ego: ego.speed_limit_mps / 20.0,
    "yaw rate / 1 rad/s": lambda ego: ego.yaw_rate_rps,
    "lane offset / 2 m": lambda ego: ego.lane_offset_m / 2.0,
    "heading error / 1 rad": lambda ego: ego.heading_error_rad,
    "curvature / 0.1 1/m": lambda ego: ego.curvature_1pm / 0.1,
    "light ahead asks to stop (0 or 1)": lambda ego: float(_must_stop(ego)),
    "distance to the light / 100 m": lambda ego: (
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
    "distance to a light that asks to stop / 20 m": lambda ego: _to_stop_m(ego) / NEAR_M,
    "braking that stops 1 m before it / 8 m/s²": lambda ego: (
        ego.speed_mps**2 / (2.0 * max(_to_stop_m(ego) - SHORT_OF_LINE_M, 0.1)) / FULL_BRAKE_MPS2
    ),
}
"""The elements of the `state` observation, in order; each is clipped to [-1, 1]."""

ROUTE_FIELDS = tuple(
    f"{axis} of the route {ROUTE_SPACING_M * step:.0f} m ahead / {ROUTE_SPACING_M * step:.0f} m"
    for step in range(1, ROUTE_POINTS + 1)
    for axis in ("x (forward)", "y (left)")
)
"""The elements of the `route` observation, in order; straight on where it is unknown."""

_REACH_M = tuple(ROUTE_SPACING_M * step for step in range(1, ROUTE_POINTS + 1))


def state_vector(ego: EgoState) -> FloatArray:
    """float32 (len(STATE_FIELDS),), scaled to about one and clipped to [-1, 1]."""
    values = [field(ego) for field in STATE_FIELDS.values()]
    return np.array([min(1.0, max(-1.0, value)) for value in values], np.float32)


def route_vector(ego: EgoState) -> FloatArray:
    """float32 (len(ROUTE_FIELDS),): points ahead over their distance, clipped to [-1, 1]."""
    told = ego.route_ahead_m[:ROUTE_POINTS]
    points = [*told, *((reach_m, 0.0) for reach_m in _REACH_M[len(told) :])]
    shares = [v / reach_m for point, reach_m in zip(points, _REACH_M, strict=True) for v in point]
    return np.array([min(1.0, max(-1.0, share)) for share in shares], np.float32)


VECTORS: Mapping[str, tuple[tuple[str, ...], Callable[[EgoState], FloatArray]]] = {
    "state": (tuple(STATE_FIELDS), state_vector),
    "route": (ROUTE_FIELDS, route_vector),
}
"""Key -> what its elements mean, and how they are made."""


def vector(key: str, frame: SensorFrame) -> FloatArray:
    """The observation of that key, float32, a new array."""
    return VECTORS[key][1](frame.ego)


def _must_stop(ego: EgoState) -> bool:
    return ego.next_light is not None and ego.next_light.state is not LightState.GREEN


def _to_stop_m(ego: EgoState) -> float:
    """Metres to the line of a light that asks to stop; infinite where there is none."""
    return ego.next_light.distance_m if ego.next_light and _must_stop(ego) else math.inf
