"""The meshes of every actor model, in several levels of detail."""

from __future__ import annotations

from functools import cache

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.actor_models import ACTOR_MODELS
from sim2street.bridge.town.scenery.meshes import Layer, Mesh
from sim2street.bridge.town.scenery.person_meshes import (
    far_pedestrian_mesh,
    pedestrian_mesh,
    two_wheeler_mesh,
)
from sim2street.bridge.town.scenery.vehicle_meshes import far_vehicle_mesh, vehicle_mesh
from sim2street.bridge.town.scenery.vehicle_sheets import with_sheet

_FINE_UP_TO_M = 27.0
_MEDIUM_UP_TO_M = 75.0
_MEDIUM_PERSON_UP_TO_M = 50.0
"""Distances up to which the levels of detail are drawn."""

_FAR_M = 220.0
"""Actors are not drawn beyond this distance."""

_PERSON_MESHES = {
    Tag.PEDESTRIAN: pedestrian_mesh,
    Tag.BICYCLE: two_wheeler_mesh,
    Tag.MOTORCYCLE: two_wheeler_mesh,
}


def actor_layer(tag: int) -> Layer:
    """The layer for actors of this tag: meshes of people are not closed, vehicles' are."""
    return Layer.SHEET if Tag(tag) in _PERSON_MESHES else Layer.SOLID


@cache
def actor_levels(name: str, surfaces: bool = False) -> tuple[tuple[Mesh, float], ...]:
    """The meshes of a model from fine to coarse, each with the distance it is drawn up to.

    They are in the actor's body frame, metres. With `surfaces`, those of cars, trucks and buses
    have texture coordinates.
    """
    model = next(model for model in ACTOR_MODELS if model.name == name)
    tag = Tag(model.tag)
    if surfaces and tag not in _PERSON_MESHES:
        return tuple((with_sheet(shape, model), far_m) for shape, far_m in actor_levels(name))
    if tag in _PERSON_MESHES:
        fine, coarse = (_PERSON_MESHES[tag](model, is_fine) for is_fine in (True, False))
        if tag is not Tag.PEDESTRIAN:
            return (fine, _FINE_UP_TO_M), (coarse, _FAR_M)
        return (
            (fine, _FINE_UP_TO_M),
            (coarse, _MEDIUM_PERSON_UP_TO_M),
            (far_pedestrian_mesh(model), _FAR_M),
        )
    return (
        (vehicle_mesh(model, True), _FINE_UP_TO_M),
        (vehicle_mesh(model, False), _MEDIUM_UP_TO_M),
        (far_vehicle_mesh(model), _FAR_M),
    )
