"""Turns the client process's answers into frames: ego, actors and views."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sim2street.bridge.carla.axes import camera_pose_of, mirrored, poses_of
from sim2street.bridge.carla.config import CarlaConfig
from sim2street.bridge.carla.decode import ImageCopier, converted_tags, copied_image
from sim2street.bridge.carla.instance_actors import with_actor_ids
from sim2street.bridge.carla.route import Route, lead_vehicle, make_route, next_light, points_ahead
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
_BASE_TYPE_TAGS = {
    "car": Tag.CAR,
    "truck": Tag.TRUCK,
    "van": Tag.CAR,
    "bus": Tag.BUS,
    "motorcycle": Tag.MOTORCYCLE,
    "bicycle": Tag.BICYCLE,
}

Table = npt.NDArray[np.float64]


def version_numbers(version: str) -> tuple[int, ...]:
    """(0, 9, 16) for `0.9.16` and `0.9.16-dirty`."""
    return tuple(int(part) for part in version.split("-")[0].split(".")[:3] if part.isdigit())


def label_map_name(version: str) -> str:
    """Name of the label map for the semantic tags of a server's version."""
    numbers = version_numbers(version)
    if numbers >= (0, 9, 14):
        return "carla"
    return "carla-0.9.13" if numbers >= (0, 9, 12) else "carla-0.9.11"


@dataclass(frozen=True, slots=True)
class ActorDescription:
    """What never changes about an actor.

    Attributes:
        actor_id: in our frames; 0 for the ego.
        box_centre_m: of its bounding box, in our body frame. extent_m: half sizes.
    """

    actor_id: int
    tag: int
    box_centre_m: tuple[float, float, float]
    extent_m: tuple[float, float, float]


@dataclass(slots=True)
class Episode:
    """Makes the frames of one episode.

    Attributes:
        tag_table: uint8 (256,), our tag for each tag of the server.
        match_by_place: find the actor of an instance by its place, because CARLA's instance
            ids do not tell it.
        descriptions: by CARLA id, of all actors so far.
        actor_ids: CARLA id to our actor id. Ours count from 1 in the order of CARLA's, so that
            the same episode has the same ids in another run.
        along_m: how far along the route the ego is.
        ego_pose: float32 (4, 4), body to world, of the last frame.
    """

    config: CarlaConfig
    cameras: Mapping[str, Camera]
    tag_table: ByteArray
    copier: ImageCopier
    match_by_place: bool = False
    descriptions: dict[int, ActorDescription] = field(default_factory=dict)
    actor_ids: dict[int, int] = field(default_factory=dict)
    route: Route | None = None
    along_m: float | None = None
    ego_pose: FloatArray | None = None
    _matched: dict[int, int] = field(default_factory=dict)

    def set_route(
        self, table: bytes | bytearray, length_m: float, stops: Sequence[tuple[int, Any]]
    ) -> None:
        """Use the route that came with a reset.

        Args:
            table: float64 (N, 6) as bytes, see `child/roads.py`.
            length_m: distance to the goal; less if the route is shorter.
            stops: traffic light ids with the ends (x, y, yaw) of the lanes they control.
        """
        rows = np.frombuffer(bytes(table), np.float64).reshape(-1, _ROUTE_COLUMNS)
        lane_ends = [(light, np.array(ends, np.float64).reshape(-1, 3)) for light, ends in stops]
        if len(rows) >= 2:
            self.route = make_route(rows, min(length_m, float(rows[-1, 5])), lane_ends)

    def light_ids(self) -> list[int]:
        """CARLA's ids of the traffic lights along the route."""
        return [] if self.route is None else [stop.light_id for stop in self.route.stops]

    def ego_and_actors(
        self, header: Mapping[str, Any], rows: bytes | bytearray
    ) -> tuple[EgoState, tuple[Actor, ...]]:
        """The ego, and the actors within range of it, by id.

        `rows`: the actor table float64 (N, 13) as bytes, see `child/actors.py`.
        """
        table: Table = np.frombuffer(rows, np.float64).reshape(-1, _COLUMNS)
        self._add_descriptions(header["new_actors"], int(header["ego"]))
        poses = poses_of(table[:, 1:7])
        actors = self._actors(table[1:].tolist(), poses[1:])
        return self._ego(table[0].tolist(), poses[0], header, actors), tuple(actors)

    def views(
        self, images: list[dict[str, Any]], memory: memoryview | None, actors: Sequence[Actor]
    ) -> dict[str, View]:
        """The frame's views. `images`: where they are in `memory`, view by view, kind by kind."""
        views = self._views(images, memory)
        if self.match_by_place:
            for name, view in views.items():
                if (
                    view.labels is not None
                    and view.depth_m is not None
                    and view.instances is not None
                ):
                    instances = with_actor_ids(view, actors, self._matched)
                    views[name] = replace(view, instances=instances)
        return views

    def _add_descriptions(self, new: list[dict[str, Any]], ego_id: int) -> None:
        for description in new:
            carla_id, actor_id = int(description["id"]), int(description["number"])
            if carla_id != ego_id:
                self.actor_ids[carla_id] = actor_id
            self.descriptions[carla_id] = ActorDescription(
                actor_id,
                actor_tag(description),
                mirrored(tuple(description["box_centre"])),
                tuple(description["extent"]),
            )

    def _actors(self, rows: list[list[float]], poses: Table) -> list[Actor]:
        """Vehicles and walkers by id; a pose's origin is the box's centre, on the ground."""
        known = [self.descriptions[int(row[0])] for row in rows]
        feet = [(*one.box_centre_m[:2], one.box_centre_m[2] - one.extent_m[2]) for one in known]
        poses[:, :3, 3:] += poses[:, :3, :3] @ np.reshape(feet, (-1, 3, 1))
        found = [
            Actor(one.actor_id, one.tag, pose, one.extent_m, mirrored((row[7], row[8], row[9])))
            for one, pose, row in zip(known, poses.astype(np.float32), rows, strict=True)
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
            speed_limit_mps=float(header["speed_limit_kmh"]) / _KMH,
            collision=bool(header["collisions"]),
        )
        self.ego_pose = plain.pose
        return plain if self.route is None else self._on_route(plain, self.route, header, actors)

    def _on_route(
        self, plain: EgoState, route: Route, header: Mapping[str, Any], actors: list[Actor]
    ) -> EgoState:
        x, y = float(plain.pose[0, 3]), float(plain.pose[1, 3])
        point = route.locate(x, y, self.along_m)
        self.along_m = point.along_m
        heading = math.atan2(float(plain.pose[1, 0]), float(plain.pose[0, 0]))
        error = math.remainder(heading - point.heading_rad, 2.0 * math.pi)
        front = point.along_m + self.config.front_m
        states = {int(light): _LIGHTS.get(state) for light, state in header["lights"]}
        out = abs(point.offset_m) > point.lane_width_m / 2.0 + _OFF_LANE_SLACK_M
        return EgoState(
            pose=plain.pose,
            velocity_mps=plain.velocity_mps,
            yaw_rate_rps=plain.yaw_rate_rps,
            speed_mps=plain.speed_mps,
            lane_offset_m=point.offset_m,
            heading_error_rad=error,
            curvature_1pm=route.curvature_at(point.along_m),
            speed_limit_mps=plain.speed_limit_mps,
            next_light=next_light(route, front, states),
            lead=lead_vehicle(route, point.along_m, front, actors),
            route_distance_m=max(0.0, route.goal_m - point.along_m),
            collision=plain.collision,
            off_lane=out or abs(error) > _WRONG_WAY_RAD,
            route_ahead_m=points_ahead(route, point.along_m, (x, y), heading),
        )

    def _views(self, images: list[dict[str, Any]], memory: memoryview | None) -> dict[str, View]:
        views: dict[str, View] = {}
        kinds = self.config.pictures
        if not images:
            return views
        for index, (name, camera) in enumerate(self.cameras.items()):
            own = images[index * len(kinds) : (index + 1) * len(kinds)]
            place = own[0]["transform"]
            if any(image["transform"] != place for image in own):
                raise WorldLost(
                    f"CARLA: the images of view '{name}' are not from one place, so they are not "
                    "of one frame; call reset() to go on"
                )
            fields = {
                kind: self._image(kind, one["offset"], memory, camera)
                for kind, one in zip(kinds, own, strict=True)
            }
            views[name] = View(camera, camera_pose_of(tuple(place)), **fields)
        return views

    def _image(self, kind: str, offset: int, memory: memoryview | None, camera: Camera) -> Any:
        size_px = camera.width_px, camera.height_px
        image = copied_image(memory, offset, kind, size_px, self.copier)
        return converted_tags(image, self.tag_table) if kind == "labels" else image


