"""Triangles of buildings: walls, roofs, chimneys, bay windows, porches and dormers.

All coordinates are those of a plot: x along the front, y away from the street, z up, metres.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.surfaces import WallMaterial
from sim2street.bridge.town.scenery.meshes import Floats
from sim2street.bridge.town.scenery.primitives import (
    both_sides,
    box,
    fan,
    loft,
    prism,
    regular_polygon,
    walls,
)

Rect = tuple[float, float, float, float]
"""Footprint of a building: (x0, x1, y0, y1) in plot coordinates, metres."""


class Part(enum.IntEnum):
    """What a part of a building is."""

    WALLS = 0
    """With windows and doors."""
    ROOF = 1
    """With its gables."""
    DORMER = 2
    """The walls of a dormer; the one towards the street has a window."""
    BLIND = 3
    """Without windows: chimneys, parapets, plant rooms, the sides of porches."""


@dataclass(frozen=True, slots=True)
class Building:
    """The triangles of a building.

    Attributes:
        fine: float64 (T, 3, 3), with details.
        coarse: the first ones of `fine`, without details.
        parts: what each part is and its number of triangles, in the order of `fine`.
    """

    fine: Floats
    coarse: Floats
    parts: tuple[tuple[Part, int], ...]


@dataclass(frozen=True, slots=True)
class Style:
    """What the buildings of one row have in common.

    Attributes:
        eaves_m: height of the walls.
        depth_m: of the building, away from the street.
        roof: "along" (ridge along the street), "across" (gable to the street), "hip",
            "flat" or "mansard".
        pitch: rise of the roof over its run.
        bay, dormer, porch: probability of each at a building.
        chimneys: 0 (none), 1 (on one side) or 2 (on both).
        wall: material of the walls.
        shop: the wall towards the street is a shop front.
    """

    eaves_m: float
    depth_m: float
    roof: str
    pitch: float = 0.75
    bay: float = 0.0
    dormer: float = 0.0
    porch: float = 0.0
    chimneys: int = 1
    wall: WallMaterial = WallMaterial.ANY
    shop: bool = False


def house(rng: np.random.Generator, rect: Rect, style: Style) -> Building:
    """A building on a footprint, with random variations of its row's style."""
    x0, x1, y0, y1 = rect
    eaves = style.eaves_m + float(rng.normal(0, 0.08))
    outline = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    top, ridge = _roof(rect, eaves, style)
    body = walls(outline, 0.0, eaves)
    parts = [(Part.WALLS, body), (Part.ROOF, top)]
    count = len(body) + len(top)
    if style.chimneys and style.roof != "flat":
        parts += [(Part.BLIND, stack) for stack in _chimneys(rng, rect, ridge, style)]
        count += 8  # the walls of the first chimney
    if style.roof == "flat":
        parts += [(Part.BLIND, each) for each in _flat_roof_structures(rng, rect, eaves)]
    if rng.random() < style.bay:
        parts += zip(itertools.chain([Part.WALLS], itertools.repeat(Part.ROOF)),
                     _bay(rng, rect, eaves), strict=False)  # fmt: skip
    if rng.random() < style.porch:
        parts += zip(itertools.chain([Part.ROOF], itertools.repeat(Part.BLIND)),
                     _porch(rng, rect), strict=False)  # fmt: skip
    if rng.random() < style.dormer and style.roof in ("along", "mansard"):
        parts += zip(itertools.cycle([Part.DORMER, Part.ROOF]),
                     _dormers(rect, eaves, style), strict=False)  # fmt: skip
    fine = np.concatenate([triangles for _, triangles in parts])
    return Building(fine, fine[:count], tuple((part, len(each)) for part, each in parts))


def _roof(rect: Rect, eaves_m: float, style: Style) -> tuple[Floats, float]:
    """Triangles of the roof, and the height of its ridge in metres."""
    x0, x1, y0, y1 = rect
    if style.roof == "flat":
        ring = [(x0, y0, eaves_m), (x1, y0, eaves_m), (x1, y1, eaves_m), (x0, y1, eaves_m)]
        return fan(ring), eaves_m
    if style.roof == "across":
        along, ridge = _gable(y0, y1, x0, x1, eaves_m, style.pitch)
        # Swap x and y, and reverse the corners' order so that faces still look outward.
        return along[:, ::-1][:, :, [1, 0, 2]], ridge
    if style.roof == "hip":
        return _hip(rect, eaves_m, style.pitch)
    if style.roof == "mansard":
        return _mansard(rect, eaves_m)
    return _gable(x0, x1, y0, y1, eaves_m, style.pitch)


