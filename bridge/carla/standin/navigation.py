"""The town's walkways as a navigation mesh, on which CARLA's client moves walkers.

The file is a set of tiles of the Detour library, version 7, with one tile. Sources: the struct
definitions in Detour's `DetourNavMesh.h`, and how CARLA's client reads such a file.

Walkways are strips of quadrilaterals. Where a sidewalk ends, a small polygon joins it to the
corner and to the crosswalk that begin there.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sim2street.bridge.town.plan.walk_map import WalkMap

_SET_MAGIC, _SET_VERSION = 0x4D534554, 1  # MSET
_TILE_MAGIC, _TILE_VERSION = 0x444E4156, 7  # DNAV
_MAX_VERTICES = 6
_MAX_POLYGONS = 1 << 16
_TILE_REFERENCE = _MAX_POLYGONS
"""Of the only tile, with salt 1: tile number 0 and polygon number 0 have no bits set."""

_SIDEWALK, _CROSSWALK = (1, 0x02), (2, 0x04)
"""CARLA's area and flag of a polygon."""

_NODE_M = 0.3
"""Half the length of the polygons that join walkways."""

_TOLERANCE_M = 0.05
_MIN_HALF_WIDTH_M = 0.4
_WALKER_SIZE_M = (1.8, 0.3, 0.5)
"""Height, radius and climb of walkers."""

_MARGIN_M = 10.0

Points = npt.NDArray[np.float64]


@dataclass(slots=True)
class _Mesh:
    """Polygons under construction.

    Attributes:
        vertices: (x, y) in our axes. polygons: vertex numbers, counter-clockwise.
        neighbours: for each polygon, the number plus 1 of the one at each edge, or 0.
        kinds: area and flag of each polygon.
    """

    vertices: list[tuple[float, float]] = field(default_factory=list)
    polygons: list[list[int]] = field(default_factory=list)
    neighbours: list[list[int]] = field(default_factory=list)
    kinds: list[tuple[int, int]] = field(default_factory=list)

    def vertex(self, point: Points) -> int:
        """Add a vertex; returns its number."""
        self.vertices.append((float(point[0]), float(point[1])))
        return len(self.vertices) - 1

    def polygon(self, vertices: list[int], kind: tuple[int, int]) -> int:
        """Add a polygon without neighbours; returns its number."""
        self.polygons.append(vertices)
        self.neighbours.append([0] * len(vertices))
        self.kinds.append(kind)
        return len(self.polygons) - 1

    def join(self, first: int, first_edge: int, second: int, second_edge: int) -> None:
        """Make two polygons neighbours. Edge n is from vertex n to the one after it."""
        self.neighbours[first][first_edge] = second + 1
        self.neighbours[second][second_edge] = first + 1


def navigation_mesh(walks: WalkMap) -> bytes:
    """The walkways as a file that CARLA's client reads."""
    mesh = _Mesh()
    lines = [_line(walks, walkway) for walkway in range(len(walks.half_width_m))]
    ends: dict[tuple[int, bool], tuple[list[int], int, int]] = {}
    for walkways in walks.walkways_at:
        _add_node(mesh, walks, lines, walkways, ends)
    for walkway, line in enumerate(lines):
        _add_strip(mesh, walks, walkway, line, ends)
    return _file(mesh)


def file_name(town: int, data: bytes) -> str:
    """A name that only this content has, because clients keep files by name."""
    return f"sim2street/Nav/town_{town}_{hashlib.sha256(data).hexdigest()[:12]}.bin"


def _line(walks: WalkMap, walkway: int) -> Points:
    """A walkway's centre line with as few points as possible."""
    first, count = int(walks.paths.first[walkway]), int(walks.paths.count[walkway])
    part = slice(first, first + count)
    return _simplified(np.stack([walks.paths.x_m[part], walks.paths.y_m[part]], axis=1))


def _simplified(line: Points) -> Points:
    """The line without the points that are near the straight line between others."""
    if len(line) <= 2:
        return line
    chord = line[-1] - line[0]
    length = float(np.hypot(*chord)) or 1.0
    away = line - line[0]
    off = np.abs(chord[0] * away[:, 1] - chord[1] * away[:, 0]) / length
    worst = int(off.argmax())
    if off[worst] < _TOLERANCE_M:
        return line[[0, -1]]
    return np.concatenate([_simplified(line[: worst + 1])[:-1], _simplified(line[worst:])])


def _half_width(walks: WalkMap, walkway: int) -> float:
    return max(_MIN_HALF_WIDTH_M, float(walks.half_width_m[walkway]))


def _outwards(line: Points, at_start: bool) -> Points:
    """Unit vector along a walkway, away from one of its ends."""
    away = line[1] - line[0] if at_start else line[-2] - line[-1]
    return np.asarray(away / np.hypot(*away))


def _left_of(direction: Points) -> Points:
    return np.array([-direction[1], direction[0]])


