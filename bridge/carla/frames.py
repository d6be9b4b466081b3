"""From the child's answers to frames: actors numbered, pictures decoded, the ego placed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sim2street.bridge.carla.axes import camera_pose_of, mirrored, poses_of
from sim2street.bridge.carla.config import CarlaConfig
from sim2street.bridge.carla.decode import Copies, picture_of, tags_of
from sim2street.bridge.carla.instance_actors import associated
from sim2street.bridge.carla.route import Route, lead_vehicle, make_route, next_light, places_ahead
from sim2street.bridge.errors import WorldLost
from sim2street.bridge.frame import (
    Actor,
    ByteArray,
    Camera,
    EgoState,
    FloatArray,
    LightState,
    View,
    Weather,
)
from sim2street.bridge.label_maps import label_map
from sim2street.bridge.labels import Tag

_KMH = 3.6
_COLUMNS, _ROUTE_COLUMNS = 13, 6
_OFF_LANE_SLACK_M = 0.25
_WRONG_WAY_RAD = math.radians(90.0)
_LIGHTS = {"Red": LightState.RED, "Yellow": LightState.YELLOW, "Green": LightState.GREEN}
_BASE_TAGS = {
    "car": Tag.CAR,
    "truck": Tag.TRUCK,
    "van": Tag.CAR,
    "bus": Tag.BUS,
    "motorcycle": Tag.MOTORCYCLE,
    "bicycle": Tag.BICYCLE,
}

Table = npt.NDArray[np.float64]


def release(server: str) -> tuple[int, ...]:
    """The numbers of a version such as `0.9.16` or `0.9.15-dirty`."""
    return tuple(int(part) for part in server.split("-")[0].split(".")[:3] if part.isdigit())


def map_for(server: str) -> str:
    """Name of the label map of a server's version."""
    numbers = release(server)
    if numbers >= (0, 9, 14):
        return "carla"
    return "carla-0.9.13" if numbers >= (0, 9, 12) else "carla-0.9.11"


@dataclass(frozen=True, slots=True)
class Described:
    """What never changes about an actor: its number here, tag, middle and half sizes."""

    number: int
    tag: int
    middle_m: tuple[float, float, float]
    extent_m: tuple[float, float, float]


