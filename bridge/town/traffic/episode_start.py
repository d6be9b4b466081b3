"""Where an episode begins: the ego's place, its first lanes, and the vehicle ahead of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sim2street.bridge.town.actor_models import VEHICLE_MODELS
from sim2street.bridge.town.plan.layout import Lane
from sim2street.bridge.town.plan.town_map import TownMap
from sim2street.bridge.town.traffic.vehicle_spawn import CAR_MODELS
from sim2street.bridge.town.traffic.vehicles import (
    HALF_LENGTH_M,
    PLANNED_LANES,
    TrafficState,
    choose_next_lane,
)
from sim2street.configs import ConfigError

StartTurn = Literal["left", "right", "any"]

_MIN_TO_LANE_START_M = 12.0
_MIN_TAIL_M = 4.0
"""The ego's rear axle is at least this far along its first lane."""

_TO_STOP_LINE_M = (12.0, 28.0)
"""Range of the distance to the stop line of an ego that starts before a turn."""

_LEAD_SPEED_FACTORS = (0.55, 0.95)


@dataclass(frozen=True, slots=True)
class EpisodeStart:
    """Where the ego and its lead vehicle start.

    Attributes:
        lane_ids: the first lanes of the ego's route.
        s_m: of the ego's rear axle along the first of them.
        lead_s_m: of the lead vehicle's centre along the first lane; None without a lead.
        lead_model: index into VEHICLE_MODELS.
    """

    lane_ids: tuple[int, ...]
    s_m: float
    lead_s_m: float | None = None
    lead_model: int = 0


def start_anywhere(rng: np.random.Generator, town: TownMap, spawn: int | None) -> EpisodeStart:
    """A random place on the road lane `spawn` (None: a random one), away from its ends."""
    roads = _road_lanes(town)
    drawn = roads[int(rng.integers(len(roads)))].lane_id
    share = float(rng.uniform())
    lane = drawn if spawn is None else _checked(spawn, roads)
    length = float(town.lanes.paths.length_m[lane])
    room_m = max(0.0, length - 2.5 * _MIN_TO_LANE_START_M)
    return EpisodeStart((lane,), _MIN_TO_LANE_START_M + share * room_m)


def start_before_turn(
    rng: np.random.Generator, town: TownMap, spawn: int | None, turn: StartTurn, front_m: float
) -> EpisodeStart:
    """A place shortly before a junction at which the route turns.

    Args:
        spawn: road lane to start on, None for any.
        front_m: from the ego's rear axle to its front bumper.

    Raises:
        ConfigError: the route cannot turn like that from any lane allowed.
    """
    length, lanes = town.lanes.paths.length_m, town.layout.lanes
    turns = ("left", "right") if turn == "any" else (turn,)
    starts = [
        (lane.lane_id, connector)
        for lane in _allowed_lanes(town, spawn)
        for connector in lane.next_ids
        if lanes[connector].turn in turns
        and float(length[lane.lane_id]) > _MIN_TAIL_M + front_m + _TO_STOP_LINE_M[0]
    ]
    if not starts:
        raise ConfigError(f"turn: no lane here from which the route can turn '{turn}'")
    start = starts[int(rng.integers(len(starts)))]
    to_line = float(rng.uniform(*_TO_STOP_LINE_M))
    return EpisodeStart(start, max(_MIN_TAIL_M, float(length[start[0]]) - front_m - to_line))


def start_behind_lead(
    rng: np.random.Generator, town: TownMap, spawn: int | None, gap_m: float, front_m: float
) -> EpisodeStart:
    """A place behind a car that will drive along the ego's route.

    Args:
        spawn: road lane to start on, None for any.
        gap_m: from bumper to bumper. front_m: from the ego's rear axle to its front bumper.

    Raises:
        ConfigError: no lane allowed is long enough.
    """
    model = int(rng.choice(CAR_MODELS))
    half = float(HALF_LENGTH_M[model])
    needed = front_m + gap_m + 2.0 * half + _MIN_TAIL_M
    length = town.lanes.paths.length_m
    long_enough = [
        lane.lane_id
        for lane in _allowed_lanes(town, spawn)
        if length[lane.lane_id] > needed + _MIN_TAIL_M + 1.0
    ]
    if not long_enough:
        raise ConfigError(f"lead_m: no lane here is long enough for a gap of {gap_m:g} m")
    lane = long_enough[int(rng.integers(len(long_enough)))]
    s = float(rng.uniform(_MIN_TAIL_M, float(length[lane]) - needed))
    ids = [lane]
    for _ in range(PLANNED_LANES - 1):
        ids.append(choose_next_lane(town.lanes, rng, 0, ids[-1]))
    return EpisodeStart(tuple(ids), s, s + front_m + gap_m + half, model)


def add_lead_vehicle(
    traffic: TrafficState, start: EpisodeStart, speed_mps: float, rng: np.random.Generator
) -> TrafficState:
    """The traffic with the ego's lead vehicle as its first; it drives slower than most others."""
    assert start.lead_s_m is not None
    factor = float(rng.uniform(*_LEAD_SPEED_FACTORS))
    none = np.array([-1], np.int64)
    plan = np.array(start.lane_ids[:PLANNED_LANES], np.int64)[None]
    return replace(
        traffic,
        model=np.concatenate([[start.lead_model], traffic.model]),
        size_class=np.concatenate([[0], traffic.size_class]),
        lane_plan=np.concatenate([plan, traffic.lane_plan]),
        s_m=np.concatenate([[start.lead_s_m], traffic.s_m]),
        speed_mps=np.concatenate([[speed_mps], traffic.speed_mps]),
        lane_offset_m=np.concatenate([[0.0], traffic.lane_offset_m]),
        speed_factor=np.concatenate([[factor], traffic.speed_factor]),
        granted_lane=np.concatenate([none, traffic.granted_lane]),
        asked_tick=np.concatenate([none, traffic.asked_tick]),
        granted_tick=np.concatenate([none, traffic.granted_tick]),
    )


def keep_lead_on_route(traffic: TrafficState, route_ids: tuple[int, ...]) -> None:
    """Make the first vehicle follow the ego's route: `route_ids` from the ego's lane on."""
    lane = int(traffic.lane_plan[0, 0])
    if lane in route_ids:
        begin = route_ids.index(lane)
        ahead = route_ids[begin : begin + PLANNED_LANES]
        traffic.lane_plan[0, : len(ahead)] = ahead


def clear_radius_m(start: EpisodeStart, at_least_m: float) -> float:
    """Radius around the ego in which no other traffic starts."""
    if start.lead_s_m is None:
        return at_least_m
    longest = max(model.extent_m[0] for model in VEHICLE_MODELS)
    lead_front = start.lead_s_m - start.s_m + float(HALF_LENGTH_M[start.lead_model])
    return max(at_least_m, lead_front + longest + 2.0)


def _allowed_lanes(town: TownMap, spawn: int | None) -> list[Lane]:
    roads = _road_lanes(town)
    return roads if spawn is None else [town.layout.lanes[_checked(spawn, roads)]]


def _road_lanes(town: TownMap) -> list[Lane]:
    return [lane for lane in town.layout.lanes if lane.road_id is not None]


def _checked(spawn: int, roads: list[Lane]) -> int:
    known = [lane.lane_id for lane in roads]
    if spawn not in known:
        raise ConfigError(
            f"spawn: expected a road lane of this town ({min(known)}..{max(known)}), got {spawn}"
        )
    return spawn
