"""The ego vehicle: a bicycle model with limits of steering, tyres, engine and brakes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim2street.bridge.frame import Control
from sim2street.configs import StrictModel

_TINY = 1e-6


class EgoConfig(StrictModel):
    """Size and limits of the ego vehicle.

    Attributes:
        rear_m, front_m: from the rear axle back to the rear bumper, ahead to the front one.
        steer_deg: of the wheels at full `Control.steer`. steer_rate_dps: how fast they turn.
        lateral_mps2: what the tyres hold; faster curves become wider.
        drag_1pm: air drag over mass (deceleration = drag * speed^2).
    """

    wheelbase_m: float = 2.7
    rear_m: float = 0.95
    front_m: float = 3.65
    half_width_m: float = 0.91
    height_m: float = 1.45
    steer_deg: float = 38.0
    steer_rate_dps: float = 120.0
    accel_mps2: float = 3.5
    power_wpkg: float = 28.0
    brake_mps2: float = 8.5
    lateral_mps2: float = 7.5
    reverse_mps: float = 5.0
    drag_1pm: float = 0.0006
    rolling_mps2: float = 0.15

    @property
    def middle_m(self) -> float:
        """From the rear axle to the middle of the box, along x."""
        return (self.front_m - self.rear_m) / 2.0

    @property
    def half_length_m(self) -> float:
        """Half the length of the box."""
        return (self.front_m + self.rear_m) / 2.0


@dataclass(frozen=True, slots=True)
class EgoMotion:
    """Where the middle of the rear axle is and how it moves.

    Attributes:
        speed_mps: along the vehicle's x axis, < 0 in reverse. wheel_rad: > 0 turns left.
    """

    x_m: float
    y_m: float
    heading_rad: float
    speed_mps: float = 0.0
    wheel_rad: float = 0.0
    yaw_rate_rps: float = 0.0


def advance(ego: EgoMotion, control: Control, tick_s: float, config: EgoConfig) -> EgoMotion:
    """One tick of motion: an exact arc at the tick's mean speed and constant curvature."""
    wheel = _steered(ego.wheel_rad, -control.steer, tick_s, config)
    speed = _driven(ego.speed_mps, control, tick_s, config)
    mean = 0.5 * (ego.speed_mps + speed)
    curvature = math.tan(wheel) / config.wheelbase_m
    held = config.lateral_mps2 / max(mean * mean, _TINY)
    curvature = max(-held, min(held, curvature))
    way = mean * tick_s
    turn = curvature * way
    # sinc form: exact for arcs and steady where the curvature vanishes
    chord = way * (math.sin(turn / 2) / (turn / 2) if abs(turn) > _TINY else 1.0)
    towards = ego.heading_rad + turn / 2
    return EgoMotion(
        ego.x_m + chord * math.cos(towards),
        ego.y_m + chord * math.sin(towards),
        math.remainder(ego.heading_rad + turn, 2 * math.pi),
        speed,
        wheel,
        curvature * speed,
    )


def _steered(wheel_rad: float, steer: float, tick_s: float, config: EgoConfig) -> float:
    wanted = math.radians(config.steer_deg) * steer
    most = math.radians(config.steer_rate_dps) * tick_s
    return wheel_rad + max(-most, min(most, wanted - wheel_rad))


def _driven(speed: float, control: Control, tick_s: float, config: EgoConfig) -> float:
    """Speed after the tick: engine (force, then power limited), drag, brakes; brakes hold."""
    direction = -1.0 if control.reverse else 1.0
    force = min(config.accel_mps2, config.power_wpkg / max(abs(speed), _TINY))
    if control.reverse and speed <= -config.reverse_mps:
        force = 0.0
    pulled = speed + direction * control.throttle * force * tick_s
    slowing = config.brake_mps2 * control.brake + config.drag_1pm * pulled * pulled
    if control.throttle == 0.0 or pulled * direction < 0.0:
        slowing += config.rolling_mps2
    if pulled > 0.0:
        return max(0.0, pulled - slowing * tick_s)
    return min(0.0, pulled + slowing * tick_s)
