"""The ground: terrain, carriageways, and sidewalks with their kerbs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.plan.layout import Layout, Points, Road
from sim2street.bridge.town.plan.polyline import offset
from sim2street.bridge.town.scenery.meshes import Floats, Item, Layer, mesh, polygon, ribbon, walls

Indices = npt.NDArray[np.intp]

KERB_M = 0.13
"""Height of the sidewalks."""

_KERB_SEEN_M = 100.0
_UNDER_KERB_M = 0.15
"""Carriageways reach under the kerbs, so that no gap shows between them."""

_TERRAIN_M = 1100.0
_TILE_M = 220.0
_PIECE_M = 24.0
_LONGEST = 12
"""Most points that one chord may stand for."""

_BEFORE = np.triu(np.ones((_LONGEST, _LONGEST)), 1)
"""1 where the point (row) comes before the chord's end (column)."""


def ground_items(layout: Layout) -> Iterator[Item]:
    """Everything flat, as scenery items."""
    yield from _terrain(layout)
    for road in layout.roads:
        pieces = list(_pieces(road.centre_m))
        yield from _carriageway(road, pieces)
        for side in (0, 1):
            yield from _sidewalk(road, side, pieces)
    for junction in layout.junctions:
        outline = _grown(junction.outline_m, junction.centre_m)
        yield _flat(polygon(outline, 0.0), Tag.ROAD, Layer.ROAD, outline.mean(axis=0))
        for corner in junction.corners:
            marks = landmarks(corner.kerb_m)
            yield from _pavement(corner.kerb_m[marks], corner.outer_m[marks], kerb_on_left=True)


def _flat(triangles: Floats, tag: Tag, layer: Layer, anchor: Points, far: float = math.inf) -> Item:
    return Item(mesh(triangles, tag), layer, (float(anchor[0]), float(anchor[1])), 0.0, far)


def _terrain(layout: Layout) -> Iterator[Item]:
    x0, y0, x1, y1 = layout.bounds_m
    for x in np.arange(x0 - _TERRAIN_M, x1 + _TERRAIN_M, _TILE_M):
        for y in np.arange(y0 - _TERRAIN_M, y1 + _TERRAIN_M, _TILE_M):
            corners = [(x, y), (x + _TILE_M, y), (x + _TILE_M, y + _TILE_M), (x, y + _TILE_M)]
            middle = np.array([x + _TILE_M / 2, y + _TILE_M / 2])
            yield _flat(polygon(corners, 0.0), Tag.TERRAIN, Layer.TERRAIN, middle)


def _grown(outline: Points, centre: Points) -> Points:
    """The outline, a little farther from the centre."""
    away = outline - centre
    return outline + away * (_UNDER_KERB_M / np.hypot(*away.T))[:, None]


def _pieces(line: Points) -> Iterator[Indices]:
    """Indices into a line in runs of about 24 m (what is culled at once), sparse where the
    line is straight; each run starts where the one before ended."""
    marks = landmarks(line)
    length = 0
    first = 0
    for k in range(1, len(marks)):
        length = marks[k] - marks[first]
        if length >= _PIECE_M or k == len(marks) - 1:
            yield marks[first : k + 1]
            first = k


def landmarks(line: Points, tolerance_m: float = 0.03) -> Indices:
    """Indices of the points that are enough to draw a line to within a tolerance."""
    kept = [0]
    while kept[-1] < len(line) - 1:
        start = kept[-1]
        kept.append(start + _reach(line[start : start + _LONGEST + 1], tolerance_m))
    return np.array(kept, np.intp)


def _reach(line: Points, tolerance_m: float) -> int:
    """How many points further the farthest is that a chord from the first one may end at."""
    away = line[1:] - line[0]
    count = len(away)
    across = np.outer(away[:, 0], away[:, 1]) - np.outer(away[:, 1], away[:, 0])
    deviation = (np.abs(across) * _BEFORE[:count, :count]).max(axis=0)
    deviation /= np.maximum(np.hypot(*away.T), 1e-9)
    return int(np.flatnonzero(deviation <= tolerance_m)[-1]) + 1


def _carriageway(road: Road, pieces: list[Indices]) -> Iterator[Item]:
    left = offset(road.centre_m, road.kerb_m[0] + _UNDER_KERB_M)
    right = offset(road.centre_m, -road.kerb_m[1] - _UNDER_KERB_M)
    for piece in pieces:
        strip = ribbon(left[piece], right[piece], 0.0)
        yield _flat(strip, Tag.ROAD, Layer.ROAD, road.centre_m[piece].mean(axis=0))


def sidewalk_lines(road: Road, side: int) -> tuple[Points, Points]:
    """Kerb line and property line of one side (0 left, 1 right), both along the road."""
    sign = 1.0 if side == 0 else -1.0
    kerb = road.kerb_m[side]
    inner = offset(road.centre_m, sign * kerb)
    return inner, offset(road.centre_m, sign * (kerb + road.sidewalk_width_m))


def _sidewalk(road: Road, side: int, pieces: list[Indices]) -> Iterator[Item]:
    kerb, outer = sidewalk_lines(road, side)
    for piece in pieces:
        yield from _pavement(kerb[piece], outer[piece], kerb_on_left=side == 1)


def _pavement(kerb: Points, outer: Points, kerb_on_left: bool) -> Iterator[Item]:
    """Top and kerb face of a strip of sidewalk."""
    middle = (kerb.mean(axis=0) + outer.mean(axis=0)) / 2
    left, right = (kerb, outer) if kerb_on_left else (outer, kerb)
    yield _flat(ribbon(left, right, KERB_M), Tag.SIDEWALK, Layer.SOLID, middle)
    # Faces look to the right of the line they stand on: towards the carriageway.
    face = walls(kerb[::-1] if kerb_on_left else kerb, 0.0, KERB_M, closed=False)
    yield _flat(face, Tag.SIDEWALK, Layer.SOLID, middle, _KERB_SEEN_M)
