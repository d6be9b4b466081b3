"""The actors of the stand-in: what clients spawn, and how it moves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from sim2street.bridge.carla.axes import UnrealTransform, pose_of, unreal_of
from sim2street.bridge.carla.standin.blueprints import Blueprint
from sim2street.bridge.frame import Actor, Control
from sim2street.bridge.town.plan.town_map import TownMap
from sim2street.bridge.town.traffic.collisions import Boxes, corners, overlap
from sim2street.bridge.town.traffic.ego import EgoConfig, EgoMotion, advance
from sim2street.bridge.town.traffic.pedestrians import Box

ORIGIN: UnrealTransform = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
VehicleInput = tuple[float, float, float, bool, bool, bool, int]
"""Throttle, steer, brake, hand brake, reverse, manual, gear: CARLA's VehicleControl."""

NO_INPUT: VehicleInput = (0.0, 0.0, 0.0, False, False, False, 0)
_DRIVE = EgoConfig()
_REAR_SHARE = 0.29
"""The rear axle lies this share of the length behind the middle."""


@dataclass(slots=True)
class Body:
    """One actor.

    Attributes:
        transform: in the world. relative: to its parent, where it has one.
        motion: of a vehicle's rear axle, in our axes. given: its control.
        walk: of a walker: direction (x, y, z) and speed (m/s), in CARLA's axes.
        box: middle and half sizes in the actor's frame.
        touched: ids that it hit or would have hit in the last tick. held: ids in contact
            where it is now, None where that is not known yet.
    """

    actor_id: int
    type_id: str
    uid: int
    attributes: list
    transform: UnrealTransform
    blueprint: Blueprint | None = None
    parent_id: int = 0
    relative: UnrealTransform = ORIGIN
    stream_id: int = 0
    motion: EgoMotion | None = None
    given: VehicleInput = NO_INPUT
    walk: tuple[tuple[float, float, float], float] = ((0.0, 0.0, 0.0), 0.0)
    box: tuple[tuple[float, float, float], tuple[float, float, float]] = ((0, 0, 0), (0, 0, 0))
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    touched: set[int] = field(default_factory=set)
    held: set[int] | None = None
    physics: bool = True

    @property
    def is_vehicle(self) -> bool:
        """Whether it drives."""
        return self.type_id.startswith("vehicle.")

    @property
    def tag(self) -> int:
        """Label tag, 0 where it cannot be seen."""
        return self.blueprint.model.tag if self.blueprint and self.blueprint.model else 0

    def attribute(self, name: str) -> str:
        """An attribute's text: as given when it was spawned."""
        return next(value for key, _, value in self.attributes if key == name)

    def place(self, transform: UnrealTransform) -> None:
        """Put it somewhere, at rest where it drives."""
        self.transform = transform
        self.velocity = (0.0, 0.0, 0.0)
        self.held = None
        if self.is_vehicle:
            x, y, _, _, yaw, _ = transform
            heading = -math.radians(yaw)
            back = self.rear_m
            self.motion = EgoMotion(
                x - back * math.cos(heading), -y - back * math.sin(heading), heading
            )

    @property
    def rear_m(self) -> float:
        """From the rear axle ahead to the actor's origin."""
        return 2.0 * _REAR_SHARE * self.box[1][0]

    def ground_box(self) -> Box:
        """Its outline on the ground, in our axes."""
        x, y, _, _, yaw, _ = self.transform
        return Box(x, -y, -math.radians(yaw), self.box[1][0], self.box[1][1], 0.0)

    def seen(self) -> Actor:
        """As the town's scene draws it."""
        pose = pose_of(self.transform)
        pose[2, 3] += self.box[0][2] - self.box[1][2]
        return Actor(self.actor_id, self.tag, pose.astype(np.float32), self.box[1])


def boxes_of(bodies: list[Body]) -> Boxes:
    """Their outlines, for contacts."""
    rows = [body.ground_box() for body in bodies]
    table = [(b.x_m, b.y_m, b.heading_rad, b.half_length_m, b.half_width_m) for b in rows]
    return Boxes(*np.array(table, np.float64).reshape(-1, 5).T)


def attached(body: Body, parent: Body) -> UnrealTransform:
    """Where a thing fixed to its parent is now."""
    return unreal_of(pose_of(parent.transform) @ pose_of(body.relative))


def walked(body: Body, tick_s: float) -> None:
    """A walker moves as told, straight through everything."""
    (dx, dy, dz), speed = body.walk
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    if speed == 0.0 or length == 0.0:
        body.velocity = (0.0, 0.0, 0.0)
        return
    body.velocity = (dx / length * speed, dy / length * speed, 0.0)
    x, y, z = (p + v * tick_s for p, v in zip(body.transform[:3], body.velocity, strict=True))
    body.transform = (x, y, z, 0.0, math.degrees(math.atan2(dy, dx)), 0.0)


def driven(body: Body, tick_s: float) -> EgoMotion:
    """A vehicle's motion one tick on, contacts aside."""
    assert body.motion is not None
    throttle, steer, brake, hand_brake, reverse, _, gear = body.given
    control = Control(
        steer=_held(steer, -1.0),
        throttle=_held(throttle, 0.0),
        brake=1.0 if hand_brake else _held(brake, 0.0),
        reverse=reverse or gear < 0,
    )
    return advance(body.motion, control, tick_s, _DRIVE)


def moved(body: Body, motion: EgoMotion) -> Body:
    """A copy of a vehicle with its rear axle there."""
    cos, sin = math.cos(motion.heading_rad), math.sin(motion.heading_rad)
    x, y = motion.x_m + body.rear_m * cos, motion.y_m + body.rear_m * sin
    sideways = motion.yaw_rate_rps * body.rear_m
    velocity = (
        motion.speed_mps * cos - sideways * sin,
        -(motion.speed_mps * sin + sideways * cos),
        0.0,
    )
    transform = (x, -y, body.transform[2], 0.0, -math.degrees(motion.heading_rad), 0.0)
    return replace(body, motion=motion, transform=transform, velocity=velocity)


def contacts(body: Body, others: list[Body], boxes: Boxes, town: TownMap) -> set[int]:
    """Ids of the actors that a vehicle touches; 0 stands for what does not move."""
    box = body.ground_box()
    found = set()
    near = np.flatnonzero(np.hypot(boxes.x_m - box.x_m, boxes.y_m - box.y_m) < 16.0)
    for index in near[overlap(box, boxes, near)] if len(near) else ():
        found.add(others[int(index)].actor_id)
    found.discard(body.actor_id)
    still = town.still
    near = np.flatnonzero(np.hypot(still.x_m - box.x_m, still.y_m - box.y_m) < 16.0)
    if (len(near) and overlap(box, still, near).any()) or not all(
        town.space.contains(x, y) for x, y in corners(box)
    ):
        found.add(0)
    return found


def _held(value: float, low: float) -> float:
    return max(low, min(1.0, value))
