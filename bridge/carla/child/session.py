"""One connection to a CARLA server, from `open` to `close`."""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import carla
import numpy as np
from actors import (
    Traffic,
    WorldActors,
    destroy,
    destroy_ids,
    exists,
    find_by_role,
    free_points,
    spawn_ego,
    teleport,
)
from failures import ChildError
from leftovers import highest_id, leftover_ids
from roads import route_from, stop_points
from sensors import Sensors, SharedState
from ticks import Ticker

_MAX_SNAPSHOTS = 256
_POLL_S = 0.005
_CLOSE_TIMEOUT_S = 2.0
"""For a single call while the server's state is restored."""

_BEYOND_GOAL_M = 100.0
_SETTLE_TICKS = 2
"""Ticks before the first frame of an episode that reuses the sensors."""

_CONNECT_TICKS, _CONNECT_POLL_S = 20, 0.25


class Session:
    """The client's side of a CarlaWorld.

    Each public method answers the request of its name: with one answer, or with two (an
    iterator), so that the parent can work on the first while the second is being made.
    """

    def __init__(self) -> None:
        self.options = {}  # type: dict[str, Any]
        self.client = None  # type: Any
        self.world = None  # type: Any
        self.original_settings = None  # type: Any
        self.sensors = None  # type: Sensors | None
        self.ego = None  # type: Any
        self.owns_ego = False
        self.ego_is_new = False
        self.rng = np.random.RandomState()
        self.frame = 0
        self.snapshots = {}  # type: dict[int, Any]
        self.listener = None  # type: int | None
        self.ticker = None  # type: Ticker | None
        self.traffic = None  # type: Traffic | None
        self.leftovers = {}  # type: dict[str, Any]
        self.ego_after = None  # type: int | None
        self.owns_settings = False
        self.a_call_failed = False
        self.memory = None  # type: mmap.mmap | None

    def open(self, request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[Any]]]:
        """Connect, compare the versions, and take over the server's ticks or observe them.

        The first answer comes before anything on the server is changed, so that the parent
        knows what to restore if this process dies. The keys of `request` are the options of
        the whole session.
        """
        self.options, self.leftovers = request, request["leftovers"]
        self.client = carla.Client(request["host"], request["port"])
        self.client.set_timeout(request["timeout_s"])
        if not os.access(os.path.expanduser("~"), os.W_OK):
            # The client keeps files of the server in the home folder.
            self.client.set_files_base_folder(tempfile.gettempdir())
        server, client = self.client.get_server_version(), self.client.get_client_version()
        if _release(server) != _release(client):
            # get_world() crashes the process if the versions differ.
            raise ChildError(
                "version",
                f"the server is CARLA {server}, the client in {sys.executable} is {client}",
            )
        world = self.client.get_world()
        self.original_settings = world.get_settings()
        if "synchronous" in self.leftovers:
            self.owns_settings = True
            self.original_settings.synchronous_mode = self.leftovers["synchronous"]
            self.original_settings.fixed_delta_seconds = self.leftovers["fixed_delta_s"]
        port, owner = request["traffic_manager_port"], request["owner"]
        self.traffic = Traffic(self.client, world, port, owner)
        self.world = world
        if request["cameras"]:
            self._check_rendering()
        yield {"leftovers": self._to_restore()}, []
        self._destroy_known_leftovers()
        if request["observe"]:
            self.listener = self.world.on_tick(self._store_snapshot)
        else:
            self._enable_synchronous_mode(request["tick_s"])
            self.ticker = Ticker(self.world, request["tick_s"], request["timeout_s"])
            self._destroy_leftovers()
        self.map = self.world.get_map()
        self.actors = WorldActors(self.world)
        self.lights = stop_points(self.world)
        if request["memory_path"]:
            with open(request["memory_path"], "r+b") as file:
                self.memory = mmap.mmap(file.fileno(), 0)
        yield {"server": server, "map": self.map.name, "leftovers": self._to_restore()}, []

    def prepare(self, request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[Any]]]:
        """Spawn and place the ego, the traffic and the sensors of a new episode. No tick.

        It has two answers of its own, so that the parent knows what to clean up if this
        process dies while it spawns, or in the ticks that follow.
        """
        self.rng = np.random.RandomState(request["seed"])
        if self.options["cameras"]:
            self._check_rendering()
        if self.options["observe"]:
            self.ego_is_new = self._find_ego()
            self._destroy_leftovers()
        else:
            self.ego_is_new = self._find_or_forget_ego()
            self.ego_after = highest_id(self.world) if self.ego is None else None
        yield {"leftovers": self._to_restore()}, []
        if not self.options["observe"]:
            self._place_ego_and_traffic(request)
        if self.sensors is None:
            shared = SharedState(self.memory, self.actors.numbers)
            self.sensors = Sensors(self.world, self.ego, shared, self.options["owner"])
            self.sensors.add_detectors()
            self.sensors.add_cameras(self.options["cameras"], self.options["kinds"])
        yield {"leftovers": self._to_restore()}, []

    def reset(self, request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[Any]]]:
        """Start the episode: warm-up ticks, the route and the first frame."""
        assert self.sensors is not None
        if not self.options["observe"]:
            if request["weather"]:
                self._set_weather(request["weather"])
            ticks = self.options["warm_up_ticks"] if self.ego_is_new else _SETTLE_TICKS
            for _ in range(ticks):
                self.frame = self._tick()
            if self.ego_is_new:
                self._tick_until_cameras_send()
            self.world.reset_all_traffic_lights()
        self.sensors.clear()
        self.actors.start_episode(request["ids_in_images"])
        answers = self._next_frame([light.id for light, _ in self.lights])
        header, buffers = next(answers)
        location = self._ego_state().get_transform().location
        length_m = request["route_length_m"] + _BEYOND_GOAL_M
        route = route_from(self.map, location, length_m, self.rng)
        stops = [[light.id, ends] for light, ends in self.lights]
        header.update(stops=stops, weather=_weather_of(self.world))
        yield header, [route.tobytes(), *buffers]
        yield from answers

    def step(self, request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[Any]]]:
        """Apply `control` and tick; an observer only waits for the next frame.

        `lights`: ids of the traffic lights whose states are wanted. Each costs time.
        """
        if not self.options["observe"]:
            steer, throttle, brake, reverse = request["control"]
            self.ego.apply_control(
                carla.VehicleControl(
                    throttle=throttle, steer=steer, brake=brake, reverse=bool(reverse)
                )
            )
        return self._next_frame(request["lights"])

    def inspect(self, request: dict[str, Any]) -> dict[str, Any]:
        """The server's settings, whether it ticks within `patience_s`, and vehicles' roles.

        Changes nothing.
        """
        settings = self.world.get_settings()
        try:
            self.world.wait_for_tick(request["patience_s"])
            ticks = True
        except RuntimeError:
            ticks = False
        vehicles = self.world.get_actors().filter("vehicle.*") if ticks else []
        return {
            "synchronous": settings.synchronous_mode,
            "renders": not settings.no_rendering_mode,
            "ticks": ticks,
            "roles": [vehicle.attributes.get("role_name", "") for vehicle in vehicles],
        }

    def ping(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make a call that the server handles between two of its ticks, and that does nothing.

        Calls such as the server's version are answered even if it hangs.
        """
        client = carla.Client(request["host"], request["port"], 1)  # one thread is enough
        client.set_timeout(request["timeout_s"])
        client.apply_batch_sync([], False)
        return {}

    def close(self) -> list[str]:
        """Restore the server's state: sensors, vehicles, settings, in this order.

        Returns messages about what failed.
        """
        failed = []  # type: list[str]
        if self.world is None:
            return ["there is no connection to clean up with"] if self.leftovers else failed
        self.client.set_timeout(min(_CLOSE_TIMEOUT_S, self.options["timeout_s"]))
        self.ticker = None
        if self.a_call_failed:
            self.leftovers = self._to_restore()
        for step in (
            self._close_sensors,
            self._disable_autopilot,
            self._close_actors,
            self._destroy_leftovers,
            self._restore_settings,
        ):
            try:
                step()
            except RuntimeError as error:
                failed.append(str(error))
        self.world = None
        return failed

    def _tick(self) -> int:
        if self.ticker is None:  # closing: whoever else ticks is no matter any more
            return int(self.world.tick(_CLOSE_TIMEOUT_S))
        return int(self.ticker.tick())

    def _take_images(self, deadline_s: float) -> None:
        """Wait for all images of this frame."""
        assert self.sensors is not None
        try:
            self.sensors.take_frame(self.frame, deadline_s)
        except ChildError:
            self._check_rendering()  # another client may have switched it off
            raise

    def _check_rendering(self) -> None:
        if self.world.get_settings().no_rendering_mode:
            raise ChildError(
                "rendering",
                "no_rendering_mode is on in the server's settings, so cameras send nothing",
            )

    def _next_frame(self, lights: list[int]) -> Iterator[tuple[dict[str, Any], list[Any]]]:
        """A new frame in two answers: the state of the world, then where its images are."""
        assert self.sensors is not None
        started_s = time.perf_counter()
        deadline_s = self.options["sensor_deadline_s"]
        if self.options["observe"]:
            self._observe(deadline_s)
        else:
            self.frame = self._tick()
        ticked_s = time.perf_counter()
        header, table = self._world_state(lights)
        yield dict(header, world_s=ticked_s - started_s), [table]
        if not self.options["observe"]:
            self._take_images(deadline_s)
        yield {"images": self.sensors.current_images()}, []

    def _world_state(self, lights: list[int]) -> tuple[dict[str, Any], bytes]:
        """Everything of this frame but its images: a header and the actor table."""
        assert self.sensors is not None
        snapshot = self._snapshot()
        range_m = self.options["actor_range_m"]
        table, new = self.actors.read(snapshot, self._ego_state(), range_m)
        collisions, crossed = self.sensors.take_events()
        header = {
            "time_s": snapshot.timestamp.elapsed_seconds,
            "ego": self.ego.id,
            "new_actors": new,
            "lights": [
                [light.id, str(light.get_state())] for light, _ in self.lights if light.id in lights
            ],
            "speed_limit_kmh": self.ego.get_speed_limit(),
            "collisions": collisions,
            "crossed_markings": crossed,
        }
        return header, table.tobytes()

    def _tick_until_cameras_send(self) -> None:
        """Tick until the streams of all cameras are connected, 20 times at most."""
        assert self.sensors is not None
        for _ in range(_CONNECT_TICKS):
            if self.sensors.wait_for_first_images(_CONNECT_POLL_S):
                return
            self.frame = self._tick()

    def _observe(self, deadline_s: float) -> None:
        """Go to the newest complete frame that another client has ticked."""
        assert self.sensors is not None
        if self.sensors.cameras:
            self.frame = self.sensors.take_newest_frame(self.frame, deadline_s)
        else:
            self.frame = self.world.wait_for_tick(deadline_s).frame
        until_s = time.monotonic() + deadline_s
        while self.frame not in self.snapshots:
            if time.monotonic() > until_s:
                raise ChildError("server", f"no snapshot of frame {self.frame}")
            time.sleep(_POLL_S)

    def _store_snapshot(self, snapshot: Any) -> None:
        self.snapshots[snapshot.frame] = snapshot
        while len(self.snapshots) > _MAX_SNAPSHOTS:
            self.snapshots.pop(min(self.snapshots), None)

    def _snapshot(self) -> Any:
        return self.snapshots[self.frame] if self.options["observe"] else self.world.get_snapshot()

    def _ego_state(self) -> Any:
        state = self._snapshot().find(self.ego.id)
        if state is None:
            raise ChildError(
                "ego", "the ego vehicle is gone: it was destroyed, or the map was loaded again"
            )
        return state

    def _find_ego(self) -> bool:
        """Find the ego to observe. True if it is another one than before.

        The client knows no actors before the first tick that it sees.
        """
        try:
            self.world.wait_for_tick(self.options["sensor_deadline_s"])
        except RuntimeError:
            raise ChildError(
                "server", "nobody ticks the server, and 'attach: observe' does not tick it either"
            ) from None
        ego = find_by_role(self.world, self.options["role_name"])
        if ego is None:
            raise ChildError(
                "ego",
                "no vehicle has the role name '{}' to observe".format(self.options["role_name"]),
            )
        changed = self.ego is None or self.ego.id != ego.id
        if changed:
            self._close_sensors()
        self.ego = ego
        return changed

    def _find_or_forget_ego(self) -> bool:
        """Find the vehicle to drive. True if it is another one than before, or yet to spawn."""
        if exists(self.world, self.ego):
            return False
        self._close_sensors()
        self.ego = find_by_role(self.world, self.options["role_name"])
        self.owns_ego = False
        return True

    def _place_ego_and_traffic(self, request: dict[str, Any]) -> None:
        """Spawn or move the ego, and place the traffic."""
        assert self.traffic is not None
        points = self._free_spawn_points(request["spawn"])
        if self.ego is None:
            model, role = self.options["ego"], self.options["role_name"]
            self.ego, points = spawn_ego(self.world, model, role, points)
            self.owns_ego, self.ego_after = True, None
        elif self.owns_ego or request["spawn"] is not None:
            teleport(self.ego, points[0])
        self.ego.apply_control(carla.VehicleControl(hand_brake=True))
        if request["vehicles"] < len(self.traffic.vehicles):
            self._disable_autopilot()
        self.traffic.place(points[1:], request["vehicles"], request["autopilot"], request["seed"])

    def _free_spawn_points(self, wanted: int | None) -> list[Any]:
        """The spawn points away from other clients' vehicles, shuffled, the wanted one first."""
        assert self.traffic is not None
        points = self.map.get_spawn_points()
        order = [points[i] for i in self.rng.permutation(len(points))]
        if wanted is not None:
            if wanted >= len(points):
                raise ChildError(
                    "config",
                    f"spawn: this map has the spawn points 0 to {len(points) - 1}, got {wanted}",
                )
            order = [points[wanted]] + [point for point in order if point is not points[wanted]]
        free = free_points(self.world, order, [self.ego, *self.traffic.vehicles])  # type: list[Any]
        if not free:
            raise ChildError("spawn", f"none of {len(points)} spawn points is free")
        return free

    def _enable_synchronous_mode(self, tick_s: float) -> None:
        self.owns_settings = True
        settings = self.world.get_settings()
        settings.synchronous_mode = True
        settings.fixed_delta_seconds = tick_s
        self.world.apply_settings(settings)

    def _set_weather(self, wanted: dict[str, float]) -> None:
        weather = self.world.get_weather()
        for name, value in wanted.items():
            setattr(weather, name, value)
        self.world.set_weather(weather)

    def _destroy_known_leftovers(self) -> None:
        """Destroy the actors whose ids an earlier client of this CarlaWorld has told."""
        destroy_ids(self.client, list(self.leftovers.get("actors", ())))

    def _destroy_leftovers(self) -> None:
        """Destroy all that an earlier client has left, also what it could not tell any more."""
        if not self.leftovers:
            return
        if self.a_call_failed and not self.options["observe"]:
            self._tick()  # shows this client what the failed call has done after all
        ids = leftover_ids(self.world, self.leftovers, self.options["role_name"])
        destroy_ids(self.client, ids)
        if ids and not self.options["observe"]:
            self._tick()  # shows this client that they are gone
        self.leftovers = {}

    def _to_restore(self) -> dict[str, Any]:
        """What the next client has to clean up and to restore if this process dies now."""
        assert self.traffic is not None
        actors = list(self.leftovers.get("actors", ()))
        actors += [actor.id for actor in self.sensors.actors] if self.sensors is not None else []
        actors += [vehicle.id for vehicle in self.traffic.vehicles]
        if self.owns_ego:
            actors.append(self.ego.id)
        ego_after = self.leftovers.get("ego_after", self.ego_after)
        found = {"actors": actors, "owner": self.options["owner"], "ego_after": ego_after}
        if not self.options["observe"]:
            found["synchronous"] = self.original_settings.synchronous_mode
            found["fixed_delta_s"] = self.original_settings.fixed_delta_seconds
        return found

    def _close_sensors(self) -> None:
        if self.sensors is not None:
            self.sensors.stop()
            destroy(self.client, self.sensors.actors)
            self.sensors = None

    def _disable_autopilot(self) -> None:
        """Take the traffic from the Traffic Manager, which notices it with the next tick."""
        assert self.traffic is not None
        if self.traffic.disable_autopilot():
            self._tick()

    def _close_actors(self) -> None:
        assert self.traffic is not None
        if self.listener is not None:
            self.world.remove_on_tick(self.listener)
        self.traffic.close()
        if self.owns_ego and self.ego is not None:
            destroy(self.client, [self.ego])
        self.ego = None
        if self.traffic.uses_traffic_manager:
            # In asynchronous mode the Traffic Manager runs by itself, and ends the process if
            # one of its vehicles is gone. This tick shows it that all of them are gone.
            self.world.tick(_CLOSE_TIMEOUT_S)

    def _restore_settings(self) -> None:
        """Restore what this client has set, and leave what others have changed since then."""
        if not self.owns_settings:
            return
        settings = self.world.get_settings()
        settings.synchronous_mode = self.original_settings.synchronous_mode
        settings.fixed_delta_seconds = self.original_settings.fixed_delta_seconds
        self.world.apply_settings(settings)
        if not self.original_settings.synchronous_mode:
            self.world.wait_for_tick(_CLOSE_TIMEOUT_S)


def _release(version: str) -> str:
    """The release of a version: `0.9.16` for `0.9.16-dirty`."""
    return version.split("-")[0]


def _weather_of(world: Any) -> dict[str, float]:
    weather = world.get_weather()
    names = ("sun_altitude_angle", "cloudiness", "precipitation", "fog_density", "wetness")
    return {name: getattr(weather, name) for name in names}
