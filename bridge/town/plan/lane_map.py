"""The lanes of a layout, compiled for traffic: speeds, ways on, conflicts in junctions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.town.plan.layout import Crossing, Lane, Layout, Points
from sim2street.bridge.town.plan.paths import Ints, PathSet
from sim2street.bridge.town.plan.polyline import Floats

SIZE_CLASSES_M = (2.8, 4.2, 6.0)
"""Half lengths up to which a vehicle belongs to size class 0 (cars), 1 (lorries), 2."""

_NARROW_M = 0.4
_TO_KERB_M = 0.65
_TO_ONCOMING_M = 0.75
_CAR_HALF_LENGTH_M = 2.4
_CAR_WIDTH_M = 2.0
_CLEARANCE_M = 0.4
_LATERAL_MPS2 = 2.2
_BRAKE_MPS2 = 1.6
_MOST_WAYS = 4

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LaneMap:
    """What drivers know. L lanes, C of them in junctions ("connectors"), P points.

    Attributes:
        limit_mps: float64 (P,), comfortable speed here (limit, curves, braking for them).
        entry_mps: float64 (L,), the same at each lane's start.
        ways: int64 (3, L, 4), next lanes for each size class, padded with -1.
        way_count: int64 (3, L).
        connector: int64 (L,), 0..C-1 for lanes in junctions, else -1 (a last, empty row of
            the tables below).
        conflict_m: float64 (C+1, C+1), vehicles on both would touch while the tail of the
            first is less far along than this (-inf: never, and for those of one start lane).
        meet_m: float64 (C+1, C+1), where along the first its way comes into the second's.
        apart_m: float64 (C+1, C+1), two connectors of one start lane overlap up to here
            (0 for all other pairs).
        start_lane, exit_lane: int64 (C+1,), the road lanes a connector joins.
        crossings: int64 (C+1, 2), halves of crossings it passes, at its start and its end:
            2 * crossing id + 1 where traffic comes in, + 0 where it goes out.
        light: int64 (L,), light at the lane's end, or -1.
    """

    paths: PathSet
    limit_mps: Floats
    entry_mps: Floats
    ways: Ints
    way_count: Ints
    connector: Ints
    conflict_m: Floats
    meet_m: Floats
    apart_m: Floats
    start_lane: Ints
    exit_lane: Ints
    crossings: Ints
    light: Ints


def lane_map(layout: Layout) -> LaneMap:
    """Compile the lanes of a layout."""
    lanes = layout.lanes
    paths = PathSet.of([lane.points_m for lane in lanes])
    limit = _comfortable_mps(paths, lanes)
    inside = [lane for lane in lanes if lane.junction_id is not None]
    connector = np.full(len(lanes), -1, np.int64)
    connector[[lane.lane_id for lane in inside]] = np.arange(len(inside))
    conflict, meet, apart = _overlaps(layout, inside, paths)
    ways, count = _ways(layout, paths)
    before = {after: lane.lane_id for lane in lanes for after in lane.next_ids}
    return LaneMap(
        paths=paths,
        limit_mps=limit,
        entry_mps=limit[paths.first],
        ways=ways,
        way_count=count,
        connector=connector,
        conflict_m=conflict,
        meet_m=meet,
        apart_m=apart,
        start_lane=np.array([*(before[lane.lane_id] for lane in inside), -1], np.int64),
        exit_lane=np.array([*(lane.next_ids[0] for lane in inside), -1], np.int64),
        crossings=_crossings(layout, inside),
        light=np.array([-1 if la.light_id is None else la.light_id for la in lanes], np.int64),
    )


def _comfortable_mps(paths: PathSet, lanes: tuple[Lane, ...]) -> Floats:
    """Speed limit, lateral acceleration in curves, and braking in time for them."""
    curve = np.sqrt(_LATERAL_MPS2 / np.maximum(np.abs(paths.curvature_1pm), 1e-4))
    speed = np.empty_like(curve)
    for lane in lanes:
        first = int(paths.first[lane.lane_id])
        here = slice(first, first + int(paths.count[lane.lane_id]))
        limits = np.minimum(curve[here], lane.speed_limit_mps).tolist()
        step = 2.0 * _BRAKE_MPS2 * float(paths.spacing_m[lane.lane_id])
        for i in range(len(limits) - 2, -1, -1):
            limits[i] = min(limits[i], (limits[i + 1] ** 2 + step) ** 0.5)
        speed[here] = limits
    return speed


def _ways(layout: Layout, paths: PathSet) -> tuple[Ints, Ints]:
    """Next lanes for each size class: long vehicles stay off sharp bends for good."""
    lanes = layout.lanes
    ways = np.full((len(SIZE_CLASSES_M), len(lanes), _MOST_WAYS), -1, np.int64)
    swings = [_swing(layout, lane, paths) for lane in lanes]
    for size, half_length in enumerate(SIZE_CLASSES_M):
        most = 2.0 / half_length**2 if size else np.inf
        usable = {lane.lane_id for lane in lanes if swings[lane.lane_id] <= most}
        while True:  # a lane whose ways on are all unusable is unusable as well
            stuck = {i for i in usable if not usable & set(lanes[i].next_ids)}
            if not stuck:
                break
            usable -= stuck
        for i in usable:
            ways_on = sorted(usable & set(lanes[i].next_ids))[:_MOST_WAYS]
            ways[size, i, : len(ways_on)] = ways_on
    return ways, (ways >= 0).sum(axis=2)


def _swing(layout: Layout, lane: Lane, paths: PathSet) -> float:
    """Sharpest curvature, over the room (m) for corners that swing out of the bend there.

    A box of half length h leaves its lane by h^2 / 2 times the curvature, to the outside:
    towards oncoming traffic in right bends, towards the kerb in left ones.
    """
    first = int(paths.first[lane.lane_id])
    curvature = paths.curvature_1pm[first : first + int(paths.count[lane.lane_id])]
    to_left, to_right = _NARROW_M, _NARROW_M
    if lane.road_id is not None:
        road = layout.roads[lane.road_id]
        outermost = lane.index == road.lanes_each_way - 1
        if outermost and road.parking_width_m[1 if lane.forward else 0] == 0.0:
            to_right = _TO_KERB_M
        if lane.index == 0:
            to_left = _TO_ONCOMING_M
    return float(max(curvature.max() / to_right, -curvature.min() / to_left))


def _overlaps(layout: Layout, inside: list[Lane], paths: PathSet) -> tuple[Floats, Floats, Floats]:
    count = len(inside)
    conflict = np.full((count + 1, count + 1), -np.inf)
    meet = np.full((count + 1, count + 1), np.inf)
    apart = np.zeros((count + 1, count + 1))
    start = {after: lane.lane_id for lane in layout.lanes for after in lane.next_ids}
    for a, lane_a in enumerate(inside):
        for b in range(count):
            lane_b = inside[b]
            if a == b or lane_a.junction_id != lane_b.junction_id:
                continue
            touch = _touching(paths, lane_a.lane_id, lane_b.lane_id)
            if not touch.any():
                continue
            points = np.nonzero(touch)[0]
            spacing = float(paths.spacing_m[lane_a.lane_id])
            if start[lane_a.lane_id] == start[lane_b.lane_id]:
                apart[a, b] = (points[-1] + 1) * spacing
            else:
                conflict[a, b] = (points[-1] + 1) * spacing
                meet[a, b] = max(0, points[0] - 1) * spacing
    return conflict, meet, apart


def _touching(paths: PathSet, a: int, b: int) -> Bools:
    """bool (points of a,): a car here would touch a car somewhere on b.

    A car's box leaves its centre line in a bend by the sagitta of half its length.
    """
    at_a = slice(int(paths.first[a]), int(paths.first[a] + paths.count[a]))
    at_b = slice(int(paths.first[b]), int(paths.first[b] + paths.count[b]))
    apart = np.hypot(
        paths.x_m[at_a][:, None] - paths.x_m[at_b], paths.y_m[at_a][:, None] - paths.y_m[at_b]
    )
    swing = np.abs(paths.curvature_1pm) * _CAR_HALF_LENGTH_M**2 / 2.0
    needed = _CAR_WIDTH_M + _CLEARANCE_M + swing[at_a][:, None] + swing[at_b]
    return np.asarray((apart < needed).any(axis=1))


def _crossings(layout: Layout, inside: list[Lane]) -> Ints:
    before = {after: lane for lane in layout.lanes for after in lane.next_ids}
    rows = []
    for lane in inside:
        assert lane.junction_id is not None
        crossings = layout.junctions[lane.junction_id].crossings
        came, goes = before[lane.lane_id], layout.lanes[lane.next_ids[0]]
        enters = _nearest(crossings, came, lane.points_m[0])
        leaves = _nearest(crossings, goes, lane.points_m[-1])
        rows.append((2 * enters + 1, 2 * leaves))
    return np.array([*rows, (-1, -1)], np.int64)


def _nearest(crossings: tuple[Crossing, ...], road_lane: Lane, point_m: Points) -> int:
    """The crossing of this lane's road (which may have two here) nearest to a point."""
    own = [crossing for crossing in crossings if crossing.road_id == road_lane.road_id]
    distances = [np.hypot(*(crossing.walk_m.mean(axis=0) - point_m)) for crossing in own]
    return own[int(np.argmin(distances))].crossing_id
