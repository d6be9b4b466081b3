"""All that stands still in a town, made from its layout; the same seed, the same town."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sim2street.bridge.town.plan.layout import Layout
from sim2street.bridge.town.plan.plots import FreeGround
from sim2street.bridge.town.scenery.actor_meshes import actor_levels
from sim2street.bridge.town.scenery.blocks import Builder, block_items
from sim2street.bridge.town.scenery.ground import ground_items
from sim2street.bridge.town.scenery.meshes import Item, Layer, placed, with_instance
from sim2street.bridge.town.scenery.road_markings import marking_items
from sim2street.bridge.town.scenery.roadside import roadside_items
from sim2street.bridge.town.scenery.surroundings import surrounding_items


def scenery_items(layout: Layout) -> Iterator[Item]:
    """Everything but the moving actors."""
    yield from ground_items(layout)
    yield from marking_items(layout, np.random.default_rng([layout.seed, 1]))
    yield from _parked_cars(layout)
    yield from roadside_items(layout, np.random.default_rng([layout.seed, 2]))
    builder = Builder(np.random.default_rng([layout.seed, 3]), FreeGround(layout))
    yield from block_items(layout, builder)
    yield from surrounding_items(layout, builder)


def _parked_cars(layout: Layout) -> Iterator[Item]:
    for car in layout.parked:
        near_m = 0.0
        for mesh, far_m in actor_levels(car.model):
            body = placed(mesh, car.x_m, car.y_m, 0.0, car.heading_rad)
            here = (car.x_m, car.y_m)
            yield Item(with_instance(body, car.actor_id), Layer.SOLID, here, near_m, far_m)
            near_m = far_m
