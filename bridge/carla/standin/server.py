"""The stand-in server: answers CARLA's calls and sends its streams."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from sim2street.bridge.carla.axes import UnrealTransform
from sim2street.bridge.carla.standin import payloads
from sim2street.bridge.carla.standin.actor_commands import COMMANDS
from sim2street.bridge.carla.standin.actors import SimActor
from sim2street.bridge.carla.standin.blueprints import make_blueprints
from sim2street.bridge.carla.standin.cameras import ENCODERS, CameraRenderer
from sim2street.bridge.carla.standin.faults import FAULT_CALL, FREEZE_AT_SPAWN_S, Faults
from sim2street.bridge.carla.standin.protocol_versions import Version, protocol_for
from sim2street.bridge.carla.standin.rpc import Handler
from sim2street.bridge.carla.standin.simulation import SPECTATOR_ID, Contact, Simulation
from sim2street.bridge.carla.standin.streams import Streams
from sim2street.bridge.errors import WorldError
from sim2street.bridge.town.camera.scene import Scene
from sim2street.bridge.town.plan.layout_generator import LayoutConfig
from sim2street.configs import StrictModel

_WORLD_STREAM = 1
_ASYNCHRONOUS_TICK_S = 0.05
_SPAWN_COMMAND, _DESTROY_COMMAND, _LIGHT_COMMAND = 0, 1, 21
_DEFAULT_SETTINGS = [False, False, [False], True, 0.01, 10, 0.0, False, 3000.0, 2000.0, True]
"""In the order of CARLA's EpisodeSettings: synchronous mode, no rendering, fixed delta, ..."""

_DEFAULT_WEATHER = [10.0, 0.0, 0.0, 10.0, 0.0, 45.0, 2.0, 0.75, 0.1, 0.0, 1.0, 0.03, 0.0331, 0.0]
"""In the order of CARLA's WeatherParameters: cloudiness, precipitation, deposits, wind, ..."""

_STATIC_OBJECT = [0, 0, [0, "static.building", []], [[0.0] * 3, [0.0] * 3, [0.0] * 3, 0], b"", b""]
"""What a collision with something static names as the other actor."""


class StandInConfig(StrictModel):
    """Where the stand-in listens and which town it shows.

    Attributes:
        port: of the calls; streams are at the port after it. 0 takes two free ones.
        town: number of the embedded town.
        version: CARLA version of the clients it serves.
        layout: size and shape of the town.
    """

    host: str = "127.0.0.1"
    port: int = Field(2000, ge=0, le=65534)
    town: int = Field(3, ge=0)
    version: Version = "0.9.16"
    layout: LayoutConfig = LayoutConfig()


