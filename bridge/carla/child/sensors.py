"""Sensors on the ego: made once, listened to, joined by frame, taken down in order."""

from __future__ import annotations

import sys
from collections import deque
from threading import Condition
from typing import Any

import carla
from failures import ChildError
from images import SPACES, Numbers, camera_bytes, decode, picture_bytes, space

BLUEPRINTS = {
    "labels": "sensor.camera.semantic_segmentation",
    "depth_m": "sensor.camera.depth",
    "instances": "sensor.camera.instance_segmentation",
    "rgb": "sensor.camera.rgb",
}
_MOST_EVENTS = 1000


class Picture:
    """A decoded picture: its frame, where the camera was, its space.

    Instances also keep the image, for when somebody gets a number that was decoded without.
    """

    def __init__(self, image: Any, place: int, version: int) -> None:
        self.frame = image.frame  # type: int
        self.transform = numbers_of(image.transform)
        self.place = place
        self.version = version
        self.image = None  # type: Any


class Shared:
    """What the cameras of one ego share: memory for pictures, the actors' numbers, and the
    condition that is notified of every picture.
    """

    def __init__(self, memory: Any, numbers: Numbers) -> None:
        self.memory = memory
        self.numbers = numbers
        self.changed = Condition()


class Camera:
    """One camera; its pictures are decoded as they arrive, in the client's own threads.

    Of those that nobody has taken only the newest are kept: memory stays what it is however
    slowly they are asked for.
    """

    def __init__(
        self, name: str, kind: str, size: tuple[int, int], shared: Shared, start: int
    ) -> None:
        """`start`: where in the shared memory `camera_bytes` are its own."""
        self.name = name
        self.actor = None  # type: Any
        self.waiting = {}  # type: dict[int, Picture]
        self.has_sent = False
        self.strange = ""
        self._kind, self._size, self._shared = kind, size, shared
        step = picture_bytes(kind, *size)
        self._free = [start + step * i for i in range(SPACES)]
        self._taken = None  # type: Picture | None

    def listen(self, actor: Any) -> None:
        """Begin."""
        self.actor = actor
        actor.listen(self._receive)

    def take(self, frame: int) -> None:
        """Keep this frame's picture until the next one is taken; the caller holds the lock."""
        if self._taken is not None:
            self._free.append(self._taken.place)
        self._taken = self.waiting.pop(frame)
        for old in [number for number in self.waiting if number < frame]:
            self._free.append(self.waiting.pop(old).place)

    def show(self) -> dict[str, Any]:
        """Where in the shared memory the picture is that was taken."""
        picture = self._taken
        assert picture is not None
        if picture.image is not None and picture.version != self._shared.numbers.version:
            self._decode(picture.image, picture.place)
        picture.image = None
        return {"start": picture.place, "transform": picture.transform}

    def forget(self) -> None:
        """Drop everything that has arrived."""
        with self._shared.changed:
            self._free.extend(picture.place for picture in self.waiting.values())
            self.waiting.clear()

    def _receive(self, image: Any) -> None:
        """Runs in a thread of the client's, which an exception would end the process over."""
        if (image.width, image.height) != self._size:
            self.strange = f"{image.width}x{image.height} pixels"
            return
        place = self._room()
        if place is None:
            return
        version = self._shared.numbers.version
        self._decode(image, place)
        picture = Picture(image, place, version)
        if self._kind == "instances":
            picture.image = image
        with self._shared.changed:
            again = self.waiting.pop(picture.frame, None)
            if again is not None:
                self._free.append(again.place)
            self.waiting[picture.frame] = picture
            self.has_sent = True
            self._shared.changed.notify_all()

    def _decode(self, image: Any, place: int) -> None:
        into = space(self._shared.memory, place, self._kind, *self._size)
        decode(self._kind, image.raw_data, into, self._shared.numbers)

    def _room(self) -> int | None:
        """A space for one more picture: a free one, or that of the oldest that waits."""
        with self._shared.changed:
            if self._free:
                return self._free.pop()
            return self.waiting.pop(min(self.waiting)).place if self.waiting else None