def actor_tag(description: Mapping[str, Any]) -> int:
    """Our tag of an actor.

    Up to CARLA 0.9.13 all vehicles have one semantic tag; the base type or the number of
    wheels then tells them apart.
    """
    if str(description["type"]).startswith("walker."):
        return int(Tag.PEDESTRIAN)
    tags = [tag for tag in description["tags"] if Tag.CAR <= tag <= Tag.BICYCLE]
    if tags:
        return int(tags[0])
    base = _BASE_TYPE_TAGS.get(str(description["base_type"]).lower())
    if base is not None:
        return int(base)
    return int(Tag.MOTORCYCLE if description["wheels"] == "2" else Tag.CAR)


def tag_table_for(version: str) -> ByteArray:
    """uint8 (256,): our tag for each semantic tag of a server's version."""
    return label_map(label_map_name(version)).primary


def weather_from_carla(values: Mapping[str, float]) -> Weather:
    """Our weather (0 to 1) from CARLA's parameters (percent), which CARLA does not limit.

    Negative parameters stand for a map's own weather, which CARLA does not tell: the default.
    """
    if values["cloudiness"] < 0.0:
        return Weather()

    def share(name: str) -> float:
        return min(max(float(values[name]) / 100.0, 0.0), 1.0)

    return Weather(
        sun_altitude_deg=min(max(float(values["sun_altitude_angle"]), -90.0), 90.0),
        cloudiness=share("cloudiness"),
        rain=share("precipitation"),
        fog=share("fog_density"),
        wetness=share("wetness"),
    )


def carla_weather(weather: Weather) -> dict[str, float]:
    """CARLA's parameters (percent) for our weather (0 to 1); wet roads have puddles."""
    return {
        "sun_altitude_angle": weather.sun_altitude_deg,
        "cloudiness": 100.0 * weather.cloudiness,
        "precipitation": 100.0 * weather.rain,
        "precipitation_deposits": 60.0 * weather.wetness,
        "fog_density": 100.0 * weather.fog,
        "wetness": 100.0 * weather.wetness,
    }
