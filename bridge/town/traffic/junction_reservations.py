"""Which connectors of the junctions are reserved, and where vehicles on them yield to others.

A connector is a lane through a junction. Who holds a grant for a connector has reserved it.
`right_of_way` hands out the grants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim2street.bridge.town.plan.lane_map import Bools, LaneMap
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats
from sim2street.bridge.town.traffic.vehicles import HALF_LENGTH_M, LaneObstacle, TrafficState

_EXIT_GAP_M = 2.5
"""Room that each vehicle needs on its exit lane besides its own length."""

_EXIT_MOTION_S = 1.5
"""A vehicle on the exit lane will have moved on for this long when the next one arrives."""

_START_ACCEL_MPS2 = 2.0
_NOT_THERE_M = -1000.0
_YIELD_GAP_M = 0.8
_ENTERED_M = 1.1
"""An ego whose front is less far past the stop line blocks nobody."""


@dataclass(frozen=True, slots=True)
class EgoAtJunction:
    """The ego relative to the junction that it is in, or else comes to next.

    Attributes:
        approach_lane: road lane that leads to the junction.
        connector_lane: lane of its route through the junction.
        to_stop_line_m: from the front bumper to the stop line; negative past it.
        length_m: of the ego.
        inside: whether it is in the junction.
    """

    approach_lane: int
    connector_lane: int
    to_stop_line_m: float
    speed_mps: float
    length_m: float
    inside: bool


@dataclass(slots=True)
class EgoGrant:
    """The ego's right of way.

    Attributes:
        granted_lane: lane through a junction that the ego may enter, or -1.
        asked_tick: since when the ego has waited for a grant, or -1.
        granted_tick: of its last grant, or -1.
    """

    granted_lane: int = -1
    asked_tick: int = -1
    granted_tick: int = -1


@dataclass(frozen=True, slots=True)
class JunctionConditions:
    """What grants depend on besides the vehicles.

    Attributes:
        light_states: int64 (M,), see `traffic_lights.light_states`.
        occupied: bool (2 * crossings + 1,), halves of crosswalks that somebody is on or comes
            to, see `pedestrians.occupied_crossings`.
        requested: bool, same shape, halves that somebody has waited long enough to use.
        ego_lanes: stretches of lanes under the ego.
    """

    light_states: Ints
    occupied: Bools
    requested: Bools
    ego_lanes: tuple[LaneObstacle, ...]


@dataclass(slots=True)
class JunctionReservations:
    """Reserved connectors, and the room reserved on the lanes behind the junctions.

    Attributes:
        connectors: reserved ones, and those that somebody who asked earlier waits for.
        tails_m: how far along each the vehicle's tail is; far below 0 before the junction.
        speeds_mps: of the vehicles that are there; 0 for others.
        reserved_m: exit lane -> length reserved on it.
        last_tail_m: float64 (L,), position of the last vehicle's tail on each lane.
    """

    connectors: list[int]
    tails_m: list[float]
    speeds_mps: list[float]
    reserved_m: dict[int, float]
    last_tail_m: Floats

    @classmethod
    def of(
        cls,
        traffic: TrafficState,
        grant: EgoGrant,
        ego: EgoAtJunction,
        lanes: LaneMap,
        conditions: JunctionConditions,
        half: Floats,
    ) -> JunctionReservations:
        """The reservations of all grants, and the connectors that the ego stands on."""
        last_tail = lanes.paths.length_m + 100.0
        tail = traffic.s_m - half + _EXIT_MOTION_S * traffic.speed_mps
        np.minimum.at(last_tail, traffic.lane_plan[:, 0], tail)
        for part in conditions.ego_lanes:
            last_tail[part.lane] = min(last_tail[part.lane], part.tail_m)
        reservations = cls([], [], [], {}, last_tail)
        who = np.nonzero(traffic.granted_lane >= 0)[0]
        tails = traffic.s_m[who] - _connector_start_m(traffic, lanes, who) - half[who]
        for i, tail_m in zip(who.tolist(), tails.tolist(), strict=True):
            granted = int(traffic.granted_lane[i])
            has_left = traffic.lane_plan[i, 0] == lanes.exit_lane[lanes.connector[granted]]
            is_there = tail_m > -2.0 * float(half[i])
            length = 0.0 if has_left else 2.0 * float(half[i])
            speed = float(traffic.speed_mps[i]) if is_there else 0.0
            reservations.add(granted, length, lanes, tail_m, speed)
        if grant.granted_lane >= 0:
            tail_m = -ego.to_stop_line_m - ego.length_m
            reservations.add(grant.granted_lane, ego.length_m, lanes, tail_m)
        for part in conditions.ego_lanes:
            if lanes.connector[part.lane] >= 0 and part.head_m > _ENTERED_M:
                reservations.add(part.lane, 0.0, lanes, part.tail_m)
        return reservations

    def add(
        self,
        connector_lane: int,
        length_m: float,
        lanes: LaneMap,
        tail_m: float = _NOT_THERE_M,
        speed_mps: float = 0.0,
    ) -> None:
        """Reserve a connector, and room for `length_m` (0: none) on its exit lane."""
        connector = int(lanes.connector[connector_lane])
        self.connectors.append(connector)
        self.tails_m.append(tail_m)
        self.speeds_mps.append(speed_mps)
        if length_m > 0.0:
            exit_lane = int(lanes.exit_lane[connector])
            room_m = length_m + _EXIT_GAP_M
            self.reserved_m[exit_lane] = self.reserved_m.get(exit_lane, 0.0) + room_m

    def conflicts(
        self, connector_lane: int, lanes: LaneMap, to_stop_line_m: float, speed_mps: float
    ) -> bool:
        """Whether a vehicle would meet somebody who has reserved a conflicting connector.

        Others who leave the area of the conflict before the vehicle reaches it do not count.

        Args:
            to_stop_line_m, speed_mps: of the vehicle that asks.
        """
        if not self.connectors:
            return False
        connector = int(lanes.connector[connector_lane])
        left_m = lanes.conflict_end_m[self.connectors, connector] - np.array(self.tails_m)
        way_m = to_stop_line_m + lanes.conflict_start_m[connector, self.connectors]
        speed_there = np.sqrt(speed_mps**2 + 2.0 * _START_ACCEL_MPS2 * way_m)
        arrives_s = (speed_there - speed_mps) / _START_ACCEL_MPS2
        speeds = np.array(self.speeds_mps)
        leaves_s = np.where(speeds > 1.0, left_m / np.maximum(speeds, 1.0), np.inf)
        return bool(((left_m > 0.0) & (leaves_s > arrives_s)).any())

    def has_room(
        self, connector_lane: int, length_m: float, lanes: LaneMap, conditions: JunctionConditions
    ) -> bool:
        """Whether the crosswalks on the way are free and the exit lane has room for a vehicle."""
        connector = int(lanes.connector[connector_lane])
        halves = lanes.crossing_halves[connector]
        if conditions.occupied[halves].any() or conditions.requested[halves].any():
            return False
        exit_lane = int(lanes.exit_lane[connector])
        room = float(self.last_tail_m[exit_lane]) - self.reserved_m.get(exit_lane, 0.0)
        return room > length_m + _EXIT_GAP_M


def yield_distances_m(
    traffic: TrafficState, grant: EgoGrant, ego: EgoAtJunction, lanes: LaneMap
) -> Floats:
    """float64 (N,): from each front bumper to where it must wait in a junction; inf: nowhere.

    Vehicles yield to those whose grants are older, and to an ego inside the junction, even
    without a grant.
    """
    distance = np.full(len(traffic.model), np.inf)
    who = np.nonzero(traffic.granted_lane >= 0)[0]
    half = HALF_LENGTH_M[traffic.model[who]]
    along = traffic.s_m[who] - _connector_start_m(traffic, lanes, who)
    connectors = lanes.connector[traffic.granted_lane[who]]
    tails, since = along - half, traffic.granted_tick[who]
    if ego.inside or grant.granted_lane >= 0:
        connectors = np.append(connectors, lanes.connector[ego.connector_lane])
        tails = np.append(tails, -ego.to_stop_line_m - ego.length_m)
        since = np.append(since, grant.granted_tick if grant.granted_lane >= 0 else -1)
    if len(connectors) < 2 or not len(who):
        return distance
    own = connectors[: len(who), None]
    goes_first = since < since[: len(who), None]
    goes_first &= tails < lanes.conflict_end_m[connectors, own]
    front = (along + half)[:, None]
    to_conflict = lanes.conflict_start_m[own, connectors] - front - _YIELD_GAP_M
    # A vehicle that is already in the area of the conflict drives on and clears it.
    to_conflict[~goes_first | (to_conflict < -_YIELD_GAP_M)] = np.inf
    distance[who] = to_conflict.min(axis=1)
    return distance


def _connector_start_m(traffic: TrafficState, lanes: LaneMap, who: Ints) -> Floats:
    """Position of the granted connector's start, along the present lane of each vehicle."""
    first, granted = traffic.lane_plan[who, 0], traffic.granted_lane[who]
    comes_next = traffic.lane_plan[who, 1] == granted
    before = np.where(comes_next, lanes.paths.length_m[first], 0.0)
    has_left = (first != granted) & ~comes_next
    return before - np.where(has_left, lanes.paths.length_m[granted], 0.0)


def crossings_in_use(
    traffic: TrafficState,
    grant: EgoGrant,
    lanes: LaneMap,
    ego_lanes: tuple[LaneObstacle, ...],
    count: int,
) -> Bools:
    """bool (count,): crosswalks that a vehicle has a grant to cross, or that the ego is on."""
    inside = [part.lane for part in ego_lanes if part.head_m > _ENTERED_M]
    granted = traffic.granted_lane[traffic.granted_lane >= 0].tolist()
    own = [grant.granted_lane] if grant.granted_lane >= 0 else []
    connector_lanes = np.array([*granted, *inside, *own], np.int64)
    halves = np.zeros(2 * count + 1, bool)  # the last element stands for road lanes
    halves[lanes.crossing_halves[lanes.connector[connector_lanes]]] = True
    return np.asarray(halves[:-1].reshape(count, 2).any(axis=1))
