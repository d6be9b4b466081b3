"""The stand-in server: its state, its ticks, and what clients spawn and load."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from sim2street.bridge.carla.axes import UnrealTransform
from sim2street.bridge.carla.standin import payloads
from sim2street.bridge.carla.standin.actors import SimActor
from sim2street.bridge.carla.standin.blueprints import CONTROLLER, make_blueprints
from sim2street.bridge.carla.standin.calls import make_handlers
from sim2street.bridge.carla.standin.faults import FREEZE_AT_SPAWN_S, Faults
from sim2street.bridge.carla.standin.maps import town_number
from sim2street.bridge.carla.standin.protocol_versions import Version, protocol_for
from sim2street.bridge.carla.standin.rpc import Handler
from sim2street.bridge.carla.standin.sensor_feed import SensorFeed
from sim2street.bridge.carla.standin.simulation import Simulation
from sim2street.bridge.carla.standin.streams import Streams
from sim2street.bridge.errors import WorldError
from sim2street.bridge.town.plan.layout_generator import LayoutConfig
from sim2street.configs import StrictModel

WORLD_STREAM = 1
_ASYNCHRONOUS_TICK_S = 0.05
_LISTENER_PATIENCE_S = 1.0
"""How long a tick in synchronous mode waits for the connection of a new listener."""

_MAX_OLD_BOXES = 1000
_DEFAULT_SETTINGS = [False, False, [False], True, 0.01, 10, 0.0, False, 3000.0, 2000.0, True]
"""In the order of CARLA's EpisodeSettings: synchronous mode, no rendering, fixed delta, ..."""

