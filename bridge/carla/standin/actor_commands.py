"""What clients do to actors, as single calls and as commands of a batch alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sim2street.bridge.carla.standin.actors import Body


def _control(body: Body, given: list) -> None:
    throttle, steer, brake, hand_brake, reverse, manual, gear, *_ = given
    body.given = (throttle, steer, brake, hand_brake, reverse, manual, gear)


def _transform(body: Body, transform: list) -> None:
    location, rotation = transform
    body.place((*location, *rotation))


def _location(body: Body, location: list) -> None:
    body.place((*location, *body.transform[3:]))


def _walk(body: Body, given: list) -> None:
    direction, speed, *_ = given
    body.walk = ((direction[0], direction[1], direction[2]), float(speed))


def _walker_state(body: Body, transform: list, speed: float) -> None:
    _transform(body, transform)
    body.walk = (body.walk[0], float(speed))


def _velocity(body: Body, velocity: list) -> None:
    """Sideways speed is not a thing that the bicycle model has."""
    if body.motion is None:
        return
    heading = body.motion.heading_rad
    along = velocity[0] * math.cos(heading) - velocity[1] * math.sin(heading)
    body.motion = replace(body.motion, speed_mps=along)
    body.velocity = (velocity[0], velocity[1], 0.0)


def _physics(body: Body, on: bool) -> None:
    body.physics = on


def _nothing(_: Body, *__: Any) -> None:
    """Accepted, and without effect in the stand-in."""


_IMPULSES = ("impulse", "force", "angular_impulse", "torque")

COMMANDS: tuple[tuple[str, int, Callable[..., None]], ...] = (
    ("apply_control_to_vehicle", 2, _control),
    ("apply_control_to_walker", 4, _walk),
    ("apply_physics_control", 5, _nothing),
    ("set_actor_transform", 6, _transform),
    ("set_walker_state", 7, _walker_state),
    ("set_actor_target_velocity", 8, _velocity),
    ("set_actor_target_angular_velocity", 9, _nothing),
    *((f"add_actor_{name}", 10 + index, _nothing) for index, name in enumerate(_IMPULSES)),
    ("set_actor_simulate_physics", 14, _physics),
    ("set_actor_enable_gravity", 15, _nothing),
    ("set_actor_autopilot", 16, _nothing),
    ("show_vehicle_debug_telemetry", 17, _nothing),
    ("set_vehicle_light_state", 18, _nothing),
    ("set_actor_location", 19, _location),
)
"""Name of the call, index of the batch command (0.9.14 and later), what it does."""
