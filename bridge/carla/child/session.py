"""One connection to a CARLA server: open, place, reset, step, close."""

from __future__ import annotations

import mmap
import sys
import time
from collections.abc import Iterator
from typing import Any

import carla
import numpy as np
from actors import Cast, Traffic, destroy, found_by_role, free_places, is_there, put, spawned_ego
from failures import ChildError
from roads import route_from, stop_points
from sensors import Sensors, Shared

_LIVE_SNAPSHOTS = 256
_POLL_S = 0.005
_LAST_WAIT_S = 2.0
_BEYOND_GOAL_M = 100.0
_WAKE_TICKS, _WAKE_S = 20, 0.25


class Session:
    """The client's side of a CarlaWorld; a method answers a request: once, or twice."""

    def __init__(self) -> None:
        self.plan = {}  # type: dict[str, Any]
        self.client = None  # type: Any
        self.world = None  # type: Any
        self.before = None  # type: Any
        self.sensors = None  # type: Sensors | None
        self.ego = None  # type: Any
        self.owns_ego = False
        self.is_new = False
        self.rng = np.random.RandomState()
        self.frame = 0
        self.snapshots = {}  # type: dict[int, Any]
        self.listener = None  # type: int | None
        self.scratch = None  # type: mmap.mmap | None

    def open(self, request: dict[str, Any]) -> dict[str, Any]:
        """Connect, compare versions before anything else, take the world over or watch it."""
        self.plan = request
        self.client = carla.Client(request["host"], request["port"])
        self.client.set_timeout(request["timeout_s"])
        server, ours = self.client.get_server_version(), self.client.get_client_version()
        if _release(server) != _release(ours):
            # get_world() of a client of another version may crash the process
            raise ChildError(
                "version",
                f"the server is CARLA {server}, the client in {sys.executable} is {ours}",
            )
        self.world = self.client.get_world()
        self.before = self.world.get_settings()
        self._clear_up(request["left_behind"])
        if request["observe"]:
            self.listener = self.world.on_tick(self._noted)
        else:
            self._synchronise(request["tick_s"])
        self.map = self.world.get_map()
        self.cast = Cast(self.world)
        self.traffic = Traffic(self.client, self.world, request["traffic_manager_port"])
        self.lights = stop_points(self.world)
        if request["scratch"]:
            with open(request["scratch"], "r+b") as file:
                self.scratch = mmap.mmap(file.fileno(), 0)
        return {"server": server, "client": ours, "map": self.map.name, "left": self._ours()}

    def place(self, request: dict[str, Any]) -> dict[str, Any]:
        """Everybody of a new episode is made and put somewhere; nothing is ticked.

        Told at once: whoever comes after this process has to know what to clear up.
        """
        self.rng = np.random.RandomState(request["seed"])
        if self.plan["observe"]:
            self.is_new = self._find_ego()
        else:
            self.is_new = self._attend_ego(request)
        if self.sensors is None:
            self.sensors = Sensors(self.world, self.ego, Shared(self.scratch, self.cast.numbers))
            self.sensors.add_detectors()
            self.sensors.add_cameras(self.plan["cameras"], self.plan["kinds"])
        return {"ours": self._ours()}

    def reset(self, request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[Any]]]:
        """The episode begins: warm-up, the route, the first frame."""
        assert self.sensors is not None
        if not self.plan["observe"]:
            if request["weather"]:
                self._set_weather(request["weather"])
            ticks = self.plan["warm_up_ticks"] if self.is_new else self.plan["settle_ticks"]
            for _ in range(ticks):
                self.frame = self.world.tick(self.plan["timeout_s"])
            if self.is_new:
                self._wake()
            self.world.reset_all_traffic_lights()
        self.sensors.forget()
        self.cast.again(request["ids_in_pictures"])
        told = self._advance([light.id for light, _ in self.lights])
        header, buffers = next(told)
        location = self._state_of_ego().get_transform().location
        length_m = request["route_length_m"] + _BEYOND_GOAL_M
        route = route_from(self.map, location, length_m, self.rng)
        stops = [[light.id, ends] for light, ends in self.lights]
        header.update(stops=stops, weather=_weather_of(self.world))
        yield header, [route.tobytes(), *buffers]
        yield from told

    def step(self, request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[Any]]]:
        """One tick with this control (an observer's is not applied).

        `lights`: whose states are asked for; each costs time.
        """
        if not self.plan["observe"]:
            steer, throttle, brake, reverse = request["control"]
            self.ego.apply_control(
                carla.VehicleControl(
                    throttle=throttle, steer=steer, brake=brake, reverse=bool(reverse)
                )
            )
        return self._advance(request["lights"])

    def look(self, request: dict[str, Any]) -> dict[str, Any]:
        """What another client left or does here, without touching anything."""
        settings = self.world.get_settings()
        try:
            self.world.wait_for_tick(request["patience_s"])
            ticks = True
        except RuntimeError:
            ticks = False
        vehicles = self.world.get_actors().filter("vehicle.*") if ticks else []
        return {
            "synchronous": settings.synchronous_mode,
            "fixed_delta_s": settings.fixed_delta_seconds,
            "renders": not settings.no_rendering_mode,
            "ticks": ticks,
            "roles": [vehicle.attributes.get("role_name", "") for vehicle in vehicles],
        }

    def close(self) -> list[str]:
        """Leave the server as it was found: sensors, vehicles, settings, one more tick.

        Returns what could not be done.
        """
        failed = []  # type: list[str]
        if self.world is None:
            return failed
        for stage in (self._close_sensors, self._release, self._close_actors, self._restore):
            try:
                stage()
            except RuntimeError as error:
                failed.append(str(error))
        self.world = None
        return failed

    def _advance(self, lights: list[int]) -> Iterator[tuple[dict[str, Any], list[Any]]]:
        """A new frame: the parent reads the first part while pictures are on their way."""
        assert self.sensors is not None
        started_s = time.perf_counter()
        deadline_s = self.plan["sensor_deadline_s"]
        if self.plan["observe"]:
            self._observe(deadline_s)
        else:
            self.frame = self.world.tick(self.plan["timeout_s"])
        ticked_s = time.perf_counter()
        header, table = self._told(lights)
        yield dict(header, world_s=ticked_s - started_s), [table]
        if not self.plan["observe"]:
            self.sensors.join(self.frame, deadline_s)
        yield {"pictures": self.sensors.show()}, []

    def _told(self, lights: list[int]) -> tuple[dict[str, Any], bytes]:
        """All of this frame but its pictures."""
        assert self.sensors is not None
        snapshot = self._snapshot()
        table, new = self.cast.look(snapshot, self._state_of_ego(), self.plan["actor_range_m"])
        hits, crossed = self.sensors.events()
        header = {
            "frame": self.frame,
            "time_s": snapshot.timestamp.elapsed_seconds,
            "ego": self.ego.id,
            "new": new,
            "lights": [
                [light.id, str(light.get_state())] for light, _ in self.lights if light.id in lights
            ],
            "limit_kmh": self.ego.get_speed_limit(),
            "hits": hits,
            "crossed": crossed,
        }
        return header, table.tobytes()

    def _wake(self) -> None:
        """Tick until every camera has sent something: their streams connect meanwhile."""
        assert self.sensors is not None
        for _ in range(_WAKE_TICKS):
            if self.sensors.awake(_WAKE_S):
                return
            self.frame = self.world.tick(self.plan["timeout_s"])

    def _observe(self, deadline_s: float) -> None:
        """Go to a frame that somebody else has ticked: the newest one that is whole."""
        assert self.sensors is not None
        if self.sensors.cameras:
            self.frame = self.sensors.join_next(self.frame, deadline_s)
        else:
            self.frame = self.world.wait_for_tick(deadline_s).frame
        until_s = time.monotonic() + deadline_s
        while self.frame not in self.snapshots:
            if time.monotonic() > until_s:
                raise ChildError("server", f"no snapshot of frame {self.frame}")
            time.sleep(_POLL_S)

    def _noted(self, snapshot: Any) -> None:
        self.snapshots[snapshot.frame] = snapshot
        while len(self.snapshots) > _LIVE_SNAPSHOTS:
            self.snapshots.pop(min(self.snapshots), None)

    def _snapshot(self) -> Any:
        return self.snapshots[self.frame] if self.plan["observe"] else self.world.get_snapshot()

    def _state_of_ego(self) -> Any:
        state = self._snapshot().find(self.ego.id)
        if state is None:
            raise ChildError(
                "ego", "the ego vehicle is gone: it was destroyed, or the map was loaded again"
            )
        return state

    def _find_ego(self) -> bool:
        """The vehicle to watch; nobody is known before the first tick that we see."""
        try:
            self.world.wait_for_tick(self.plan["sensor_deadline_s"])
        except RuntimeError:
            raise ChildError(
                "server", "nobody ticks the server, and an observer does not either"
            ) from None
        ego = found_by_role(self.world, self.plan["role_name"])
        if ego is None:
            raise ChildError(
                "ego",
                "no vehicle has the role name '{}' to observe".format(self.plan["role_name"]),
            )
        changed = self.ego is None or self.ego.id != ego.id
        if changed:
            self._close_sensors()
        self.ego = ego
        return changed

    def _attend_ego(self, request: dict[str, Any]) -> bool:
        """Find, spawn or move the ego, and the traffic around it; True where it is new."""
        is_new = not is_there(self.world, self.ego)
        if is_new:
            self._close_sensors()
            self.ego = found_by_role(self.world, self.plan["role_name"])
            self.owns_ego = self.ego is None
        order = self._places(request["spawn"])
        if self.ego is None:
            names = self.plan["ego"], self.plan["role_name"]
            self.ego, order = spawned_ego(self.world, names[0], names[1], order)
        elif self.owns_ego or request["spawn"] is not None:
            put(self.ego, order[0])
        self.ego.apply_control(carla.VehicleControl(hand_brake=True))
        if request["vehicles"] < len(self.traffic.vehicles):
            self._release()
        self.traffic.place(order[1:], request["vehicles"], request["autopilot"], request["seed"])
        return is_new

    def _places(self, wanted: int | None) -> list[Any]:
        """Spawn points where nobody stands who is not ours, the wanted one first if it is one."""
        points = self.map.get_spawn_points()
        order = [points[i] for i in self.rng.permutation(len(points))]
        if wanted is not None:
            if wanted >= len(points):
                raise ChildError("config", f"spawn: this map has {len(points)} points")
            order = [points[wanted]] + [point for point in order if point is not points[wanted]]
        free = free_places(self.world, order, [self.ego, *self.traffic.vehicles])
        if not free:
            raise ChildError("spawn", f"none of {len(points)} spawn points is free")
        return free

    def _synchronise(self, tick_s: float) -> None:
        settings = self.world.get_settings()
        settings.synchronous_mode = True
        settings.fixed_delta_seconds = tick_s
        self.world.apply_settings(settings)

    def _set_weather(self, wanted: dict[str, float]) -> None:
        weather = self.world.get_weather()
        for name, value in wanted.items():
            setattr(weather, name, value)
        self.world.set_weather(weather)

    def _clear_up(self, left: dict[str, Any]) -> None:
        """What a client before this one could not take away itself."""
        commands = [carla.command.DestroyActor(actor_id) for actor_id in left.get("actors", ())]
        if commands:
            self.client.apply_batch_sync(commands, False)
        if "synchronous" in left:
            self.before.synchronous_mode = left["synchronous"]
            self.before.fixed_delta_seconds = left["fixed_delta_s"]

    def _ours(self) -> dict[str, Any]:
        """What somebody has to clear up if this process dies now."""
        actors = [actor.id for actor in self.sensors.actors] if self.sensors is not None else []
        actors += [vehicle.id for vehicle in self.traffic.vehicles]
        if self.owns_ego:
            actors.append(self.ego.id)
        if self.plan["observe"]:
            return {"actors": actors}
        return {
            "actors": actors,
            "synchronous": self.before.synchronous_mode,
            "fixed_delta_s": self.before.fixed_delta_seconds,
        }

    def _close_sensors(self) -> None:
        if self.sensors is not None:
            self.sensors.stop()
            destroy(self.client, self.sensors.actors)
            self.sensors = None

    def _release(self) -> None:
        """The Traffic Manager notices with the next tick that its vehicles are not its own."""
        if self.traffic.release():
            self.world.tick(self.plan["timeout_s"])

    def _close_actors(self) -> None:
        if self.listener is not None:
            self.world.remove_on_tick(self.listener)
        self.traffic.close()
        if self.owns_ego and self.ego is not None:
            destroy(self.client, [self.ego])
        self.ego = None
        if self.traffic.managed:
            # Back in asynchronous mode it runs by itself, and ends the process where the
            # server does not know a vehicle any more: it has to see first that all are gone.
            self.world.tick(self.plan["timeout_s"])

    def _restore(self) -> None:
        if self.plan["observe"]:
            return
        self.world.apply_settings(self.before)
        if not self.before.synchronous_mode:
            self.world.wait_for_tick(_LAST_WAIT_S)


def _release(version: str) -> str:
    """`0.9.16-dirty` and `0.9.16` are one release."""
    return version.split("-")[0]


def _weather_of(world: Any) -> dict[str, float]:
    weather = world.get_weather()
    names = ("sun_altitude_angle", "cloudiness", "precipitation", "fog_density", "wetness")
    return {name: getattr(weather, name) for name in names}
