"""Generates the `Layout` of a town from its id."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sim2street.bridge.errors import WorldError
from sim2street.bridge.town.plan.junction_geometry import (
    Arm,
    Reach,
    RoadEnd,
    connected_lanes,
    connector_line,
    junction_reaches,
    make_junction,
    turn_of,
)
from sim2street.bridge.town.plan.layout import Junction, Lane, Layout, Light, Points, Road, Turn
from sim2street.bridge.town.plan.parking import park_cars
from sim2street.bridge.town.plan.polyline import arc_lengths, cut, offset, resample
from sim2street.bridge.town.plan.street_graph import (
    STUB_M,
    GraphConfig,
    Street,
    StreetGraph,
    make_graph,
)
from sim2street.bridge.town.plan.traffic_lights import place_lights
from sim2street.configs import StrictModel

LANE_WIDTH_M = 3.3
_PARKING_WIDTH_M = 2.2
_SIDEWALK_WIDTH_M = (1.5, 2.4)
_CORNER_RADIUS_M = (5.5, 8.0)
"""Range of the kerb radius at corners; one radius per town."""

_SPEED_LIMITS_MPS = (8.3, 11.1, 13.9)
_AVENUE_SPEED_LIMIT_MPS = 13.9
_TURN_SPEED_LIMIT_MPS = 8.3
_LIGHTS_SHARE_OF_FOUR_ARMS = 0.65
_LIGHTS_SHARE_OF_THREE_ARMS = 0.35
"""Share of the junctions with traffic lights. Junctions of avenues always have them."""


class LayoutConfig(StrictModel):
    """What towns are like. A config and a town id determine a town.

    Attributes:
        graph: size and shape of the street network.
        parking: share of the road sides that have a parking strip.
        parked: how full the parking strips are; multiplies a random share per road side.
        lights: multiplies the share of junctions that have traffic lights; 0: none.
    """

    graph: GraphConfig = GraphConfig()
    parking: float = 0.55
    parked: float = 0.62
    lights: float = 1.0


@dataclass(slots=True)
class _Draft:
    """Lanes under construction, whose `next_ids` are not complete yet."""

    lanes: list[Lane]
    next_ids: list[list[int]]

    def add(self, lane: Lane) -> int:
        self.lanes.append(lane)
        self.next_ids.append([])
        return lane.lane_id


def make_layout(seed: int, config: LayoutConfig | None = None) -> Layout:
    """The town with id `seed`. The same arguments always give the same town.

    Raises:
        WorldError: the config allows no town.
    """
    config = config or LayoutConfig()
    rng = np.random.default_rng([seed, 0x70])
    graph = make_graph(rng, config.graph)
    widths = [_widths(rng, street, config) for street in graph.streets]
    radius = float(rng.uniform(*_CORNER_RADIUS_M))
    arms = _arms(graph, widths)
    arm_reaches = [
        junction_reaches(graph.centres_m[j], list(arm.values()), radius)
        for j, arm in enumerate(arms)
    ]
    reach_of = {
        (j, end): reach
        for j, arm in enumerate(arms)
        for end, reach in zip(arm, arm_reaches[j], strict=True)
    }
    roads = tuple(
        replace(width, centre_m=_between_stop_lines(street, index, reach_of))
        for index, (street, width) in enumerate(zip(graph.streets, widths, strict=True))
    )
    junctions = _junctions(rng, graph, arms, arm_reaches, config)
    lights = place_lights(junctions, roads, arms)
    draft, roads = _road_lanes(roads, lights)
    _add_connectors(draft, roads, arms, arm_reaches)
    lanes = tuple(
        replace(lane, next_ids=tuple(after))
        for lane, after in zip(draft.lanes, draft.next_ids, strict=True)
    )
    parked = park_cars(rng, roads, config.parked)
    return Layout(seed, roads, junctions, lanes, tuple(lights.values()), parked, _bounds(roads))


def _widths(rng: np.random.Generator, street: Street, config: LayoutConfig) -> Road:
    """A road with its cross-section and speed limit, but without id, centre line and lanes."""
    lanes = 2 if street.wide else 1
    left, right = (_PARKING_WIDTH_M if rng.random() < config.parking else 0.0 for _ in range(2))
    limit = _AVENUE_SPEED_LIMIT_MPS if street.wide else float(rng.choice(_SPEED_LIMITS_MPS))
    sidewalk = round(float(rng.uniform(*_SIDEWALK_WIDTH_M)), 2)
    return Road(
        road_id=-1,
        centre_m=np.zeros((0, 2)),
        half_width_m=lanes * LANE_WIDTH_M,
        parking_width_m=(left, right),
        sidewalk_width_m=sidewalk,
        lanes_each_way=lanes,
        start_junction_id=street.start,
        end_junction_id=street.end,
        speed_limit_mps=limit,
        lane_ids=(),
    )


def _arms(graph: StreetGraph, widths: list[Road]) -> list[dict[RoadEnd, Arm]]:
    """The arms of each junction by road end, counter-clockwise."""
    found: list[list[tuple[float, RoadEnd, Arm]]] = [[] for _ in graph.centres_m]
    for road_id, (street, road) in enumerate(zip(graph.streets, widths, strict=True)):
        left, right = road.kerb_m
        rest = (road.half_width_m, road.sidewalk_width_m, road.lanes_each_way)
        at_start = Arm(road_id, street.start_rad, left, right, *rest)
        at_end = Arm(road_id, street.end_rad, right, left, *rest)
        found[street.start].append((street.start_rad % (2 * np.pi), (road_id, True), at_start))
        found[street.end].append((street.end_rad % (2 * np.pi), (road_id, False), at_end))
    return [{end: arm for _, end, arm in sorted(arms, key=lambda a: a[:2])} for arms in found]


def _between_stop_lines(
    street: Street, road_id: int, reach_of: dict[tuple[int, RoadEnd], Reach]
) -> Points:
    """Centre line of a road: the street's curve without its parts inside the junctions."""
    start = reach_of[(street.start, (road_id, True))].stop_line_m
    end = reach_of[(street.end, (road_id, False))].stop_line_m
    if max(start, end) > STUB_M:
        raise WorldError(
            f"a junction reaches {max(start, end):.1f} m along a street, "
            f"but streets are straight for {STUB_M:.1f} m only"
        )
    length = float(arc_lengths(street.curve_m)[-1])
    return resample(cut(street.curve_m, start, length - end))


