"""The actors of the stand-in: what clients spawn, and how it moves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sim2street.bridge.carla.axes import UnrealTransform, pose_of, unreal_of
from sim2street.bridge.carla.standin.blueprints import Blueprint
from sim2street.bridge.frame import Actor, Control
from sim2street.bridge.town.plan.town_map import TownMap
from sim2street.bridge.town.traffic.collisions import Box, Boxes, corners, touching
from sim2street.bridge.town.traffic.ego import EgoConfig, EgoMotion, advance

ORIGIN: UnrealTransform = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
VehicleControl = tuple[float, float, float, bool, bool, bool, int]
"""Throttle, steer, brake, hand brake, reverse, manual gear shift, gear."""

NO_CONTROL: VehicleControl = (0.0, 0.0, 0.0, False, False, False, 0)
_EGO_CONFIG = EgoConfig()
_REAR_SHARE = 0.29
"""Distance from the middle of a vehicle back to its rear axle, as a share of its length."""


@dataclass(slots=True)
class SimActor:
    """One actor.

    Attributes:
        attributes: rows of id, type and value, as in CARLA's protocol.
        transform: in the world, in CARLA's axes.
        mount: transform relative to the parent, for an actor that has one.
        motion: of a vehicle's rear axle, in our axes.
        walk: of a walker: direction (x, y, z) and speed (m/s), in CARLA's axes.
        box: centre and half sizes (m) in the actor's frame.
        velocity: m/s, in CARLA's axes.
        last_contacts: ids of the actors that it touched, or would have touched, in the last
            tick; 0 stands for static objects.
        contacts_here: ids of the actors that it touches where it is, None if not known yet.
        physics: whether it moves and collides. collides: whether vehicles can touch it.
        acceleration: m/s^2, over the last tick, in CARLA's axes.
        angular_velocity: degrees/s, in CARLA's axes.
        constant_speed_mps: along its x axis whatever its control; None if it has none.
        light_state: flags of its lights, as CARLA numbers them.
        physics_control: what a client has set; None for the blueprint's.
        sent_s: simulated time at which a sensor sent its last data.
    """

    actor_id: int
    type_id: str
    uid: int
    attributes: list[Any]
    transform: UnrealTransform
    blueprint: Blueprint | None = None
    parent_id: int = 0
    mount: UnrealTransform = ORIGIN
    stream_id: int = 0
    motion: EgoMotion | None = None
    control: VehicleControl = NO_CONTROL
    walk: tuple[tuple[float, float, float], float] = ((0.0, 0.0, 0.0), 0.0)
    box: tuple[tuple[float, float, float], tuple[float, float, float]] = ((0, 0, 0), (0, 0, 0))
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    last_contacts: set[int] = field(default_factory=set)
    contacts_here: set[int] | None = None
    physics: bool = True
    collides: bool = True
    acceleration: tuple[float, float, float] = (0.0, 0.0, 0.0)
    angular_velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    constant_speed_mps: float | None = None
    light_state: int = 0
    physics_control: list[Any] | None = None
    sent_s: float = -math.inf

    @property
    def is_vehicle(self) -> bool:
        """Whether it drives."""
        return self.type_id.startswith("vehicle.")

    @property
    def tag(self) -> int:
        """Label tag; 0 for an actor that cameras do not see."""
        return self.blueprint.model.tag if self.blueprint and self.blueprint.model else 0

    def attribute(self, name: str) -> str:
        """Value of an attribute, as text."""
        return next(str(value) for key, _, value in self.attributes if key == name)

    def has_attribute(self, name: str) -> bool:
        """Whether it has an attribute of this name."""
        return any(key == name for key, _, _ in self.attributes)

    def place(self, transform: UnrealTransform) -> None:
        """Put it somewhere; a vehicle is then at rest."""
        self.transform = transform
        self.velocity = self.angular_velocity = (0.0, 0.0, 0.0)
        self.contacts_here = None
        if self.is_vehicle:
            x, y, _, _, yaw, _ = transform
            heading = -math.radians(yaw)
            back = self.rear_m
            self.motion = EgoMotion(
                x - back * math.cos(heading), -y - back * math.sin(heading), heading
            )

    @property
    def rear_m(self) -> float:
        """Distance from the origin back to the rear axle."""
        return 2.0 * _REAR_SHARE * self.box[1][0]

    def ground_box(self) -> Box:
        """Its outline on the ground, in our axes."""
        x, y, _, _, yaw, _ = self.transform
        return Box(x, -y, -math.radians(yaw), self.box[1][0], self.box[1][1], 0.0)

    def frame_actor(self) -> Actor:
        """The same actor as the town's scene draws it."""
        pose = pose_of(self.transform)
        pose[2, 3] += self.box[0][2] - self.box[1][2]
        return Actor(self.actor_id, self.tag, pose.astype(np.float32), self.box[1])


