"""The vehicles and walkers of a CARLA world, and the traffic that this client spawns."""

from __future__ import annotations

import socket
from math import hypot
from typing import Any

import carla
import numpy as np
from failures import ChildError
from images import ActorNumbers

COLUMNS = 13
"""Columns of the actor table: CARLA id, x, y, z (m), pitch, yaw, roll (degrees), velocity
(3, m/s) and angular velocity (3, degrees/s), in CARLA's axes.
"""

_CLEARANCE_M = 6.0
_PORT_TRIES = 5
_NO_ROOM = "collision"
"""In the server's answer to a spawn if something is in the way."""


class WorldActors:
    """Describes every vehicle and walker once and reads their poses from every snapshot."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._numbered = set()  # type: set[int]
        self._others = set()  # type: set[int]
        self._descriptions = {}  # type: dict[int, dict[str, Any]]
        self._ids_in_images = True
        self.numbers = ActorNumbers()

    def read(
        self, snapshot: Any, ego: Any, range_m: float
    ) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """The actor table of a snapshot, and descriptions of the actors that are new in it.

        The table is float64 (N, 13): the ego, then the vehicles and walkers within `range_m`
        of it. New actors are described whatever their distance. They are numbered from 1 in
        the order of their CARLA ids; the ego has number 0.
        """
        states = [(state.id, state) for state in snapshot]
        ego_id = ego.id
        unknown = [i for i, _ in states if i not in self._numbered and i not in self._others]
        new = self._describe(unknown, ego_id) if unknown else []
        others = [(i, state) for i, state in states if i in self._numbered and i != ego_id]
        return _table((ego_id, ego), others, range_m), new

    def start_episode(self, ids_in_images: bool) -> None:
        """Describe and number all actors anew with the next snapshot.

        `ids_in_images`: instance images carry actors' CARLA ids.
        """
        self._numbered.clear()
        self.numbers.clear()
        self._ids_in_images = ids_in_images

    def _describe(self, ids: list[int], ego_id: int) -> list[dict[str, Any]]:
        found = []
        for actor in sorted(self._world.get_actors(ids), key=_id_of):
            if actor.type_id.split(".")[0] not in ("vehicle", "walker"):
                self._others.add(actor.id)
                continue
            if actor.id not in self._descriptions:
                self._descriptions[actor.id] = _description(actor)
            self._numbered.add(actor.id)
            number = 0
            if actor.id != ego_id:
                number = self.numbers.assign(actor.id, self._ids_in_images)
            found.append(dict(self._descriptions[actor.id], number=number))
        return found


def _id_of(actor: Any) -> int:
    return int(actor.id)


def _description(actor: Any) -> dict[str, Any]:
    centre, extent = actor.bounding_box.location, actor.bounding_box.extent
    return {
        "id": actor.id,
        "type": actor.type_id,
        "tags": list(actor.semantic_tags),
        "wheels": actor.attributes.get("number_of_wheels", ""),
        "base_type": actor.attributes.get("base_type", ""),
        "box_centre": [centre.x, centre.y, centre.z],
        "extent": [extent.x, extent.y, extent.z],
    }


def _table(ego: tuple[int, Any], others: list[tuple[int, Any]], range_m: float) -> np.ndarray:
    """The rows of the ego and of the actors within range of it.

    Every value costs a call into the client library. So the angular velocity is read for the
    ego only (0 for the others), and the velocity only within range.
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
    place, rotation, velocity = transform.location, transform.rotation, state.get_velocity()
    row = [actor_id, place.x, place.y, place.z, rotation.pitch, rotation.yaw, rotation.roll]
    return [*row, velocity.x, velocity.y, velocity.z]


class Traffic:
    """The vehicles that this client has spawned besides the ego. Episodes reuse them."""

    def __init__(self, client: Any, world: Any, port: int | None, role: str) -> None:
        """`port`: of the Traffic Manager; None: any free one. `role`: role name of vehicles."""
        self._client = client
        self._world = world
        self._wanted_port = port
        self._port = 0
        self._role = role
        self._manager = None  # type: Any
        self.vehicles = []  # type: list[Any]

    def place(self, points: list[Any], count: int, autopilot: bool, seed: int) -> None:
        """Put `count` vehicles at the first free points: with the Traffic Manager, or parked.

        Before a call with fewer vehicles than there are, call `disable_autopilot` and tick.

        Raises:
            ChildError: the points have no room for `count` vehicles.
        """
        self._keep(count)
        points = list(points)
        for vehicle in self.vehicles:
            teleport(vehicle, points.pop(0))
        models = _car_models(self._world)
        while len(self.vehicles) < count and points:
            model = models[len(self.vehicles) % len(models)]
            model.set_attribute("role_name", self._role)
            vehicle = spawn_if_free(self._world, model, points.pop(0))
            if vehicle is not None:
                self.vehicles.append(vehicle)
        if len(self.vehicles) < count:
            raise ChildError(
                "spawn",
                f"this map has room for {len(self.vehicles)} of {count} vehicles",
            )
        if autopilot and count:
            self._start_manager(seed)
        for vehicle in self.vehicles:
            if autopilot:
                vehicle.set_autopilot(True, self._port)
            else:
                vehicle.apply_control(carla.VehicleControl(hand_brake=True))

    @property
    def uses_traffic_manager(self) -> bool:
        """Whether a Traffic Manager runs in this process."""
        return self._manager is not None

    def disable_autopilot(self) -> bool:
        """Take all vehicles from the Traffic Manager. True: it needs a tick to notice."""
        if self._manager is None:
            return False
        for vehicle in self.vehicles:
            if vehicle.is_alive:
                vehicle.set_autopilot(False, self._port)
        return True

    def close(self) -> None:
        """Destroy all vehicles. Call `disable_autopilot` and tick before."""
        destroy(self._client, self.vehicles)
        self.vehicles = []

    def _keep(self, count: int) -> None:
        """Keep the first `count` vehicles that still exist and destroy the others."""
        existing = [vehicle for vehicle in self.vehicles if exists(self._world, vehicle)]
        destroy(self._client, existing[count:])
        self.vehicles = existing[:count]

    def _start_manager(self, seed: int) -> None:
        if self._manager is None:
            self._manager, self._port = start_manager(self._client, self._wanted_port)
            self._manager.set_synchronous_mode(True)
        self._manager.set_random_device_seed(seed)


