"""Cars parked along the kerbs."""

from __future__ import annotations

import numpy as np

from sim2street.bridge.town.actor_models import VEHICLE_MODELS
from sim2street.bridge.town.plan.layout import FIRST_PARKED_ID, ParkedCar, Road
from sim2street.bridge.town.plan.polyline import arc_lengths, at_lengths, headings, offset

_MIN_TO_STOP_LINE_M = 7.0
_GAP_M = (0.7, 1.6)
"""Range of the gap between two parking spaces."""

_SIDE_GAP_M = 0.12
_SHARE_OF_SIDE = (0.3, 0.95)
_TILT_RAD = 0.012
"""Standard deviation of a parked car's angle to the kerb."""

_PARKED_MODELS = tuple(m for m in VEHICLE_MODELS if m.extent_m[0] < 2.8 and m.extent_m[1] > 0.7)


def park_cars(
    rng: np.random.Generator, roads: tuple[Road, ...], density: float
) -> tuple[ParkedCar, ...]:
    """Cars in the parking strips. `density` multiplies a random share per side of a road."""
    parked: list[ParkedCar] = []
    for road in roads:
        for side in (0, 1):
            if road.parking_width_m[side] > 0.0:
                share = min(1.0, density * float(rng.uniform(*_SHARE_OF_SIDE)))
                parked.extend(_one_side(rng, road, side, share, FIRST_PARKED_ID + len(parked)))
    return tuple(parked)


def _one_side(
    rng: np.random.Generator, road: Road, side: int, share: float, first_id: int
) -> list[ParkedCar]:
    """Cars on the left (0) or right (1) of a road, in the direction of the traffic there."""
    sign = 1.0 if side == 0 else -1.0
    strip_m = sign * (road.kerb_m[side] - road.parking_width_m[side] / 2)
    line = offset(road.centre_m, strip_m)
    lengths, heading = arc_lengths(line), headings(line)
    cars: list[ParkedCar] = []
    s = _MIN_TO_STOP_LINE_M
    while True:
        model = _PARKED_MODELS[int(rng.integers(len(_PARKED_MODELS)))]
        half_length, half_width, _ = model.extent_m
        gap, free, sway, tilt = rng.uniform(*_GAP_M), rng.random(), rng.random(), rng.normal()
        middle = s + half_length
        if middle + half_length > lengths[-1] - _MIN_TO_STOP_LINE_M:
            return cars
        s = middle + half_length + gap
        if free > share:
            continue
        at = at_lengths(line, np.array([middle]))[0]
        angle = float(np.interp(middle, lengths, heading))
        room = max(0.0, road.parking_width_m[side] - 2 * (half_width + _SIDE_GAP_M))
        left = sign * room * (0.5 - 0.5 * sway)  # nearer to the kerb
        x, y = at[0] - np.sin(angle) * left, at[1] + np.cos(angle) * left
        turned = angle + (np.pi if side == 0 else 0.0) + _TILT_RAD * float(np.clip(tilt, -2, 2))
        number = first_id + len(cars)
        cars.append(ParkedCar(number, float(x), float(y), float(turned), model.name))
