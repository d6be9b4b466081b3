"""The stand-in's world: a town, its lights, and the actors in it; one tick at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from sim2street.bridge.carla.axes import UnrealTransform, pose_of, unreal_of
from sim2street.bridge.carla.standin.actors import (
    ORIGIN,
    Body,
    attached,
    boxes_of,
    contacts,
    driven,
    moved,
    walked,
)
from sim2street.bridge.carla.standin.blueprints import Blueprint, make_catalogue
from sim2street.bridge.carla.standin.opendrive import opendrive, sign_id
from sim2street.bridge.carla.standin.payloads import ActorRecord, light_union, vehicle_union
from sim2street.bridge.errors import WorldError
from sim2street.bridge.town.plan.layout import Light
from sim2street.bridge.town.plan.layout_build import LayoutConfig
from sim2street.bridge.town.plan.town_map import TownMap, town_map
from sim2street.bridge.town.plan.traffic_lights import RED, YELLOW_S, light_states
from sim2street.bridge.town.traffic.collisions import Boxes

SPECTATOR_ID = 1
_FIRST_LIGHT_ID = 2
_FIRST_SPAWNED_ID = 200
_SPAWN_EVERY_M = 14.0
_SPAWN_EDGE_M = 10.0
_LIGHT_RANGE_M = 8.0
_KMH = 3.6


@dataclass(frozen=True, slots=True)
class Contact:
    """A vehicle began to touch another actor (0: something that does not move)."""

    body: Body
    other_id: int


@dataclass(slots=True)
class Lights:
    """What clients have done to the traffic lights.

    Attributes:
        since_s: when their plans began. stopped_s: when all of them froze, None: they run.
        said: actor id to the state that somebody has set: until all are reset.
    """

    since_s: float = 0.0
    stopped_s: float | None = None
    said: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Stage:
    """A town with actors. Clients call the methods; `step` is one tick."""

    town_id: int
    layout: LayoutConfig
    map_name: str = ""
    bodies: dict[int, Body] = field(default_factory=dict)
    time_s: float = 0.0
    lights: Lights = field(default_factory=Lights)
    next_id: int = _FIRST_SPAWNED_ID
    town: TownMap = field(init=False)

    def __post_init__(self) -> None:
        self.town = town_map(self.town_id, self.layout)
        self.map_name = f"Carla/Maps/sim2street_town_{self.town_id}"
        self._add(Body(SPECTATOR_ID, "spectator", 0, [], ORIGIN))
        for light in self.town.layout.lights:
            self._add(_light_body(light))

    def xml(self) -> str:
        """The map as OpenDRIVE."""
        return opendrive(self.town.layout, self.map_name.rsplit("/", 1)[-1])

    def spawn_points(self) -> list[UnrealTransform]:
        """Places on the lanes of roads, facing along them."""
        paths, found = self.town.lanes.paths, []
        for lane in self.town.layout.lanes:
            if lane.road_id is None:
                continue
            room = float(paths.length_m[lane.lane_id]) - 2.0 * _SPAWN_EDGE_M
            for s in np.arange(_SPAWN_EDGE_M, _SPAWN_EDGE_M + max(room, 0.0), _SPAWN_EVERY_M):
                x, y, h = paths.poses(np.array([lane.lane_id]), np.array([s]))
                yaw = -math.degrees(math.remainder(float(h[0]), 2.0 * math.pi))
                found.append((float(x[0]), -float(y[0]), 0.0, 0.0, yaw, 0.0))
        return found

    def spawn(
        self,
        blueprint: Blueprint,
        given: dict[str, str],
        transform: UnrealTransform,
        parent_id: int = 0,
    ) -> Body:
        """A new actor.

        Raises:
            WorldError: something is in its way, or its parent does not exist.
        """
        if parent_id and parent_id not in self.bodies:
            raise WorldError(f"no parent actor {parent_id}")
        attributes = [[a.name, a.kind, given.get(a.name, a.value)] for a in blueprint.attributes]
        body = Body(
            self.next_id, blueprint.type_id, blueprint.uid, attributes, transform, blueprint
        )
        body.parent_id, body.relative = parent_id, transform
        if blueprint.model is not None:
            extent = blueprint.model.extent_m
            walker = blueprint.type_id.startswith("walker.")
            body.box = ((0.0, 0.0, 0.0 if walker else extent[2]), extent)
        body.place(transform)
        if body.is_vehicle:
            self._check_free(body)
        if parent_id:
            body.transform = attached(body, self.bodies[parent_id])
        self.next_id += 1
        self._add(body)
        return body

    def destroy(self, actor_id: int) -> bool:
        """Remove an actor that was spawned."""
        if actor_id < _FIRST_SPAWNED_ID or actor_id not in self.bodies:
            return False
        del self.bodies[actor_id]
        return True

    def step(self, tick_s: float) -> list[Contact]:
        """One tick: everybody moves; contacts that began in it."""
        self.time_s += tick_s
        found: list[Contact] = []
        solid = [b for b in self.bodies.values() if b.tag and b.physics]
        boxes = boxes_of(solid)
        for body in solid:
            if body.is_vehicle:
                found += self._drive(body, solid, boxes, tick_s)
            else:
                walked(body, tick_s)
        for body in self.bodies.values():
            if body.parent_id in self.bodies:
                body.transform = attached(body, self.bodies[body.parent_id])
        return found

    def light_state(self, light: Light) -> int:
        """CARLA's number: 0 red, 1 yellow, 2 green."""
        said = self.lights.said.get(_FIRST_LIGHT_ID + light.light_id)
        if said is not None:
            return said
        now_s = self.time_s if self.lights.stopped_s is None else self.lights.stopped_s
        states = light_states(self.town.lights, now_s - self.lights.since_s)
        return RED - int(states[light.light_id])

    def freeze_lights(self, on: bool) -> None:
        """All of them stay as they are, or go on from there."""
        lights = self.lights
        if on and lights.stopped_s is None:
            lights.stopped_s = self.time_s
        elif not on and lights.stopped_s is not None:
            lights.since_s += self.time_s - lights.stopped_s
            lights.stopped_s = None

    def reset_lights(self) -> None:
        """All plans begin now."""
        self.lights = Lights(self.time_s)

    def records(self) -> list[ActorRecord]:
        """All actors, as a snapshot lists them."""
        return [self._record(body) for body in self.bodies.values()]

    def _drive(self, body: Body, solid: list[Body], boxes: Boxes, tick_s: float) -> list[Contact]:
        """Move a vehicle unless it would hit something: then it stops where it is."""
        motion = driven(body, tick_s)
        if motion == body.motion:
            return []
        if body.held is None:
            body.held = contacts(body, solid, boxes, self.town)
        after = moved(body, motion)
        touched = contacts(after, solid, boxes, self.town)
        began = touched - body.held
        if began:
            held = body.held
            body.place(body.transform)
            body.held = held
        else:
            body.motion, body.transform = after.motion, after.transform
            body.velocity, body.held = after.velocity, touched
        new = began - body.touched
        body.touched = touched
        return [Contact(body, other) for other in sorted(new)]

    def _check_free(self, body: Body) -> None:
        others = [b for b in self.bodies.values() if b.tag]
        if contacts(body, others, boxes_of(others), self.town) - {0}:
            raise WorldError("Spawn failed because of collision at spawn position")

    def _add(self, body: Body) -> None:
        self.bodies[body.actor_id] = body

    def _record(self, body: Body) -> ActorRecord:
        union, turning = b"", 0.0
        if body.is_vehicle:
            assert body.motion is not None
            limit_mps, light = self._rules(body)
            union = vehicle_union(body.given, limit_mps * _KMH, light)
            turning = -math.degrees(body.motion.yaw_rate_rps)
        elif body.type_id == "traffic.traffic_light":
            light_ = self.town.layout.lights[body.actor_id - _FIRST_LIGHT_ID]
            plan = self.town.lights
            green = float(plan.green_s[light_.light_id])
            red = float(plan.cycle_s[light_.light_id]) - green - YELLOW_S
            times = (green, YELLOW_S, red, 0.0)
            frozen = self.lights.stopped_s is not None
            union = light_union(sign_id(light_), times, self.light_state(light_), frozen)
        return ActorRecord(
            body.actor_id, body.transform, body.velocity, (0.0, 0.0, turning), union=union
        )

    def _rules(self, body: Body) -> tuple[float, tuple[int, int] | None]:
        """Speed limit where a vehicle is, and (state, actor id) of the light it stands at."""
        paths = self.town.lanes.paths
        x, y = body.transform[0], -body.transform[1]
        point = int(((paths.x_m - x) ** 2 + (paths.y_m - y) ** 2).argmin())
        lane = self.town.layout.lanes[int(self.town.lane_of_point[point])]
        end = int(paths.first[lane.lane_id] + paths.count[lane.lane_id]) - 1
        left_m = (end - point) * float(paths.spacing_m[lane.lane_id])
        if lane.light_id is None or left_m > _LIGHT_RANGE_M:
            return lane.speed_limit_mps, None
        light = self.town.layout.lights[lane.light_id]
        return lane.speed_limit_mps, (self.light_state(light), _FIRST_LIGHT_ID + light.light_id)


def blueprints(first_type: int) -> dict[str, Blueprint]:
    """What can be spawned, by name; types of attributes count from this."""
    return make_catalogue(first_type).by_name


def _light_body(light: Light) -> Body:
    """A light: at its post, its x axis along the stop line; its box is the trigger volume."""
    across = light.stop_m[1] - light.stop_m[0]
    angle = math.atan2(across[1], across[0])
    post = np.eye(4)
    post[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    post[:2, 3] = light.position_m
    transform = unreal_of(post)
    back = np.array([math.cos(light.heading_rad), math.sin(light.heading_rad)]) * 2.0
    middle = np.eye(4)
    middle[:2, 3] = light.stop_m.mean(axis=0) - back
    local = unreal_of(np.linalg.inv(pose_of(transform)) @ middle)
    body = Body(_FIRST_LIGHT_ID + light.light_id, "traffic.traffic_light", 0, [], transform)
    body.box = (local[:3], (float(np.hypot(*across)) / 2.0, 1.0, 1.0))
    return body