def start_manager(client: Any, wanted_port: int | None) -> tuple[Any, int]:
    """A Traffic Manager in this process, and its port: the wanted one, or any free one.

    Raises:
        ChildError: the wanted port is in use.
    """
    if wanted_port is not None:
        if not is_free(wanted_port):
            raise ChildError(
                "config",
                f"traffic_manager_port: port {wanted_port} of this host is in use, for example "
                "by another CarlaWorld; leave the key out to take any free port",
            )
        return client.get_trafficmanager(wanted_port), wanted_port
    for _ in range(_PORT_TRIES - 1):
        port = free_port()
        try:
            return client.get_trafficmanager(port), port
        except RuntimeError as error:
            if "bind" not in str(error):
                raise
    port = free_port()
    return client.get_trafficmanager(port), port


def is_free(port: int) -> bool:
    """Whether a server could listen on this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A free port. Another process may take it before it is used."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def destroy(client: Any, actors: list[Any]) -> None:
    """Destroy actors by command.

    `Actor.destroy` does nothing for an actor that no tick has shown yet.
    """
    destroy_ids(client, [actor.id for actor in actors])


def destroy_ids(client: Any, ids: list[int]) -> None:
    """Destroy the actors with these ids; those that do not exist are ignored."""
    commands = [carla.command.DestroyActor(actor_id) for actor_id in ids]
    if commands:
        client.apply_batch_sync(commands, False)


def exists(world: Any, actor: Any) -> bool:
    """Whether the actor was in the last tick.

    `Actor.is_alive` does not notice that another client has destroyed it.
    """
    return actor is not None and bool(world.get_snapshot().has_actor(actor.id))


def teleport(vehicle: Any, transform: Any) -> None:
    """Put a vehicle somewhere, at rest."""
    vehicle.set_target_velocity(carla.Vector3D())
    vehicle.set_target_angular_velocity(carla.Vector3D())
    vehicle.set_transform(transform)


def free_points(world: Any, points: list[Any], own: list[Any]) -> list[Any]:
    """The points that are at least 6 m away from every vehicle that is not in `own`."""
    own_ids = {vehicle.id for vehicle in own if vehicle is not None}
    taken = [
        vehicle.get_location()
        for vehicle in world.get_actors().filter("vehicle.*")
        if vehicle.id not in own_ids
    ]
    return [
        point
        for point in points
        if all(point.location.distance(place) > _CLEARANCE_M for place in taken)
    ]


def spawn_ego(world: Any, name: str, role: str, points: list[Any]) -> tuple[Any, list[Any]]:
    """Spawn a vehicle at the first point with room. Returns it and the points from there on.

    Raises:
        ChildError: the server has no such blueprint, or no point has room.
    """
    try:
        model = world.get_blueprint_library().find(name)
    except IndexError:
        raise ChildError("config", f"ego: this server has no vehicle '{name}'") from None
    model.set_attribute("role_name", role)
    for index, point in enumerate(points):
        vehicle = spawn_if_free(world, model, point)
        if vehicle is not None:
            return vehicle, points[index:]
    raise ChildError("spawn", f"none of {len(points)} spawn points is free")


def spawn_if_free(world: Any, model: Any, point: Any) -> Any:
    """Spawn a vehicle; None if something is in its way.

    `World.try_spawn_actor` returns None for every error, also if the server does not answer.
    """
    try:
        return world.spawn_actor(model, point)
    except RuntimeError as error:
        if _NO_ROOM in str(error):
            return None
        raise


def find_by_role(world: Any, role: str) -> Any:
    """The first vehicle with this role name, or None."""
    for vehicle in world.get_actors().filter("vehicle.*"):
        if vehicle.attributes.get("role_name") == role:
            return vehicle
    return None


def _car_models(world: Any) -> list[Any]:
    """Blueprints of all four-wheeled vehicles, sorted, so that every run spawns the same."""
    models = [
        model
        for model in world.get_blueprint_library().filter("vehicle.*")
        if int(model.get_attribute("number_of_wheels")) == 4
    ]
    return sorted(models, key=lambda model: model.id)