@dataclass(slots=True)
class Episode:
    """One episode's frames in the making.

    Attributes:
        numbers: CARLA's actor id to ours: counted up from 1 in the order of CARLA's ids,
            so that the same episode has the same numbers in another run.
        by_place: instances are found by where they are, as CARLA's ids do not tell.
    """

    config: CarlaConfig
    cameras: Mapping[str, Camera]
    primary: ByteArray
    copies: Copies
    by_place: bool = False
    cast: dict[int, Described] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    route: Route | None = None
    at_m: float | None = None
    ego_pose: FloatArray | None = None
    _placed: dict[int, int] = field(default_factory=dict)

    def lay_route(self, header: Mapping[str, Any], table: bytes | bytearray) -> None:
        """The route that came with a reset."""
        rows = np.frombuffer(bytes(table), np.float64).reshape(-1, _ROUTE_COLUMNS)
        stops = [
            (light, np.array(ends, np.float64).reshape(-1, 3)) for light, ends in header["stops"]
        ]
        if len(rows) >= 2:
            length = min(float(header["route_length_m"]), float(rows[-1, 5]))
            self.route = make_route(rows, length, stops)

    def lights(self) -> list[int]:
        """CARLA's ids of those along the route."""
        return [] if self.route is None else [stop.light_id for stop in self.route.stops]

    def meet(
        self, header: Mapping[str, Any], rows: bytes | bytearray
    ) -> tuple[EgoState, tuple[Actor, ...]]:
        """Ego and actors within range of one frame."""
        table: Table = np.frombuffer(rows, np.float64).reshape(-1, _COLUMNS)
        self._learn(header["new"], int(header["ego"]))
        poses = poses_of(table[:, 1:7])
        everybody = self._actors(table[1:].tolist(), poses[1:])
        return self._ego(table[0].tolist(), poses[0], header, everybody), tuple(everybody)

    def see(
        self, told: list[dict[str, Any]], memory: memoryview | None, everybody: Sequence[Actor]
    ) -> dict[str, View]:
        """Views of that frame; pictures are copied from `memory`."""
        views = self._views(told, memory)
        if self.by_place:
            for name, view in views.items():
                if (
                    view.labels is not None
                    and view.depth_m is not None
                    and view.instances is not None
                ):
                    instances = associated(view, everybody, self._placed)
                    views[name] = replace(view, instances=instances)
        return views

    def _learn(self, new: list[dict[str, Any]], ego_id: int) -> None:
        for told in new:
            carla_id, number = int(told["id"]), int(told["number"])
            if carla_id != ego_id:
                self.numbers[carla_id] = number
            middle = mirrored(tuple(told["middle"]))
            self.cast[carla_id] = Described(number, actor_tag(told), middle, tuple(told["extent"]))

    def _actors(self, rows: list[list[float]], poses: Table) -> list[Actor]:
        """Vehicles and walkers by number; their origins on the ground."""
        described = [self.cast[int(row[0])] for row in rows]
        feet = [(*known.middle_m[:2], known.middle_m[2] - known.extent_m[2]) for known in described]
        poses[:, :3, 3:] += poses[:, :3, :3] @ np.reshape(feet, (-1, 3, 1))
        found = [
            Actor(known.number, known.tag, pose, known.extent_m, (row[7], -row[8], row[9]))
            for known, pose, row in zip(described, poses.astype(np.float32), rows, strict=True)
        ]
        return sorted(found, key=lambda actor: actor.actor_id)

    def _ego(
        self, row: list[float], pose: Table, header: Mapping[str, Any], actors: list[Actor]
    ) -> EgoState:
        velocity = mirrored((row[7], row[8], row[9]))
        speed = float(np.dot(velocity, pose[:3, 0]))
        pose[:3, 3] += pose[:3, 0] * self.config.rear_axle_m
        plain = EgoState(
            pose=pose.astype(np.float32),
            velocity_mps=velocity,
            yaw_rate_rps=-math.radians(row[12]),
            speed_mps=speed,
            speed_limit_mps=float(header["limit_kmh"]) / _KMH,
            collision=bool(header["hits"]),
        )
        self.ego_pose = plain.pose
        return plain if self.route is None else self._on_route(plain, self.route, header, actors)

    def _on_route(
        self, plain: EgoState, route: Route, header: Mapping[str, Any], actors: list[Actor]
    ) -> EgoState:
        x, y = float(plain.pose[0, 3]), float(plain.pose[1, 3])
        point = route.locate(x, y, self.at_m)
        self.at_m = point.at_m
        heading = math.atan2(float(plain.pose[1, 0]), float(plain.pose[0, 0]))
        error = math.remainder(heading - point.heading_rad, 2.0 * math.pi)
        front = point.at_m + self.config.front_m
        states = {int(light): _LIGHTS.get(state) for light, state in header["lights"]}
        out = abs(point.offset_m) > point.lane_width_m / 2.0 + _OFF_LANE_SLACK_M
        return EgoState(
            pose=plain.pose,
            velocity_mps=plain.velocity_mps,
            yaw_rate_rps=plain.yaw_rate_rps,
            speed_mps=plain.speed_mps,
            lane_offset_m=point.offset_m,
            heading_error_rad=error,
            curvature_1pm=route.curvature_at(point.at_m),
            speed_limit_mps=plain.speed_limit_mps,
            next_light=next_light(route, front, states),
            lead=lead_vehicle(route, point.at_m, front, actors),
            route_distance_m=max(0.0, route.goal_m - point.at_m),
            collision=plain.collision,
            off_lane=out or abs(error) > _WRONG_WAY_RAD,
            route_ahead_m=places_ahead(route, point.at_m, (x, y), heading),
        )

    def _views(self, told: list[dict[str, Any]], memory: memoryview | None) -> dict[str, View]:
        """Views of the configured cameras; pictures come view by view, kind by kind."""
        views: dict[str, View] = {}
        kinds = self.config.pictures
        if not told:
            return views
        for index, (name, camera) in enumerate(self.cameras.items()):
            own = told[index * len(kinds) : (index + 1) * len(kinds)]
            place = own[0]["transform"]
            if any(picture["transform"] != place for picture in own):
                raise WorldLost(f"CARLA: the pictures of view '{name}' are not from one place")
            fields = {
                kind: self._picture(kind, one["start"], memory, camera)
                for kind, one in zip(kinds, own, strict=True)
            }
            views[name] = View(camera, camera_pose_of(tuple(place)), **fields)
        return views

    def _picture(self, kind: str, start: int, memory: memoryview | None, camera: Camera) -> Any:
        size_px = camera.width_px, camera.height_px
        found = picture_of(memory, start, kind, size_px, self.copies)
        return tags_of(found, self.primary) if kind == "labels" else found


def actor_tag(told: Mapping[str, Any]) -> int:
    """Label tag of an actor: by its kind, base type and wheels, whatever the version."""
    if str(told["type"]).startswith("walker."):
        return int(Tag.PEDESTRIAN)
    carried = [tag for tag in told["tags"] if Tag.CAR <= tag <= Tag.BICYCLE]
    if carried:
        return int(carried[0])
    base = _BASE_TAGS.get(str(told["base"]).lower())
    if base is not None:
        return int(base)
    return int(Tag.MOTORCYCLE if told["wheels"] == "2" else Tag.CAR)


def primary_tags(server: str) -> ByteArray:
    """uint8 (256,): a server's semantic tag to ours."""
    return label_map(map_for(server)).primary


def weather_of(told: Mapping[str, float]) -> Weather:
    """CARLA's percentages as our shares."""
    return Weather(
        sun_altitude_deg=float(told["sun_altitude_angle"]),
        cloudiness=float(told["cloudiness"]) / 100.0,
        rain=float(told["precipitation"]) / 100.0,
        fog=float(told["fog_density"]) / 100.0,
        wetness=float(told["wetness"]) / 100.0,
    )


def carla_weather(weather: Weather) -> dict[str, float]:
    """Our shares as CARLA's percentages; rain leaves puddles."""
    return {
        "sun_altitude_angle": weather.sun_altitude_deg,
        "cloudiness": 100.0 * weather.cloudiness,
        "precipitation": 100.0 * weather.rain,
        "precipitation_deposits": 60.0 * weather.wetness,
        "fog_density": 100.0 * weather.fog,
        "wetness": 100.0 * weather.wetness,
    }
