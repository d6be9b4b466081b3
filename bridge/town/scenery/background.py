"""Meshes that fill the background: trees behind the houses, churches, and a skyline."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from sim2street.bridge.surfaces import WallMaterial
from sim2street.bridge.town.plan.layout import Layout
from sim2street.bridge.town.scenery.build_state import BuildState
from sim2street.bridge.town.scenery.building_meshes import Building, Part, Style, house, tower
from sim2street.bridge.town.scenery.building_surfaces import building_meshes
from sim2street.bridge.town.scenery.meshes import Layer, SceneryItem, placed
from sim2street.bridge.town.scenery.plant_meshes import plants
from sim2street.bridge.town.scenery.trees import plant_items, tree_items

_BACKYARD_TREES_PER_HA = 11.0
_SKYLINE_DISTANCES_M = (62.0, 120.0)
"""Distances from the outermost streets to the rows of houses and trees around the town."""


def background_items(layout: Layout, state: BuildState) -> Iterator[SceneryItem]:
    """Churches, backyard trees, and rows of houses and trees around the town."""
    x0, y0, x1, y1 = layout.bounds_m
    yield from _churches(layout, state)
    area_ha = (x1 - x0 + 60.0) * (y1 - y0 + 60.0) / 1e4
    rng = state.rng
    for _ in range(int(area_ha * _BACKYARD_TREES_PER_HA)):
        x, y = float(rng.uniform(x0 - 40, x1 + 40)), float(rng.uniform(y0 - 40, y1 + 40))
        around = np.array([(x + a, y + b) for a in (-2.5, 0, 2.5) for b in (-2.5, 0, 2.5)])
        if state.ground.is_free(around):
            kind = str(rng.choice(["broad", "broad", "sparse", "tall", "conifer", "bare"]))
            yield from tree_items(kind, rng, x, y, near_street=False)
            state.ground.take(around)
    for distance_m in _SKYLINE_DISTANCES_M:
        yield from _skyline(layout, state, distance_m)


def _churches(layout: Layout, state: BuildState) -> Iterator[SceneryItem]:
    """One or two churches at random places that are free; none where no place is found."""
    x0, y0, x1, y1 = layout.bounds_m
    rng = state.rng
    wanted = int(rng.integers(1, 3))
    for _ in range(60):
        x, y = float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1))
        grid = np.linspace(-14.0, 20.0, 12)
        around = np.array([(x + a, y + b) for a in grid for b in grid])
        if state.ground.is_free(around):
            state.ground.take(around)
            yield from _church(state, x, y)
            wanted -= 1
        if wanted == 0:
            return


def _church(state: BuildState, x: float, y: float) -> Iterator[SceneryItem]:
    """A church at (x, y) whose tower rises above the roofs."""
    rng = state.rng
    style = Style(7.0, 23.0, "across", 1.1, chimneys=0, wall=WallMaterial.STONE)
    nave = house(rng, (-6.0, 6.0, -5.0, 18.0), style)
    high = float(rng.uniform(16.0, 22.0))
    spire = tower(0.0, -7.0, 5.0, high, float(rng.uniform(8.0, 14.0)))
    whole = np.concatenate([nave.fine, spire])
    built = Building(whole, whole, (*nave.parts, (Part.BLIND, len(spire))))
    yaw = float(rng.uniform(0, 2 * math.pi))
    body, _ = building_meshes(built, style, state.new_id(), state.surface_seed)
    yield SceneryItem(placed(body, x, y, 0.0, yaw), Layer.SOLID, (x, y))


def _skyline(layout: Layout, state: BuildState, distance_m: float) -> Iterator[SceneryItem]:
    """Houses and trees along a rounded rectangle `distance_m` outside the town's bounds."""
    rng = state.rng
    x0, y0, x1, y1 = layout.bounds_m
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    half = np.array([(x1 - x0) / 2, (y1 - y0) / 2]) + distance_m
    angle = 0.0
    while angle < 2 * math.pi:
        ray = np.array([math.cos(angle), math.sin(angle)])
        # A superellipse of exponent 4: |x / a|^4 + |y / b|^4 = 1.
        reach = float((np.abs(ray / half) ** 4).sum() ** -0.25)
        x, y = centre + ray * reach
        if rng.random() < 0.55:
            wide, deep = float(rng.uniform(8, 24)), float(rng.uniform(8, 11))
            eaves = float(rng.uniform(4.8, 9.0 + distance_m / 25))
            roof = str(rng.choice(["along", "hip", "flat", "across"]))
            style = Style(eaves, deep, roof, wall=WallMaterial.PLASTER)
            built = house(rng, (-wide / 2, wide / 2, 0.0, deep), style)
            _, far = building_meshes(built, style, state.new_id(), state.surface_seed)
            body = placed(far, x, y, 0.0, angle - math.pi / 2)
            yield SceneryItem(body, Layer.SOLID, (float(x), float(y)))
            step = wide * 0.9
        else:
            plant = plants(str(rng.choice(["broad", "tall", "conifer"])))[int(rng.integers(4))]
            scale = float(rng.uniform(0.8, 1.2 + distance_m / 200))
            here = (float(x), float(y))
            yield from plant_items(plant.far, here, angle, scale, 0.0, math.inf)
            step = 5.5 * scale
        angle += step / reach
