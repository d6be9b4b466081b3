"""Fills the plots along the streets with buildings, gardens and parks.

Each street front is cut into stretches of one `Zone` (terraced houses, shops, ...), these into
rows of one building style, and rows into plots. Plot coordinates: x along the front, y away
from the street, metres.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.labels import Tag
from sim2street.bridge.surfaces import SignShape, WallMaterial
from sim2street.bridge.town.plan.layout import Layout
from sim2street.bridge.town.plan.plots import Plot, StreetFront, street_fronts
from sim2street.bridge.town.scenery.build_state import BuildState
from sim2street.bridge.town.scenery.building_meshes import Rect, Style, house
from sim2street.bridge.town.scenery.building_surfaces import building_meshes, with_blind_walls
from sim2street.bridge.town.scenery.furniture_meshes import (
    fascia_sign,
    garden_wall,
    panel_fence,
    projecting_sign,
    railing,
)
from sim2street.bridge.town.scenery.meshes import (
    Layer,
    Mesh,
    Occluder,
    SceneryItem,
    mesh,
    placed,
)
from sim2street.bridge.town.scenery.plane_faces import mixed, place_key
from sim2street.bridge.town.scenery.plant_meshes import hedge
from sim2street.bridge.town.scenery.primitives import polygon
from sim2street.bridge.town.scenery.sign_surfaces import with_sign_faces
from sim2street.bridge.town.scenery.trees import tree_items

_FINE_BUILDING_M = 80.0
_FINE_HEDGE_M = 35.0
"""Up to these distances the fine level of detail is drawn."""

_BUILDING_FAR_M = 420.0
_SMALL_FAR_M = 110.0
_PAVING_FAR_M = 200.0
"""Things are not drawn beyond these distances."""


@dataclass(frozen=True, slots=True)
class Zone:
    """What may stand along one stretch of a street; ranges are drawn from uniformly.

    Attributes:
        width_m: width of a plot.
        gap_m: between two buildings.
        setback_m: from the property line to the buildings' fronts.
        eaves_m: height of the eaves.
        depth_m: of a building, away from the street.
        roofs: see `building_meshes.Style`; one is chosen for each row.
        row: number of plots in a row of one style.
        borders: what may stand on the property line where there is a setback.
        bay, dormer, porch: probability of each at a building.
        signs: probability of signs at a building.
        paved: the setback is paved.
        walls: materials of walls; one is chosen for each row.
        shop: the walls towards the street are shop fronts.
    """

    width_m: tuple[float, float]
    gap_m: tuple[float, float]
    setback_m: tuple[float, float]
    eaves_m: tuple[float, float]
    depth_m: tuple[float, float]
    roofs: tuple[str, ...]
    row: tuple[int, int]
    borders: tuple[str, ...] = ("wall", "hedge", "railing", "none")
    bay: float = 0.0
    dormer: float = 0.0
    porch: float = 0.0
    signs: float = 0.0
    paved: bool = False
    walls: tuple[WallMaterial, ...] = (WallMaterial.PLASTER, WallMaterial.BRICK)
    shop: bool = False


_PLASTER, _BRICK, _STONE = WallMaterial.PLASTER, WallMaterial.BRICK, WallMaterial.STONE

ZONES: dict[str, Zone] = {
    "terrace": Zone((4.6, 6.2), (0.0, 0.0), (0.0, 2.6), (5.0, 7.4), (8, 10),
                    ("along", "along", "along", "mansard"), (4, 9), bay=0.4, dormer=0.15,
                    porch=0.25, signs=0.04, walls=(_BRICK, _BRICK, _PLASTER, _PLASTER, _STONE)),
    "shops": Zone((5.0, 8.5), (0.0, 0.0), (0.0, 0.0), (6.6, 9.8), (9, 12),
                  ("along", "flat", "across", "mansard"), (1, 3), bay=0.1, dormer=0.25,
                  signs=0.75, paved=True, walls=(_PLASTER, _PLASTER, _BRICK, _STONE), shop=True),
    "villas": Zone((7.5, 11.0), (2.5, 5.5), (4.0, 7.5), (4.8, 6.2), (7, 10),
                   ("along", "hip", "across"), (1, 3), bay=0.4, porch=0.5,
                   walls=(_PLASTER, _PLASTER, _BRICK, WallMaterial.WOOD)),
    "flats": Zone((14.0, 26.0), (4.0, 9.0), (2.5, 6.0), (6.8, 11.0), (10, 13),
                  ("flat", "along", "hip"), (1, 2), porch=0.3),
    "offices": Zone((16.0, 28.0), (2.0, 6.0), (0.0, 3.0), (7.4, 11.5), (12, 16),
                    ("flat",), (1, 1), signs=0.5, paved=True, borders=("none", "railing"),
                    walls=(WallMaterial.OFFICE,)),
}  # fmt: skip

_ZONE_PROBABILITIES = {
    "terrace": 0.34,
    "shops": 0.20,
    "villas": 0.20,
    "flats": 0.09,
    "offices": 0.07,
    "park": 0.10,
}


def street_front_items(layout: Layout, state: BuildState) -> Iterator[SceneryItem]:
    """Buildings, gardens and parks along all streets of a town."""
    for front in street_fronts(layout):
        yield from _front_items(state, front)


def _front_items(state: BuildState, front: StreetFront) -> Iterator[SceneryItem]:
    rng = state.rng
    s = float(rng.uniform(0.0, 1.0))
    names, weights = list(_ZONE_PROBABILITIES), list(_ZONE_PROBABILITIES.values())
    while s < front.length_m - 4.0:
        name = str(rng.choice(names, p=weights))
        if name == "park":
            length = min(float(rng.uniform(16.0, 48.0)), front.length_m - s)
            yield from _park(state, front, s, s + length)
            s += length
            continue
        until = min(s + float(rng.uniform(28.0, 75.0)), front.length_m)
        while s < until - 3.0:
            s = yield from _row(state, front, s, until, ZONES[name])


def _row(
    state: BuildState, front: StreetFront, s: float, until: float, zone: Zone
) -> Generator[SceneryItem, None, float]:
    """A row of plots in one style from `s` to about `until` at most (metres along the front).

    Returns the distance at which it ended.
    """
    rng = state.rng
    setback = float(rng.uniform(*zone.setback_m))
    setback = 0.0 if setback < 0.8 else setback
    style = Style(
        float(rng.uniform(*zone.eaves_m)), float(rng.uniform(*zone.depth_m)),
        str(rng.choice(zone.roofs)), float(rng.uniform(0.6, 0.95)), zone.bay, zone.dormer,
        zone.porch, int(rng.choice([0, 1, 1, 2])),
        zone.walls[mixed(state.next_id) % len(zone.walls)], zone.shop,
    )  # fmt: skip
    border = str(rng.choice(zone.borders)) if setback > 0 else "none"
    width = float(rng.uniform(*zone.width_m))
    for _ in range(int(rng.integers(zone.row[0], zone.row[1] + 1))):
        end = min(s + width + (float(rng.normal(0, 0.3)) if zone.gap_m[1] else 0.0), until + 2.0)
        if end > front.length_m or end - s < 3.0:
            return max(end, until)
        plot = front.plot(s, end)
        yield from _plot(state, plot, zone, style, setback, border)
        s = end
        gap = float(rng.uniform(*zone.gap_m))
        if gap > 0.5 and s + gap < front.length_m:
            yield from _side_gap(state, front.plot(s, s + gap), setback)
            s += gap
        if s >= until:
            break
    return s


def _plot(
    state: BuildState, plot: Plot, zone: Zone, style: Style, setback: float, border: str
) -> Iterator[SceneryItem]:
    """One plot: its building, and what stands or lies in front of it.

    The building is made less deep where the ground behind is taken; where none fits, the plot
    gets greenery instead.
    """
    rng, wide = state.rng, plot.width_m
    deep = style.depth_m
    inset = -0.015  # neighbours overlap slightly, so that no sky shows between them
    while not state.ground.is_free(plot.cells(0.3, wide - 0.3, setback + 0.4, setback + deep)):
        deep -= 2.0
        if deep < 4.0:
            yield from _without_building(state, plot)
            return
    rect: Rect = (inset, wide - inset, setback, setback + deep)
    state.ground.take(plot.cells(0.0, wide, 0.0, setback + deep))
    built = house(rng, rect, style)
    footprint = Occluder(plot.cells(0.0, wide, setback, setback + deep), style.eaves_m - 0.3)
    meshes = building_meshes(built, style, state.new_id(), state.surface_seed)
    yield from _building_items(plot, meshes, footprint)
    if setback > 0.8:
        yield from _front_garden(state, plot, setback, border)
    if setback <= 0.8 or zone.paved:
        yield from _paving(plot, setback + 0.5)
    if rng.random() < zone.signs:
        yield from _signs(state, plot, setback)


def _in_world(plot: Plot, shape: Mesh, x: float = 0.0, y: float = 0.0) -> Mesh:
    """A shape that stands at the plot coordinates (x, y), in the world frame."""
    return placed(shape, *_world_xy(plot, x, y), 0.0, plot.yaw_rad)


def _world_xy(plot: Plot, x: float, y: float) -> tuple[float, float]:
    """The plot coordinates (x, y) in the world frame."""
    at = plot.to_world([(x, y)])[0]
    return float(at[0]), float(at[1])


def _building_items(
    plot: Plot, meshes: tuple[Mesh, Mesh], occluder: Occluder
) -> Iterator[SceneryItem]:
    """A building by its fine and coarse mesh."""
    here = _world_xy(plot, plot.width_m / 2, 4.0)
    levels = [(0.0, _FINE_BUILDING_M), (_FINE_BUILDING_M, _BUILDING_FAR_M)]
    for shape, (near_m, far_m) in zip(meshes, levels, strict=True):
        body = _in_world(plot, shape)
        # One of the two levels is enough to carry the occluder.
        yield SceneryItem(body, Layer.SOLID, here, near_m, far_m, occluder if near_m else None)


def _paving(plot: Plot, depth_m: float) -> Iterator[SceneryItem]:
    """Paved ground over the plot's whole width, from the property line to `depth_m`."""
    wide = plot.width_m
    flat = polygon([(0.0, 0.0), (wide, 0.0), (wide, depth_m), (0.0, depth_m)], 0.0)
    body = _in_world(plot, mesh(flat, Tag.SIDEWALK))
    yield SceneryItem(body, Layer.ROAD, _world_xy(plot, wide / 2, 0.0), 0.0, _PAVING_FAR_M)


