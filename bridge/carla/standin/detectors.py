"""What inertial sensors measure, as CARLA's server computes it, and noise."""

from __future__ import annotations

import math

import numpy as np

from sim2street.bridge.carla.axes import unreal_matrix
from sim2street.bridge.carla.standin.actors import SimActor

_GRAVITY_MPS2 = 9.81


def inertial(sensor: SimActor, carrier: SimActor) -> tuple[list[float], list[float], float]:
    """Acceleration (m/s^2, with gravity), angular velocity (rad/s) and compass (rad).

    The first two are in the sensor's frame. The compass is 0 to the north, clockwise.
    """
    rotation = unreal_matrix(sensor.transform)[:3, :3]
    push = np.array(carrier.acceleration)
    push[2] += _GRAVITY_MPS2
    turning = np.radians(carrier.angular_velocity)
    compass = math.radians(sensor.transform[4] + 90.0) % (2.0 * math.pi)
    return (push @ rotation).tolist(), (turning @ rotation).tolist(), compass


class Noise:
    """Noise of one sensor: a bias and a normal distribution for each of its axes."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def added(
        self, values: list[float], biases: list[float], deviations: list[float]
    ) -> list[float]:
        """The values with noise."""
        noise = self._rng.normal(biases, deviations)
        return [value + float(part) for value, part in zip(values, noise, strict=True)]