_DEFAULT_WEATHER = [10.0, 0.0, 0.0, 10.0, 0.0, 45.0, 2.0, 0.75, 0.1, 0.0, 1.0, 0.03, 0.0331, 0.0]
"""In the order of CARLA's WeatherParameters: cloudiness, precipitation, deposits, wind, ..."""


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
        settings, weather: in the order of CARLA's protocol.
        managers: host and port of each Traffic Manager, by port.
    """

    def __init__(self, config: StandInConfig, stream_port: int) -> None:
        self.config = config
        self.protocol = protocol_for(config.version)
        self.stream_port = stream_port
        self.streams = Streams(self._has_stream)
        self.frame = 1
        self.episode = 1
        self.settings: list[Any] = list(_DEFAULT_SETTINGS)
        self.weather: list[float] = list(_DEFAULT_WEATHER)
        self.blueprints = make_blueprints(self.protocol.first_type)
        self.simulation = Simulation(config.town, config.layout)
        self.managers: dict[int, tuple[str, int]] = {}
        self.feed = SensorFeed(self.protocol, self.streams, self.description, self.simulation)
        self._by_uid = {b.uid: b for b in self.blueprints.values()}
        self._old_boxes: dict[int, list[Any]] = {}
        self._next_stream = WORLD_STREAM + 1
        self._ticking = asyncio.Lock()
        self.handlers: Mapping[str, Handler] = make_handlers(self)

    @property
    def faults(self) -> Faults:
        """The faults that are on."""
        return self.feed.faults

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
        self.feed.close()

    async def tick_asynchronously(self) -> None:
        """Tick every 0.05 s of real time while synchronous mode is off. Does not return."""
        while True:
            await asyncio.sleep(_ASYNCHRONOUS_TICK_S)
            if not self.synchronous:
                await self.tick()

    async def tick(self) -> int:
        """Move everything, then send the snapshot and the sensors' data; returns the frame."""
        async with self._ticking:
            if self.synchronous:
                await self.streams.wait_for_expected(_LISTENER_PATIENCE_S)
            self.frame += 1
            contacts = self.simulation.step(self.tick_s)
            await self.streams.send(WORLD_STREAM, self._snapshot(), self.synchronous)
            renders = not self.settings[1]
            await self.feed.send(self.frame, contacts, renders, self.synchronous)
            return self.frame

    def load_map(self, name: str, reset_settings: bool) -> None:
        """Start a new episode in the town of this name, or in the same one.

        Raises:
            WorldError: there is no town of this name.
        """
        town = town_number(name, self.simulation.town_id)
        for actor in self.simulation.actors.values():
            self.streams.close(actor.stream_id)
        next_id = self.simulation.next_id  # like CARLA's, ids are never used again
        self.simulation = Simulation(town, self.config.layout, next_id=next_id)
        self.feed.load(self.simulation)
        self.episode += 1
        if reset_settings:
            self.settings = list(_DEFAULT_SETTINGS)

    def token(self, stream: int) -> bytes:
        """A stream's address."""
        return payloads.token(stream, self.stream_port)

    def actor(self, actor_id: int) -> SimActor:
        """The actor with this id.

        Raises:
            WorldError: there is none.
        """
        if actor_id not in self.simulation.actors:
            raise WorldError(f"unable to find actor {actor_id}")
        return self.simulation.actors[actor_id]

    def description(self, actor: SimActor) -> list[Any]:
        """An actor as the calls describe it."""
        location, extent = actor.box
        return [
            actor.actor_id,
            actor.parent_id,
            [actor.uid, actor.type_id, actor.attributes],
            [list(location), list(extent), [0.0, 0.0, 0.0], actor.actor_id],
            bytes([self.protocol.tags[actor.tag]]),
            self.token(actor.stream_id) if actor.stream_id else b"",
        ]

    def spawn(
        self, description: list[Any], transform: list[Any], parent: int = 0, *_: Any
    ) -> list[Any]:
        """Spawn an actor; returns its description.

        Raises:
            WorldError: it cannot be spawned there.
        """
        uid, type_id, rows = description
        if uid not in self._by_uid:
            raise WorldError(f"no blueprint '{type_id}'")
        if self.faults.freezes_at_spawn():
            time.sleep(FREEZE_AT_SPAWN_S)
        start: UnrealTransform = (*transform[0], *transform[1])
        attributes = {name: text for name, _, text in rows}
        if type_id == CONTROLLER and not parent:
            raise WorldError(f"'{CONTROLLER}' needs a walker as its parent")
        actor = self.simulation.spawn(self._by_uid[uid], attributes, start, parent)
        if actor.type_id.startswith("sensor."):
            actor.stream_id = self._next_stream
            self._next_stream += 1
        return self.description(actor)

    async def spawn_and_show(self, *arguments: Any) -> list[Any]:
        """`spawn` and `show_spawned`."""
        description = self.spawn(*arguments)
        await self.show_spawned()
        return description

    async def show_spawned(self) -> None:
        """Send the next snapshot now, if the world ticks on its own; call it after a spawn.

        CARLA answers calls just before a frame, so a client that has spawned an actor sees it at
        once. A Traffic Manager drops vehicles that are not in its latest snapshot.
        """
        if not self.synchronous:
            await self.tick()

    def destroy(self, actor_id: int) -> bool:
        """Destroy an actor that a client has spawned. False if there is none."""
        actor = self.simulation.actors.get(actor_id)
        if actor is not None:
            self._remember_box(actor)
            if actor.stream_id:
                self.streams.close(actor.stream_id)
                self.feed.forget(actor_id)
        return self.simulation.destroy(actor_id)

    def bounding_box(self, actor_id: int) -> list[Any]:
        """An actor's bounding box; also of one that was destroyed.

        The Traffic Manager asks for the boxes of vehicles that have just been destroyed, and
        ends its process if it gets an error.

        Raises:
            WorldError: there was no such actor.
        """
        if actor_id not in self.simulation.actors and actor_id in self._old_boxes:
            return self._old_boxes[actor_id]
        box: list[Any] = self.description(self.actor(actor_id))[3]
        return box

    def set_fault(self, kind: str, value: Any = None) -> None:
        """Switch a fault on; see `sim2street.bridge.carla.standin.faults.Fault`."""
        if kind == "freeze":
            time.sleep(float(value))  # blocks the event loop, and with it the whole server
        elif kind == "die":
            os._exit(1)
        elif kind == "reload":
            self.load_map("", reset_settings=False)
        elif kind == "none":
            self.feed.faults = Faults()
        else:
            self.faults.set(kind, value)

    def _remember_box(self, actor: SimActor) -> None:
        self._old_boxes[actor.actor_id] = self.description(actor)[3]
        while len(self._old_boxes) > _MAX_OLD_BOXES:
            del self._old_boxes[next(iter(self._old_boxes))]

    def _has_stream(self, stream: int) -> bool:
        actors = self.simulation.actors.values()
        return stream == WORLD_STREAM or any(actor.stream_id == stream for actor in actors)

    def _snapshot(self) -> bytes:
        head = payloads.SnapshotHead(
            self.frame, self.simulation.time_s, self.tick_s, self.episode, time.monotonic()
        )
        return payloads.snapshot(
            self.protocol.sensor_types["world"], head, self.simulation.records()
        )