def _gable(
    x0: float, x1: float, y0: float, y1: float, eaves_m: float, pitch: float
) -> tuple[Floats, float]:
    """A gabled roof whose ridge runs along x; its slopes overhang the walls."""
    middle, over = (y0 + y1) / 2, 0.28
    ridge = eaves_m + (y1 - y0) / 2 * pitch
    low = eaves_m - over * pitch
    a, b = (x0, y0 - over, low), (x1, y0 - over, low)
    c, d = (x1, y1 + over, low), (x0, y1 + over, low)
    e, f = (x0, middle, ridge), (x1, middle, ridge)
    gables = [((x0, y1, eaves_m), (x0, y0, eaves_m), e), ((x1, y0, eaves_m), (x1, y1, eaves_m), f)]
    slopes = [(a, b, f), (a, f, e), (c, d, e), (c, e, f)]
    # The overhang is also seen from below.
    return np.concatenate([np.array(gables), both_sides(np.array(slopes))]), ridge


def _hip(rect: Rect, eaves_m: float, pitch: float) -> tuple[Floats, float]:
    """A hipped roof: four slopes, the ridge along the longer side."""
    x0, x1, y0, y1 = rect
    x0, x1, y0, y1 = x0 - 0.3, x1 + 0.3, y0 - 0.3, y1 + 0.3
    half = min(x1 - x0, y1 - y0) / 2
    ridge = eaves_m + half * pitch
    if x1 - x0 >= y1 - y0:
        e, f = (x0 + half, (y0 + y1) / 2, ridge), (x1 - half, (y0 + y1) / 2, ridge)
    else:
        e, f = ((x0 + x1) / 2, y0 + half, ridge), ((x0 + x1) / 2, y1 - half, ridge)
    a, b, c, d = ((x, y, eaves_m) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
    if x1 - x0 >= y1 - y0:
        faces = [(a, b, f), (a, f, e), (b, c, f), (c, d, e), (c, e, f), (d, a, e)]
    else:
        faces = [(a, b, e), (b, c, f), (b, f, e), (c, d, f), (d, a, e), (d, e, f)]
    # The underside of the overhang, which is seen from the street.
    return np.concatenate([np.array(faces), fan([d, c, b, a])]), ridge


def _mansard(rect: Rect, eaves_m: float) -> tuple[Floats, float]:
    """A mansard roof: a steep lower and a shallow upper slope."""
    x0, x1, y0, y1 = rect
    rings = []
    for inset, z in ((-0.15, eaves_m), (0.7, eaves_m + 2.2), (2.2, eaves_m + 2.9)):
        side = min(inset, 0.4)
        xs, ys = (x0 + side, x1 - side), (y0 + inset, y1 - inset)
        rings.append([(xs[i], ys[j], z) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))])
    return loft(rings), eaves_m + 2.9


def _chimneys(rng: np.random.Generator, rect: Rect, ridge_m: float, style: Style) -> list[Floats]:
    """Chimneys near the side walls, each a stack followed by its pots."""
    x0, x1, y0, y1 = rect
    parts: list[Floats] = []
    across = style.roof == "across"
    for side in range(style.chimneys):
        deep, wide = rng.uniform(0.7, 1.3), rng.uniform(0.45, 0.65)
        middle = (y0 + y1) / 2 + float(rng.choice([0.0, -0.9, 0.9])) * (0.0 if across else 1.0)
        x = x0 + wide if side == 0 else x1 - wide
        top = ridge_m + rng.uniform(0.5, 1.3)
        base = style.eaves_m - 0.5  # low enough to start inside any roof
        parts.append(box((x - wide, middle - deep / 2, base), (x + wide, middle + deep / 2, top)))
        for k in range(int(rng.integers(1, 4))):
            y = middle - deep / 2 + deep * (k + 0.5) / 3
            parts.append(box((x - 0.11, y - 0.11, top), (x + 0.11, y + 0.11, top + 0.4)))
    return parts