def _add_node(
    mesh: _Mesh,
    walks: WalkMap,
    lines: list[Points],
    walkways: tuple[tuple[int, bool], ...],
    ends: dict[tuple[int, bool], tuple[list[int], int, int]],
) -> None:
    """Add the polygon at a node, and the beginnings of the strips that leave it.

    `ends`: for each end of a walkway, the vertices on its left and right (seen away from the
    node), the polygon there and its edge. The new ones are added.
    """
    sidewalk, at_start = next(pair for pair in walkways if walks.along_road[pair[0]])
    others = [pair for pair in walkways if pair != (sidewalk, at_start)]
    line = lines[sidewalk]
    place = line[0] if at_start else line[-1]
    back = _outwards(line, at_start)
    left = _left_of(back) * _half_width(walks, sidewalk)
    behind, ahead = place + back * _NODE_M, place - back * _NODE_M
    # Counter-clockwise: the edge to the sidewalk, one side, the edges to the others, one side.
    order = sorted(others, key=lambda pair: _side(lines[pair[0]], pair[1], back))
    front = [mesh.vertex(ahead + left * (1.0 - 2.0 * i / len(order))) for i in range(len(order))]
    front.append(mesh.vertex(ahead - left))
    edge = [mesh.vertex(behind - left), mesh.vertex(behind + left)]
    polygon = mesh.polygon([*edge, *front], _SIDEWALK)
    ends[sidewalk, at_start] = ([edge[1], edge[0]], polygon, 0)
    for number, pair in enumerate(order):
        ends[pair] = ([front[number + 1], front[number]], polygon, 2 + number)


def _side(line: Points, at_start: bool, back: Points) -> float:
    """How far a walkway leads to the right, seen along `back` from the node."""
    there = (line[-1] - line[0]) if at_start else (line[0] - line[-1])
    return float(-(there @ _left_of(back)))


def _add_strip(
    mesh: _Mesh,
    walks: WalkMap,
    walkway: int,
    line: Points,
    ends: dict[tuple[int, bool], tuple[list[int], int, int]],
) -> None:
    """Add the quadrilaterals of a walkway between the polygons at both its ends."""
    kind = _CROSSWALK if walks.crossing_id[walkway] >= 0 else _SIDEWALK
    first, polygon, edge = ends[walkway, True]
    (last_left, last_right), last_polygon, last_edge = ends[walkway, False]
    sections = [first, *_sections(mesh, line, _half_width(walks, walkway))]
    sections.append([last_right, last_left])  # seen from the other end
    for (left, right), (next_left, next_right) in pairwise(sections):
        quad = mesh.polygon([left, right, next_right, next_left], kind)
        mesh.join(quad, 0, polygon, edge)
        polygon, edge = quad, 2
    mesh.join(polygon, edge, last_polygon, last_edge)


def _sections(mesh: _Mesh, line: Points, half_width_m: float) -> list[list[int]]:
    """Left and right vertices at the inner points of a line, along the bisectors there."""
    rows = []
    for before, point, after in zip(line, line[1:], line[2:], strict=False):
        one, two = (point - before), (after - point)
        one, two = one / np.hypot(*one), two / np.hypot(*two)
        along = (one + two) / np.hypot(*(one + two))
        reach = half_width_m / max(0.5, float(along @ one))
        left = _left_of(along) * reach
        rows.append([mesh.vertex(point + left), mesh.vertex(point - left)])
    return rows


def _file(mesh: _Mesh) -> bytes:
    """The set of tiles: a header, and the tile with its own."""
    vertices = np.array([(x, 0.0, -y) for x, y in mesh.vertices], "<f4")  # Detour: y is up
    low = vertices.min(axis=0) - _MARGIN_M
    high = vertices.max(axis=0) + _MARGIN_M
    tile = _tile(mesh, vertices, low, high)
    width, depth = (high - low)[[0, 2]].tolist()
    head = struct.pack("<3i", _SET_MAGIC, _SET_VERSION, 1)
    head += struct.pack("<5f2i", *low.tolist(), width, depth, 1, _MAX_POLYGONS)
    return head + struct.pack("<Ii", _TILE_REFERENCE, len(tile)) + tile


def _tile(mesh: _Mesh, vertices: Points, low: Points, high: Points) -> bytes:
    polygons: list[bytes] = []
    details: list[bytes] = []
    triangles: list[bytes] = []
    for numbers, near, (area, flag) in zip(mesh.polygons, mesh.neighbours, mesh.kinds, strict=True):
        count, rest = len(numbers), [0] * (_MAX_VERTICES - len(numbers))
        row = struct.pack("<I12H", 0xFFFFFFFF, *numbers, *rest, *near, *rest)
        polygons.append(row + struct.pack("<HBB", flag, count, area))
        details.append(struct.pack("<IIBBxx", 0, len(triangles), 0, count - 2))
        for corner in range(2, count):
            triangles.append(bytes([0, corner - 1, corner, _boundary(corner, count)]))
    links = sum(len(numbers) for numbers in mesh.polygons)
    count = len(polygons)
    height, radius, climb = _WALKER_SIZE_M
    header = struct.pack("<5iI", _TILE_MAGIC, _TILE_VERSION, 0, 0, 0, 0)
    header += struct.pack("<9i", count, len(vertices), links, count, 0, len(triangles), 0, 0, count)
    header += struct.pack("<10f", height, radius, climb, *low.tolist(), *high.tolist(), 1.0)
    parts = [header, vertices.tobytes(), *polygons, bytes(12 * links), *details, *triangles]
    return b"".join(parts)


def _boundary(corner: int, count: int) -> int:
    """Flags of a triangle of a fan: which of its edges are edges of the polygon."""
    return (corner == 2) | 1 << 2 | (corner == count - 1) << 4
