"""The vehicles and walkers of a world, and the traffic that we add to it."""

from __future__ import annotations

from typing import Any

import carla
import numpy as np
from failures import ChildError

COLUMNS = 13
"""Of the table: id, x, y, z, pitch, yaw, roll, velocity (3), angular velocity (3)."""


class Cast:
    """Who is there: described once each, placed by every snapshot."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._shown = set()  # type: set[int]
        self._others = set()  # type: set[int]
        self.described = {}  # type: dict[int, dict[str, Any]]

    def look(self, snapshot: Any) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """float64 (N, 13) of all vehicles and walkers, and who among them is new."""
        states = list(snapshot)
        strange = [s.id for s in states if s.id not in self._shown and s.id not in self._others]
        new = self._describe(strange) if strange else []
        rows = [_row(state) for state in states if state.id in self._shown]
        return np.array(rows, np.float64).reshape(-1, COLUMNS), new

    def again(self) -> None:
        """Describe everybody anew with the next snapshot."""
        self._shown.clear()

    def _describe(self, ids: list[int]) -> list[dict[str, Any]]:
        found = []
        for actor in self._world.get_actors(ids):
            if actor.type_id.split(".")[0] not in ("vehicle", "walker"):
                self._others.add(actor.id)
                continue
            if actor.id not in self.described:
                self.described[actor.id] = _described(actor)
            self._shown.add(actor.id)
            found.append(self.described[actor.id])
        return found


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


def _row(state: Any) -> list[float]:
    transform, velocity = state.get_transform(), state.get_velocity()
    turning, place, turn = state.get_angular_velocity(), transform.location, transform.rotation
    at = [state.id, place.x, place.y, place.z, turn.pitch, turn.yaw, turn.roll]
    return [*at, velocity.x, velocity.y, velocity.z, turning.x, turning.y, turning.z]


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
        self._keep(0)

    def _keep(self, count: int) -> None:
        alive = [vehicle for vehicle in self.vehicles if vehicle.is_alive]
        commands = [carla.command.DestroyActor(vehicle) for vehicle in alive[count:]]
        if commands:
            self._client.apply_batch_sync(commands, False)
        self.vehicles = alive[:count]

    def _manage(self, seed: int) -> None:
        if self._manager is None:
            self._manager = self._client.get_trafficmanager(self._port)
            self._manager.set_synchronous_mode(True)
        self._manager.set_random_device_seed(seed)


def put(vehicle: Any, transform: Any) -> None:
    """Place a vehicle of ours, at rest."""
    vehicle.set_target_velocity(carla.Vector3D())
    vehicle.set_target_angular_velocity(carla.Vector3D())
    vehicle.set_transform(transform)


def spawned_ego(world: Any, name: str, role: str, points: list[Any]) -> Any:
    """A vehicle at the first free point, or ChildError."""
    try:
        model = world.get_blueprint_library().find(name)
    except IndexError:
        raise ChildError("config", f"this server has no vehicle '{name}'") from None
    model.set_attribute("role_name", role)
    for point in points:
        vehicle = world.try_spawn_actor(model, point)
        if vehicle is not None:
            return vehicle
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
