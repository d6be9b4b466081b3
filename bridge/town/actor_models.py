"""The catalogue of actors: vehicles and pedestrians with a name, a label tag and a size.

The simulation uses the sizes; the renderer finds meshes by name. The tag is that of
`Actor.tag`; parts of a mesh may have another one (the rider of a bicycle).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sim2street.bridge.errors import WorldError
from sim2street.bridge.labels import Tag


@dataclass(frozen=True, slots=True)
class ActorModel:
    """One kind of actor.

    Attributes:
        name: unique in the catalogue.
        tag: see `labels.Tag`.
        extent_m: half sizes along x (forward), y (left) and z (up).
    """

    name: str
    tag: int
    extent_m: tuple[float, float, float]


def _sized(name: str, tag: Tag, length_m: float, width_m: float, height_m: float) -> ActorModel:
    return ActorModel(name, int(tag), (length_m / 2, width_m / 2, height_m / 2))


VEHICLE_MODELS: tuple[ActorModel, ...] = (
    _sized("city_car", Tag.CAR, 3.55, 1.65, 1.50),
    _sized("hatchback", Tag.CAR, 4.05, 1.75, 1.47),
    _sized("compact", Tag.CAR, 4.30, 1.79, 1.46),
    _sized("sedan", Tag.CAR, 4.65, 1.82, 1.45),
    _sized("limousine", Tag.CAR, 4.95, 1.88, 1.48),
    _sized("estate", Tag.CAR, 4.70, 1.83, 1.50),
    _sized("suv", Tag.CAR, 4.55, 1.90, 1.68),
    _sized("minivan", Tag.CAR, 4.75, 1.90, 1.80),
    _sized("van", Tag.CAR, 5.30, 1.98, 2.25),
    _sized("pickup", Tag.CAR, 5.20, 1.92, 1.80),
    _sized("box_truck", Tag.TRUCK, 7.40, 2.40, 3.20),
    _sized("flat_truck", Tag.TRUCK, 8.20, 2.45, 2.80),
    _sized("bus", Tag.BUS, 11.60, 2.52, 3.10),
    _sized("motorcycle", Tag.MOTORCYCLE, 2.10, 0.80, 1.62),
    _sized("scooter", Tag.MOTORCYCLE, 1.85, 0.72, 1.66),
    _sized("bicycle", Tag.BICYCLE, 1.75, 0.62, 1.78),
    _sized("city_bicycle", Tag.BICYCLE, 1.80, 0.64, 1.70),
)
"""Cars, trucks, a bus, and two-wheelers with their riders."""

PEDESTRIAN_MODELS: tuple[ActorModel, ...] = (
    _sized("man_walking", Tag.PEDESTRIAN, 0.78, 0.56, 1.80),
    _sized("man_striding", Tag.PEDESTRIAN, 0.91, 0.62, 1.77),
    _sized("man_tall", Tag.PEDESTRIAN, 0.86, 0.54, 1.91),
    _sized("man_heavy", Tag.PEDESTRIAN, 0.68, 0.68, 1.74),
    _sized("woman_walking", Tag.PEDESTRIAN, 0.70, 0.50, 1.67),
    _sized("woman_dress", Tag.PEDESTRIAN, 0.60, 0.52, 1.63),
    _sized("woman_coat", Tag.PEDESTRIAN, 0.66, 0.56, 1.70),
    _sized("person_backpack", Tag.PEDESTRIAN, 0.84, 0.52, 1.72),
    _sized("person_jogging", Tag.PEDESTRIAN, 0.99, 0.56, 1.73),
    _sized("person_old", Tag.PEDESTRIAN, 0.46, 0.56, 1.58),
    _sized("child", Tag.PEDESTRIAN, 0.54, 0.40, 1.22),
    _sized("standing_man", Tag.PEDESTRIAN, 0.34, 0.56, 1.79),
    _sized("standing_woman", Tag.PEDESTRIAN, 0.31, 0.50, 1.66),
    _sized("standing_bag", Tag.PEDESTRIAN, 0.36, 0.62, 1.75),
)
"""Pedestrians. Their bodies are rigid: an actor's pose gives the exact motion of each pixel."""

ACTOR_MODELS: tuple[ActorModel, ...] = VEHICLE_MODELS + PEDESTRIAN_MODELS


def model_for(tag: int, extent_m: tuple[float, float, float]) -> ActorModel:
    """The model with this tag whose size is nearest; the first one if several are.

    An `Actor` has no model name, so its tag and size identify the model.

    Raises:
        WorldError: no model has this tag.
    """
    return _nearest(tag, tuple(extent_m))


@lru_cache(maxsize=4096)
def _nearest(tag: int, extent_m: tuple[float, ...]) -> ActorModel:
    candidates = [model for model in ACTOR_MODELS if model.tag == tag]
    if not candidates:
        known = sorted({model.tag for model in ACTOR_MODELS})
        raise WorldError(
            f"the town has no actor model of tag {tag}; it can draw actors of the tags {known}"
        )
    return min(candidates, key=lambda model: _squared_distance(model.extent_m, extent_m))


def _squared_distance(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
