"""All that stands still in a town, made from its layout; the same seed, the same town."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bridge.town.actor_meshes import actor_levels
from bridge.town.ground import ground_items
from bridge.town.layout import Layout
from bridge.town.markings import marking_items
from bridge.town.meshes import Item, Layer, placed, with_instance


def scenery_items(layout: Layout) -> Iterator[Item]:
    """Everything but the moving actors."""
    yield from ground_items(layout)
    yield from marking_items(layout, np.random.default_rng([layout.seed, 1]))
    yield from _parked_cars(layout)


def _parked_cars(layout: Layout) -> Iterator[Item]:
    for car in layout.parked:
        near_m = 0.0
        for mesh, far_m in actor_levels(car.model):
            body = placed(mesh, car.x_m, car.y_m, 0.0, car.heading_rad)
            here = (car.x_m, car.y_m)
            yield Item(with_instance(body, car.actor_id), Layer.SHEET, here, near_m, far_m)
            near_m = far_m
