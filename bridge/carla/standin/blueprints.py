"""Blueprints of the stand-in: CARLA's names for what the embedded town can show."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.models import ACTOR_MODELS, ActorModel

BOOL, INT, FLOAT, STRING, COLOR = 1, 2, 3, 4, 5
"""Types of attributes in 0.9.16."""

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
_CAMERAS = ("depth", "instance_segmentation", "rgb", "semantic_segmentation")


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
    """What can be spawned. `model`: how the town shows it, None for a sensor."""

    uid: int
    type_id: str
    attributes: tuple[Attribute, ...]
    model: ActorModel | None = None

    @property
    def wire(self) -> list:
        """As `get_actor_definitions` lists it."""
        rows = [
            [a.name, a.kind, a.value, list(a.recommended), a.modifiable, False]
            for a in self.attributes
        ]
        return [self.uid, self.type_id, ",".join(self.type_id.split(".")), rows]


@dataclass(slots=True)
class Catalogue:
    """All blueprints, by their names."""

    by_name: dict[str, Blueprint] = field(default_factory=dict)

    def add(
        self, type_id: str, attributes: tuple[Attribute, ...], model: ActorModel | None = None
    ) -> None:
        """One more blueprint; its number is the next one."""
        self.by_name[type_id] = Blueprint(len(self.by_name) + 1, type_id, attributes, model)


def make_catalogue(first_type: int) -> Catalogue:
    """Vehicles, walkers and sensors of the stand-in; types of attributes count from this."""
    catalogue = _all_blueprints()
    for name, blueprint in catalogue.by_name.items():
        typed = tuple(replace(a, kind=a.kind - BOOL + first_type) for a in blueprint.attributes)
        catalogue.by_name[name] = replace(blueprint, attributes=typed)
    return catalogue


def _all_blueprints() -> Catalogue:
    models = {model.name: model for model in ACTOR_MODELS}
    catalogue = Catalogue()
    for type_id, name in _VEHICLES.items():
        catalogue.add(type_id, _vehicle_attributes(models[name]), models[name])
    for index, model in enumerate(_WALKERS):
        walker = (
            _role("pedestrian"),
            Attribute("is_invincible", BOOL, "true"),
            Attribute("speed", FLOAT, "1.4", ("0.0", "1.4", "2.8")),
        )
        catalogue.add(f"walker.pedestrian.{index + 1:04d}", walker, model)
    for kind in _CAMERAS:
        catalogue.add(f"sensor.camera.{kind}", _camera_attributes())
    for other in ("sensor.other.collision", "sensor.other.lane_invasion"):
        catalogue.add(other, (_role("front"),))
    return catalogue


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


def _role(*names: str) -> Attribute:
    return Attribute("role_name", STRING, names[0], names)
