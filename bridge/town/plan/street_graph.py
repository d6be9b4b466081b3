"""The street network of a town: junctions, and curves between them. It has no widths yet.

It starts as a grid with uneven spacing. Every node is shifted and turned, and some streets are
removed. Two streets that meet at a node with no others become one street, so corners of the grid
become long bends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.errors import WorldError
from sim2street.bridge.town.plan.layout import Points
from sim2street.bridge.town.plan.polyline import (
    curvatures,
    hermite,
    resample,
    unit,
    without_repeats,
    wrap_angle,
)
from sim2street.configs import StrictModel

STUB_M = 24.0
"""Streets are straight for this distance from a junction's centre."""

_MIN_RADIUS_M = 26.0
_TRIES = 200
_TRIES_WITH_TURNS = 60
"""The nodes are turned less with every try, and not at all after this many."""

_MIN_JUNCTIONS = 5
_REMOVED_SHARE = 0.18
"""Share of the grid's streets to remove; fewer where the network would fall apart."""

_AVENUE_PROBABILITY = 0.6
_NEIGHBOURS = ((1, 0), (0, 1), (-1, 0), (0, -1))
_Node = tuple[int, int]
"""Column and row in the grid."""

_Links = dict[_Node, set[_Node]]
"""Neighbours of each node to which a street leads."""

_Avenue = tuple[int, int, bool]
"""Column and row of the grid whose streets are wide; False: none are."""


class GraphConfig(StrictModel):
    """Size and irregularity of the street network.

    Attributes:
        columns, rows: smallest and largest number.
        spacing_m: smallest and largest distance between neighbouring rows or columns.
        shift_m: largest shift of a node along each axis.
        turn_deg: largest turn of a node; it bends the streets.
    """

    columns: tuple[int, int] = (4, 5)
    rows: tuple[int, int] = (3, 4)
    spacing_m: tuple[float, float] = (95.0, 145.0)
    shift_m: float = 9.0
    turn_deg: float = 30.0


@dataclass(frozen=True, slots=True)
class Street:
    """A street between the centres of two junctions.

    Attributes:
        start, end: indices of the junctions. curve_m: (N, 2), from centre to centre.
        start_rad, end_rad: directions in which it leaves the junctions, outwards.
        wide: an avenue, with two lanes each way.
    """

    start: int
    end: int
    curve_m: Points
    start_rad: float
    end_rad: float
    wide: bool


@dataclass(frozen=True, slots=True)
class StreetGraph:
    """Junction centres (J, 2), and the streets between them."""

    centres_m: Points
    streets: tuple[Street, ...]


def make_graph(rng: np.random.Generator, config: GraphConfig) -> StreetGraph:
    """A random street network.

    Raises:
        WorldError: all networks drawn have sharp bends, too few junctions, or a street that
            ends where it starts.
    """
    for attempt in range(_TRIES):
        turn_factor = max(0.0, 1.0 - attempt / _TRIES_WITH_TURNS)
        graph = _draw(rng, config, turn_factor)
        if graph is not None:
            return graph
    raise WorldError(
        f"found no street network for {config}: increase spacing_m, or lower turn_deg and shift_m"
    )


def _draw(rng: np.random.Generator, config: GraphConfig, turn_factor: float) -> StreetGraph | None:
    """A random network, or None if it breaks a rule."""
    columns = int(rng.integers(config.columns[0], config.columns[1] + 1))
    rows = int(rng.integers(config.rows[0], config.rows[1] + 1))
    xs = np.cumsum(rng.uniform(*config.spacing_m, columns))
    ys = np.cumsum(rng.uniform(*config.spacing_m, rows))
    turn = math.radians(config.turn_deg) * turn_factor
    nodes = [(i, j) for i in range(columns) for j in range(rows)]
    middle = xs.mean(), ys.mean()
    place = {
        (i, j): np.array([xs[i] - middle[0], ys[j] - middle[1]])
        + rng.uniform(-config.shift_m, config.shift_m, 2)
        for i, j in nodes
    }
    angle = {node: float(rng.uniform(-turn, turn)) for node in nodes}
    removed = round(_REMOVED_SHARE * len(nodes) * 2)
    links = _remove_links(rng, _grid_links(columns, rows), removed)
    column, row = int(rng.integers(columns)), int(rng.integers(rows))
    avenue = (column, row, rng.random() < _AVENUE_PROBABILITY)
    return _streets(links, place, angle, avenue)


def _grid_links(columns: int, rows: int) -> _Links:
    def inside(node: _Node) -> bool:
        return 0 <= node[0] < columns and 0 <= node[1] < rows

    nodes = [(i, j) for i in range(columns) for j in range(rows)]
    return {
        n: {m for m in ((n[0] + a, n[1] + b) for a, b in _NEIGHBOURS) if inside(m)} for n in nodes
    }


