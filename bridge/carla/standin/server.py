"""The stand-in server: CARLA's calls, answered by a town."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from sim2street.bridge.carla.axes import UnrealTransform
from sim2street.bridge.carla.standin import payloads
from sim2street.bridge.carla.standin.actor_commands import COMMANDS
from sim2street.bridge.carla.standin.actors import Body
from sim2street.bridge.carla.standin.cameras import ENCODERS, Darkroom
from sim2street.bridge.carla.standin.faults import Faults
from sim2street.bridge.carla.standin.protocol_versions import Version, dialect
from sim2street.bridge.carla.standin.rpc import Call
from sim2street.bridge.carla.standin.simulation import Contact, Stage, blueprints
from sim2street.bridge.carla.standin.streams import Streams
from sim2street.bridge.errors import WorldError
from sim2street.bridge.town.camera.scene import Scene
from sim2street.bridge.town.plan.layout_build import LayoutConfig
from sim2street.configs import StrictModel

logger = logging.getLogger(__name__)

WORLD_STREAM = 1
_FREE_RUN_S = 0.05
_LIGHT_COMMAND = 21
_SETTINGS = [False, False, [False], True, 0.01, 10, 0.0, False, 3000.0, 2000.0, True]
_WEATHER = [10.0, 0.0, 0.0, 10.0, 0.0, 45.0, 2.0, 0.75, 0.1, 0.0, 1.0, 0.03, 0.0331, 0.0]


class StandInConfig(StrictModel):
    """Where the stand-in listens and which town it shows.

    Attributes:
        port: of the calls; streams are at the port after it. 0 finds two free ones.
        version: whose clients it serves.
    """

    host: str = "127.0.0.1"
    port: int = Field(2000, ge=0, le=65534)
    town: int = Field(3, ge=0)
    version: Version = "0.9.16"
    layout: LayoutConfig = LayoutConfig()


class StandIn:
    """One server's state; `calls` is what clients may ask for. Used from one event loop."""

    def __init__(self, config: StandInConfig, stream_port: int) -> None:
        self.config = config
        self.spoken = dialect(config.version)
        self.stream_port = stream_port
        self.streams = Streams()
        self.faults = Faults()
        self.frame = 1
        self.episode = 1
        self.settings: list[Any] = list(_SETTINGS)
        self.weather: list[float] = list(_WEATHER)
        self.blueprints = blueprints(self.spoken.first_type)
        self.stage = Stage(config.town, config.layout)
        self._by_uid = {b.uid: b for b in self.blueprints.values()}
        self._darkroom = self._new_darkroom()
        self._held: dict[int, bytes] = {}
        self._managers: dict[int, tuple[str, int]] = {}
        self._next_stream = WORLD_STREAM + 1
        self._ticking = asyncio.Lock()
        self.calls: Mapping[str, Call] = self._calls()

    @property
    def synchronous(self) -> bool:
        """Whether the world waits for `tick_cue`."""
        return bool(self.settings[0])

    @property
    def delta_s(self) -> float:
        """Simulated time a tick."""
        fixed = self.settings[2]
        return float(fixed[1]) if fixed[0] else _FREE_RUN_S

    def close(self) -> None:
        """Release the town's windows."""
        self._darkroom.close()

    async def run_free(self) -> None:
        """Ticks by the clock for as long as nobody asked for synchronous mode."""
        while True:
            await asyncio.sleep(_FREE_RUN_S)
            if not self.synchronous:
                await self.tick()

    async def tick(self) -> int:
        """One tick: everybody moves, the snapshot goes out, then the pictures."""
        async with self._ticking:
            self.frame += 1
            found = self.stage.step(self.delta_s)
            await self._send(WORLD_STREAM, self._snapshot())
            for contact in found:
                await self._report(contact)
            if self.faults.garble:
                self.faults.garble = False
                await self._garble()
            self._darkroom.begin(list(self.stage.bodies.values()))
            for body in list(self.stage.bodies.values()):
                if body.type_id in ENCODERS and self.streams.wanted(body.stream_id):
                    await self._picture(body)
            return self.frame

    def load(self, name: str, reset_settings: bool) -> None:
        """A new episode, in another town where the name ends in a number."""
        number = re.search(r"(\d+)$", name)
        town = int(number[1]) if number else self.stage.town_id
        for body in self.stage.bodies.values():
            self.streams.close(body.stream_id)
        changed = town != self.stage.town_id
        self.stage = Stage(town, self.config.layout)
        if changed:
            self._darkroom.close()
            self._darkroom = self._new_darkroom()
        self._held.clear()
        self.episode += 1
        if reset_settings:
            self.settings = list(_SETTINGS)

    def _new_darkroom(self) -> Darkroom:
        return Darkroom(Scene(self.stage.town.layout), self.spoken)

    def _snapshot(self) -> bytes:
        moment = payloads.Moment(
            self.frame, self.stage.time_s, self.delta_s, self.episode, time.monotonic()
        )
        return payloads.snapshot(self.spoken.kinds["world"], moment, self.stage.records())

    async def _send(self, stream_id: int, payload: bytes) -> None:
        await self.streams.send(stream_id, payload, wait=self.synchronous)

    async def _picture(self, body: Body) -> None:
        faults = self.faults
        payload = self._darkroom.picture(body, self.frame, self.stage.time_s)
        before = self._held.get(body.actor_id)
        self._held[body.actor_id] = payload
        if faults.loses(body.type_id):
            return
        if body.type_id in faults.mixed and before is not None:
            faults.mixed.discard(body.type_id)
            payload = before
        if faults.delay_s:
            loop = asyncio.get_running_loop()
            later = self._send(body.stream_id, payload)
            loop.call_later(faults.delay_s, lambda: loop.create_task(later))
            return
        await self._send(body.stream_id, payload)

    async def _report(self, contact: Contact) -> None:
        for sensor in list(self.stage.bodies.values()):
            is_its = sensor.parent_id == contact.body.actor_id
            if sensor.type_id != "sensor.other.collision" or not is_its:
                continue
            head = self._collision_head(sensor)
            other = self.stage.bodies.get(contact.other_id)
            shown = self._wire(other) if other else [0, 0, [0, "static.building", []], *_NOWHERE]
            impulse = (0.0, 0.0, 0.0)
            data = payloads.collision(head, self._wire(contact.body), shown, impulse)
            await self._send(sensor.stream_id, data)

    async def _garble(self) -> None:
        for sensor in list(self.stage.bodies.values()):
            if sensor.type_id == "sensor.other.collision":
                head = self._collision_head(sensor)
                await self._send(sensor.stream_id, head + b"\xc1\xc1\xc1")

    def _collision_head(self, sensor: Body) -> bytes:
        kind = self.spoken.kinds["collision"]
        return payloads.header(kind, self.frame, self.stage.time_s, sensor.transform)

    def _wire(self, body: Body) -> list:
        """An actor as the calls describe it."""
        stream = payloads.token(body.stream_id, self.stream_port) if body.stream_id else b""
        location, extent = body.box
        box = [list(location), list(extent), [0.0, 0.0, 0.0], body.actor_id]
        description = [body.uid, body.type_id, body.attributes]
        return [
            body.actor_id,
            body.parent_id,
            description,
            box,
            bytes([self.spoken.tags[body.tag]]),
            stream,
        ]

    def _calls(self) -> dict[str, Call]:
        value: dict[str, Any] = {
            "version": lambda: self.faults.version or self.config.version,
            "get_episode_info": lambda: [self.episode, [self._token(WORLD_STREAM)]],
            "get_sensor_token": lambda stream: [self._token(stream)],
            "get_episode_settings": lambda: self.settings,
            "set_episode_settings": self._set_settings,
            "tick_cue": self.tick,
            "get_available_maps": lambda: [self.stage.map_name],
            "get_map_info": self._map_info,
            "get_map_data": self.stage_xml,
            "get_required_files": lambda *_: [],
            "get_actor_definitions": lambda: [b.wire for b in self.blueprints.values()],
            "get_spectator": lambda: self._wire(self.stage.bodies[1]),
            "get_actors_by_id": self._actors_by_id,
            "spawn_actor": self._spawn,
            "spawn_actor_with_parent": self._spawn,
            "destroy_actor": self._destroy,
            "get_actor_bounding_box": lambda actor: self._wire(self._body(actor))[3],
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
        void: dict[str, Any] = {
            "load_new_episode": lambda name, reset, *_: self.load(name, reset),
            "set_weather_parameters": self._set_weather,
            "reset_all_traffic_lights": lambda: self.stage.reset_lights(),
            "freeze_all_traffic_lights": lambda on: self.stage.freeze_lights(on),
            "freeze_traffic_light": lambda _, on: self.stage.freeze_lights(on),
            "set_traffic_light_state": self._set_light,
            "draw_debug_shape": lambda *_: None,
            "set_actor_dead": lambda *_: None,
            "enable_sensor_for_ros": lambda *_: None,
            "disable_sensor_for_ros": lambda *_: None,
            "standin_fault": self._fault,
        }
        calls = {name: Call(function) for name, function in value.items()}
        calls |= {name: Call(function, "void") for name, function in void.items()}
        for name, _, act in COMMANDS:
            calls[name] = Call(self._acting(act), "void")
        calls["apply_batch"] = Call(self._batch, "bare")
        return calls

    def stage_xml(self) -> str:
        """The map as OpenDRIVE."""
        return self.stage.xml()

    def _token(self, stream: int) -> bytes:
        return payloads.token(stream, self.stream_port)

    def _set_settings(self, settings: list[Any]) -> int:
        self.settings = settings
        return self.frame

    def _set_weather(self, weather: list[float]) -> None:
        self.weather = weather

    def _set_light(self, actor_id: int, state: int) -> None:
        self.stage.lights.said[self._body(actor_id).actor_id] = state

    def _map_info(self) -> list:
        points = [[list(p[:3]), list(p[3:])] for p in self.stage.spawn_points()]
        return [self.stage.map_name, points]

    def _actors_by_id(self, ids: list[int]) -> list:
        bodies = self.stage.bodies
        return [self._wire(bodies[actor_id]) for actor_id in ids if actor_id in bodies]

    def _body(self, actor_id: int) -> Body:
        if actor_id not in self.stage.bodies:
            raise WorldError(f"unable to find actor {actor_id}")
        return self.stage.bodies[actor_id]

    def _spawn(self, description: list, transform: list, parent: int = 0, *_: Any) -> list:
        uid, type_id, given = description
        if uid not in self._by_uid:
            raise WorldError(f"no blueprint '{type_id}'")
        at: UnrealTransform = (*transform[0], *transform[1])
        values = {name: text for name, _, text in given}
        body = self.stage.spawn(self._by_uid[uid], values, at, parent)
        if body.type_id.startswith("sensor."):
            body.stream_id = self._next_stream
            self._next_stream += 1
        return self._wire(body)

    def _destroy(self, actor_id: int) -> bool:
        body = self.stage.bodies.get(actor_id)
        if body is not None and body.stream_id:
            self.streams.close(body.stream_id)
            self._held.pop(actor_id, None)
        return self.stage.destroy(actor_id)

    def _acting(self, act: Any) -> Any:
        return lambda actor_id, *values: act(self._body(actor_id), *values)

    def _batch(self, commands: list, do_tick: bool) -> list:
        del do_tick  # the Python client always asks for the tick by itself
        return [
            self._command(self.spoken.command(index), fields)
            for index, fields in (c[0] for c in commands)
        ]

    def _command(self, index: int, fields: list) -> list:
        try:
            if index == 0:
                description, transform, parent, *_, after = fields
                made = self._spawn(description, transform, *_parent_of(parent))[0]
                for then, (_, *rest) in (c[0] for c in after):
                    self._command(self.spoken.command(then), [made, *rest])
                return [[1, made]]
            if index == 1:
                self._destroy(fields[0])
            elif index == _LIGHT_COMMAND:
                self._set_light(*fields)
            else:
                act = next((a for _, number, a in COMMANDS if number == index), None)
                if act is None:
                    raise WorldError(f"the stand-in has no batch command {index}")
                act(self._body(fields[0]), *fields[1:])
        except WorldError as error:
            return [[0, [str(error)]]]
        return [[1, fields[0]]]

    def _add_manager(self, info: list) -> bool:
        host, port = info
        self._managers[port] = (host, port)
        return True

    def _fault(self, kind: str, value: Any = None) -> None:
        """Switch a fault on; see `Faults`."""
        if kind == "freeze":
            time.sleep(float(value))  # the whole server, as a debugger would
        elif kind == "die":
            os._exit(1)
        elif kind == "reload":
            self.load("", reset_settings=False)
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
        elif kind == "none":
            self.faults = Faults()
        else:
            raise WorldError(f"no fault '{kind}'")


_NOWHERE = [[[0.0] * 3, [0.0] * 3, [0.0] * 3, 0], b"", b""]


def _parent_of(optional: list) -> list:
    return optional[1:] if optional and optional[0] else []
