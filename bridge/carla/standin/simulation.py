"""The stand-in's world: a town, its traffic lights, and the actors in it, tick by tick."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from sim2street.bridge.carla.axes import UnrealTransform, pose_of, unreal_of
from sim2street.bridge.carla.standin.actors import (
    ORIGIN,
    SimActor,
    boxes_of,
    find_contacts,
    mounted_transform,
    move_walker,
    next_motion,
    with_motion,
)
from sim2street.bridge.carla.standin.blueprints import MISSING, Blueprint
from sim2street.bridge.carla.standin.navigation import file_name, navigation_mesh
from sim2street.bridge.carla.standin.opendrive import opendrive, sign_id
from sim2street.bridge.carla.standin.payloads import ActorRecord, light_union, vehicle_union
from sim2street.bridge.carla.standin.rpc import NotInStandIn
from sim2street.bridge.errors import WorldError
from sim2street.bridge.town.plan.layout import Light
from sim2street.bridge.town.plan.layout_generator import LayoutConfig
from sim2street.bridge.town.plan.town_map import TownMap, town_map
from sim2street.bridge.town.plan.traffic_lights import RED, YELLOW_S, light_states
from sim2street.bridge.town.traffic.collisions import Boxes

MAP_FOLDER, TOWN_PREFIX = "Carla/Maps", "sim2street_town_"
SPECTATOR_ID = 1
_FIRST_LIGHT_ID = 2
_FIRST_SPAWNED_ID = 200
_SPAWN_SPACING_M = 14.0
_SPAWN_MARGIN_M = 10.0
_LIGHT_RANGE_M = 8.0
_KMH = 3.6


@dataclass(frozen=True, slots=True)
class Contact:
    """A vehicle began to touch another actor. `other_id` 0 stands for static objects."""

    actor: SimActor
    other_id: int


@dataclass(slots=True)
class LightControl:
    """What clients have done to the traffic lights.

    Attributes:
        start_s: simulated time at which the lights' plans began.
        frozen_at_s: simulated time at which all of them froze; None if they run.
        overrides: actor id to the state that a client has set. Lasts until all are reset.
    """

    start_s: float = 0.0
    frozen_at_s: float | None = None
    overrides: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Simulation:
    """A town with actors. Clients call the other methods; `step` is one tick."""

    town_id: int
    layout: LayoutConfig
    map_name: str = field(init=False)
    actors: dict[int, SimActor] = field(default_factory=dict)
    time_s: float = 0.0
    lights: LightControl = field(default_factory=LightControl)
    next_id: int = _FIRST_SPAWNED_ID
    town: TownMap = field(init=False)
    _navigation: tuple[str, bytes] | None = None

    def __post_init__(self) -> None:
        self.town = town_map(self.town_id, self.layout)
        self.map_name = f"{MAP_FOLDER}/{TOWN_PREFIX}{self.town_id}"
        self._add(SimActor(SPECTATOR_ID, "spectator", 0, [], ORIGIN))
        for light in self.town.layout.lights:
            self._add(_light_actor(light))

    def xml(self) -> str:
        """The map as OpenDRIVE."""
        return opendrive(self.town.layout, self.map_name.rsplit("/", 1)[-1])

    @property
    def navigation(self) -> tuple[str, bytes]:
        """Name and content of the file with the navigation mesh for walkers."""
        if self._navigation is None:
            data = navigation_mesh(self.town.walks)
            self._navigation = file_name(self.town_id, data), data
        return self._navigation

    def spawn_points(self) -> list[UnrealTransform]:
        """Places every 14 m on the lanes of roads, in driving direction."""
        paths, found = self.town.lanes.paths, []
        for lane in self.town.layout.lanes:
            if lane.road_id is None:
                continue
            usable_m = float(paths.length_m[lane.lane_id]) - 2.0 * _SPAWN_MARGIN_M
            end_m = _SPAWN_MARGIN_M + max(usable_m, 0.0)
            for s in np.arange(_SPAWN_MARGIN_M, end_m, _SPAWN_SPACING_M):
                x, y, h = paths.poses(np.array([lane.lane_id]), np.array([s]))
                yaw = -math.degrees(math.remainder(float(h[0]), 2.0 * math.pi))
                found.append((float(x[0]), -float(y[0]), 0.0, 0.0, yaw, 0.0))
        return found

    def spawn(
        self,
        blueprint: Blueprint,
        attributes: dict[str, str],
        transform: UnrealTransform,
        parent_id: int = 0,
    ) -> SimActor:
        """Spawn an actor. `attributes`: those that differ from the blueprint's defaults.

        Raises:
            WorldError: something is in its way, or its parent does not exist.
        """
        if blueprint.type_id in MISSING:
            raise NotInStandIn(f"the stand-in has no '{blueprint.type_id}'")
        if parent_id and parent_id not in self.actors:
            raise WorldError(f"no parent actor {parent_id}")
        rows = [[a.name, a.kind, attributes.get(a.name, a.value)] for a in blueprint.attributes]
        actor = SimActor(self.next_id, blueprint.type_id, blueprint.uid, rows, transform, blueprint)
        actor.parent_id, actor.mount = parent_id, transform
        if blueprint.model is not None:
            extent = blueprint.model.extent_m
            is_walker = blueprint.type_id.startswith("walker.")
            actor.box = ((0.0, 0.0, 0.0 if is_walker else extent[2]), extent)
        actor.place(transform)
        if actor.is_vehicle:
            self._check_free(actor)
        if parent_id:
            actor.transform = mounted_transform(actor, self.actors[parent_id])
        self.next_id += 1
        self._add(actor)
        return actor

    def destroy(self, actor_id: int) -> bool:
        """Remove a spawned actor. False if there is none with this id."""
        if actor_id < _FIRST_SPAWNED_ID or actor_id not in self.actors:
            return False
        del self.actors[actor_id]
        return True

    def step(self, tick_s: float) -> list[Contact]:
        """Move everything by one tick; returns the contacts that began."""
        self.time_s += tick_s
        began: list[Contact] = []
        moving = [actor for actor in self.actors.values() if actor.tag and actor.physics]
        before = {actor.actor_id: actor.velocity for actor in moving}
        solid = [actor for actor in moving if actor.collides]
        boxes = boxes_of(solid)
        for actor in moving:
            if actor.is_vehicle:
                began += self._drive(actor, solid, boxes, tick_s)
            else:
                move_walker(actor, tick_s)
            gained = zip(actor.velocity, before[actor.actor_id], strict=True)
            x, y, z = ((after - then) / tick_s for after, then in gained)
            actor.acceleration = (x, y, z)
        for actor in self.actors.values():
            if actor.parent_id in self.actors:
                actor.transform = mounted_transform(actor, self.actors[actor.parent_id])
        return began

    def light_state(self, light: Light) -> int:
        """CARLA's number of its state: 0 red, 1 yellow, 2 green."""
        override = self.lights.overrides.get(_FIRST_LIGHT_ID + light.light_id)
        if override is not None:
            return override
        now_s = self.time_s if self.lights.frozen_at_s is None else self.lights.frozen_at_s
        states = light_states(self.town.lights, now_s - self.lights.start_s)
        return RED - int(states[light.light_id])

    def freeze_lights(self, on: bool) -> None:
        """Freeze all traffic lights, or let them go on from where they froze."""
        lights = self.lights
        if on and lights.frozen_at_s is None:
            lights.frozen_at_s = self.time_s
        elif not on and lights.frozen_at_s is not None:
            lights.start_s += self.time_s - lights.frozen_at_s
            lights.frozen_at_s = None

    def reset_lights(self) -> None:
        """Start the plans of all traffic lights now."""
        self.lights = LightControl(self.time_s)

    def records(self) -> list[ActorRecord]:
        """All actors, for a snapshot."""
        return [self._record(actor) for actor in self.actors.values()]

    def _drive(
        self, actor: SimActor, solid: list[SimActor], boxes: Boxes, tick_s: float
    ) -> list[Contact]:
        """Move a vehicle; it stops where it is if it would hit something new."""
        motion = next_motion(actor, tick_s)
        if motion == actor.motion:
            return []
        if actor.contacts_here is None:
            actor.contacts_here = find_contacts(actor, solid, boxes, self.town)
        after = with_motion(actor, motion)
        contacts = find_contacts(after, solid, boxes, self.town) if actor.collides else set()
        began = contacts - actor.contacts_here
        if began:
            here = actor.contacts_here
            actor.place(actor.transform)
            actor.contacts_here = here
        else:
            actor.motion, actor.transform = after.motion, after.transform
            actor.velocity, actor.contacts_here = after.velocity, contacts
            actor.angular_velocity = after.angular_velocity
        new = began - actor.last_contacts
        actor.last_contacts = contacts
        return [Contact(actor, other_id) for other_id in sorted(new)]

    def _check_free(self, actor: SimActor) -> None:
        others = [other for other in self.actors.values() if other.tag]
        if find_contacts(actor, others, boxes_of(others), self.town) - {0}:
            raise WorldError("Spawn failed because of collision at spawn position")

    def _add(self, actor: SimActor) -> None:
        self.actors[actor.actor_id] = actor

    def _record(self, actor: SimActor) -> ActorRecord:
        union = b""
        if actor.is_vehicle:
            limit_mps, stop = self._rules(actor)
            union = vehicle_union(actor.control, limit_mps * _KMH, stop)
        elif actor.type_id == "traffic.traffic_light":
            light = self.town.layout.lights[actor.actor_id - _FIRST_LIGHT_ID]
            plan = self.town.lights
            green = float(plan.green_s[light.light_id])
            red = float(plan.cycle_s[light.light_id]) - green - YELLOW_S
            times_s = (green, YELLOW_S, red, 0.0)
            frozen = self.lights.frozen_at_s is not None
            union = light_union(sign_id(light), times_s, self.light_state(light), frozen)
        return ActorRecord(
            actor.actor_id,
            actor.transform,
            actor.velocity,
            actor.angular_velocity,
            actor.acceleration,
            union,
        )

    def _rules(self, actor: SimActor) -> tuple[float, tuple[int, int] | None]:
        """Speed limit (m/s) at a vehicle, and (state, actor id) of the light that it is at."""
        paths = self.town.lanes.paths
        x, y = actor.transform[0], -actor.transform[1]
        point = int(((paths.x_m - x) ** 2 + (paths.y_m - y) ** 2).argmin())
        lane = self.town.layout.lanes[int(self.town.lane_of_point[point])]
        end = int(paths.first[lane.lane_id] + paths.count[lane.lane_id]) - 1
        left_m = (end - point) * float(paths.spacing_m[lane.lane_id])
        if lane.light_id is None or left_m > _LIGHT_RANGE_M:
            return lane.speed_limit_mps, None
        light = self.town.layout.lights[lane.light_id]
        return lane.speed_limit_mps, (self.light_state(light), _FIRST_LIGHT_ID + light.light_id)


def _light_actor(light: Light) -> SimActor:
    """A traffic light at its post, with its x axis along the stop line.

    Its box is the trigger volume: the area before the stop line, as in CARLA.
    """
    across = light.stop_line_m[1] - light.stop_line_m[0]
    angle = math.atan2(across[1], across[0])
    post = np.eye(4)
    post[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    post[:2, 3] = light.position_m
    transform = unreal_of(post)
    back = np.array([math.cos(light.heading_rad), math.sin(light.heading_rad)]) * 2.0
    centre = np.eye(4)
    centre[:2, 3] = light.stop_line_m.mean(axis=0) - back
    local = unreal_of(np.linalg.inv(pose_of(transform)) @ centre)
    actor = SimActor(_FIRST_LIGHT_ID + light.light_id, "traffic.traffic_light", 0, [], transform)
    actor.box = (local[:3], (float(np.hypot(*across)) / 2.0, 1.0, 1.0))
    return actor