def _remove_links(rng: np.random.Generator, links: _Links, count: int) -> _Links:
    """Remove up to `count` links. Every node keeps two, and the network stays connected."""
    pairs = [(a, b) for a in sorted(links) for b in sorted(links[a]) if a < b]
    for index in rng.permutation(len(pairs))[:count]:
        a, b = pairs[index]
        if len(links[a]) < 3 or len(links[b]) < 3:
            continue
        links[a].remove(b)
        links[b].remove(a)
        if not _connected(links):
            links[a].add(b)
            links[b].add(a)
    return links


def _connected(links: _Links) -> bool:
    """Whether every node can be reached from every other."""
    seen: set[_Node] = set()
    todo = [min(links)]
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(links[node] - seen)
    return len(seen) == len(links)


def _streets(
    links: _Links,
    place: dict[_Node, Points],
    angle: dict[_Node, float],
    avenue: _Avenue,
) -> StreetGraph | None:
    """The streets along the links, or None if the network breaks a rule.

    Args:
        place: (2,), position of each node. angle: by which each node is turned.
    """
    junctions = sorted(node for node in links if len(links[node]) > 2)
    if len(junctions) < _MIN_JUNCTIONS:
        return None
    number = {node: index for index, node in enumerate(junctions)}
    chains = [_chain(links, node, first) for node in junctions for first in sorted(links[node])]
    if any(chain[0] == chain[-1] for chain in chains):  # before the curves, which take longer
        return None
    streets: list[Street] = []
    for chain in chains:
        (start, first), (before, end) = chain[:2], chain[-2:]
        if (end, before) < (start, first):
            continue  # the same street, from its other end
        curve = _curve(chain, place, angle)
        if np.abs(curvatures(curve)).max() > 1.0 / _MIN_RADIUS_M:
            return None
        start_rad = _direction_rad(start, first, place, angle)
        end_rad = _direction_rad(end, before, place, angle)
        wide = avenue[2] and _on_avenue(chain, avenue)
        streets.append(Street(number[start], number[end], curve, start_rad, end_rad, wide))
    centres = np.array([place[node] for node in junctions])
    return StreetGraph(centres, tuple(streets))


def _chain(links: _Links, start: _Node, first: _Node) -> list[_Node]:
    """The nodes of a street: from `start` over `first` to the next junction."""
    chain = [start, first]
    while len(links[chain[-1]]) == 2 and chain[-1] != start:
        chain.append(next(iter(links[chain[-1]] - {chain[-2]})))
    return chain


def _on_avenue(chain: list[_Node], avenue: _Avenue) -> bool:
    column, row, _ = avenue
    return all(n[0] == column for n in chain) or all(n[1] == row for n in chain)


def _direction_rad(
    node: _Node, neighbour: _Node, place: dict[_Node, Points], angle: dict[_Node, float]
) -> float:
    """Direction in which the street to `neighbour` leaves `node`.

    The mean of the grid's direction, turned with the node, and the direction to the neighbour.
    """
    slot = math.atan2(neighbour[1] - node[1], neighbour[0] - node[0])
    way = place[neighbour] - place[node]
    straight = wrap_angle(math.atan2(way[1], way[0]) - slot)
    return slot + 0.5 * straight + 0.5 * angle[node]


def _curve(chain: list[_Node], place: dict[_Node, Points], angle: dict[_Node, float]) -> Points:
    """Line (N, 2) from centre to centre: straight, Hermite curves between the nodes, straight."""
    start_dir = unit(_direction_rad(chain[0], chain[1], place, angle))
    end_dir = -unit(_direction_rad(chain[-1], chain[-2], place, angle))
    knots = [place[chain[0]] + STUB_M * start_dir]
    tangents = [start_dir]
    for before, node, after in zip(chain, chain[1:], chain[2:], strict=False):
        way = unit(_direction_rad(node, after, place, angle))
        way = way - unit(_direction_rad(node, before, place, angle))
        knots.append(place[node])
        tangents.append(way / np.hypot(*way))
    knots.append(place[chain[-1]] - STUB_M * end_dir)
    tangents.append(end_dir)
    pieces = [place[chain[0]][None]]
    for i in range(len(knots) - 1):
        chord = float(np.hypot(*(knots[i + 1] - knots[i])))
        pieces.append(hermite(knots[i], knots[i + 1], tangents[i] * chord, tangents[i + 1] * chord))
    pieces.append(place[chain[-1]][None])
    return resample(without_repeats(np.concatenate(pieces)), 0.5)