def _flat_roof_structures(rng: np.random.Generator, rect: Rect, eaves_m: float) -> list[Floats]:
    """What stands on a flat roof: a parapet, and boxes such as plant rooms."""
    x0, x1, y0, y1 = rect
    high = float(rng.uniform(0.4, 1.1))
    parts = [box((x0, y0, eaves_m), (x1, y0 + 0.25, eaves_m + high)),
             box((x0, y0, eaves_m), (x0 + 0.25, y1, eaves_m + high)),
             box((x1 - 0.25, y0, eaves_m), (x1, y1, eaves_m + high))]  # fmt: skip
    for _ in range(int(rng.integers(0, 3))):
        wide = min(float(rng.uniform(1.5, 4.5)), (x1 - x0) * 0.5)
        x, y = rng.uniform(x0, x1 - wide), rng.uniform(y0 + 0.8, y0 + 3.0)
        parts.append(
            box((x, y, eaves_m), (x + wide, y + 2.5, eaves_m + float(rng.uniform(1.4, 2.8))))
        )
    return parts


def _bay(rng: np.random.Generator, rect: Rect, eaves_m: float) -> list[Floats]:
    """A bay window over one or all floors, with its own roof."""
    x0, x1, y0, _ = rect
    wide = min(2.4, (x1 - x0) * 0.5)
    x = x0 + 0.5 if rng.random() < 0.5 else x1 - 0.5 - wide
    top = 2.9 if rng.random() < 0.5 else eaves_m - 0.3
    out = y0 - float(rng.uniform(0.5, 0.8))
    ring = np.array([(x, y0), (x + wide * 0.22, out), (x + wide * 0.78, out), (x + wide, y0)])
    peak = np.array([(x + wide / 2, y0, top + 0.7)])
    roof = [np.array([[(*a, top), (*b, top), peak[0]]]) for a, b in itertools.pairwise(ring)]
    return [walls(ring, 0.0, top, closed=False), *roof]


def _porch(rng: np.random.Generator, rect: Rect) -> list[Floats]:
    """A small gabled roof on two side walls in front of the building."""
    x0, x1, y0, _ = rect
    x = float(rng.uniform(x0 + 0.3, max(x0 + 0.4, x1 - 1.8)))
    out, top = y0 - float(rng.uniform(0.6, 1.1)), 2.5
    a, b, peak = (x, out, top), (x + 1.5, out, top), (x + 0.75, out, top + 0.6)
    back = (x + 0.75, y0, top + 0.6)
    roof = np.array([(a, b, peak), (a, peak, (x, y0, top)), (peak, back, (x, y0, top)),
                     (b, (x + 1.5, y0, top), peak), ((x + 1.5, y0, top), back, peak)])  # fmt: skip
    sides = [box((at, out, 0.0), (at + 0.14, y0, top)) for at in (x, x + 1.36)]
    return [roof, *sides]


def _dormers(rect: Rect, eaves_m: float, style: Style) -> list[Floats]:
    """A row of dormer windows with gabled roofs on the street side of the roof."""
    x0, x1, y0, _ = rect
    parts = []
    count = max(1, int((x1 - x0) / 4.0))
    run = 0.9
    base = eaves_m + run * (style.pitch if style.roof == "along" else 1.6)
    top = base + 1.5
    for k in range(count):
        x = x0 + (x1 - x0) * (k + 0.5) / count
        parts.append(
            box((x - 0.75, y0 + run, base - 0.6), (x + 0.75, y0 + run + 1.9, top), top=False)
        )
        a, b, peak = (x - 0.85, y0 + run, top), (x + 0.85, y0 + run, top), (x, y0 + run, top + 0.6)
        c, d, end = (x - 0.85, y0 + 3.4, top), (x + 0.85, y0 + 3.4, top), (x, y0 + 3.4, top + 0.6)
        parts.append(
            np.array([(a, b, peak), (a, peak, end), (a, end, c), (b, d, end), (b, end, peak)])
        )
    return parts


def tower(x: float, y: float, wide_m: float, height_m: float, spire_m: float) -> Floats:
    """A church tower centred at (x, y), with a spire and four corner pinnacles."""
    half = wide_m / 2
    body = box((x - half, y - half, 0.0), (x + half, y + half, height_m))
    middle = np.array([x, y])
    ring = regular_polygon(half * 0.95, 8) + middle
    tip = np.array([(x, y, height_m + spire_m)])
    base = np.concatenate([ring, np.full((8, 1), height_m)], axis=1)
    cone = np.stack([base, np.roll(base, -1, axis=0), np.broadcast_to(tip, base.shape)], axis=1)
    corners: Sequence[Floats] = [
        prism(regular_polygon(0.35, 4) + middle + np.array([a, b]) * half, height_m, height_m + 1.6)
        for a in (-0.85, 0.85)
        for b in (-0.85, 0.85)
    ]
    return np.concatenate([body, cone, *corners])
