"""The physics control that the stand-in reports for its vehicles."""

from __future__ import annotations

import math
from typing import Any

from sim2street.bridge.carla.standin.actors import SimActor
from sim2street.bridge.town.traffic.ego import EgoConfig

_CM = 100.0
_WHEEL_RADIUS_CM = 35.0
_DENSITY_KGPM3 = 110.0
"""Mass over the volume of the bounding box, typical of passenger cars."""


def physics_control(actor: SimActor) -> list[Any]:
    """What a client has set, or plausible values, in the order of CARLA's protocol.

    Only the steering angle, the size and the wheels' places are those of the stand-in's
    bicycle model.
    """
    if actor.physics_control is not None:
        return actor.physics_control
    length, width, height = (2.0 * extent for extent in actor.box[1])
    return [
        [[0.0, 400.0], [1890.0, 500.0], [5729.0, 400.0]],  # torque curve: rpm, Nm
        5729.0,  # largest rpm
        1.0,  # moment of inertia
        *(0.15, 2.0, 0.35),  # damping: throttle; none with the clutch engaged; and disengaged
        True,  # automatic gear box
        *(0.5, 10.0, 4.0),  # gear switch time, clutch strength, final ratio
        [[2.85, 0.5, 0.65], [2.02, 0.5, 0.65], [1.35, 0.5, 0.65], [1.0, 0.5, 0.65]],
        _DENSITY_KGPM3 * length * width * height,  # kg
        0.3,  # drag coefficient
        [0.0, 0.0, 0.0],  # centre of mass
        [[0.0, 1.0], [100.0, 1.0]],  # steering curve: km/h, share of the angle
        _wheels(actor),
        False,  # sweep wheel collision
    ]


def _wheels(actor: SimActor) -> list[Any]:
    """Front left, front right, rear left, rear right."""
    x, y, z, _, yaw, _ = actor.transform
    cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    steer_deg, rows = EgoConfig().steer_deg, []
    for along, angle in ((actor.rear_m, steer_deg), (-actor.rear_m, 0.0)):
        for aside in (-0.85 * actor.box[1][1], 0.85 * actor.box[1][1]):
            place = [x + along * cos - aside * sin, y + along * sin + aside * cos, z]
            row = [3.5, 0.25, angle, _WHEEL_RADIUS_CM, 1500.0, 3000.0, 3.0, 17.0, 1000.0]
            rows.append([*row, [_CM * part for part in place]])
    return rows