def boxes_of(actors: list[SimActor]) -> Boxes:
    """The actors' outlines on the ground."""
    rows = [actor.ground_box() for actor in actors]
    table = [(b.x_m, b.y_m, b.heading_rad, b.half_length_m, b.half_width_m) for b in rows]
    return Boxes(*np.array(table, np.float64).reshape(-1, 5).T)


def mounted_transform(actor: SimActor, parent: SimActor) -> UnrealTransform:
    """The world transform of an actor that is fixed to its parent."""
    return unreal_of(pose_of(parent.transform) @ pose_of(actor.mount))


def move_walker(actor: SimActor, tick_s: float) -> None:
    """Move a walker by one tick as its control says, through any obstacle."""
    (dx, dy, dz), speed = actor.walk
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    if speed == 0.0 or length == 0.0:
        actor.velocity = (0.0, 0.0, 0.0)
        return
    actor.velocity = (dx / length * speed, dy / length * speed, 0.0)
    x, y, z = (p + v * tick_s for p, v in zip(actor.transform[:3], actor.velocity, strict=True))
    actor.transform = (x, y, z, 0.0, math.degrees(math.atan2(dy, dx)), 0.0)


def next_motion(actor: SimActor, tick_s: float) -> EgoMotion:
    """A vehicle's motion after one tick if nothing is in its way."""
    assert actor.motion is not None
    throttle, steer, brake, hand_brake, reverse, _, gear = actor.control
    control = Control(
        steer=_clamped(steer, -1.0),
        throttle=_clamped(throttle, 0.0),
        brake=1.0 if hand_brake else _clamped(brake, 0.0),
        reverse=reverse or gear < 0,
    )
    motion = advance(actor.motion, control, tick_s, _EGO_CONFIG)
    if actor.constant_speed_mps is None:
        return motion
    return replace(motion, speed_mps=actor.constant_speed_mps)


def with_motion(actor: SimActor, motion: EgoMotion) -> SimActor:
    """A copy of a vehicle that has this motion."""
    cos, sin = math.cos(motion.heading_rad), math.sin(motion.heading_rad)
    x, y = motion.x_m + actor.rear_m * cos, motion.y_m + actor.rear_m * sin
    sideways = motion.yaw_rate_rps * actor.rear_m
    velocity = (
        motion.speed_mps * cos - sideways * sin,
        -(motion.speed_mps * sin + sideways * cos),
        0.0,
    )
    transform = (x, -y, actor.transform[2], 0.0, -math.degrees(motion.heading_rad), 0.0)
    turning = (0.0, 0.0, -math.degrees(motion.yaw_rate_rps))
    return replace(
        actor, motion=motion, transform=transform, velocity=velocity, angular_velocity=turning
    )


def find_contacts(actor: SimActor, others: list[SimActor], boxes: Boxes, town: TownMap) -> set[int]:
    """Ids of the actors that a vehicle touches; 0 stands for static objects.

    `boxes`: the outlines of `others`.
    """
    box = actor.ground_box()
    found = {others[int(index)].actor_id for index in touching(box, boxes)}
    found.discard(actor.actor_id)
    on_street = all(town.space.contains(x, y) for x, y in corners(box))
    if not on_street or len(touching(box, town.static_boxes)):
        found.add(0)
    return found


def _clamped(value: float, low: float) -> float:
    return max(low, min(1.0, value))