class Sensors:
    """All sensors of one ego."""

    def __init__(self, world: Any, ego: Any, shared: Shared) -> None:
        self._world = world
        self.ego = ego
        self.cameras = []  # type: list[Camera]
        self._shared = shared
        self._changed = shared.changed
        self._detectors = []  # type: list[Any]
        self._collisions = deque(maxlen=_MOST_EVENTS)  # type: deque
        self._invasions = deque(maxlen=_MOST_EVENTS)  # type: deque

    def add_cameras(self, views: dict[str, dict[str, Any]], kinds: list[str]) -> None:
        """One camera for each view and kind; the memory has room for the pictures of all."""
        library = self._world.get_blueprint_library()
        start = 0
        for view, wanted in views.items():
            size = wanted["width_px"], wanted["height_px"]
            for kind in kinds:
                blueprint = library.find(BLUEPRINTS[kind])
                blueprint.set_attribute("image_size_x", str(size[0]))
                blueprint.set_attribute("image_size_y", str(size[1]))
                blueprint.set_attribute("fov", repr(wanted["fov_deg"]))
                mount = transform_of(wanted["mount"])
                actor = self._world.spawn_actor(blueprint, mount, attach_to=self.ego)
                camera = Camera(f"{view}.{kind}", kind, size, self._shared, start)
                self.cameras.append(camera)
                camera.listen(actor)
                start += camera_bytes(kind, *size)

    def add_detectors(self) -> None:
        """Collisions and crossed lane markings."""
        library = self._world.get_blueprint_library()
        for name, events in (("collision", self._collisions), ("lane_invasion", self._invasions)):
            blueprint = library.find("sensor.other." + name)
            actor = self._world.spawn_actor(blueprint, carla.Transform(), attach_to=self.ego)
            actor.listen(events.append)
            self._detectors.append(actor)

    @property
    def actors(self) -> list[Any]:
        """All of them, as CARLA's client knows them."""
        return [camera.actor for camera in self.cameras] + self._detectors

    def awake(self, patience_s: float) -> bool:
        """Whether every camera has sent something."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(camera.has_sent for camera in self.cameras), patience_s
            )

    def join(self, frame: int, deadline_s: float) -> None:
        """Wait until every camera has its picture of this frame, and take these."""
        cameras = self.cameras
        with self._changed:
            self._changed.wait_for(
                lambda: all(
                    frame in camera.waiting or _is_past(camera, frame) for camera in cameras
                ),
                deadline_s,
            )
            missing = [camera for camera in cameras if frame not in camera.waiting]
            if missing:
                raise ChildError("sensor", f"no data of {_named(missing)} for frame {frame}")
            self._take(frame)

    def join_next(self, after: int, deadline_s: float) -> int:
        """Wait for a frame after this one that every camera has: take the newest of those."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest_whole() > after, deadline_s)
            frame = self._newest_whole()
            if frame <= after:
                late = [camera for camera in self.cameras if not _is_past(camera, after)]
                raise ChildError(
                    "sensor", f"no data of {_named(late or self.cameras)} after frame {after}"
                )
            self._take(frame)
        return frame

    def show(self) -> list[dict[str, Any]]:
        """Where the pictures are that were taken."""
        return [camera.show() for camera in self.cameras]

    def _take(self, frame: int) -> None:
        for camera in self.cameras:
            camera.take(frame)

    def _newest_whole(self) -> int:
        """The newest frame that every camera has, 0 where there is none."""
        return max(set.intersection(*(set(camera.waiting) for camera in self.cameras)), default=0)

    def events(self) -> tuple[list[str], int]:
        """Since the last call: types of what the ego hit, and markings crossed."""
        hits = [event.other_actor.type_id for event in _drained(self._collisions)]
        crossed = sum(len(event.crossed_lane_markings) for event in _drained(self._invasions))
        return hits, crossed

    def forget(self) -> None:
        """Drop all that has arrived so far."""
        for camera in self.cameras:
            camera.forget()
        self.events()

    def stop(self) -> None:
        """Listen no more: the client may abort over a sensor that is destroyed before."""
        for actor in self.actors:
            try:
                actor.stop()
            except RuntimeError as error:
                sys.stderr.write(f"while a sensor was stopped: {error}\n")


def transform_of(numbers: list[float]) -> Any:
    """A carla.Transform of x, y, z, pitch, yaw, roll."""
    x, y, z, pitch, yaw, roll = numbers
    return carla.Transform(carla.Location(x, y, z), carla.Rotation(pitch, yaw, roll))


def numbers_of(transform: Any) -> list[float]:
    """x, y, z, pitch, yaw, roll of a carla.Transform."""
    place, turn = transform.location, transform.rotation
    return [place.x, place.y, place.z, turn.pitch, turn.yaw, turn.roll]


def _drained(events: deque) -> list[Any]:
    return [events.popleft() for _ in range(len(events))]


def _is_past(camera: Camera, frame: int) -> bool:
    """Whether something newer than this frame has come."""
    return any(number > frame for number in camera.waiting)


def _named(cameras: list[Camera]) -> str:
    names = ["'{}'{}".format(c.name, c.strange and f" (it sent {c.strange})") for c in cameras]
    return " and ".join(names)
