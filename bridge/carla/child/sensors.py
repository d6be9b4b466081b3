"""The sensors on the ego: cameras, and detectors of collisions and crossed lane markings."""

from __future__ import annotations

import sys
from collections import deque
from threading import Condition
from typing import Any

import carla
from failures import ChildError
from images import BUFFERS_PER_CAMERA, ActorNumbers, camera_bytes, decode, image_at, image_bytes

BLUEPRINTS = {
    "labels": "sensor.camera.semantic_segmentation",
    "depth_m": "sensor.camera.depth",
    "instances": "sensor.camera.instance_segmentation",
    "rgb": "sensor.camera.rgb",
}
_MAX_EVENTS = 1000


class DecodedImage:
    """An image in the shared memory: its frame, the camera's transform, its byte offset.

    `image` is CARLA's image for instances, None for other kinds: it has to be decoded again
    if an actor gets its number after `numbers_version`.
    """

    def __init__(self, image: Any, offset: int, numbers_version: int) -> None:
        self.frame = image.frame  # type: int
        self.transform = list_from_transform(image.transform)
        self.offset = offset
        self.numbers_version = numbers_version
        self.image = None  # type: Any


class SharedState:
    """What the cameras of one ego share.

    Attributes:
        memory: the shared memory for images. numbers: the actors' numbers.
        changed: the lock around all cameras' images; notified of every new one.
    """

    def __init__(self, memory: Any, numbers: ActorNumbers) -> None:
        self.memory = memory
        self.numbers = numbers
        self.changed = Condition()


class Camera:
    """One camera. Its images are decoded as they arrive, in the client library's threads.

    It keeps the newest images only, so memory does not grow if they are asked for slowly.

    Attributes:
        actor: the sensor actor of CARLA's client; set it before `listen`.
        pending: frame to image, of the images that nobody has taken yet.
        rejected: why the last unusable image was not accepted; empty if there was none.
    """

    def __init__(
        self, name: str, kind: str, size_px: tuple[int, int], shared: SharedState, offset: int
    ) -> None:
        """`offset`: where its own `camera_bytes` start in the shared memory."""
        self.name = name
        self.actor = None  # type: Any
        self.pending = {}  # type: dict[int, DecodedImage]
        self.has_sent = False
        self.rejected = ""
        self._kind, self._size_px, self._shared = kind, size_px, shared
        step = image_bytes(kind, *size_px)
        self._free = [offset + step * i for i in range(BUFFERS_PER_CAMERA)]  # type: list[int]
        self._current = None  # type: DecodedImage | None

    def listen(self) -> None:
        """Start to receive the images of `actor`."""
        self.actor.listen(self._receive)

    def take(self, frame: int) -> None:
        """Make this frame's image the current one and drop older ones. The caller holds the
        lock.
        """
        if self._current is not None:
            self._free.append(self._current.offset)
        self._current = self.pending.pop(frame)
        for old in [number for number in self.pending if number < frame]:
            self._free.append(self.pending.pop(old).offset)

    def current_image(self) -> dict[str, Any]:
        """Byte offset in the shared memory and camera transform of the current image."""
        current = self._current
        assert current is not None
        if current.image is not None and current.numbers_version != self._shared.numbers.version:
            self._decode(current.image, current.offset)
        current.image = None
        return {"offset": current.offset, "transform": current.transform}

    def clear(self) -> None:
        """Drop all images that have arrived."""
        with self._shared.changed:
            self._free.extend(image.offset for image in self.pending.values())
            self.pending.clear()

    def _receive(self, image: Any) -> None:
        """Runs in a thread of the client library. An exception here would end the process."""
        if (image.width, image.height) != self._size_px:
            self.rejected = f"{image.width}x{image.height} pixels"
            return
        offset = self._buffer()
        if offset is None:
            return
        version = self._shared.numbers.version
        self._decode(image, offset)
        decoded = DecodedImage(image, offset, version)
        if self._kind == "instances":
            decoded.image = image
        with self._shared.changed:
            repeated = self.pending.pop(decoded.frame, None)
            if repeated is not None:
                self._free.append(repeated.offset)
            self.pending[decoded.frame] = decoded
            self.has_sent = True
            self._shared.changed.notify_all()

    def _decode(self, image: Any, offset: int) -> None:
        out = image_at(self._shared.memory, offset, self._kind, *self._size_px)
        decode(self._kind, image.raw_data, out, self._shared.numbers)

    def _buffer(self) -> int | None:
        """Offset of a free buffer, or of the oldest pending image, which is dropped."""
        with self._shared.changed:
            if self._free:
                return self._free.pop()
            return self.pending.pop(min(self.pending)).offset if self.pending else None