def _front_garden(
    state: BuildState, plot: Plot, setback: float, border: str
) -> Iterator[SceneryItem]:
    """A border on the property line, often with a gap for the path, and plants behind it."""
    rng = state.rng
    path = 1.2 if rng.random() < 0.7 else 0
    yield from _border(state, plot, border, plot.width_m - path)
    if setback > 3.0 and rng.random() < 0.55:
        x, y = float(rng.uniform(0.5, plot.width_m - 0.5)), float(rng.uniform(1.0, setback - 1.0))
        kind = str(rng.choice(["bush", "bush", "young", "sparse", "conifer", "broad"]))
        yield from _plant(state, kind, _world_xy(plot, x, y))
    if rng.random() < 0.35:
        x = float(rng.uniform(0.3, plot.width_m - 0.3))
        yield from _plant(state, "bush", _world_xy(plot, x, setback - 0.5))


def _plant(state: BuildState, kind: str, at: tuple[float, float]) -> Iterator[SceneryItem]:
    """A plant near the street, if there is room for it beside the sidewalk."""
    if state.ground.is_off_street(*at, 1.1 if kind == "bush" else 0.6):
        yield from tree_items(kind, state.rng, *at, near_street=True)


def _border(state: BuildState, plot: Plot, border: str, length: float) -> Iterator[SceneryItem]:
    """A wall, hedge, panel fence or railing along the property line, from x = 0 on."""
    rng = state.rng
    if border == "none" or length < 1.0:
        return
    coarse: Mesh | None = None
    if border == "wall":
        shape = garden_wall(length, float(rng.uniform(0.6, 1.2)))
        if state.surface_seed is not None:
            shape = with_blind_walls(shape, place_key(state.surface_seed, plot.x_m, plot.y_m))
    elif border == "hedge":
        deep, high = float(rng.uniform(0.6, 1.0)), float(rng.uniform(0.9, 2.0))
        shape, coarse = hedge(rng, length, deep, high)
    elif border == "panels":
        shape = panel_fence(rng, length, float(rng.uniform(1.5, 1.9)))
    else:
        shape = railing(length, float(rng.uniform(0.9, 1.4)), bool(rng.random() < 0.5))
    line = [_world_xy(plot, float(x), 0.7) for x in np.linspace(0.0, length, 5)]
    if not all(state.ground.is_off_street(*at, 0.2) for at in line):
        return
    fine_m = _SMALL_FAR_M if coarse is None else _FINE_HEDGE_M
    yield SceneryItem(_in_world(plot, shape, 0.0, 0.2), Layer.SHEET, line[2], 0.0, fine_m)
    if coarse is not None:
        yield SceneryItem(
            _in_world(plot, coarse, 0.0, 0.2), Layer.SHEET, line[2], fine_m, _SMALL_FAR_M
        )