def _junctions(
    rng: np.random.Generator,
    graph: StreetGraph,
    arms: list[dict[RoadEnd, Arm]],
    arm_reaches: list[list[Reach]],
    config: LayoutConfig,
) -> tuple[Junction, ...]:
    junctions: list[Junction] = []
    crossing_id = 0
    for index, centre in enumerate(graph.centres_m):
        here = list(arms[index].values())
        wide = any(arm.lanes > 1 for arm in here)
        four = len(here) == 4
        share = _LIGHTS_SHARE_OF_FOUR_ARMS if four else _LIGHTS_SHARE_OF_THREE_ARMS
        share = 1.0 if wide else share
        has_lights = bool(rng.random() < share * config.lights)
        junctions.append(
            make_junction(index, centre, here, arm_reaches[index], crossing_id, has_lights)
        )
        crossing_id += len(here)
    return tuple(junctions)


def _road_lanes(
    roads: tuple[Road, ...], lights: dict[RoadEnd, Light]
) -> tuple[_Draft, tuple[Road, ...]]:
    """The lanes of all roads, and the roads with their ids and lane ids."""
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


def _add_connectors(
    draft: _Draft,
    roads: tuple[Road, ...],
    arms: list[dict[RoadEnd, Arm]],
    arm_reaches: list[list[Reach]],
) -> None:
    """Add a connector for each pair of lanes that a junction connects."""
    for junction_id, here in enumerate(arms):
        reach = dict(zip(here, arm_reaches[junction_id], strict=True))
        for a, arm_a in here.items():
            turns = {turn_of(arm_a, arm_b) for b, arm_b in here.items() if a != b}
            for b, arm_b in here.items():
                if a == b:
                    continue
                turn = turn_of(arm_a, arm_b)
                for k, m in connected_lanes(arm_a, arm_b, "right" in turns):
                    before = _lane_at(draft, roads, a, incoming=True, index=k)
                    after = _lane_at(draft, roads, b, incoming=False, index=m)
                    straight = _straight_m(reach[a], reach[b], turn)
                    lane = _connector(len(draft.lanes), before, after, straight, turn, junction_id)
                    draft.next_ids[before.lane_id].append(lane.lane_id)
                    draft.add(lane)
                    draft.next_ids[lane.lane_id].append(after.lane_id)


def _lane_at(
    draft: _Draft, roads: tuple[Road, ...], end: RoadEnd, incoming: bool, index: int
) -> Lane:
    """The lane of this index at a road end that enters (or leaves) the junction there."""
    road_id, at_start = end
    forward = at_start != incoming
    for lane_id in roads[road_id].lane_ids:
        lane = draft.lanes[lane_id]
        if lane.forward == forward and lane.index == index:
            return lane
    raise AssertionError(f"road {road_id} has no lane {index}")


def _straight_m(reach_a: Reach, reach_b: Reach, turn: Turn) -> tuple[float, float]:
    """Lengths of a connector that stay straight, at its start and at its end."""
    if turn == "right":  # the turn is concentric with the kerb of the corner
        return reach_a.stop_line_m - reach_a.left_m, reach_b.stop_line_m - reach_b.right_m
    return reach_a.stop_line_m - reach_a.straight_m, reach_b.stop_line_m - reach_b.straight_m


def _connector(
    lane_id: int,
    before: Lane,
    after: Lane,
    straight_m: tuple[float, float],
    turn: Turn,
    junction_id: int,
) -> Lane:
    start, end = before.points_m, after.points_m
    start_rad = float(np.arctan2(*(start[-1] - start[-2])[::-1]))
    end_rad = float(np.arctan2(*(end[1] - end[0])[::-1]))
    limit = min(before.speed_limit_mps, after.speed_limit_mps)
    if turn != "straight":
        limit = min(limit, _TURN_SPEED_LIMIT_MPS)
    return Lane(
        lane_id=lane_id,
        points_m=connector_line((start[-1], start_rad), (end[0], end_rad), straight_m),
        width_m=LANE_WIDTH_M,
        speed_limit_mps=limit,
        next_ids=(),
        turn=turn,
        junction_id=junction_id,
    )


def _bounds(roads: tuple[Road, ...]) -> tuple[float, float, float, float]:
    points = np.concatenate([road.centre_m for road in roads])
    reach = max(max(road.kerb_m) + road.sidewalk_width_m for road in roads)
    low, high = points.min(axis=0) - reach, points.max(axis=0) + reach
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
