"""Makes all scenery of a town from its layout. The same layout gives the same scenery."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sim2street.bridge.town.plan.layout import Layout
from sim2street.bridge.town.plan.plots import FreeGround
from sim2street.bridge.town.scenery.actor_meshes import actor_levels
from sim2street.bridge.town.scenery.background import background_items
from sim2street.bridge.town.scenery.build_state import BuildState
from sim2street.bridge.town.scenery.ground import ground_items
from sim2street.bridge.town.scenery.meshes import (
    Layer,
    SceneryItem,
    placed,
    with_instance,
    with_key,
)
from sim2street.bridge.town.scenery.plane_faces import place_key
from sim2street.bridge.town.scenery.road_markings import marking_items
from sim2street.bridge.town.scenery.street_fronts import street_front_items
from sim2street.bridge.town.scenery.street_furniture import street_furniture_items


def scenery_items(layout: Layout, surfaces: bool = False) -> Iterator[SceneryItem]:
    """Everything in the town except moving actors, in the world frame.

    The order of the items and of the random draws is part of the result: changing either
    changes the images of a town. With `surfaces`, meshes have texture coordinates where they are
    known; nothing else changes.
    """
    surface_seed = layout.seed if surfaces else None
    yield from ground_items(layout)
    yield from marking_items(layout, np.random.default_rng([layout.seed, 1]))
    yield from _parked_cars(layout, surfaces)
    rng = np.random.default_rng([layout.seed, 2])
    yield from street_furniture_items(layout, rng, surface_seed)
    state = BuildState(np.random.default_rng([layout.seed, 3]), FreeGround(layout), surface_seed)
    yield from street_front_items(layout, state)
    yield from background_items(layout, state)


def _parked_cars(layout: Layout, surfaces: bool) -> Iterator[SceneryItem]:
    for car in layout.parked:
        near_m = 0.0
        for mesh, far_m in actor_levels(car.model, surfaces):
            keyed = with_key(mesh, place_key(layout.seed, car.x_m, car.y_m))
            body = placed(keyed, car.x_m, car.y_m, 0.0, car.heading_rad)
            here = (car.x_m, car.y_m)
            yield SceneryItem(with_instance(body, car.actor_id), Layer.SOLID, here, near_m, far_m)
            near_m = far_m