def _side_gap(state: BuildState, plot: Plot, setback: float) -> Iterator[SceneryItem]:
    """The gap between two buildings: often a fence set back from the fronts, and a tree."""
    rng = state.rng
    if plot.width_m > 1.2 and rng.random() < 0.6:
        shape = panel_fence(rng, plot.width_m, 1.8)
        here = _world_xy(plot, plot.width_m / 2, setback + 2.0)
        yield SceneryItem(
            _in_world(plot, shape, 0.0, setback + 2.0), Layer.SOLID, here, 0.0, _SMALL_FAR_M
        )
    if rng.random() < 0.5:
        kind = str(rng.choice(["broad", "sparse", "tall", "conifer", "bare"]))
        at = _world_xy(plot, plot.width_m / 2, setback + float(rng.uniform(4.0, 12.0)))
        if state.ground.is_free(np.array([at])):
            yield from tree_items(kind, rng, *at, near_street=False)


def _without_building(state: BuildState, plot: Plot) -> Iterator[SceneryItem]:
    """A plot on which no building fits: a border and a tree."""
    border = str(state.rng.choice(["wall", "hedge", "panels", "railing"]))
    yield from _border(state, plot, border, plot.width_m)
    at = _world_xy(plot, plot.width_m / 2, 2.5)
    if state.ground.is_free(np.array([at])):
        yield from _plant(state, "sparse", at)


