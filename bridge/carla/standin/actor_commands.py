"""What clients do to actors: the calls, which are also the commands of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sim2street.bridge.carla.standin.actors import SimActor
from sim2street.bridge.carla.standin.rpc import NotInStandIn


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
    """`transform`: of the walker's feet, as the client's navigation has it."""
    (x, y, z), rotation = transform
    place = (x, y, z + actor.box[1][2], *rotation)
    actor.place(place)
    if not actor.physics:
        yaw = math.radians(rotation[1])
        actor.velocity = (speed * math.cos(yaw), speed * math.sin(yaw), 0.0)


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


def _set_collisions(actor: SimActor, enabled: bool) -> None:
    actor.collides = enabled


def _set_physics_control(actor: SimActor, control: list[Any]) -> None:
    """Keep it for `get_physics_control`. It has no effect: vehicles are bicycle models."""
    actor.physics_control = control


def _set_constant_velocity(actor: SimActor, velocity: list[Any]) -> None:
    """`velocity`: in the vehicle's frame; only its part along x counts."""
    actor.constant_speed_mps = float(velocity[0])


def _end_constant_velocity(actor: SimActor) -> None:
    actor.constant_speed_mps = None


def _set_lights(actor: SimActor, state: list[int] | int) -> None:
    """`state`: flags; in a list in a call, alone in a batch."""
    actor.light_state = state if isinstance(state, int) else state[0]


def _set_angular_velocity(_: SimActor, velocity: list[Any]) -> None:
    if any(velocity):
        raise NotInStandIn("the stand-in's vehicles have no angular velocity of their own")


def _refuse_push(_: SimActor, *__: Any) -> None:
    raise NotInStandIn("the stand-in has no forces and impulses, because it has no physics")


def _ignore(_: SimActor, *__: Any) -> None:
    """Accept a command that changes nothing that a client could see here."""


_PUSHES = ("impulse", "force", "angular_impulse", "torque")

COMMANDS: tuple[tuple[str, int, Callable[..., None]], ...] = (
    ("apply_control_to_vehicle", 2, _set_control),
    ("apply_control_to_walker", 4, _set_walker_control),
    ("apply_physics_control", 5, _set_physics_control),
    ("set_actor_transform", 6, _set_transform),
    ("set_walker_state", 7, _set_walker_state),
    ("set_actor_target_velocity", 8, _set_velocity),
    ("set_actor_target_angular_velocity", 9, _set_angular_velocity),
    *((f"add_actor_{name}", 10 + index, _refuse_push) for index, name in enumerate(_PUSHES)),
    ("set_actor_simulate_physics", 14, _set_physics),
    ("set_actor_enable_gravity", 15, _ignore),
    ("set_actor_autopilot", 16, _ignore),
    ("show_vehicle_debug_telemetry", 17, _ignore),
    ("set_vehicle_light_state", 18, _set_lights),
    ("set_actor_location", 19, _set_location),
)
"""Name of the call, index of the batch command (0.9.14 and later), what it does."""

CALLS: tuple[tuple[str, Callable[..., None]], ...] = (
    *((name, command) for name, _, command in COMMANDS),
    ("set_actor_collisions", _set_collisions),
    ("enable_actor_constant_velocity", _set_constant_velocity),
    ("disable_actor_constant_velocity", _end_constant_velocity),
)
"""Name of the call and what it does; with those that are no commands of a batch."""
