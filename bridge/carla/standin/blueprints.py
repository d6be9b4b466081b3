"""Blueprints of the stand-in: CARLA's names for the actors that the embedded town can show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.actor_models import ACTOR_MODELS, ActorModel

BOOL, INT, FLOAT, STRING, COLOR = 1, 2, 3, 4, 5
"""Numbers of the attribute types in CARLA 0.9.16; older versions count from 0."""

_VEHICLES: dict[str, str] = {
    "vehicle.fiat.500": "city_car",
    "vehicle.seat.leon": "hatchback",
    "vehicle.toyota.prius": "compact",
    "vehicle.tesla.model3": "sedan",
    "vehicle.lincoln.mkz_2020": "limousine",
    "vehicle.audi.etron": "suv",
    "vehicle.mercedes.sprinter": "van",
    "vehicle.tesla.cybertruck": "pickup",
    "vehicle.carlamotors.carlacola": "box_truck",
    "vehicle.mitsubishi.fusorosa": "bus",
    "vehicle.yamaha.yzf": "motorcycle",
    "vehicle.vespa.zx125": "scooter",
    "vehicle.gazelle.omafiets": "bicycle",
}
_WALKERS = [model for model in ACTOR_MODELS if model.tag == Tag.PEDESTRIAN]
_CAMERAS = (
    *("depth", "instance_segmentation", "optical_flow", "rgb", "semantic_segmentation"),
    *("dvs", "normals"),
)
_DETECTORS = ("collision", "gnss", "imu", "lane_invasion", "obstacle", "radar")
_LIDARS = ("ray_cast", "ray_cast_semantic")
CONTROLLER = "controller.ai.walker"
"""Blueprint of what moves a walker; the client itself does it."""

MISSING = frozenset(
    {
        *("sensor.camera.dvs", "sensor.camera.normals", "sensor.other.obstacle"),
        *("sensor.other.radar", *(f"sensor.lidar.{kind}" for kind in _LIDARS)),
    }
)
"""Blueprints that scripts look up, and that the stand-in refuses to spawn."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a blueprint, with its default as text."""

    name: str
    kind: int
    value: str
    recommended: tuple[str, ...] = ()
    modifiable: bool = True


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Something that can be spawned. `model`: how the town shows it, None for a sensor."""

    uid: int
    type_id: str
    attributes: tuple[Attribute, ...]
    model: ActorModel | None = None

    @property
    def definition(self) -> list[Any]:
        """What the call `get_actor_definitions` returns for it."""
        rows = [
            [a.name, a.kind, a.value, list(a.recommended), a.modifiable, False]
            for a in self.attributes
        ]
        return [self.uid, self.type_id, ",".join(self.type_id.split(".")), rows]


def make_blueprints(first_type: int) -> dict[str, Blueprint]:
    """All vehicles, walkers and sensors by name. `first_type`: number of the attribute type BOOL
    in the protocol version.
    """
    models = {model.name: model for model in ACTOR_MODELS}
    rows: list[tuple[str, tuple[Attribute, ...], ActorModel | None]] = [
        (type_id, _vehicle_attributes(models[name]), models[name])
        for type_id, name in _VEHICLES.items()
    ]
    rows += [
        (f"walker.pedestrian.{index + 1:04d}", _walker_attributes(), model)
        for index, model in enumerate(_WALKERS)
    ]
    rows += [(f"sensor.camera.{kind}", _camera_attributes(), None) for kind in _CAMERAS]
    rows += [(f"sensor.other.{name}", _detector_attributes(name), None) for name in _DETECTORS]
    rows += [(f"sensor.lidar.{kind}", _lidar_attributes(), None) for kind in _LIDARS]
    rows.append((CONTROLLER, (), None))
    return {
        type_id: Blueprint(
            index + 1,
            type_id,
            tuple(replace(a, kind=a.kind - BOOL + first_type) for a in attributes),
            model,
        )
        for index, (type_id, attributes, model) in enumerate(rows)
    }


def _walker_attributes() -> tuple[Attribute, ...]:
    return (
        _role("pedestrian"),
        Attribute("is_invincible", BOOL, "true"),
        Attribute("speed", FLOAT, "1.4", ("0.0", "1.4", "2.8")),
    )


def _vehicle_attributes(model: ActorModel) -> tuple[Attribute, ...]:
    two_wheels = model.tag in (Tag.MOTORCYCLE, Tag.BICYCLE)
    base = {Tag.CAR: "car", Tag.TRUCK: "truck", Tag.BUS: "bus", Tag.MOTORCYCLE: "motorcycle"}
    return (
        _role("autopilot", "scenario", "ego_vehicle"),
        Attribute("number_of_wheels", INT, "2" if two_wheels else "4", modifiable=False),
        Attribute("generation", INT, "2", modifiable=False),
        Attribute("base_type", STRING, base.get(Tag(model.tag), "bicycle"), modifiable=False),
        Attribute("special_type", STRING, "", modifiable=False),
        Attribute("has_lights", BOOL, "false", modifiable=False),
        Attribute("color", COLOR, "180,180,180", ("180,180,180", "20,20,20")),
    )


def _camera_attributes() -> tuple[Attribute, ...]:
    return (
        _role("front"),
        Attribute("image_size_x", INT, "800"),
        Attribute("image_size_y", INT, "600"),
        Attribute("fov", FLOAT, "90.0"),
        Attribute("sensor_tick", FLOAT, "0.0"),
        Attribute("gamma", FLOAT, "2.2"),
        Attribute("motion_blur_intensity", FLOAT, "0.45"),
        Attribute("enable_postprocess_effects", BOOL, "true"),
    )


def _detector_attributes(name: str) -> tuple[Attribute, ...]:
    if name in ("collision", "lane_invasion"):
        return (_role("front"),)
    own = _OWN_ATTRIBUTES.get(name, ())
    return (_role("front"), Attribute("sensor_tick", FLOAT, "0.0"), *own)


_OWN_ATTRIBUTES: dict[str, tuple[Attribute, ...]] = {
    "gnss": (
        Attribute("noise_seed", INT, "0"),
        *(
            Attribute(f"noise_{axis}_{kind}", FLOAT, "0.0")
            for axis in ("alt", "lat", "lon")
            for kind in ("bias", "stddev")
        ),
    ),
    "imu": (
        Attribute("noise_seed", INT, "0"),
        *(Attribute(f"noise_accel_stddev_{axis}", FLOAT, "0.0") for axis in "xyz"),
        *(Attribute(f"noise_gyro_bias_{axis}", FLOAT, "0.0") for axis in "xyz"),
        *(Attribute(f"noise_gyro_stddev_{axis}", FLOAT, "0.0") for axis in "xyz"),
    ),
    "radar": (
        Attribute("horizontal_fov", FLOAT, "30.0"),
        Attribute("vertical_fov", FLOAT, "30.0"),
        Attribute("range", FLOAT, "100.0"),
    ),
}


def _lidar_attributes() -> tuple[Attribute, ...]:
    return (
        _role("front"),
        Attribute("channels", INT, "32"),
        Attribute("range", FLOAT, "10.0"),
        Attribute("points_per_second", INT, "56000"),
        Attribute("rotation_frequency", FLOAT, "10.0"),
        Attribute("upper_fov", FLOAT, "10.0"),
        Attribute("lower_fov", FLOAT, "-30.0"),
        Attribute("sensor_tick", FLOAT, "0.0"),
    )


def _role(*names: str) -> Attribute:
    return Attribute("role_name", STRING, names[0], names)
