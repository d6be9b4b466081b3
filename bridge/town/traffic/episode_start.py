"""Where an episode begins: the ego's place and first lanes, and who drives ahead of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sim2street.bridge.town.models import VEHICLE_MODELS
from sim2street.bridge.town.plan.layout import Lane
from sim2street.bridge.town.plan.town_map import TownMap
from sim2street.bridge.town.traffic.vehicle_spawn import CAR_MODELS
from sim2street.bridge.town.traffic.vehicles import HALF_LENGTH_M, PLAN, TrafficState, choose_way
from sim2street.configs import ConfigError

StartTurn = Literal["left", "right", "any"]

_EDGE_M = 12.0
_TAIL_M = 4.0
_TO_LINE_M = (12.0, 28.0)
_LEAD_KEENNESS = (0.55, 0.95)


@dataclass(frozen=True, slots=True)
class Start:
    """The ego's first lanes, how far along the first of them it stands, and its lead.

    Attributes:
        lane_ids: its route begins with these.
        lead_m: along the first lane, middle of the vehicle ahead; None: nobody is put there.
        lead_model: index into VEHICLE_MODELS.
    """

    lane_ids: tuple[int, ...]
    s_m: float
    lead_m: float | None = None
    lead_model: int = 0


def somewhere(rng: np.random.Generator, town: TownMap, spawn: int | None) -> Start:
    """A road lane and a place along it, clear of its ends."""
    roads = _roads(town)
    drawn = roads[int(rng.integers(len(roads)))].lane_id
    share = float(rng.uniform())
    lane = drawn if spawn is None else _checked(spawn, roads)
    length = float(town.lanes.paths.length_m[lane])
    return Start((lane,), _EDGE_M + share * max(0.0, length - 2.5 * _EDGE_M))


def before_turn(
    rng: np.random.Generator, town: TownMap, spawn: int | None, turn: StartTurn, front_m: float
) -> Start:
    """Shortly before a junction at which the route turns.

    Args:
        front_m: from the ego's rear axle to its front bumper.
    """
    length, lanes = town.lanes.paths.length_m, town.layout.lanes
    wanted = ("left", "right") if turn == "any" else (turn,)
    ways = [
        (lane.lane_id, after)
        for lane in _starts(town, spawn)
        for after in lane.next_ids
        if lanes[after].turn in wanted
        and float(length[lane.lane_id]) > _TAIL_M + front_m + _TO_LINE_M[0]
    ]
    if not ways:
        raise ConfigError(f"turn: no lane here from which the route can turn '{turn}'")
    way = ways[int(rng.integers(len(ways)))]
    to_line = float(rng.uniform(*_TO_LINE_M))
    return Start(way, max(_TAIL_M, float(length[way[0]]) - front_m - to_line))


def behind_lead(
    rng: np.random.Generator, town: TownMap, spawn: int | None, gap_m: float, front_m: float
) -> Start:
    """Behind a car that will drive along the ego's route, `gap_m` from bumper to bumper."""
    model = int(rng.choice(CAR_MODELS))
    half = float(HALF_LENGTH_M[model])
    needed = front_m + gap_m + 2.0 * half + _TAIL_M
    length = town.lanes.paths.length_m
    fits = [
        la.lane_id for la in _starts(town, spawn) if length[la.lane_id] > needed + _TAIL_M + 1.0
    ]
    if not fits:
        raise ConfigError(f"lead_m: no lane here is long enough for a gap of {gap_m:g} m")
    lane = fits[int(rng.integers(len(fits)))]
    s = float(rng.uniform(_TAIL_M, float(length[lane]) - needed))
    ids = [lane]
    for _ in range(PLAN - 1):
        ids.append(choose_way(town.lanes, rng, 0, ids[-1]))
    return Start(tuple(ids), s, s + front_m + gap_m + half, model)


def with_lead(
    traffic: TrafficState, start: Start, speed_mps: float, rng: np.random.Generator
) -> TrafficState:
    """The traffic with the ego's lead as its first vehicle: a little slower than others."""
    assert start.lead_m is not None
    keenness = float(rng.uniform(*_LEAD_KEENNESS))
    none = np.array([-1], np.int64)
    plan = np.array(start.lane_ids[:PLAN], np.int64)[None]
    return replace(
        traffic,
        model=np.concatenate([[start.lead_model], traffic.model]),
        size=np.concatenate([[0], traffic.size]),
        plan=np.concatenate([plan, traffic.plan]),
        s_m=np.concatenate([[start.lead_m], traffic.s_m]),
        speed_mps=np.concatenate([[speed_mps], traffic.speed_mps]),
        left_m=np.concatenate([[0.0], traffic.left_m]),
        keenness=np.concatenate([[keenness], traffic.keenness]),
        grant=np.concatenate([none, traffic.grant]),
        asked=np.concatenate([none, traffic.asked]),
        granted=np.concatenate([none, traffic.granted]),
    )


def guide(traffic: TrafficState, route_ids: tuple[int, ...]) -> None:
    """Keep the first vehicle on the ego's route: `route_ids` from the ego's lane on."""
    lane = int(traffic.plan[0, 0])
    if lane in route_ids:
        begin = route_ids.index(lane)
        ahead = route_ids[begin : begin + PLAN]
        traffic.plan[0, : len(ahead)] = ahead


def clear_radius_m(start: Start, at_least_m: float) -> float:
    """Radius around the ego that no other traffic starts in."""
    if start.lead_m is None:
        return at_least_m
    longest = max(model.extent_m[0] for model in VEHICLE_MODELS)
    behind = start.lead_m - start.s_m + float(HALF_LENGTH_M[start.lead_model])
    return max(at_least_m, behind + longest + 2.0)


def _starts(town: TownMap, spawn: int | None) -> list[Lane]:
    roads = _roads(town)
    return roads if spawn is None else [town.layout.lanes[_checked(spawn, roads)]]


def _roads(town: TownMap) -> list[Lane]:
    return [lane for lane in town.layout.lanes if lane.road_id is not None]


def _checked(spawn: int, roads: list[Lane]) -> int:
    known = [lane.lane_id for lane in roads]
    if spawn not in known:
        raise ConfigError(
            f"spawn: expected a road lane of this town ({min(known)}..{max(known)}), got {spawn}"
        )
    return spawn