class Sensors:
    """All sensors of one ego."""

    def __init__(self, world: Any, ego: Any, shared: SharedState, role: str) -> None:
        """`role`: the sensors' role name."""
        self._world = world
        self._ego = ego
        self._role = role
        self.cameras = []  # type: list[Camera]
        self._shared = shared
        self._changed = shared.changed
        self._detectors = []  # type: list[Any]
        self._collisions = deque(maxlen=_MAX_EVENTS)  # type: deque[Any]
        self._invasions = deque(maxlen=_MAX_EVENTS)  # type: deque[Any]

    def add_cameras(self, views: dict[str, dict[str, Any]], kinds: list[str]) -> None:
        """One camera for each view and kind; the shared memory has room for all of them."""
        library = self._world.get_blueprint_library()
        offset = 0
        for view, wanted in views.items():
            size_px = wanted["width_px"], wanted["height_px"]
            for kind in kinds:
                blueprint = library.find(BLUEPRINTS[kind])
                blueprint.set_attribute("image_size_x", str(size_px[0]))
                blueprint.set_attribute("image_size_y", str(size_px[1]))
                blueprint.set_attribute("fov", repr(wanted["fov_deg"]))
                mount = transform_from_list(wanted["mount"])
                actor = self._spawn(blueprint, mount)
                camera = Camera(f"{view}.{kind}", kind, size_px, self._shared, offset)
                camera.actor = actor
                self.cameras.append(camera)
                camera.listen()
                offset += camera_bytes(kind, *size_px)

    def add_detectors(self) -> None:
        """Detect collisions and crossed lane markings."""
        library = self._world.get_blueprint_library()
        for name, events in (("collision", self._collisions), ("lane_invasion", self._invasions)):
            blueprint = library.find("sensor.other." + name)
            actor = self._spawn(blueprint, carla.Transform())
            self._detectors.append(actor)
            actor.listen(events.append)

    def _spawn(self, blueprint: Any, mount: Any) -> Any:
        if blueprint.has_attribute("role_name"):
            blueprint.set_attribute("role_name", self._role)
        return self._world.spawn_actor(blueprint, mount, attach_to=self._ego)

    @property
    def actors(self) -> list[Any]:
        """The sensor actors of CARLA's client."""
        return [camera.actor for camera in self.cameras] + self._detectors

    def wait_for_first_images(self, timeout_s: float) -> bool:
        """Whether every camera has sent an image, now or within the time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(camera.has_sent for camera in self.cameras), timeout_s
            )

    def take_frame(self, frame: int, timeout_s: float) -> None:
        """Wait until every camera has its image of this frame, and make these the current ones.

        Raises:
            ChildError: an image did not come in time, or only a newer one came.
        """
        cameras = self.cameras
        with self._changed:
            self._changed.wait_for(
                lambda: all(
                    frame in camera.pending or _has_newer(camera, frame) for camera in cameras
                ),
                timeout_s,
            )
            missing = [camera for camera in cameras if frame not in camera.pending]
            if missing:
                raise ChildError("sensor", f"no data from {_names(missing)} for frame {frame}")
            self._take(frame)

    def take_newest_frame(self, after: int, timeout_s: float) -> int:
        """Wait for a frame after `after` that every camera has, and take the newest such frame.

        Raises:
            ChildError: there was none in time.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest_complete() > after, timeout_s)
            frame = self._newest_complete()
            if frame <= after:
                late = [camera for camera in self.cameras if not _has_newer(camera, after)]
                raise ChildError(
                    "sensor", f"no data from {_names(late or self.cameras)} after frame {after}"
                )
            self._take(frame)
        return frame

    def current_images(self) -> list[dict[str, Any]]:
        """Offsets and transforms of the current images, in the order of `cameras`."""
        return [camera.current_image() for camera in self.cameras]

    def _take(self, frame: int) -> None:
        for camera in self.cameras:
            camera.take(frame)

    def _newest_complete(self) -> int:
        """The newest frame that every camera has; 0 if there is none."""
        return max(set.intersection(*(set(camera.pending) for camera in self.cameras)), default=0)

    def take_events(self) -> tuple[list[str], int]:
        """Since the last call: type ids of what the ego hit, number of markings it crossed."""
        collisions = [event.other_actor.type_id for event in _drained(self._collisions)]
        crossed = sum(len(event.crossed_lane_markings) for event in _drained(self._invasions))
        return collisions, crossed

    def clear(self) -> None:
        """Drop all images and events that have arrived."""
        for camera in self.cameras:
            camera.clear()
        self.take_events()

    def stop(self) -> None:
        """Stop to listen. Do so before sensors are destroyed: else the client may abort."""
        for actor in self.actors:
            try:
                actor.stop()
            except RuntimeError as error:
                sys.stderr.write(f"cannot stop a sensor: {error}\n")


def transform_from_list(values: list[float]) -> Any:
    """A carla.Transform from x, y, z (m), pitch, yaw, roll (degrees)."""
    x, y, z, pitch, yaw, roll = values
    return carla.Transform(carla.Location(x, y, z), carla.Rotation(pitch, yaw, roll))


def list_from_transform(transform: Any) -> list[float]:
    """x, y, z (m), pitch, yaw, roll (degrees) of a carla.Transform."""
    place, rotation = transform.location, transform.rotation
    return [place.x, place.y, place.z, rotation.pitch, rotation.yaw, rotation.roll]


def _drained(events: deque[Any]) -> list[Any]:
    return [events.popleft() for _ in range(len(events))]


def _has_newer(camera: Camera, frame: int) -> bool:
    """Whether an image of a later frame has arrived."""
    return any(number > frame for number in camera.pending)


def _names(cameras: list[Camera]) -> str:
    names = ["'{}'{}".format(c.name, c.rejected and f" (it sent {c.rejected})") for c in cameras]
    return " and ".join(names)
