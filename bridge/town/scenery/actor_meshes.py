"""What every model of the catalogue looks like, fine for near and coarse for far."""

from __future__ import annotations

from functools import cache

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.models import ACTOR_MODELS
from sim2street.bridge.town.scenery.meshes import Layer, Mesh
from sim2street.bridge.town.scenery.person_meshes import (
    far_pedestrian_mesh,
    pedestrian_mesh,
    two_wheeler_mesh,
)
from sim2street.bridge.town.scenery.vehicle_meshes import far_vehicle_mesh, vehicle_mesh

FINE_M = 27.0
"""Up to here actors are drawn in full."""

_MEDIUM_M = 75.0
_FAR_PERSON_M = 50.0

SEEN_M = 220.0
"""Beyond this distance actors are not drawn."""

_BUILDERS = {
    Tag.PEDESTRIAN: pedestrian_mesh,
    Tag.BICYCLE: two_wheeler_mesh,
    Tag.MOTORCYCLE: two_wheeler_mesh,
}


def actor_layer(tag: int) -> Layer:
    """How actors of this tag are drawn: people have open seams, vehicles are closed."""
    return Layer.SHEET if Tag(tag) in _BUILDERS else Layer.SOLID


@cache
def actor_levels(name: str) -> tuple[tuple[Mesh, float], ...]:
    """The meshes of a model, from fine to coarse, each with the distance it serves up to."""
    model = next(model for model in ACTOR_MODELS if model.name == name)
    if Tag(model.tag) in _BUILDERS:
        build = _BUILDERS[Tag(model.tag)]
        near = ((build(model, True), FINE_M), (build(model, False), _FAR_PERSON_M))
        if Tag(model.tag) is Tag.PEDESTRIAN:
            return (*near, (far_pedestrian_mesh(model), SEEN_M))
        return (near[0], (near[1][0], SEEN_M))
    return (
        (vehicle_mesh(model, True), FINE_M),
        (vehicle_mesh(model, False), _MEDIUM_M),
        (far_vehicle_mesh(model), SEEN_M),
    )
