"""The plan of a town before it has widths: nodes, and curved streets between them.

A grid is bent: rows and columns are unevenly spaced, every node is shifted and turned,
some streets are left out. Where only two streets meet at a node they become one, so that
corners of the grid turn into long bends.
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
    tidy,
    unit,
    wrap_angle,
)
from sim2street.configs import StrictModel

STUB_M = 24.0
"""Streets leave a junction in a straight line for this long."""

MIN_RADIUS_M = 26.0
_TRIES = 200
_LEAST_JUNCTIONS = 5
_CALM_TRIES = 60
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
Node = tuple[int, int]
Place = dict[Node, Points]


class GraphConfig(StrictModel):
    """Size and irregularity of the plan.

    Attributes:
        spacing_m: smallest and largest distance of neighbouring rows or columns.
        shift_m: nodes are shifted by up to this much.
        turn_deg: nodes are turned by up to this much: bent streets.
        left_out: share of the grid's streets that are left out.
    """

    columns: tuple[int, int] = (4, 5)
    rows: tuple[int, int] = (3, 4)
    spacing_m: tuple[float, float] = (95.0, 145.0)
    shift_m: float = 9.0
    turn_deg: float = 30.0
    left_out: float = 0.18


@dataclass(frozen=True, slots=True)
class Street:
    """A curve between two junction nodes, from centre to centre; `wide` ones are avenues."""

    start: int
    end: int
    curve_m: Points
    start_rad: float
    end_rad: float
    wide: bool


@dataclass(frozen=True, slots=True)
class StreetGraph:
    """Junction centres (J, 2) and the streets between them; directions point outwards."""

    centres_m: Points
    streets: tuple[Street, ...]


def make_graph(rng: np.random.Generator, config: GraphConfig) -> StreetGraph:
    """Draw plans until one has gentle curves, junctions, and no street back to its own."""
    for attempt in range(_TRIES):
        calm = max(0.0, 1.0 - attempt / _CALM_TRIES)
        graph = _draw(rng, config, calm)
        if graph is not None:
            return graph
    raise WorldError(f"no town plan fits {config}: widen spacing_m or lower turn_deg and shift_m")


def _draw(rng: np.random.Generator, config: GraphConfig, calm: float) -> StreetGraph | None:
    columns = int(rng.integers(config.columns[0], config.columns[1] + 1))
    rows = int(rng.integers(config.rows[0], config.rows[1] + 1))
    xs = np.cumsum(rng.uniform(*config.spacing_m, columns))
    ys = np.cumsum(rng.uniform(*config.spacing_m, rows))
    turn = math.radians(config.turn_deg) * calm
    nodes = [(i, j) for i in range(columns) for j in range(rows)]
    place = {
        (i, j): np.array([xs[i] - xs.mean(), ys[j] - ys.mean()])
        + rng.uniform(-config.shift_m, config.shift_m, 2)
        for i, j in nodes
    }
    angle = {node: float(rng.uniform(-turn, turn)) for node in nodes}
    links = _leave_out(rng, _grid_links(columns, rows), round(config.left_out * len(nodes) * 2))
    avenue = (int(rng.integers(columns)), int(rng.integers(rows)), rng.random() < 0.6)
    return _streets(links, place, angle, avenue)


def _grid_links(columns: int, rows: int) -> dict[Node, set[Node]]:
    def inside(node: Node) -> bool:
        return 0 <= node[0] < columns and 0 <= node[1] < rows

    nodes = [(i, j) for i in range(columns) for j in range(rows)]
    return {n: {m for m in ((n[0] + a, n[1] + b) for a, b in _STEPS) if inside(m)} for n in nodes}


def _leave_out(
    rng: np.random.Generator, links: dict[Node, set[Node]], count: int
) -> dict[Node, set[Node]]:
    """Remove up to `count` links; every node keeps two and all stay connected."""
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


def _connected(links: dict[Node, set[Node]]) -> bool:
    seen: set[Node] = set()
    todo = [min(links)]
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(links[node] - seen)
    return len(seen) == len(links)


def _streets(
    links: dict[Node, set[Node]],
    place: Place,
    angle: dict[Node, float],
    avenue: tuple[int, int, bool],
) -> StreetGraph | None:
    junctions = sorted(node for node in links if len(links[node]) > 2)
    if len(junctions) < _LEAST_JUNCTIONS:
        return None
    number = {node: index for index, node in enumerate(junctions)}
    streets: list[Street] = []
    for start in junctions:
        for first in sorted(links[start]):
            chain = _chain(links, start, first)
            end = chain[-1]
            if end == start:
                return None
            if (end, chain[-2]) < (start, first):
                continue  # drawn from its other end
            curve = _curve(chain, place, angle)
            if np.abs(curvatures(curve)).max() > 1.0 / MIN_RADIUS_M:
                return None
            start_rad, end_rad = (
                _arm(start, first, place, angle),
                _arm(end, chain[-2], place, angle),
            )
            wide = avenue[2] and _on_avenue(chain, avenue)
            streets.append(Street(number[start], number[end], curve, start_rad, end_rad, wide))
    centres = np.array([place[node] for node in junctions])
    return StreetGraph(centres, tuple(streets))


def _chain(links: dict[Node, set[Node]], start: Node, first: Node) -> list[Node]:
    chain = [start, first]
    while len(links[chain[-1]]) == 2 and chain[-1] != start:
        chain.append(next(iter(links[chain[-1]] - {chain[-2]})))
    return chain


def _on_avenue(chain: list[Node], avenue: tuple[int, int, bool]) -> bool:
    column, row, _ = avenue
    return all(n[0] == column for n in chain) or all(n[1] == row for n in chain)


def _arm(node: Node, neighbour: Node, place: Place, angle: dict[Node, float]) -> float:
    """Direction in which the street to `neighbour` leaves `node`: half the straight way."""
    slot = math.atan2(neighbour[1] - node[1], neighbour[0] - node[0])
    way = place[neighbour] - place[node]
    straight = wrap_angle(math.atan2(way[1], way[0]) - slot)
    return slot + 0.5 * straight + 0.5 * angle[node]


def _curve(chain: list[Node], place: Place, angle: dict[Node, float]) -> Points:
    """From centre to centre: a straight stub, Hermite pieces through the bends, a stub."""
    start_dir = unit(_arm(chain[0], chain[1], place, angle))
    end_dir = -unit(_arm(chain[-1], chain[-2], place, angle))
    knots = [place[chain[0]] + STUB_M * start_dir]
    tangents = [start_dir]
    for before, node, after in zip(chain, chain[1:], chain[2:], strict=False):
        way = unit(_arm(node, after, place, angle)) - unit(_arm(node, before, place, angle))
        knots.append(place[node])
        tangents.append(way / np.hypot(*way))
    knots.append(place[chain[-1]] - STUB_M * end_dir)
    tangents.append(end_dir)
    pieces = [place[chain[0]][None]]
    for i in range(len(knots) - 1):
        chord = float(np.hypot(*(knots[i + 1] - knots[i])))
        pieces.append(hermite(knots[i], knots[i + 1], tangents[i] * chord, tangents[i + 1] * chord))
    pieces.append(place[chain[-1]][None])
    return resample(tidy(np.concatenate(pieces)), 0.5)
