"""Sends what sensors see after each tick: images, positions, accelerations, collisions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from sim2street.bridge.carla.standin import payloads
from sim2street.bridge.carla.standin.actors import SimActor
from sim2street.bridge.carla.standin.cameras import ENCODERS, FLOW, CameraRenderer
from sim2street.bridge.carla.standin.detectors import Noise, inertial
from sim2street.bridge.carla.standin.faults import Faults
from sim2street.bridge.carla.standin.protocol_versions import Protocol, SensorKind
from sim2street.bridge.carla.standin.simulation import Contact, Simulation
from sim2street.bridge.carla.standin.streams import Streams
from sim2street.bridge.town.camera.scene import Scene

logger = logging.getLogger(__name__)

GNSS, IMU, COLLISION = "sensor.other.gnss", "sensor.other.imu", "sensor.other.collision"
_GEO_AXES = ("lat", "lon", "alt")
_TICK_TOLERANCE_S = 1e-6
_STATIC_OBJECT = [0, 0, [0, "static.building", []], [[0.0] * 3, [0.0] * 3, [0.0] * 3, 0], b"", b""]
"""What a collision with something static names as the other actor."""


class SensorFeed:
    """The sensors of one server, of one map after the other.

    Attributes:
        faults: see `Fault`. scene: draws the map.
    """

    def __init__(
        self,
        protocol: Protocol,
        streams: Streams,
        describe: Callable[[SimActor], list[Any]],
        simulation: Simulation,
    ) -> None:
        """`describe`: an actor as the calls describe it."""
        self.faults = Faults()
        self._protocol = protocol
        self._streams = streams
        self._describe = describe
        self._simulation = simulation
        self.scene = Scene(simulation.town.layout)
        self._renderer = CameraRenderer(self.scene, protocol)
        self._last_payloads: dict[int, bytes] = {}
        self._noise: dict[int, Noise] = {}

    def load(self, simulation: Simulation) -> None:
        """Go on with another map, or with the same one anew."""
        if simulation.town_id != self._simulation.town_id:
            self._renderer.close()
            self.scene = Scene(simulation.town.layout)
            self._renderer = CameraRenderer(self.scene, self._protocol)
        self._simulation = simulation
        self._last_payloads.clear()
        self._noise.clear()

    def forget(self, actor_id: int) -> None:
        """Drop what is kept of a sensor that is destroyed."""
        self._last_payloads.pop(actor_id, None)
        self._noise.pop(actor_id, None)
        self._renderer.forget(actor_id)

    def close(self) -> None:
        """Release the renderer."""
        self._renderer.close()

    async def send(
        self, frame: int, contacts: Sequence[Contact], renders: bool, wait: bool
    ) -> None:
        """Send the data of a frame to all listeners.

        `renders`: whether cameras send images. `wait`: for listeners that are slow.
        """
        for contact in contacts:
            await self._send_collision(contact, frame, wait)
        if self.faults.garble:
            self.faults.garble = False
            await self._send_garbled_collisions(frame, wait)
        actors = list(self._simulation.actors.values())
        if renders:
            self._renderer.begin_tick(actors)
        for actor in actors:
            is_camera = actor.type_id in ENCODERS or actor.type_id == FLOW
            if (is_camera and not renders) or not self._is_due(actor):
                continue
            if is_camera:
                await self._send_image(actor, frame, wait)
            elif actor.type_id in (GNSS, IMU):
                await self._streams.send(actor.stream_id, self._measured(actor, frame), wait)

    def _is_due(self, sensor: SimActor) -> bool:
        """Whether somebody listens to it, and its `sensor_tick` has passed."""
        if not sensor.stream_id or not self._streams.has_listener(sensor.stream_id):
            return False
        if not sensor.has_attribute("sensor_tick"):
            return True
        now_s, pause_s = self._simulation.time_s, float(sensor.attribute("sensor_tick"))
        if now_s - sensor.sent_s < pause_s - _TICK_TOLERANCE_S:
            return False
        sensor.sent_s = now_s
        return True

    def _measured(self, sensor: SimActor, frame: int) -> bytes:
        """The data of a GNSS receiver or an inertial sensor."""
        noise = self._noise.setdefault(
            sensor.actor_id, Noise(int(float(sensor.attribute("noise_seed"))))
        )
        if sensor.type_id == GNSS:
            bias = _numbers(sensor, [f"noise_{axis}_bias" for axis in _GEO_AXES])
            deviation = _numbers(sensor, [f"noise_{axis}_stddev" for axis in _GEO_AXES])
            x, y, z = sensor.transform[:3]
            place = noise.added([*self._protocol.geolocation(x, y), z], bias, deviation)
            return payloads.packed(self._header(sensor, "gnss", frame), place)
        carrier = self._simulation.actors.get(sensor.parent_id, sensor)
        push, turning, compass = inertial(sensor, carrier)
        deviation = _numbers(sensor, [f"noise_accel_stddev_{axis}" for axis in "xyz"])
        push = noise.added(push, [0.0] * 3, deviation)
        bias = _numbers(sensor, [f"noise_gyro_bias_{axis}" for axis in "xyz"])
        deviation = _numbers(sensor, [f"noise_gyro_stddev_{axis}" for axis in "xyz"])
        turning = noise.added(turning, bias, deviation)
        return payloads.packed(self._header(sensor, "imu", frame), [push, turning, compass])

    async def _send_image(self, sensor: SimActor, frame: int, wait: bool) -> None:
        faults = self.faults
        payload = self._renderer.payload(sensor, frame, self._simulation.time_s)
        last = self._last_payloads.get(sensor.actor_id)
        self._last_payloads[sensor.actor_id] = payload
        if faults.loses(sensor.type_id):
            return
        if sensor.type_id in faults.mixed and last is not None:
            faults.mixed.discard(sensor.type_id)
            payload = last
        if faults.delay_s:
            loop = asyncio.get_running_loop()
            later = self._streams.send(sensor.stream_id, payload, wait)
            loop.call_later(faults.delay_s, lambda: loop.create_task(later))
            return
        await self._streams.send(sensor.stream_id, payload, wait)

    async def _send_collision(self, contact: Contact, frame: int, wait: bool) -> None:
        """Tell the collision sensors of the vehicle."""
        for sensor in list(self._simulation.actors.values()):
            is_its = sensor.parent_id == contact.actor.actor_id
            if sensor.type_id != COLLISION or not is_its:
                continue
            other = self._simulation.actors.get(contact.other_id)
            data = payloads.collision(
                self._header(sensor, "collision", frame),
                self._describe(contact.actor),
                self._describe(other) if other else _STATIC_OBJECT,
                (0.0, 0.0, 0.0),
            )
            await self._streams.send(sensor.stream_id, data, wait)

    async def _send_garbled_collisions(self, frame: int, wait: bool) -> None:
        for sensor in list(self._simulation.actors.values()):
            if sensor.type_id == COLLISION:
                head = self._header(sensor, "collision", frame)
                await self._streams.send(sensor.stream_id, head + b"\xc1\xc1\xc1", wait)

    def _header(self, sensor: SimActor, kind: SensorKind, frame: int) -> bytes:
        sensor_type = self._protocol.sensor_types[kind]
        return payloads.header(sensor_type, frame, self._simulation.time_s, sensor.transform)


def _numbers(sensor: SimActor, names: list[str]) -> list[float]:
    """Values of these attributes."""
    return [float(sensor.attribute(name)) for name in names]
