"""From a town id to its `Layout`: widths, lanes, junctions, lights and parked cars."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sim2street.bridge.errors import WorldError
from sim2street.bridge.town.plan.junction_build import (
    Arm,
    Reach,
    lane_pairs,
    make_junction,
    reaches,
    turn_of,
    turning_lane,
)
from sim2street.bridge.town.plan.layout import Junction, Lane, Layout, Light, Points, Road, Turn
from sim2street.bridge.town.plan.parking import park_cars
from sim2street.bridge.town.plan.polyline import arc_lengths, cut, offset, resample, unit
from sim2street.bridge.town.plan.street_graph import (
    STUB_M,
    GraphConfig,
    Street,
    StreetGraph,
    make_graph,
)
from sim2street.configs import StrictModel

LANE_WIDTH_M = 3.3
_PARKING_M = 2.2
_TURN_SPEED_MPS = 8.3
_POST_GAP_M = 0.6


class LayoutConfig(StrictModel):
    """What towns are like; one config and one id give one town.

    Attributes:
        parking: share of the road sides with a parking strip.
        parked: how full the strips are, times a share drawn for every side.
        lights: scales how many junctions have traffic lights (0: none).
        corner_radius_m: smallest and largest kerb radius.
    """

    graph: GraphConfig = GraphConfig()
    parking: float = 0.55
    parked: float = 0.62
    lights: float = 1.0
    corner_radius_m: tuple[float, float] = (5.5, 8.0)
    sidewalk_m: tuple[float, float] = (1.5, 2.4)


@dataclass(slots=True)
class _Draft:
    """Lanes under construction: their `next_ids` grow."""

    lanes: list[Lane]
    next_ids: list[list[int]]

    def add(self, lane: Lane) -> int:
        self.lanes.append(lane)
        self.next_ids.append([])
        return lane.lane_id


def make_layout(seed: int, config: LayoutConfig | None = None) -> Layout:
    """The town of this id. The same arguments always give the same town."""
    config = config or LayoutConfig()
    rng = np.random.default_rng([seed, 0x70])
    graph = make_graph(rng, config.graph)
    widths = [_widths(rng, street, config) for street in graph.streets]
    radius = float(rng.uniform(*config.corner_radius_m))
    arms = _arms(graph, widths)
    arm_reaches = [
        reaches(graph.centres_m[j], list(arm.values()), radius) for j, arm in enumerate(arms)
    ]
    reach_of = {
        (j, end): reach
        for j, arm in enumerate(arms)
        for end, reach in zip(arm, arm_reaches[j], strict=True)
    }
    roads = tuple(
        replace(width, centre_m=_between_mouths(street, index, reach_of))
        for index, (street, width) in enumerate(zip(graph.streets, widths, strict=True))
    )
    junctions = _junctions(rng, graph, arms, arm_reaches, config)
    lights = _lights(junctions, roads, arms)
    draft, roads = _road_lanes(roads, lights)
    _junction_lanes(draft, roads, arms, arm_reaches)
    lanes = tuple(
        replace(lane, next_ids=tuple(after))
        for lane, after in zip(draft.lanes, draft.next_ids, strict=True)
    )
    parked = park_cars(rng, roads, config.parked)
    return Layout(seed, roads, junctions, lanes, tuple(lights.values()), parked, _bounds(roads))


_End = tuple[int, bool]
"""(road id, True at the road's start)."""


def _widths(rng: np.random.Generator, street: Street, config: LayoutConfig) -> Road:
    lanes = 2 if street.wide else 1
    left, right = (_PARKING_M if rng.random() < config.parking else 0.0 for _ in range(2))
    limit = 13.9 if street.wide else float(rng.choice([8.3, 11.1, 13.9]))
    sidewalk = round(float(rng.uniform(*config.sidewalk_m)), 2)
    half = lanes * LANE_WIDTH_M
    empty = np.zeros((0, 2))
    return Road(
        -1, empty, half, (left, right), sidewalk, lanes, street.start, street.end, limit, ()
    )


def _arms(graph: StreetGraph, widths: list[Road]) -> list[dict[_End, Arm]]:
    """The arms of every junction, counter-clockwise, by road end."""
    found: list[list[tuple[float, _End, Arm]]] = [[] for _ in graph.centres_m]
    for road_id, (street, road) in enumerate(zip(graph.streets, widths, strict=True)):
        left, right = road.kerb_m
        rest = (road.half_width_m, road.sidewalk_width_m, road.lanes_each_way)
        at_start = Arm(road_id, street.start_rad, left, right, *rest)
        at_end = Arm(road_id, street.end_rad, right, left, *rest)
        found[street.start].append((street.start_rad % (2 * np.pi), (road_id, True), at_start))
        found[street.end].append((street.end_rad % (2 * np.pi), (road_id, False), at_end))
    return [{end: arm for _, end, arm in sorted(arms, key=lambda a: a[:2])} for arms in found]


def _between_mouths(street: Street, road_id: int, reach_of: dict) -> Points:
    start = reach_of[(street.start, (road_id, True))].mouth_m
    end = reach_of[(street.end, (road_id, False))].mouth_m
    if max(start, end) > STUB_M:
        raise WorldError("a junction is longer than the straight part of its streets")
    length = float(arc_lengths(street.curve_m)[-1])
    return resample(cut(street.curve_m, start, length - end))


def _junctions(
    rng: np.random.Generator,
    graph: StreetGraph,
    arms: list[dict[_End, Arm]],
    arm_reaches: list[list[Reach]],
    config: LayoutConfig,
) -> tuple[Junction, ...]:
    junctions: list[Junction] = []
    crossing_id = 0
    for index, centre in enumerate(graph.centres_m):
        here = list(arms[index].values())
        wide = any(arm.lanes > 1 for arm in here)
        share = 1.0 if wide else 0.65 if len(here) == 4 else 0.35
        has_lights = bool(rng.random() < share * config.lights)
        junctions.append(
            make_junction(index, centre, here, arm_reaches[index], crossing_id, has_lights)
        )
        crossing_id += len(here)
    return tuple(junctions)


def _lights(
    junctions: tuple[Junction, ...], roads: tuple[Road, ...], arms: list[dict[_End, Arm]]
) -> dict[_End, Light]:
    """The light of every road end that has one."""
    lights: dict[_End, Light] = {}
    for junction in junctions:
        if not junction.has_lights:
            continue
        here = arms[junction.junction_id]
        groups = _groups([arm.angle_rad for arm in here.values()])
        for (end, arm), group in zip(here.items(), groups, strict=True):
            mouth = roads[end[0]].centre_m[0 if end[1] else -1]
            right = unit(arm.angle_rad + np.pi / 2)  # traffic comes in: its right is our left
            stop = np.stack([mouth, mouth + right * arm.half_width_m])
            post = mouth + right * (arm.kerb_left_m + _POST_GAP_M)
            heading = float(np.arctan2(*-unit(arm.angle_rad)[::-1]))
            number = len(lights)
            lights[end] = Light(number, junction.junction_id, end[0], stop, post, heading, group)
    return lights


def _groups(angles_rad: list[float]) -> list[int]:
    """0 for the two arms that face each other best (and, of four, 1 for the others)."""
    count = len(angles_rad)
    if count == 4:
        return [0, 1, 0, 1]
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    best = min(
        pairs, key=lambda p: abs(abs(angles_rad[p[0]] - angles_rad[p[1]]) % (2 * np.pi) - np.pi)
    )
    return [0 if index in best else 1 for index in range(count)]


def _road_lanes(
    roads: tuple[Road, ...], lights: dict[_End, Light]
) -> tuple[_Draft, tuple[Road, ...]]:
    draft = _Draft([], [])
    done = []
    for road_id, road in enumerate(roads):
        ids = []
        for forward in (True, False):
            light = lights.get((road_id, not forward))
            for index in range(road.lanes_each_way):
                shifted = offset(
                    road.centre_m, (index + 0.5) * LANE_WIDTH_M * (-1 if forward else 1)
                )
                points = resample(shifted if forward else shifted[::-1])
                lane = Lane(
                    lane_id=len(draft.lanes),
                    points_m=points,
                    width_m=LANE_WIDTH_M,
                    speed_limit_mps=road.speed_limit_mps,
                    next_ids=(),
                    road_id=road_id,
                    light_id=light.light_id if light else None,
                    index=index,
                    forward=forward,
                )
                ids.append(draft.add(lane))
        done.append(replace(road, road_id=road_id, lane_ids=tuple(ids)))
    return draft, tuple(done)


def _junction_lanes(
    draft: _Draft,
    roads: tuple[Road, ...],
    arms: list[dict[_End, Arm]],
    arm_reaches: list[list[Reach]],
) -> None:
    for junction_id, here in enumerate(arms):
        reach = dict(zip(here, arm_reaches[junction_id], strict=True))
        for a, arm_a in here.items():
            turns = {turn_of(arm_a, arm_b) for b, arm_b in here.items() if a != b}
            for b, arm_b in here.items():
                if a == b:
                    continue
                turn = turn_of(arm_a, arm_b)
                for k, m in lane_pairs(arm_a, arm_b, "right" in turns):
                    before = _lane_at(draft, roads, a, incoming=True, index=k)
                    after = _lane_at(draft, roads, b, incoming=False, index=m)
                    stubs = _stubs(reach[a], reach[b], turn)
                    lane = _through(len(draft.lanes), before, after, stubs, turn, junction_id)
                    draft.next_ids[before.lane_id].append(lane.lane_id)
                    draft.add(lane)
                    draft.next_ids[lane.lane_id].append(after.lane_id)


def _lane_at(draft: _Draft, roads: tuple[Road, ...], end: _End, incoming: bool, index: int) -> Lane:
    """The lane of a road end that comes into (or leaves) the junction there."""
    road_id, at_start = end
    forward = at_start != incoming
    for lane_id in roads[road_id].lane_ids:
        lane = draft.lanes[lane_id]
        if lane.forward == forward and lane.index == index:
            return lane
    raise AssertionError(f"road {road_id} has no lane {index}")


def _stubs(reach_a: Reach, reach_b: Reach, turn: Turn) -> tuple[float, float]:
    if turn == "right":  # concentric with the kerb of this corner
        return reach_a.mouth_m - reach_a.left_m, reach_b.mouth_m - reach_b.right_m
    return reach_a.mouth_m - reach_a.round_m, reach_b.mouth_m - reach_b.round_m


def _through(
    lane_id: int, before: Lane, after: Lane, stubs: tuple[float, float], turn: Turn, junction: int
) -> Lane:
    start, end = before.points_m, after.points_m
    start_rad = float(np.arctan2(*(start[-1] - start[-2])[::-1]))
    end_rad = float(np.arctan2(*(end[1] - end[0])[::-1]))
    points = turning_lane((start[-1], start_rad), (end[0], end_rad), stubs)
    limit = min(before.speed_limit_mps, after.speed_limit_mps)
    if turn != "straight":
        limit = min(limit, _TURN_SPEED_MPS)
    return Lane(lane_id, points, LANE_WIDTH_M, limit, (), turn, None, junction)


def _bounds(roads: tuple[Road, ...]) -> tuple[float, float, float, float]:
    points = np.concatenate([road.centre_m for road in roads])
    reach = max(max(road.kerb_m) + road.sidewalk_width_m for road in roads)
    low, high = points.min(axis=0) - reach, points.max(axis=0) + reach
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