class StandIn:
    """The state of one server. Use it from one event loop.

    Attributes:
        handlers: what answers the clients' calls, by name.
        streams: accepts the connections at the streaming port.
    """

    def __init__(self, config: StandInConfig, stream_port: int) -> None:
        self.config = config
        self.protocol = protocol_for(config.version)
        self.stream_port = stream_port
        self.streams = Streams()
        self.faults = Faults()
        self.frame = 1
        self.episode = 1
        self.settings: list[Any] = list(_DEFAULT_SETTINGS)
        self.weather: list[float] = list(_DEFAULT_WEATHER)
        self.blueprints = make_blueprints(self.protocol.first_type)
        self.simulation = Simulation(config.town, config.layout)
        self._by_uid = {b.uid: b for b in self.blueprints.values()}
        self._renderer = self._new_renderer()
        self._last_payloads: dict[int, bytes] = {}
        self._managers: dict[int, tuple[str, int]] = {}
        self._next_stream = _WORLD_STREAM + 1
        self._ticking = asyncio.Lock()
        self.handlers: Mapping[str, Handler] = self._handlers()

    @property
    def synchronous(self) -> bool:
        """Whether the world only ticks when a client asks for it."""
        return bool(self.settings[0])

    @property
    def tick_s(self) -> float:
        """Simulated time of a tick."""
        fixed = self.settings[2]
        return float(fixed[1]) if fixed[0] else _ASYNCHRONOUS_TICK_S

    def close(self) -> None:
        """Release the renderer."""
        self._renderer.close()

    async def tick_asynchronously(self) -> None:
        """Tick every 0.05 s of real time while synchronous mode is off. Does not return."""
        while True:
            await asyncio.sleep(_ASYNCHRONOUS_TICK_S)
            if not self.synchronous:
                await self.tick()

    async def tick(self) -> int:
        """Move everything, then send the snapshot, collisions and images; returns the frame."""
        async with self._ticking:
            self.frame += 1
            began = self.simulation.step(self.tick_s)
            await self._send(_WORLD_STREAM, self._snapshot())
            for contact in began:
                await self._send_collision(contact)
            if self.faults.garble:
                self.faults.garble = False
                await self._send_garbled_collisions()
            actors = list(self.simulation.actors.values())
            self._renderer.begin_tick(actors)
            for actor in actors:
                if actor.type_id in ENCODERS and self.streams.has_listener(actor.stream_id):
                    await self._send_image(actor)
            return self.frame

    def load_map(self, name: str, reset_settings: bool) -> None:
        """Start a new episode, in the town whose number the name ends in, or in the same."""
        number = re.search(r"(\d+)$", name)
        town = int(number[1]) if number else self.simulation.town_id
        for actor in self.simulation.actors.values():
            self.streams.close(actor.stream_id)
        changed = town != self.simulation.town_id
        self.simulation = Simulation(town, self.config.layout)
        if changed:
            self._renderer.close()
            self._renderer = self._new_renderer()
        self._last_payloads.clear()
        self.episode += 1
        if reset_settings:
            self.settings = list(_DEFAULT_SETTINGS)

    def _new_renderer(self) -> CameraRenderer:
        return CameraRenderer(Scene(self.simulation.town.layout), self.protocol)

    def _snapshot(self) -> bytes:
        head = payloads.SnapshotHead(
            self.frame, self.simulation.time_s, self.tick_s, self.episode, time.monotonic()
        )
        return payloads.snapshot(
            self.protocol.sensor_types["world"], head, self.simulation.records()
        )

    async def _send(self, stream_id: int, payload: bytes) -> None:
        await self.streams.send(stream_id, payload, wait=self.synchronous)

    async def _send_image(self, sensor: SimActor) -> None:
        faults = self.faults
        payload = self._renderer.payload(sensor, self.frame, self.simulation.time_s)
        last = self._last_payloads.get(sensor.actor_id)
        self._last_payloads[sensor.actor_id] = payload
        if faults.loses(sensor.type_id):
            return
        if sensor.type_id in faults.mixed and last is not None:
            faults.mixed.discard(sensor.type_id)
            payload = last
        if faults.delay_s:
            loop = asyncio.get_running_loop()
            later = self._send(sensor.stream_id, payload)
            loop.call_later(faults.delay_s, lambda: loop.create_task(later))
            return
        await self._send(sensor.stream_id, payload)

    async def _send_collision(self, contact: Contact) -> None:
        """Tell the collision sensors of the vehicle."""
        for sensor in list(self.simulation.actors.values()):
            is_its = sensor.parent_id == contact.actor.actor_id
            if sensor.type_id != "sensor.other.collision" or not is_its:
                continue
            head = self._collision_header(sensor)
            other = self.simulation.actors.get(contact.other_id)
            data = payloads.collision(
                head,
                self._description(contact.actor),
                self._description(other) if other else _STATIC_OBJECT,
                (0.0, 0.0, 0.0),
            )
            await self._send(sensor.stream_id, data)

    async def _send_garbled_collisions(self) -> None:
        for sensor in list(self.simulation.actors.values()):
            if sensor.type_id == "sensor.other.collision":
                head = self._collision_header(sensor)
                await self._send(sensor.stream_id, head + b"\xc1\xc1\xc1")

    def _collision_header(self, sensor: SimActor) -> bytes:
        sensor_type = self.protocol.sensor_types["collision"]
        return payloads.header(sensor_type, self.frame, self.simulation.time_s, sensor.transform)

    def _description(self, actor: SimActor) -> list[Any]:
        """An actor as the calls describe it."""
        token = payloads.token(actor.stream_id, self.stream_port) if actor.stream_id else b""
        location, extent = actor.box
        return [
            actor.actor_id,
            actor.parent_id,
            [actor.uid, actor.type_id, actor.attributes],
            [list(location), list(extent), [0.0, 0.0, 0.0], actor.actor_id],
            bytes([self.protocol.tags[actor.tag]]),
            token,
        ]

    def _handlers(self) -> dict[str, Handler]:
        value: dict[str, Callable[..., Any]] = {
            "version": lambda: self.faults.version or self.config.version,
            "get_episode_info": lambda: [self.episode, [self._token(_WORLD_STREAM)]],
            "get_sensor_token": lambda stream: [self._token(stream)],
            "get_episode_settings": lambda: self.settings,
            "set_episode_settings": self._set_settings,
            "tick_cue": self.tick,
            "get_available_maps": lambda: [self.simulation.map_name],
            "get_map_info": self._map_info,
            "get_map_data": lambda: self.simulation.xml(),
            "get_required_files": lambda *_: [],
            "get_actor_definitions": lambda: [b.definition for b in self.blueprints.values()],
            "get_spectator": lambda: self._description(self.simulation.actors[SPECTATOR_ID]),
            "get_actors_by_id": self._actors_by_id,
            "spawn_actor": self._spawn,
            "spawn_actor_with_parent": self._spawn,
            "destroy_actor": self._destroy,
            "get_actor_bounding_box": lambda actor: self._description(self._actor(actor))[3],
            "get_weather_parameters": lambda: self.weather,
            "get_vehicle_light_states": lambda: [],
            "query_lights_state": lambda *_: [],
            "get_environment_objects": lambda *_: [],
            "is_traffic_manager_running": lambda port: port in self._managers,
            "get_traffic_manager_running": lambda port: list(self._managers.get(port, ("", 0))),
            "add_traffic_manager_running": self._add_manager,
            "destroy_traffic_manager": lambda port: self._managers.pop(port, None) is not None,
            "get_group_traffic_lights": lambda actor: [actor],
        }
        void: dict[str, Callable[..., Any]] = {
            "load_new_episode": lambda name, reset, *_: self.load_map(name, reset),
            "set_weather_parameters": self._set_weather,
            "reset_all_traffic_lights": lambda: self.simulation.reset_lights(),
            "freeze_all_traffic_lights": lambda on: self.simulation.freeze_lights(on),
            "freeze_traffic_light": lambda _, on: self.simulation.freeze_lights(on),
            "set_traffic_light_state": self._set_light,
            "draw_debug_shape": lambda *_: None,
            "set_actor_dead": lambda *_: None,
            "enable_sensor_for_ros": lambda *_: None,
            "disable_sensor_for_ros": lambda *_: None,
            FAULT_CALL: self._fault,
        }
        handlers = {name: Handler(function) for name, function in value.items()}
        handlers |= {name: Handler(function, "void") for name, function in void.items()}
        for name, _, command in COMMANDS:
            handlers[name] = Handler(self._by_actor_id(command), "void")
        handlers["apply_batch"] = Handler(self._batch, "bare")
        return handlers

    def _token(self, stream: int) -> bytes:
        return payloads.token(stream, self.stream_port)

    def _set_settings(self, settings: list[Any]) -> int:
        self.settings = settings
        return self.frame

    def _set_weather(self, weather: list[float]) -> None:
        self.weather = weather

    def _set_light(self, actor_id: int, state: int) -> None:
        self.simulation.lights.overrides[self._actor(actor_id).actor_id] = state

    def _map_info(self) -> list[Any]:
        points = [[list(p[:3]), list(p[3:])] for p in self.simulation.spawn_points()]
        return [self.simulation.map_name, points]

    def _actors_by_id(self, ids: list[int]) -> list[Any]:
        actors = self.simulation.actors
        return [self._description(actors[actor_id]) for actor_id in ids if actor_id in actors]

    def _actor(self, actor_id: int) -> SimActor:
        if actor_id not in self.simulation.actors:
            raise WorldError(f"unable to find actor {actor_id}")
        return self.simulation.actors[actor_id]

    def _spawn(
        self, description: list[Any], transform: list[Any], parent: int = 0, *_: Any
    ) -> list[Any]:
        uid, type_id, rows = description
        if uid not in self._by_uid:
            raise WorldError(f"no blueprint '{type_id}'")
        if self.faults.freezes_at_spawn():
            time.sleep(FREEZE_AT_SPAWN_S)
        start: UnrealTransform = (*transform[0], *transform[1])
        attributes = {name: text for name, _, text in rows}
        actor = self.simulation.spawn(self._by_uid[uid], attributes, start, parent)
        if actor.type_id.startswith("sensor."):
            actor.stream_id = self._next_stream
            self._next_stream += 1
        return self._description(actor)

    def _destroy(self, actor_id: int) -> bool:
        actor = self.simulation.actors.get(actor_id)
        if actor is not None and actor.stream_id:
            self.streams.close(actor.stream_id)
            self._last_payloads.pop(actor_id, None)
        return self.simulation.destroy(actor_id)

    def _by_actor_id(self, command: Callable[..., None]) -> Callable[..., None]:
        return lambda actor_id, *values: command(self._actor(actor_id), *values)

    def _batch(self, commands: list[Any], do_tick: bool) -> list[Any]:
        del do_tick  # the Python client asks for the tick in a call of its own
        return [
            self._command(self.protocol.command_index(index), fields)
            for index, fields in (command[0] for command in commands)
        ]

    def _command(self, index: int, fields: list[Any]) -> list[Any]:
        try:
            if index == _SPAWN_COMMAND:
                description, transform, parent, *_, after = fields
                spawned = self._spawn(description, transform, *_parent_of(parent))[0]
                for follow_up, (_, *rest) in (command[0] for command in after):
                    self._command(self.protocol.command_index(follow_up), [spawned, *rest])
                return [[1, spawned]]
            if index == _DESTROY_COMMAND:
                self._destroy(fields[0])
            elif index == _LIGHT_COMMAND:
                self._set_light(*fields)
            else:
                apply = next((apply for _, number, apply in COMMANDS if number == index), None)
                if apply is None:
                    raise WorldError(f"the stand-in has no batch command {index}")
                apply(self._actor(fields[0]), *fields[1:])
        except WorldError as error:
            return [[0, [str(error)]]]
        return [[1, fields[0]]]

    def _add_manager(self, info: list[Any]) -> bool:
        host, port = info
        self._managers[port] = (host, port)
        return True

    def _fault(self, kind: str, value: Any = None) -> None:
        """Switch a fault on; see `sim2street.bridge.carla.standin.faults.Fault`."""
        if kind == "freeze":
            time.sleep(float(value))  # blocks the event loop, and with it the whole server
        elif kind == "die":
            os._exit(1)
        elif kind == "reload":
            self.load_map("", reset_settings=False)
        elif kind == "drop":
            self.faults.drop[value] = 1
        elif kind in ("stop", "mixed"):
            getattr(self.faults, kind).add(value)
        elif kind == "delay":
            self.faults.delay_s = float(value)
        elif kind == "garble":
            self.faults.garble = True
        elif kind == "version":
            self.faults.version = value
        elif kind == "freeze_at_spawn":
            self.faults.spawns_until_freeze = int(value)
        elif kind == "none":
            self.faults = Faults()
        else:
            raise WorldError(f"no fault '{kind}'")


def _parent_of(optional: list[Any]) -> list[Any]:
    """The parent id of an optional field, as a list of one or no item."""
    return optional[1:] if optional and optional[0] else []
