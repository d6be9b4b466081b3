"""Sensors on the ego: made once, listened to, joined by frame, taken down in order."""

from __future__ import annotations

import sys
import time
from queue import Empty, SimpleQueue
from typing import Any

import carla
from failures import ChildError

BLUEPRINTS = {
    "labels": "sensor.camera.semantic_segmentation",
    "depth_m": "sensor.camera.depth",
    "instances": "sensor.camera.instance_segmentation",
    "rgb": "sensor.camera.rgb",
}


class Camera:
    """One camera and the pictures of it that nobody has taken yet."""

    def __init__(self, name: str, actor: Any) -> None:
        self.name = name
        self.actor = actor
        self._pictures = SimpleQueue()  # type: SimpleQueue
        self._ahead = None  # type: Any
        actor.listen(self._pictures.put)

    def take(self, frame: int, until_s: float) -> Any:
        """The picture of this frame; what is older is dropped."""
        while True:
            picture = self.peek(until_s)
            if picture is None or picture.frame > frame:
                raise ChildError("sensor", f"no data of '{self.name}' for frame {frame}")
            self._ahead = None
            if picture.frame == frame:
                return picture

    def peek(self, until_s: float) -> Any:
        """The oldest picture, left in place; None where none comes in time."""
        if self._ahead is None:
            try:
                self._ahead = self._pictures.get(timeout=max(0.0, until_s - time.monotonic()))
            except Empty:
                return None
        return self._ahead

    def forget(self) -> None:
        """Drop everything that has arrived."""
        self._ahead = None
        while not self._pictures.empty():
            self._pictures.get()


class Sensors:
    """All sensors of one ego."""

    def __init__(self, world: Any, ego: Any) -> None:
        self._world = world
        self.ego = ego
        self.cameras = []  # type: list[Camera]
        self._detectors = []  # type: list[Any]
        self._collisions = SimpleQueue()  # type: SimpleQueue
        self._invasions = SimpleQueue()  # type: SimpleQueue

    def add_cameras(self, views: dict[str, dict[str, Any]], kinds: list[str]) -> None:
        """One camera for each view and kind."""
        library = self._world.get_blueprint_library()
        for view, wanted in views.items():
            for kind in kinds:
                blueprint = library.find(BLUEPRINTS[kind])
                blueprint.set_attribute("image_size_x", str(wanted["width_px"]))
                blueprint.set_attribute("image_size_y", str(wanted["height_px"]))
                blueprint.set_attribute("fov", repr(wanted["fov_deg"]))
                mount = transform_of(wanted["mount"])
                actor = self._world.spawn_actor(blueprint, mount, attach_to=self.ego)
                self.cameras.append(Camera(f"{view}.{kind}", actor))

    def add_detectors(self) -> None:
        """Collisions and crossed lane markings."""
        library = self._world.get_blueprint_library()
        for name, events in (("collision", self._collisions), ("lane_invasion", self._invasions)):
            blueprint = library.find("sensor.other." + name)
            actor = self._world.spawn_actor(blueprint, carla.Transform(), attach_to=self.ego)
            actor.listen(events.put)
            self._detectors.append(actor)

    @property
    def ids(self) -> list[int]:
        """Of all sensor actors."""
        return [actor.id for actor in self._actors()]

    def awake(self, patience_s: float) -> bool:
        """Whether every camera has sent something."""
        until_s = time.monotonic() + patience_s
        return all(camera.peek(until_s) is not None for camera in self.cameras)

    def join(self, frame: int, deadline_s: float) -> list[Any]:
        """A picture of every camera, all of this frame."""
        until_s = time.monotonic() + deadline_s
        return [camera.take(frame, until_s) for camera in self.cameras]

    def join_next(self, after: int, deadline_s: float) -> list[Any]:
        """Pictures of the first frame after this one that every camera has."""
        until_s = time.monotonic() + deadline_s
        frame = after + 1
        while True:
            oldest = []
            for camera in self.cameras:
                picture = camera.peek(until_s)
                while picture is not None and picture.frame < frame:
                    camera.take(picture.frame, until_s)
                    picture = camera.peek(until_s)
                if picture is None:
                    raise ChildError(
                        "sensor", f"no data of '{camera.name}' after frame {frame - 1}"
                    )
                oldest.append(picture.frame)
            if min(oldest) == max(oldest):
                return [
                    camera.take(frame_, until_s) for camera, frame_ in zip(self.cameras, oldest)
                ]
            frame = max(oldest)

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

    def close(self) -> None:
        """Stop all, then destroy all: the other way round, the client may abort."""
        for actor in self._actors():
            _attempt(actor.stop)
        for actor in self._actors():
            _attempt(actor.destroy)
        self.cameras, self._detectors = [], []

    def _actors(self) -> list[Any]:
        return [camera.actor for camera in self.cameras] + self._detectors


def transform_of(numbers: list[float]) -> Any:
    """A carla.Transform of x, y, z, pitch, yaw, roll."""
    x, y, z, pitch, yaw, roll = numbers
    return carla.Transform(carla.Location(x, y, z), carla.Rotation(pitch, yaw, roll))


def numbers_of(transform: Any) -> list[float]:
    """x, y, z, pitch, yaw, roll of a carla.Transform."""
    place, turn = transform.location, transform.rotation
    return [place.x, place.y, place.z, turn.pitch, turn.yaw, turn.roll]


def _drained(events: Any) -> list[Any]:
    found = []
    while not events.empty():
        found.append(events.get())
    return found


def _attempt(act: Any) -> None:
    """Taking things down goes on whatever one of them says."""
    try:
        act()
    except RuntimeError as error:
        sys.stderr.write(f"while taking sensors down: {error}\n")
