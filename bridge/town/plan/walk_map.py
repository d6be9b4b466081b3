"""Where pedestrians walk: along sidewalks, around corners, over crosswalks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim2street.bridge.town.plan.lane_map import Bools
from sim2street.bridge.town.plan.layout import Crossing, Junction, Layout, Points, Road
from sim2street.bridge.town.plan.paths import Ints, PathSet
from sim2street.bridge.town.plan.polyline import Floats, offset, resample

_SPACING_M = 0.5
_EDGE_MARGIN_M = 0.7
"""Pedestrians keep this distance to the edges of a sidewalk."""

_MIN_HALF_WIDTH_M = 0.1
_CROSSING_HALF_WIDTH_M = 0.9
_KERB_DISTANCE_M = 0.75
"""Pedestrians who wait to cross stand this far from the kerb."""

_Node = tuple[int, bool, bool]
"""End of a sidewalk: road id, True at the road's start, True on the left of the road."""


@dataclass(frozen=True, slots=True)
class WalkMap:
    """W walkways, each of which can be walked in both directions.

    Attributes:
        end_nodes: int64 (W, 2), node at the start and at the end of each walkway.
        walkways_at: for each node, pairs (walkway, True if it starts there).
        half_width_m: float64 (W,), largest distance of pedestrians from the centre line.
        crossing_id: int64 (W,), or -1 for a walkway that is no crosswalk.
        kerb_m: float64 (W, 2), where pedestrians wait on either side of a crosswalk: distances
            along its walkway.
        light_id: int64 (W,), light of the traffic that enters the junction over the crosswalk,
            or -1.
        along_road: bool (W,), a sidewalk along a road.
    """

    paths: PathSet
    end_nodes: Ints
    walkways_at: tuple[tuple[tuple[int, bool], ...], ...]
    half_width_m: Floats
    crossing_id: Ints
    kerb_m: Floats
    light_id: Ints
    along_road: Bools


@dataclass(frozen=True, slots=True)
class _Walkway:
    start: _Node
    end: _Node
    line_m: Points
    half_width_m: float
    crossing_id: int = -1
    kerb_m: tuple[float, float] = (0.0, 0.0)
    light_id: int = -1
    along_road: bool = False


def walk_map(layout: Layout) -> WalkMap:
    """The walk map of a layout."""
    lights = {(light.junction_id, light.road_id): light.light_id for light in layout.lights}
    walkways = [walkway for road in layout.roads for walkway in _sidewalks(road)]
    for junction in layout.junctions:
        walkways.extend(_junction_walkways(junction, layout, lights))
    ends = sorted({node for walkway in walkways for node in (walkway.start, walkway.end)})
    nodes = {node: i for i, node in enumerate(ends)}
    at_node: list[list[tuple[int, bool]]] = [[] for _ in nodes]
    for index, walkway in enumerate(walkways):
        at_node[nodes[walkway.start]].append((index, True))
        at_node[nodes[walkway.end]].append((index, False))
    return WalkMap(
        paths=PathSet.of([walkway.line_m for walkway in walkways]),
        end_nodes=np.array([(nodes[w.start], nodes[w.end]) for w in walkways], np.int64),
        walkways_at=tuple(tuple(pairs) for pairs in at_node),
        half_width_m=np.array([walkway.half_width_m for walkway in walkways]),
        crossing_id=np.array([walkway.crossing_id for walkway in walkways], np.int64),
        kerb_m=np.array([walkway.kerb_m for walkway in walkways]),
        light_id=np.array([walkway.light_id for walkway in walkways], np.int64),
        along_road=np.array([walkway.along_road for walkway in walkways]),
    )


def _sidewalks(road: Road) -> list[_Walkway]:
    """The sidewalks on both sides of a road."""
    left_kerb, right_kerb = road.kerb_m
    half = road.sidewalk_width_m / 2
    half_width = max(_MIN_HALF_WIDTH_M, half - _EDGE_MARGIN_M)
    walkways = []
    for left, shift in ((True, left_kerb + half), (False, -right_kerb - half)):
        line = resample(offset(road.centre_m, shift), _SPACING_M)
        start, end = (road.road_id, True, left), (road.road_id, False, left)
        walkways.append(_Walkway(start, end, line, half_width, along_road=True))
    return walkways


def _junction_walkways(
    junction: Junction, layout: Layout, lights: dict[tuple[int, int], int]
) -> list[_Walkway]:
    """The corners of a junction, and the crosswalks between them."""
    at_start = [
        _is_at_start(junction, layout.roads[crossing.road_id], crossing)
        for crossing in junction.crossings
    ]
    walkways = []
    for i, corner in enumerate(junction.corners):
        j = (i + 1) % len(at_start)
        # Seen outwards from the junction, a corner begins on the left of its first arm and ends
        # on the right of its second. That is the road's left and right only at its start.
        start = (corner.road_ids[0], at_start[i], at_start[i])
        end = (corner.road_ids[1], at_start[j], not at_start[j])
        width = min(layout.roads[r].sidewalk_width_m for r in corner.road_ids)
        line = resample((corner.kerb_m + corner.outer_m) / 2, _SPACING_M)
        half_width = max(_MIN_HALF_WIDTH_M, width / 2 - _EDGE_MARGIN_M)
        walkways.append(_Walkway(start, end, line, half_width))
    for start_here, crossing in zip(at_start, junction.crossings, strict=True):
        light_id = lights.get((junction.junction_id, crossing.road_id), -1)
        road = layout.roads[crossing.road_id]
        walkways.append(_crosswalk(crossing, road, start_here, light_id))
    return walkways


def _crosswalk(crossing: Crossing, road: Road, at_start: bool, light_id: int) -> _Walkway:
    """From the end of the sidewalk on the right (seen outwards) to that on the left."""
    stop_line = road.centre_m[0 if at_start else -1]
    right, left = crossing.walk_m
    middle = crossing.walk_m.mean(axis=0)
    across = (left - right) / np.hypot(*(left - right))
    # Sidewalks end beside the stop line, so the way there is parallel to the road.
    lead = stop_line - (stop_line - middle) @ across * across - middle
    line = resample(np.stack([right + lead, right, left, left + lead]), _SPACING_M)
    along, half = float(np.hypot(*lead)), road.sidewalk_width_m / 2
    walk = float(np.hypot(*(left - right)))
    kerb = (along + half - _KERB_DISTANCE_M, along + walk - half + _KERB_DISTANCE_M)
    start, end = (road.road_id, at_start, not at_start), (road.road_id, at_start, at_start)
    return _Walkway(start, end, line, _CROSSING_HALF_WIDTH_M, crossing.crossing_id, kerb, light_id)


def _is_at_start(junction: Junction, road: Road, crossing: Crossing) -> bool:
    """Whether a crosswalk is at its road's start; a road may join a junction with itself."""
    if road.start_junction_id != road.end_junction_id:
        return road.start_junction_id == junction.junction_id
    middle = crossing.walk_m.mean(axis=0)
    first, last = (np.hypot(*(road.centre_m[i] - middle)) for i in (0, -1))
    return bool(first < last)