def _signs(state: BuildState, plot: Plot, setback: float) -> Iterator[SceneryItem]:
    """One or two shop signs at the front of a building."""
    rng = state.rng
    for _ in range(int(rng.integers(1, 3))):
        if rng.random() < 0.62:
            shape, x = projecting_sign(rng), float(rng.uniform(0.4, plot.width_m - 0.4))
        else:
            wide = float(rng.uniform(0.35, 0.75)) * min(plot.width_m, 6.0)
            shape, x = fascia_sign(rng, wide), float(rng.uniform(0.2, plot.width_m - wide - 0.1))
        here = _world_xy(plot, x, setback)
        if state.surface_seed is not None:
            shape = with_sign_faces(shape, place_key(state.surface_seed, *here), SignShape.SHOP)
        body = _in_world(plot, shape, x, setback)
        yield SceneryItem(body, Layer.SOLID, here, 0.0, _SMALL_FAR_M)


def _park(state: BuildState, front: StreetFront, s0: float, s1: float) -> Iterator[SceneryItem]:
    """A park between two distances along the front: trees behind a border."""
    rng = state.rng
    border = str(rng.choice(["railing", "wall", "hedge", "panels", "none"]))
    for a in np.arange(s0, s1 - 2.0, 6.0):
        plot = front.plot(float(a), min(float(a) + 6.0, s1))
        yield from _border(state, plot, border, plot.width_m)
        for _ in range(int(rng.integers(1, 4))):
            x, y = float(rng.uniform(0, plot.width_m)), float(rng.uniform(1.8, 24.0))
            at = _world_xy(plot, x, y)
            kind = str(rng.choice(["broad", "broad", "tall", "sparse", "bare", "bush", "conifer"]))
            if state.ground.is_free(np.array([at])) and state.ground.is_off_street(*at, 1.0):
                yield from tree_items(kind, rng, *at, near_street=y < 10.0)
                state.ground.take(plot.cells(x - 1.0, x + 1.0, y - 1.0, y + 1.0))
