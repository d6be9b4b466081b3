"""What clients do to actors: the calls, which are also the commands of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sim2street.bridge.carla.standin.actors import SimActor


def _set_control(actor: SimActor, control: list[Any]) -> None:
    throttle, steer, brake, hand_brake, reverse, manual, gear, *_ = control
    actor.control = (throttle, steer, brake, hand_brake, reverse, manual, gear)


def _set_transform(actor: SimActor, transform: list[Any]) -> None:
    location, rotation = transform
    actor.place((*location, *rotation))


def _set_location(actor: SimActor, location: list[Any]) -> None:
    actor.place((*location, *actor.transform[3:]))


def _set_walker_control(actor: SimActor, control: list[Any]) -> None:
    direction, speed, *_ = control
    actor.walk = ((direction[0], direction[1], direction[2]), float(speed))


def _set_walker_state(actor: SimActor, transform: list[Any], speed: float) -> None:
    _set_transform(actor, transform)
    actor.walk = (actor.walk[0], float(speed))


def _set_velocity(actor: SimActor, velocity: list[Any]) -> None:
    """Set the speed along the heading; the bicycle model has no sideways speed."""
    if actor.motion is None:
        return
    heading = actor.motion.heading_rad
    along = velocity[0] * math.cos(heading) - velocity[1] * math.sin(heading)
    actor.motion = replace(actor.motion, speed_mps=along)
    actor.velocity = (velocity[0], velocity[1], 0.0)


def _set_physics(actor: SimActor, enabled: bool) -> None:
    actor.physics = enabled


def _ignore(_: SimActor, *__: Any) -> None:
    """Accept a command that has no effect in the stand-in."""


_IMPULSES = ("impulse", "force", "angular_impulse", "torque")

COMMANDS: tuple[tuple[str, int, Callable[..., None]], ...] = (
    ("apply_control_to_vehicle", 2, _set_control),
    ("apply_control_to_walker", 4, _set_walker_control),
    ("apply_physics_control", 5, _ignore),
    ("set_actor_transform", 6, _set_transform),
    ("set_walker_state", 7, _set_walker_state),
    ("set_actor_target_velocity", 8, _set_velocity),
    ("set_actor_target_angular_velocity", 9, _ignore),
    *((f"add_actor_{name}", 10 + index, _ignore) for index, name in enumerate(_IMPULSES)),
    ("set_actor_simulate_physics", 14, _set_physics),
    ("set_actor_enable_gravity", 15, _ignore),
    ("set_actor_autopilot", 16, _ignore),
    ("show_vehicle_debug_telemetry", 17, _ignore),
    ("set_vehicle_light_state", 18, _ignore),
    ("set_actor_location", 19, _set_location),
)
"""Name of the call, index of the batch command (0.9.14 and later), what it does."""
