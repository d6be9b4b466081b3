"""What closes the view: greenery behind the houses, and a skyline around the town."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.plan.layout import Layout
from sim2street.bridge.town.scenery.blocks import Builder, church_items, foliage_items, tree_items
from sim2street.bridge.town.scenery.buildings import Style, house
from sim2street.bridge.town.scenery.meshes import Item, Layer, mesh, placed
from sim2street.bridge.town.scenery.vegetation import plants

_BACKYARD_TREES_PER_HA = 11.0
_RINGS_M = (62.0, 120.0)


def surrounding_items(layout: Layout, builder: Builder) -> Iterator[Item]:
    """Backyard trees, a church or two, and rings of houses and woods round the town."""
    x0, y0, x1, y1 = layout.bounds_m
    yield from _churches(layout, builder)
    area_ha = (x1 - x0 + 60.0) * (y1 - y0 + 60.0) / 1e4
    rng = builder.rng
    for _ in range(int(area_ha * _BACKYARD_TREES_PER_HA)):
        x, y = float(rng.uniform(x0 - 40, x1 + 40)), float(rng.uniform(y0 - 40, y1 + 40))
        around = np.array([(x + a, y + b) for a in (-2.5, 0, 2.5) for b in (-2.5, 0, 2.5)])
        if builder.ground.is_free(around):
            kind = str(rng.choice(["broad", "broad", "sparse", "tall", "conifer", "bare"]))
            yield from tree_items(kind, rng, x, y, near=False)
            builder.ground.take(around)
    for ring_m in _RINGS_M:
        yield from _ring(layout, builder, ring_m)


def _churches(layout: Layout, builder: Builder) -> Iterator[Item]:
    x0, y0, x1, y1 = layout.bounds_m
    rng = builder.rng
    wanted = int(rng.integers(1, 3))
    for _ in range(60):
        x, y = float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1))
        grid = np.linspace(-14.0, 20.0, 12)
        around = np.array([(x + a, y + b) for a in grid for b in grid])
        if builder.ground.is_free(around):
            builder.ground.take(around)
            yield from church_items(builder, x, y)
            wanted -= 1
        if wanted == 0:
            return


def _ring(layout: Layout, builder: Builder, ring_m: float) -> Iterator[Item]:
    """Houses and clumps of trees along a rounded rectangle round the town."""
    rng = builder.rng
    x0, y0, x1, y1 = layout.bounds_m
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    half = np.array([(x1 - x0) / 2, (y1 - y0) / 2]) + ring_m
    angle = 0.0
    while angle < 2 * math.pi:
        ray = np.array([math.cos(angle), math.sin(angle)])
        reach = float((np.abs(ray / half) ** 4).sum() ** -0.25)
        x, y = centre + ray * reach
        if rng.random() < 0.55:
            wide, deep = float(rng.uniform(8, 24)), float(rng.uniform(8, 11))
            eaves = float(rng.uniform(4.8, 9.0 + ring_m / 25))
            roof = str(rng.choice(["along", "hip", "flat", "across"]))
            built = house(rng, (-wide / 2, wide / 2, 0.0, deep), Style(eaves, deep, roof))
            body = placed(
                mesh(built.coarse, Tag.BUILDING, builder.new_id()), x, y, 0.0, angle - math.pi / 2
            )
            yield Item(body, Layer.SOLID, (float(x), float(y)))
            step = wide * 0.9
        else:
            plant = plants(str(rng.choice(["broad", "tall", "conifer"])))[int(rng.integers(4))]
            scale = float(rng.uniform(0.8, 1.2 + ring_m / 200))
            here = (float(x), float(y))
            yield from foliage_items(plant.far, here, angle, scale, 0.0, math.inf)
            step = 5.5 * scale
        angle += step / reach
