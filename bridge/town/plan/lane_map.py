"""The lanes of a layout as arrays for the traffic: speeds, next lanes, conflicts in junctions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.driver import curve_speed_mps
from sim2street.bridge.town.plan.layout import Crossing, Lane, Layout, Points
from sim2street.bridge.town.plan.paths import Ints, PathSet
from sim2street.bridge.town.plan.polyline import Floats

SIZE_CLASSES_M = (2.8, 4.2, 6.0)
"""Largest half length of a vehicle of size class 0 (cars), 1 (trucks) and 2 (buses)."""

_SWING_ROOM_M = 0.4
_SWING_ROOM_TO_KERB_M = 0.65
_SWING_ROOM_TO_ONCOMING_M = 0.75
"""How far the corners of a long vehicle may swing out of its lane in a bend."""

_CAR_HALF_LENGTH_M = 2.4
_CAR_WIDTH_M = 2.0
_CLEARANCE_M = 0.4
_LATERAL_ACCEL_MPS2 = 2.2
_CURVE_BRAKE_MPS2 = 1.6
_MAX_NEXT_LANES = 4

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LaneMap:
    """L lanes with P points in all. C of the lanes are connectors, which lead through junctions.

    The tables of connectors have an additional last row (and column) for lanes on roads, whose
    index is -1. It is empty.

    Attributes:
        comfortable_mps: float64 (P,), speed for the limit, for curves, and for braking in time.
        entry_mps: float64 (L,), comfortable speed at each lane's start.
        next_lanes: int64 (3, L, 4), lanes that each size class can drive on to; padded with -1.
        next_lane_count: int64 (3, L).
        connector: int64 (L,), index of a lane among the connectors 0..C-1, or -1.
        conflict_start_m: float64 (C+1, C+1), [a, b]: distance along connector a at which its
            vehicles come into the way of those on b; inf if they never do.
        conflict_end_m: float64 (C+1, C+1), [a, b]: distance along a beyond which the tail of a
            vehicle is out of the way of those on b; -inf if there is no conflict, and for
            connectors with the same start lane.
        shared_until_m: float64 (C+1, C+1), [a, b]: distance along a up to which connectors
            with the same start lane overlap; 0 for all other pairs.
        start_lane, exit_lane: int64 (C+1,), the road lanes that a connector joins.
        crossing_halves: int64 (C+1, 2), halves of the crosswalks at a connector's start and
            end: 2 * crossing_id + 1 where traffic enters the junction, + 0 where it leaves.
        light_id: int64 (L,), traffic light at the lane's end, or -1.
    """

    paths: PathSet
    comfortable_mps: Floats
    entry_mps: Floats
    next_lanes: Ints
    next_lane_count: Ints
    connector: Ints
    conflict_start_m: Floats
    conflict_end_m: Floats
    shared_until_m: Floats
    start_lane: Ints
    exit_lane: Ints
    crossing_halves: Ints
    light_id: Ints


def lane_map(layout: Layout) -> LaneMap:
    """The lane map of a layout."""
    lanes = layout.lanes
    paths = PathSet.of([lane.points_m for lane in lanes])
    speed = _comfortable_mps(paths, lanes)
    inside = [lane for lane in lanes if lane.junction_id is not None]
    connector = np.full(len(lanes), -1, np.int64)
    connector[[lane.lane_id for lane in inside]] = np.arange(len(inside))
    conflict_start, conflict_end, shared_until = _conflicts(layout, inside, paths)
    next_lanes, count = _next_lanes(layout, paths)
    before = {after: lane.lane_id for lane in lanes for after in lane.next_ids}
    return LaneMap(
        paths=paths,
        comfortable_mps=speed,
        entry_mps=speed[paths.first],
        next_lanes=next_lanes,
        next_lane_count=count,
        connector=connector,
        conflict_start_m=conflict_start,
        conflict_end_m=conflict_end,
        shared_until_m=shared_until,
        start_lane=np.array([*(before[lane.lane_id] for lane in inside), -1], np.int64),
        exit_lane=np.array([*(lane.next_ids[0] for lane in inside), -1], np.int64),
        crossing_halves=_crossing_halves(layout, inside),
        light_id=np.array([-1 if la.light_id is None else la.light_id for la in lanes], np.int64),
    )


def _comfortable_mps(paths: PathSet, lanes: tuple[Lane, ...]) -> Floats:
    """(P,): speed limit, lateral acceleration in curves, and braking in time within the lane."""
    curve = curve_speed_mps(paths.curvature_1pm, _LATERAL_ACCEL_MPS2)
    speed = np.empty_like(curve)
    for lane in lanes:
        first = int(paths.first[lane.lane_id])
        here = slice(first, first + int(paths.count[lane.lane_id]))
        limits = np.minimum(curve[here], lane.speed_limit_mps).tolist()
        step = 2.0 * _CURVE_BRAKE_MPS2 * float(paths.spacing_m[lane.lane_id])
        for i in range(len(limits) - 2, -1, -1):
            limits[i] = min(limits[i], (limits[i + 1] ** 2 + step) ** 0.5)
        speed[here] = limits
    return speed


def _next_lanes(layout: Layout, paths: PathSet) -> tuple[Ints, Ints]:
    """Next lanes for each size class. Long vehicles never enter lanes with sharp bends."""
    lanes = layout.lanes
    next_lanes = np.full((len(SIZE_CLASSES_M), len(lanes), _MAX_NEXT_LANES), -1, np.int64)
    swings = [_curvature_over_room(layout, lane, paths) for lane in lanes]
    for size_class, half_length in enumerate(SIZE_CLASSES_M):
        limit = 2.0 / half_length**2 if size_class else np.inf
        usable = {lane.lane_id for lane in lanes if swings[lane.lane_id] <= limit}
        while True:  # a lane with no usable next lane is not usable either
            stuck = {i for i in usable if not usable & set(lanes[i].next_ids)}
            if not stuck:
                break
            usable -= stuck
        for i in usable:
            found = sorted(usable & set(lanes[i].next_ids))[:_MAX_NEXT_LANES]
            next_lanes[size_class, i, : len(found)] = found
    return next_lanes, (next_lanes >= 0).sum(axis=2)


def _curvature_over_room(layout: Layout, lane: Lane, paths: PathSet) -> float:
    """Largest curvature over the room (m) into which corners swing out of the lane there.

    A box of half length h leaves its lane by h^2 / 2 times the curvature, to the outside:
    towards oncoming traffic in right bends, towards the kerb in left bends.
    """
    first = int(paths.first[lane.lane_id])
    curvature = paths.curvature_1pm[first : first + int(paths.count[lane.lane_id])]
    room_left, room_right = _SWING_ROOM_M, _SWING_ROOM_M
    if lane.road_id is not None:
        road = layout.roads[lane.road_id]
        outermost = lane.index == road.lanes_each_way - 1
        if outermost and road.parking_width_m[1 if lane.forward else 0] == 0.0:
            room_right = _SWING_ROOM_TO_KERB_M
        if lane.index == 0:
            room_left = _SWING_ROOM_TO_ONCOMING_M
    return float(max(curvature.max() / room_right, -curvature.min() / room_left))


def _conflicts(layout: Layout, inside: list[Lane], paths: PathSet) -> tuple[Floats, Floats, Floats]:
    """`conflict_start_m`, `conflict_end_m` and `shared_until_m` of `LaneMap`."""
    count = len(inside)
    conflict_start = np.full((count + 1, count + 1), np.inf)
    conflict_end = np.full((count + 1, count + 1), -np.inf)
    shared_until = np.zeros((count + 1, count + 1))
    start = {after: lane.lane_id for lane in layout.lanes for after in lane.next_ids}
    at_junction: defaultdict[int | None, list[tuple[int, Lane]]] = defaultdict(list)
    for index, lane in enumerate(inside):
        at_junction[lane.junction_id].append((index, lane))
    for a, lane_a in enumerate(inside):
        for b, lane_b in at_junction[lane_a.junction_id]:
            if a == b:
                continue
            touches = _touches(paths, lane_a.lane_id, lane_b.lane_id)
            if not touches.any():
                continue
            points = np.nonzero(touches)[0]
            spacing = float(paths.spacing_m[lane_a.lane_id])
            if start[lane_a.lane_id] == start[lane_b.lane_id]:
                shared_until[a, b] = (points[-1] + 1) * spacing
            else:
                conflict_start[a, b] = max(0, points[0] - 1) * spacing
                conflict_end[a, b] = (points[-1] + 1) * spacing
    return conflict_start, conflict_end, shared_until


def _touches(paths: PathSet, a: int, b: int) -> Bools:
    """bool (points of lane a,): a car here would touch a car somewhere on lane b.

    In a bend a car's box leaves the centre line by the sagitta of half its length.
    """
    at_a = slice(int(paths.first[a]), int(paths.first[a] + paths.count[a]))
    at_b = slice(int(paths.first[b]), int(paths.first[b] + paths.count[b]))
    distance = np.hypot(
        paths.x_m[at_a][:, None] - paths.x_m[at_b], paths.y_m[at_a][:, None] - paths.y_m[at_b]
    )
    swing_a, swing_b = (
        np.abs(paths.curvature_1pm[at]) * _CAR_HALF_LENGTH_M**2 / 2.0 for at in (at_a, at_b)
    )
    needed = _CAR_WIDTH_M + _CLEARANCE_M + swing_a[:, None] + swing_b
    return np.asarray((distance < needed).any(axis=1))


def _crossing_halves(layout: Layout, inside: list[Lane]) -> Ints:
    before = {after: lane for lane in layout.lanes for after in lane.next_ids}
    rows = []
    for lane in inside:
        assert lane.junction_id is not None
        crossings = layout.junctions[lane.junction_id].crossings
        start_lane, exit_lane = before[lane.lane_id], layout.lanes[lane.next_ids[0]]
        enters = _nearest_crossing(crossings, start_lane, lane.points_m[0])
        leaves = _nearest_crossing(crossings, exit_lane, lane.points_m[-1])
        rows.append((2 * enters + 1, 2 * leaves))
    return np.array([*rows, (-1, -1)], np.int64)


def _nearest_crossing(crossings: tuple[Crossing, ...], road_lane: Lane, point_m: Points) -> int:
    """Id of the lane's road's crosswalk nearest to a point; a road may have two at a junction."""
    own = [crossing for crossing in crossings if crossing.road_id == road_lane.road_id]
    distances = [np.hypot(*(crossing.walk_m.mean(axis=0) - point_m)) for crossing in own]
    return own[int(np.argmin(distances))].crossing_id
