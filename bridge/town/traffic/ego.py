"""The ego's motion: a bicycle model with limits of steering, tyres, engine and brakes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim2street.bridge.frame import Control
from sim2street.configs import StrictModel

_DRAG_1PM = 0.0006
"""Air drag over mass: the deceleration is this times speed squared."""

_ROLLING_RESISTANCE_MPS2 = 0.15
_TINY = 1e-6


class EgoConfig(StrictModel):
    """Size and limits of the ego.

    Attributes:
        rear_m, front_m: from the rear axle to the rear and to the front bumper.
        steer_deg: angle of the front wheels at `Control.steer` 1.
        steer_rate_dps: how fast the wheels turn, degrees per second.
        accel_mps2: acceleration at full throttle, as far as the engine's power allows.
        power_wpkg: engine power over mass.
        lateral_mps2: largest lateral acceleration; the tyres slip beyond and curves get wider.
        reverse_mps: largest speed in reverse.
    """

    wheelbase_m: float = 2.7
    rear_m: float = 0.95
    front_m: float = 3.65
    half_width_m: float = 0.91
    steer_deg: float = 38.0
    steer_rate_dps: float = 120.0
    accel_mps2: float = 3.5
    power_wpkg: float = 28.0
    brake_mps2: float = 8.5
    lateral_mps2: float = 7.5
    reverse_mps: float = 5.0

    @property
    def middle_m(self) -> float:
        """From the rear axle to the centre of the box, along x."""
        return (self.front_m - self.rear_m) / 2.0

    @property
    def half_length_m(self) -> float:
        """Half the length of the box."""
        return (self.front_m + self.rear_m) / 2.0


@dataclass(frozen=True, slots=True)
class EgoMotion:
    """Pose and motion of the ego at the middle of its rear axle.

    Attributes:
        speed_mps: along the vehicle's x axis, negative in reverse.
        wheel_rad: angle of the front wheels, positive to the left.
    """

    x_m: float
    y_m: float
    heading_rad: float
    speed_mps: float = 0.0
    wheel_rad: float = 0.0
    yaw_rate_rps: float = 0.0


def advance(ego: EgoMotion, control: Control, tick_s: float, config: EgoConfig) -> EgoMotion:
    """The motion one tick later: an exact arc at the tick's mean speed and constant curvature."""
    wheel = _next_wheel_rad(ego.wheel_rad, -control.steer, tick_s, config)
    speed = _next_speed_mps(ego.speed_mps, control, tick_s, config)
    mean = 0.5 * (ego.speed_mps + speed)
    curvature = math.tan(wheel) / config.wheelbase_m
    limit = config.lateral_mps2 / max(mean * mean, _TINY)
    curvature = max(-limit, min(limit, curvature))
    way = mean * tick_s
    turn = curvature * way
    # sin(x) / x: exact for arcs, and steady where the curvature vanishes
    chord = way * (math.sin(turn / 2) / (turn / 2) if abs(turn) > _TINY else 1.0)
    direction = ego.heading_rad + turn / 2
    return EgoMotion(
        ego.x_m + chord * math.cos(direction),
        ego.y_m + chord * math.sin(direction),
        math.remainder(ego.heading_rad + turn, 2 * math.pi),
        speed,
        wheel,
        curvature * speed,
    )


def _next_wheel_rad(wheel_rad: float, steer_left: float, tick_s: float, config: EgoConfig) -> float:
    target = math.radians(config.steer_deg) * steer_left
    limit = math.radians(config.steer_rate_dps) * tick_s
    return wheel_rad + max(-limit, min(limit, target - wheel_rad))


def _next_speed_mps(speed_mps: float, control: Control, tick_s: float, config: EgoConfig) -> float:
    """Speed after the tick; resistance and brakes never push the ego backwards."""
    direction = -1.0 if control.reverse else 1.0
    force = min(config.accel_mps2, config.power_wpkg / max(abs(speed_mps), _TINY))
    if control.reverse and speed_mps <= -config.reverse_mps:
        force = 0.0
    driven = speed_mps + direction * control.throttle * force * tick_s
    slowing = config.brake_mps2 * control.brake + _DRAG_1PM * driven * driven
    if control.throttle == 0.0 or driven * direction < 0.0:
        slowing += _ROLLING_RESISTANCE_MPS2
    if driven > 0.0:
        return max(0.0, driven - slowing * tick_s)
    return min(0.0, driven + slowing * tick_s)
