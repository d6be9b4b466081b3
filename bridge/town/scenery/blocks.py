"""Fills the plots along the streets: terraces, shops, villas, flats, offices, parks."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.plan.layout import FIRST_SCENERY_ID, Layout
from sim2street.bridge.town.plan.plots import Frame, FreeGround, Front, fronts
from sim2street.bridge.town.scenery.buildings import Building, Rect, Style, house, tower
from sim2street.bridge.town.scenery.furniture import (
    front_sign,
    garden_wall,
    panel_fence,
    railing,
    wall_sign,
)
from sim2street.bridge.town.scenery.meshes import (
    Floats,
    Item,
    Layer,
    Mesh,
    Occluder,
    mesh,
    placed,
    polygon,
)
from sim2street.bridge.town.scenery.vegetation import Foliage, hedge, plants

FINE_BUILDING_M = 80.0
BUILDING_SEEN_M = 420.0
SMALL_SEEN_M = 110.0
_FINE_TREE_M = 21.0
_MEDIUM_TREE_M = 62.0
_COARSE_TREE_M = 130.0
_FINE_HEDGE_M = 35.0
_STREET_TREE_SEEN_M = 330.0
_YARD_TREE_SEEN_M = 170.0


@dataclass(frozen=True, slots=True)
class Zone:
    """A kind of stretch along a street.

    Attributes:
        width_m, gap_m, setback_m, eaves_m, deep_m: ranges of plots and buildings.
        border: what stands on the property line where there is a setback.
        run: how many plots share a style.
    """

    width_m: tuple[float, float]
    gap_m: tuple[float, float]
    setback_m: tuple[float, float]
    eaves_m: tuple[float, float]
    deep_m: tuple[float, float]
    roofs: tuple[str, ...]
    run: tuple[int, int]
    border: tuple[str, ...] = ("wall", "hedge", "railing", "none")
    bay: float = 0.0
    dormer: float = 0.0
    porch: float = 0.0
    signs: float = 0.0
    paved: bool = False


ZONES: dict[str, Zone] = {
    "terrace": Zone((4.6, 6.2), (0.0, 0.0), (0.0, 2.6), (5.0, 7.4), (8, 10),
                    ("along", "along", "along", "mansard"), (4, 9), bay=0.4, dormer=0.15,
                    porch=0.25, signs=0.04),
    "shops": Zone((5.0, 8.5), (0.0, 0.0), (0.0, 0.0), (6.6, 9.8), (9, 12),
                  ("along", "flat", "across", "mansard"), (1, 3), bay=0.1, dormer=0.25,
                  signs=0.75, paved=True),
    "villas": Zone((7.5, 11.0), (2.5, 5.5), (4.0, 7.5), (4.8, 6.2), (7, 10),
                   ("along", "hip", "across"), (1, 3), bay=0.4, porch=0.5),
    "flats": Zone((14.0, 26.0), (4.0, 9.0), (2.5, 6.0), (6.8, 11.0), (10, 13),
                  ("flat", "along", "hip"), (1, 2), porch=0.3),
    "offices": Zone((16.0, 28.0), (2.0, 6.0), (0.0, 3.0), (7.4, 11.5), (12, 16),
                    ("flat",), (1, 1), signs=0.5, paved=True, border=("none", "railing")),
}  # fmt: skip

_MIX = (("terrace", 0.34), ("shops", 0.20), ("villas", 0.20), ("flats", 0.09), ("offices", 0.07),
        ("park", 0.10))  # fmt: skip


@dataclass(slots=True)
class Builder:
    """What is needed while a town is filled: chance, free ground, the next instance id."""

    rng: np.random.Generator
    ground: FreeGround
    next_id: int = FIRST_SCENERY_ID

    def new_id(self) -> int:
        """A fresh instance id."""
        self.next_id += 1
        return self.next_id - 1


def block_items(layout: Layout, builder: Builder) -> Iterator[Item]:
    """Buildings, gardens and parks along all fronts."""
    for front in fronts(layout):
        yield from _front_items(builder, front)


def tree_items(
    kind: str, rng: np.random.Generator, x: float, y: float, near: bool
) -> Iterator[Item]:
    """A tree at (x, y); `near` ones have a fine level for cameras close by."""
    choice = plants(kind)
    plant = choice[int(rng.integers(len(choice)))]
    yaw, scale = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0.75, 1.08))
    seen_m = _STREET_TREE_SEEN_M if near else _YARD_TREE_SEEN_M
    levels = [
        (plant.medium, 0.0, _MEDIUM_TREE_M),
        (plant.coarse, _MEDIUM_TREE_M, _COARSE_TREE_M),
        (plant.far, _COARSE_TREE_M, seen_m),
    ]
    if near:
        levels[0] = (plant.medium, _FINE_TREE_M, _MEDIUM_TREE_M)
        levels.append((plant.fine, 0.0, _FINE_TREE_M))
    for shape, near_m, far_m in levels:
        yield from foliage_items(shape, (x, y), yaw, scale, near_m, far_m)


def foliage_items(
    shape: Foliage,
    at: tuple[float, float],
    yaw_rad: float,
    scale: float,
    near_m: float,
    far_m: float,
) -> Iterator[Item]:
    """One level of a plant: its closed and its loose parts."""
    for part, layer in ((shape.closed, Layer.SOLID), (shape.loose, Layer.SHEET)):
        if len(part):
            yield Item(placed(part, *at, 0.0, yaw_rad, scale), layer, at, near_m, far_m)


def _front_items(builder: Builder, front: Front) -> Iterator[Item]:
    rng = builder.rng
    s = float(rng.uniform(0.0, 1.0))
    names, weights = zip(*_MIX, strict=True)
    while s < front.length_m - 4.0:
        name = str(rng.choice(names, p=weights))
        if name == "park":
            length = min(float(rng.uniform(16.0, 48.0)), front.length_m - s)
            yield from _park(builder, front, s, s + length)
            s += length
            continue
        until = min(s + float(rng.uniform(28.0, 75.0)), front.length_m)
        while s < until - 3.0:
            s = yield from _row(builder, front, s, until, ZONES[name])


def _row(
    builder: Builder, front: Front, s: float, until: float, zone: Zone
) -> Generator[Item, None, float]:
    """One run of plots in one style; returns where it ended."""
    rng = builder.rng
    setback = float(rng.uniform(*zone.setback_m))
    setback = 0.0 if setback < 0.8 else setback
    style = Style(
        float(rng.uniform(*zone.eaves_m)), float(rng.uniform(*zone.deep_m)),
        str(rng.choice(zone.roofs)), float(rng.uniform(0.6, 0.95)), zone.bay, zone.dormer,
        zone.porch, int(rng.choice([0, 1, 1, 2])),
    )  # fmt: skip
    border = str(rng.choice(zone.border)) if setback > 0 else "none"
    width = float(rng.uniform(*zone.width_m))
    for _ in range(int(rng.integers(zone.run[0], zone.run[1] + 1))):
        end = min(s + width + (float(rng.normal(0, 0.3)) if zone.gap_m[1] else 0.0), until + 2.0)
        if end > front.length_m or end - s < 3.0:
            return max(end, until)
        frame = front.frame(s, end)
        yield from _plot(builder, frame, zone, style, setback, border)
        s = end
        gap = float(rng.uniform(*zone.gap_m))
        if gap > 0.5 and s + gap < front.length_m:
            yield from _side_gap(builder, front.frame(s, s + gap), border, setback)
            s += gap
        if s >= until:
            break
    return s


def _plot(
    builder: Builder, frame: Frame, zone: Zone, style: Style, setback: float, border: str
) -> Iterator[Item]:
    rng, wide = builder.rng, frame.width_m
    deep = style.deep_m
    inset = -0.015  # neighbours overlap a little: no slit of sky between them
    while not builder.ground.is_free(frame.cells(0.3, wide - 0.3, setback + 0.4, setback + deep)):
        deep -= 2.0
        if deep < 4.0:
            yield from _filler(builder, frame)
            return
    rect: Rect = (inset, wide - inset, setback, setback + deep)
    builder.ground.take(frame.cells(0.0, wide, 0.0, setback + deep))
    built = house(rng, rect, style)
    footprint = Occluder(frame.cells(0.0, wide, setback, setback + deep), style.eaves_m - 0.3)
    yield from _building_items(builder, frame, built, footprint)
    if setback > 0.8:
        yield from _front_garden(builder, frame, setback, border)
    else:
        yield from _yard(frame, 0.0, wide, 0.0, setback + 0.5)
    if zone.paved and setback > 0.8:
        yield from _yard(frame, 0.0, wide, 0.0, setback + 0.5)
    if rng.random() < zone.signs:
        yield from _signs(rng, frame, setback)


def _place(frame: Frame, shape: Mesh, x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> Mesh:
    at = frame.to_world([(x, y)])[0]
    return placed(shape, float(at[0]), float(at[1]), 0.0, frame.yaw_rad + yaw)


def _anchor(frame: Frame, x: float, y: float) -> tuple[float, float]:
    at = frame.to_world([(x, y)])[0]
    return float(at[0]), float(at[1])


def _building_items(
    builder: Builder, frame: Frame, built: Building, occluder: Occluder
) -> Iterator[Item]:
    here, number = _anchor(frame, frame.width_m / 2, 4.0), builder.new_id()
    levels: list[tuple[Floats, float, float]] = [
        (built.fine, 0.0, FINE_BUILDING_M),
        (built.coarse, FINE_BUILDING_M, BUILDING_SEEN_M),
    ]
    for shape, near_m, far_m in levels:
        body = _place(frame, mesh(shape, Tag.BUILDING, number))
        yield Item(body, Layer.SOLID, here, near_m, far_m, occluder if near_m else None)


def _yard(frame: Frame, x0: float, x1: float, y0: float, y1: float) -> Iterator[Item]:
    """Paving between sidewalk and front."""
    flat = mesh(polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], 0.0), Tag.SIDEWALK)
    yield Item(_place(frame, flat), Layer.ROAD, _anchor(frame, (x0 + x1) / 2, y0), 0.0, 200.0)


def _front_garden(builder: Builder, frame: Frame, setback: float, border: str) -> Iterator[Item]:
    rng = builder.rng
    yield from _border(
        builder, frame, border, 0.0, frame.width_m - (1.2 if rng.random() < 0.7 else 0)
    )
    if setback > 3.0 and rng.random() < 0.55:
        x, y = float(rng.uniform(0.5, frame.width_m - 0.5)), float(rng.uniform(1.0, setback - 1.0))
        kind = str(rng.choice(["bush", "bush", "young", "sparse", "conifer", "broad"]))
        yield from _plant(builder, kind, _anchor(frame, x, y))
    if rng.random() < 0.35:
        x = float(rng.uniform(0.3, frame.width_m - 0.3))
        yield from _plant(builder, "bush", _anchor(frame, x, setback - 0.5))


def _plant(builder: Builder, kind: str, at: tuple[float, float]) -> Iterator[Item]:
    """A plant near the street, where it does not grow into it."""
    if builder.ground.is_off_street(*at, 1.1 if kind == "bush" else 0.6):
        yield from tree_items(kind, builder.rng, *at, near=True)


def _border(builder: Builder, frame: Frame, border: str, x0: float, x1: float) -> Iterator[Item]:
    """What stands on the property line."""
    rng, length = builder.rng, x1 - x0
    if border == "none" or length < 1.0:
        return
    coarse: Mesh | None = None
    if border == "wall":
        shape = garden_wall(length, float(rng.uniform(0.6, 1.2)))
    elif border == "hedge":
        deep, high = float(rng.uniform(0.6, 1.0)), float(rng.uniform(0.9, 2.0))
        shape, coarse = hedge(rng, length, deep, high)
    elif border == "panels":
        shape = panel_fence(rng, length, float(rng.uniform(1.5, 1.9)))
    else:
        shape = railing(length, float(rng.uniform(0.9, 1.4)), bool(rng.random() < 0.5))
    line = [_anchor(frame, float(x), 0.7) for x in np.linspace(x0, x1, 5)]
    if not all(builder.ground.is_off_street(*at, 0.2) for at in line):
        return
    fine_m = SMALL_SEEN_M if coarse is None else _FINE_HEDGE_M
    yield Item(_place(frame, shape, x0, 0.2), Layer.SHEET, line[2], 0.0, fine_m)
    if coarse is not None:
        yield Item(_place(frame, coarse, x0, 0.2), Layer.SHEET, line[2], fine_m, SMALL_SEEN_M)


def _side_gap(builder: Builder, frame: Frame, border: str, setback: float) -> Iterator[Item]:
    """Between two houses: a fence further back, and often a tree behind it."""
    rng = builder.rng
    if frame.width_m > 1.2 and rng.random() < 0.6:
        shape = panel_fence(rng, frame.width_m, 1.8)
        here = _anchor(frame, frame.width_m / 2, setback + 2.0)
        yield Item(_place(frame, shape, 0.0, setback + 2.0), Layer.SOLID, here, 0.0, SMALL_SEEN_M)
    if rng.random() < 0.5:
        kind = str(rng.choice(["broad", "sparse", "tall", "conifer", "bare"]))
        at = _anchor(frame, frame.width_m / 2, setback + float(rng.uniform(4.0, 12.0)))
        if builder.ground.is_free(np.array([at])):
            yield from tree_items(kind, rng, *at, near=False)


def _filler(builder: Builder, frame: Frame) -> Iterator[Item]:
    """Where no house fits: a wall or hedge with greenery behind."""
    border = str(builder.rng.choice(["wall", "hedge", "panels", "railing"]))
    yield from _border(builder, frame, border, 0.0, frame.width_m)
    at = _anchor(frame, frame.width_m / 2, 2.5)
    if builder.ground.is_free(np.array([at])):
        yield from _plant(builder, "sparse", at)


def _signs(rng: np.random.Generator, frame: Frame, setback: float) -> Iterator[Item]:
    for _ in range(int(rng.integers(1, 3))):
        if rng.random() < 0.62:
            shape, x = wall_sign(rng), float(rng.uniform(0.4, frame.width_m - 0.4))
        else:
            wide = float(rng.uniform(0.35, 0.75)) * min(frame.width_m, 6.0)
            shape, x = front_sign(rng, wide), float(rng.uniform(0.2, frame.width_m - wide - 0.1))
        body = _place(frame, shape, x, setback)
        yield Item(body, Layer.SOLID, _anchor(frame, x, setback), 0.0, SMALL_SEEN_M)


def _park(builder: Builder, front: Front, s0: float, s1: float) -> Iterator[Item]:
    """Green (or a car park's edge) with trees, behind a fence, hedge, wall or nothing."""
    rng = builder.rng
    border = str(rng.choice(["railing", "wall", "hedge", "panels", "none"]))
    for a in np.arange(s0, s1 - 2.0, 6.0):
        frame = front.frame(float(a), min(float(a) + 6.0, s1))
        yield from _border(builder, frame, border, 0.0, frame.width_m)
        for _ in range(int(rng.integers(1, 4))):
            x, y = float(rng.uniform(0, frame.width_m)), float(rng.uniform(1.8, 24.0))
            at = _anchor(frame, x, y)
            kind = str(rng.choice(["broad", "broad", "tall", "sparse", "bare", "bush", "conifer"]))
            if builder.ground.is_free(np.array([at])) and builder.ground.is_off_street(*at, 1.0):
                yield from tree_items(kind, rng, *at, near=y < 10.0)
                builder.ground.take(frame.cells(x - 1.0, x + 1.0, y - 1.0, y + 1.0))


def church_items(builder: Builder, x: float, y: float) -> Iterator[Item]:
    """A church whose tower is seen over the roofs."""
    rng = builder.rng
    nave = house(rng, (-6.0, 6.0, -5.0, 18.0), Style(7.0, 23.0, "across", 1.1, chimney=0))
    high = float(rng.uniform(16.0, 22.0))
    body = np.concatenate([nave.coarse, tower(0.0, -7.0, 5.0, high, float(rng.uniform(8.0, 14.0)))])
    yaw, number = float(rng.uniform(0, 2 * math.pi)), builder.new_id()
    yield Item(placed(mesh(body, Tag.BUILDING, number), x, y, 0.0, yaw), Layer.SOLID, (x, y))
