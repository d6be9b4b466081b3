"""The vehicles and walkers of a world, and the traffic that we add to it."""

from __future__ import annotations

from math import hypot
from typing import Any

import carla
import numpy as np
from failures import ChildError
from images import Numbers

COLUMNS = 13
"""Of the table: id, x, y, z, pitch, yaw, roll, velocity (3), angular velocity (3; the ego's)."""

_ROOM_M = 6.0


class Cast:
    """Who is there: described once each, placed by every snapshot."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._shown = set()  # type: set[int]
        self._others = set()  # type: set[int]
        self._described = {}  # type: dict[int, dict[str, Any]]
        self._ids_in_pictures = True
        self.numbers = Numbers()

    def look(
        self, snapshot: Any, ego: Any, range_m: float
    ) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """float64 (N, 13) of the ego and, after it, all vehicles and walkers within range of it.

        Also who has appeared, anywhere: they have numbers from 1 in the order of CARLA's ids;
        the ego has 0.
        """
        seen = [(state.id, state) for state in snapshot]
        ego_id = ego.id
        strange = [i for i, _ in seen if i not in self._shown and i not in self._others]
        new = self._describe(strange, ego_id) if strange else []
        others = [(i, state) for i, state in seen if i in self._shown and i != ego_id]
        return _table((ego_id, ego), others, range_m), new

    def again(self, ids_in_pictures: bool) -> None:
        """A new episode: describe and number everybody anew with the next snapshot.

        `ids_in_pictures`: whether instance pictures carry actors' ids.
        """
        self._shown.clear()
        self.numbers.clear()
        self._ids_in_pictures = ids_in_pictures

    def _describe(self, ids: list[int], ego_id: int) -> list[dict[str, Any]]:
        found = []
        for actor in sorted(self._world.get_actors(ids), key=_id_of):
            if actor.type_id.split(".")[0] not in ("vehicle", "walker"):
                self._others.add(actor.id)
                continue
            if actor.id not in self._described:
                self._described[actor.id] = _described(actor)
            self._shown.add(actor.id)
            number = 0
            if actor.id != ego_id:
                number = self.numbers.give(actor.id, self._ids_in_pictures)
            found.append(dict(self._described[actor.id], number=number))
        return found


def _id_of(actor: Any) -> int:
    return int(actor.id)


def _described(actor: Any) -> dict[str, Any]:
    middle, extent = actor.bounding_box.location, actor.bounding_box.extent
    return {
        "id": actor.id,
        "type": actor.type_id,
        "tags": list(actor.semantic_tags),
        "wheels": actor.attributes.get("number_of_wheels", ""),
        "base": actor.attributes.get("base_type", ""),
        "middle": [middle.x, middle.y, middle.z],
        "extent": [extent.x, extent.y, extent.z],
    }


def _table(ego: tuple[int, Any], others: list[tuple[int, Any]], range_m: float) -> np.ndarray:
    """Every question to the client costs time: those far away are asked for their place only,
    those near for all but their angular velocity (which is 0 in the table).
    """
    turning = ego[1].get_angular_velocity()
    rows = [[*_row(ego[0], ego[1], ego[1].get_transform()), turning.x, turning.y, turning.z]]
    x, y = rows[0][1:3]
    for actor_id, state in others:
        transform = state.get_transform()
        place = transform.location
        if hypot(place.x - x, place.y - y) < range_m:
            rows.append([*_row(actor_id, state, transform), 0.0, 0.0, 0.0])
    return np.array(rows, np.float64).reshape(-1, COLUMNS)


def _row(actor_id: int, state: Any, transform: Any) -> list[float]:
    place, turn, velocity = transform.location, transform.rotation, state.get_velocity()
    row = [actor_id, place.x, place.y, place.z, turn.pitch, turn.yaw, turn.roll]
    return [*row, velocity.x, velocity.y, velocity.z]


class Traffic:
    """Vehicles of ours besides the ego; kept from episode to episode."""

    def __init__(self, client: Any, world: Any, port: int) -> None:
        self._client = client
        self._world = world
        self._port = port
        self._manager = None  # type: Any
        self.vehicles = []  # type: list[Any]

    def place(self, points: list[Any], count: int, autopilot: bool, seed: int) -> None:
        """`count` vehicles at the first free points, driven by the Traffic Manager or parked.

        Where there were more, `release` and a tick came before.
        """
        self._keep(count)
        points = list(points)
        for vehicle in self.vehicles:
            put(vehicle, points.pop(0))
        models = _car_models(self._world)
        while len(self.vehicles) < count and points:
            model = models[len(self.vehicles) % len(models)]
            model.set_attribute("role_name", "autopilot")
            vehicle = self._world.try_spawn_actor(model, points.pop(0))
            if vehicle is not None:
                self.vehicles.append(vehicle)
        if len(self.vehicles) < count:
            raise ChildError(
                "spawn",
                f"room for {len(self.vehicles)} of {count} vehicles on this map",
            )
        if autopilot and count:
            self._manage(seed)
        for vehicle in self.vehicles:
            if autopilot:
                vehicle.set_autopilot(True, self._port)
            else:
                vehicle.apply_control(carla.VehicleControl(hand_brake=True))

    @property
    def managed(self) -> bool:
        """Whether a Traffic Manager runs in this process."""
        return self._manager is not None

    def release(self) -> bool:
        """The Traffic Manager lets go of all; whether it needs a tick to notice."""
        if self._manager is None:
            return False
        for vehicle in self.vehicles:
            if vehicle.is_alive:
                vehicle.set_autopilot(False, self._port)
        return True

    def close(self) -> None:
        """Destroy all of them, after `release` and a tick."""
        destroy(self._client, self.vehicles)
        self.vehicles = []

    def _keep(self, count: int) -> None:
        there = [vehicle for vehicle in self.vehicles if is_there(self._world, vehicle)]
        destroy(self._client, there[count:])
        self.vehicles = there[:count]

    def _manage(self, seed: int) -> None:
        if self._manager is None:
            self._manager = self._client.get_trafficmanager(self._port)
            self._manager.set_synchronous_mode(True)
        self._manager.set_random_device_seed(seed)


def destroy(client: Any, actors: list[Any]) -> None:
    """Also those that no tick has shown yet: `Actor.destroy` takes them for dead already."""
    commands = [carla.command.DestroyActor(actor.id) for actor in actors]
    if commands:
        client.apply_batch_sync(commands, False)


def is_there(world: Any, actor: Any) -> bool:
    """Whether the last tick had it: `is_alive` knows only what this client has destroyed."""
    return actor is not None and bool(world.get_snapshot().has_actor(actor.id))


def put(vehicle: Any, transform: Any) -> None:
    """Place a vehicle of ours, at rest."""
    vehicle.set_target_velocity(carla.Vector3D())
    vehicle.set_target_angular_velocity(carla.Vector3D())
    vehicle.set_transform(transform)


def free_places(world: Any, points: list[Any], ours: list[Any]) -> list[Any]:
    """Those of the points that are not beside a vehicle of somebody else's."""
    own = {vehicle.id for vehicle in ours if vehicle is not None}
    taken = [
        vehicle.get_location()
        for vehicle in world.get_actors().filter("vehicle.*")
        if vehicle.id not in own
    ]
    return [
        point
        for point in points
        if all(point.location.distance(place) > _ROOM_M for place in taken)
    ]


def spawned_ego(world: Any, name: str, role: str, points: list[Any]) -> tuple[Any, list[Any]]:
    """A vehicle at the first point where there is room, and the points from there on."""
    try:
        model = world.get_blueprint_library().find(name)
    except IndexError:
        raise ChildError("config", f"this server has no vehicle '{name}'") from None
    model.set_attribute("role_name", role)
    for index, point in enumerate(points):
        vehicle = world.try_spawn_actor(model, point)
        if vehicle is not None:
            return vehicle, points[index:]
    raise ChildError("spawn", f"none of {len(points)} spawn points is free")


def found_by_role(world: Any, role: str) -> Any:
    """The vehicle that carries this role name, or None."""
    for vehicle in world.get_actors().filter("vehicle.*"):
        if vehicle.attributes.get("role_name") == role:
            return vehicle
    return None


def _car_models(world: Any) -> list[Any]:
    """Four-wheeled vehicles by name: the same ones, in the same order, every time."""
    models = [
        model
        for model in world.get_blueprint_library().filter("vehicle.*")
        if int(model.get_attribute("number_of_wheels")) == 4
    ]
    return sorted(models, key=lambda model: model.id)
