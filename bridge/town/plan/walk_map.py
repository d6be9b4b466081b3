"""Where people walk: along sidewalks, around corners, over crossings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim2street.bridge.town.plan.lane_map import Bools
from sim2street.bridge.town.plan.layout import Crossing, Junction, Layout, Points, Road
from sim2street.bridge.town.plan.paths import Ints, PathSet
from sim2street.bridge.town.plan.polyline import Floats, offset, resample

_STEP_M = 0.5
_EDGE_M = 0.7
_KERB_M = 0.75
"""Who waits to cross stands this far from the kerb."""

_Node = tuple[int, bool, bool]
"""(road id, True at its start, True on the left of the road)."""


@dataclass(frozen=True, slots=True)
class WalkMap:
    """W ways to walk; every one can be walked in both directions.

    Attributes:
        ends: int64 (W, 2), node at the start and at the end of each way.
        ways: ways that end at each node, as pairs (way, True if it starts here).
        room_m: float64 (W,), how far from the middle line one may walk.
        crossing: int64 (W,), crossing id, or -1.
        kerb_m: float64 (W, 2), where along a crossing's way the carriageway begins and ends.
        light: int64 (W,), light of the traffic that comes in over the crossing, or -1.
        on_road: bool (W,), along a road (where people may stand about).
    """

    paths: PathSet
    ends: Ints
    ways: tuple[tuple[tuple[int, bool], ...], ...]
    room_m: Floats
    crossing: Ints
    kerb_m: Floats
    light: Ints
    on_road: Bools


@dataclass(frozen=True, slots=True)
class _Way:
    start: _Node
    end: _Node
    line_m: Points
    room_m: float
    crossing: int = -1
    kerb_m: tuple[float, float] = (0.0, 0.0)
    light: int = -1
    on_road: bool = False


def walk_map(layout: Layout) -> WalkMap:
    """Compile the walking ways of a layout."""
    lights = {(light.junction_id, light.road_id): light.light_id for light in layout.lights}
    ways = [way for road in layout.roads for way in _along(road)]
    for junction in layout.junctions:
        ways.extend(_around(junction, layout, lights))
    nodes = {node: i for i, node in enumerate(sorted({n for w in ways for n in (w.start, w.end)}))}
    at_node: list[list[tuple[int, bool]]] = [[] for _ in nodes]
    for index, way in enumerate(ways):
        at_node[nodes[way.start]].append((index, True))
        at_node[nodes[way.end]].append((index, False))
    return WalkMap(
        paths=PathSet.of([way.line_m for way in ways]),
        ends=np.array([(nodes[way.start], nodes[way.end]) for way in ways], np.int64),
        ways=tuple(tuple(pairs) for pairs in at_node),
        room_m=np.array([way.room_m for way in ways]),
        crossing=np.array([way.crossing for way in ways], np.int64),
        kerb_m=np.array([way.kerb_m for way in ways]),
        light=np.array([way.light for way in ways], np.int64),
        on_road=np.array([way.on_road for way in ways]),
    )


def _along(road: Road) -> list[_Way]:
    """The sidewalks on both sides."""
    left_kerb, right_kerb = road.kerb_m
    half = road.sidewalk_width_m / 2
    room = max(0.1, half - _EDGE_M)
    ways = []
    for left, shift in ((True, left_kerb + half), (False, -right_kerb - half)):
        line = resample(offset(road.centre_m, shift), _STEP_M)
        start, end = (road.road_id, True, left), (road.road_id, False, left)
        ways.append(_Way(start, end, line, room, on_road=True))
    return ways


def _around(junction: Junction, layout: Layout, lights: dict[tuple[int, int], int]) -> list[_Way]:
    """The corners, and the crossings between them."""
    arms = [_at_start(junction, layout.roads[c.road_id], c) for c in junction.crossings]
    ways = []
    for i, corner in enumerate(junction.corners):
        j = (i + 1) % len(arms)
        start = (corner.road_ids[0], arms[i], arms[i])  # outwards left is the road's left at
        end = (corner.road_ids[1], arms[j], not arms[j])  # its start, its right at its end
        width = min(layout.roads[r].sidewalk_width_m for r in corner.road_ids)
        line = resample((corner.kerb_m + corner.outer_m) / 2, _STEP_M)
        ways.append(_Way(start, end, line, max(0.1, width / 2 - _EDGE_M)))
    for at_start, crossing in zip(arms, junction.crossings, strict=True):
        light = lights.get((junction.junction_id, crossing.road_id), -1)
        ways.append(_across(crossing, layout.roads[crossing.road_id], at_start, light))
    return ways


def _across(crossing: Crossing, road: Road, at_start: bool, light: int) -> _Way:
    """From the sidewalk on the right (looking outwards) to the one on the left."""
    mouth = road.centre_m[0 if at_start else -1]
    right, left = crossing.walk_m
    middle = crossing.walk_m.mean(axis=0)
    across = (left - right) / np.hypot(*(left - right))
    # from beside the mouth to the crossing is as far as from its middle line to the mouth
    lead = mouth - (mouth - middle) @ across * across - middle
    line = resample(np.stack([right + lead, right, left, left + lead]), _STEP_M)
    along, half = float(np.hypot(*lead)), road.sidewalk_width_m / 2
    walk = float(np.hypot(*(left - right)))
    kerb = (along + half - _KERB_M, along + walk - half + _KERB_M)
    start, end = (road.road_id, at_start, not at_start), (road.road_id, at_start, at_start)
    return _Way(start, end, line, 0.9, crossing.crossing_id, kerb, light)


def _at_start(junction: Junction, road: Road, crossing: Crossing) -> bool:
    """Whether this arm is the road's start (a road may join one junction twice)."""
    if road.start_junction_id != road.end_junction_id:
        return road.start_junction_id == junction.junction_id
    middle = crossing.walk_m.mean(axis=0)
    first, last = (np.hypot(*(road.centre_m[i] - middle)) for i in (0, -1))
    return bool(first < last)
