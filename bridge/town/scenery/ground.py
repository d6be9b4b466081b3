"""Meshes of the ground: terrain, carriageways, and sidewalks with their kerbs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.plan.layout import Layout, Points, Road
from sim2street.bridge.town.plan.polyline import offset
from sim2street.bridge.town.plan.sidewalks import sidewalk_lines
from sim2street.bridge.town.scenery.meshes import Floats, Layer, SceneryItem, mesh
from sim2street.bridge.town.scenery.primitives import polygon, ribbon, walls

Indices = npt.NDArray[np.intp]

KERB_HEIGHT_M = 0.13
"""Height of the sidewalks above the carriageways."""

_KERB_FAR_M = 100.0
"""Kerb faces are not drawn beyond this distance."""

_UNDER_KERB_M = 0.15
"""Carriageways extend this far under the kerbs, so that no gap shows between them."""

_TERRAIN_MARGIN_M = 1100.0
_TERRAIN_TILE_M = 220.0
_SECTION_M = 24.0
"""Roads are cut into sections of about this length, which are culled one by one."""

_LONGEST_CHORD = 12
"""A chord of a simplified line spans at most this number of segments."""

_BEFORE_END = np.triu(np.ones((_LONGEST_CHORD, _LONGEST_CHORD)), 1)
"""1 where a point (row) lies before the end of a chord (column)."""


def ground_items(layout: Layout) -> Iterator[SceneryItem]:
    """Terrain, carriageways and sidewalks of a whole town."""
    yield from _terrain(layout)
    for road in layout.roads:
        sections = list(_sections(road.centre_m))
        yield from _carriageway(road, sections)
        for side in (0, 1):
            yield from _sidewalk(road, side, sections)
    for junction in layout.junctions:
        outline = _extended_under_kerb(junction.outline_m, junction.centre_m)
        yield _ground_item(polygon(outline, 0.0), Tag.ROAD, Layer.ROAD, outline.mean(axis=0))
        for corner in junction.corners:
            kept = simplified(corner.kerb_m)
            yield from _sidewalk_strip(corner.kerb_m[kept], corner.outer_m[kept], kerb_on_left=True)


def _ground_item(
    triangles: Floats, tag: Tag, layer: Layer, anchor: Points, far_m: float = math.inf
) -> SceneryItem:
    anchor_m = (float(anchor[0]), float(anchor[1]))
    return SceneryItem(mesh(triangles, tag), layer, anchor_m, 0.0, far_m)


def _terrain(layout: Layout) -> Iterator[SceneryItem]:
    x0, y0, x1, y1 = layout.bounds_m
    for x in np.arange(x0 - _TERRAIN_MARGIN_M, x1 + _TERRAIN_MARGIN_M, _TERRAIN_TILE_M):
        for y in np.arange(y0 - _TERRAIN_MARGIN_M, y1 + _TERRAIN_MARGIN_M, _TERRAIN_TILE_M):
            end_x, end_y = x + _TERRAIN_TILE_M, y + _TERRAIN_TILE_M
            corners = [(x, y), (end_x, y), (end_x, end_y), (x, end_y)]
            middle = np.array([x + _TERRAIN_TILE_M / 2, y + _TERRAIN_TILE_M / 2])
            yield _ground_item(polygon(corners, 0.0), Tag.TERRAIN, Layer.TERRAIN, middle)


def _extended_under_kerb(outline: Points, centre: Points) -> Points:
    """An outline (N, 2) whose points are moved away from the centre by `_UNDER_KERB_M`."""
    away = outline - centre
    extended: Points = outline + away * (_UNDER_KERB_M / np.hypot(*away.T))[:, None]
    return extended


def _sections(line: Points) -> Iterator[Indices]:
    """Cut a line with points 1 m apart into simplified sections of about `_SECTION_M`.

    Yields the indices of each section's points; the last of one is the first of the next.
    """
    kept = simplified(line)
    first = 0
    for k in range(1, len(kept)):
        if kept[k] - kept[first] >= _SECTION_M or k == len(kept) - 1:
            yield kept[first : k + 1]
            first = k


def simplified(line: Points, tolerance_m: float = 0.03) -> Indices:
    """Indices of the points of a line (N, 2) that describe it to within a tolerance.

    Greedy: from each kept point, it keeps the farthest next point whose chord passes all
    points in between within `tolerance_m`.
    """
    kept = [0]
    while kept[-1] < len(line) - 1:
        start = kept[-1]
        kept.append(start + _longest_chord(line[start : start + _LONGEST_CHORD + 1], tolerance_m))
    return np.array(kept, np.intp)


def _longest_chord(line: Points, tolerance_m: float) -> int:
    """Index of the farthest point to which a chord from the first one stays in tolerance."""
    away = line[1:] - line[0]
    count = len(away)
    # Twice the area of the triangle of first point, point (row) and chord's end (column).
    area = np.outer(away[:, 0], away[:, 1]) - np.outer(away[:, 1], away[:, 0])
    deviation_m = (np.abs(area) * _BEFORE_END[:count, :count]).max(axis=0)
    deviation_m /= np.maximum(np.hypot(*away.T), 1e-9)
    return int(np.flatnonzero(deviation_m <= tolerance_m)[-1]) + 1


def _carriageway(road: Road, sections: list[Indices]) -> Iterator[SceneryItem]:
    left = offset(road.centre_m, road.kerb_m[0] + _UNDER_KERB_M)
    right = offset(road.centre_m, -road.kerb_m[1] - _UNDER_KERB_M)
    for section in sections:
        strip = ribbon(left[section], right[section], 0.0)
        yield _ground_item(strip, Tag.ROAD, Layer.ROAD, road.centre_m[section].mean(axis=0))


def _sidewalk(road: Road, side: int, sections: list[Indices]) -> Iterator[SceneryItem]:
    kerb, outer = sidewalk_lines(road, side)
    for section in sections:
        yield from _sidewalk_strip(kerb[section], outer[section], kerb_on_left=side == 1)


def _sidewalk_strip(kerb: Points, outer: Points, kerb_on_left: bool) -> Iterator[SceneryItem]:
    """Top and kerb face of the sidewalk between the kerb line and the property line (N, 2)."""
    middle = (kerb.mean(axis=0) + outer.mean(axis=0)) / 2
    left, right = (kerb, outer) if kerb_on_left else (outer, kerb)
    yield _ground_item(ribbon(left, right, KERB_HEIGHT_M), Tag.SIDEWALK, Layer.SOLID, middle)
    # Walls face to the right of their line: the kerb must face the carriageway.
    face = walls(kerb[::-1] if kerb_on_left else kerb, 0.0, KERB_HEIGHT_M, closed=False)
    yield _ground_item(face, Tag.SIDEWALK, Layer.SOLID, middle, _KERB_FAR_M)
