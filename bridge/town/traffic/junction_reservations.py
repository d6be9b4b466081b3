"""The ways through a junction that are taken, and where those who took them must wait."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim2street.bridge.town.plan.lane_map import Bools, LaneMap
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats
from sim2street.bridge.town.traffic.vehicles import HALF_LENGTH_M, Obstacle, TrafficState

_SPACE_M = 2.5
_START_MPS2 = 2.0
_NOT_THERE_M = -1000.0
_MEET_GAP_M = 0.8
_ENTERED_M = 1.1
"""Who is less far past the stop line stands in nobody's way."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The ego's part in it, as far as a junction is ahead of it or around it.

    Attributes:
        before: its road lane. through: its way through the junction.
        to_line_m: from the front bumper to the stop line (< 0: past it).
        length_m: of the vehicle.
        inside: it stands or drives in the junction.
    """

    before: int
    through: int
    to_line_m: float
    speed_mps: float
    length_m: float
    inside: bool


@dataclass(slots=True)
class EgoGrant:
    """The ego's grant: kept between ticks, as the vehicles keep theirs.

    Attributes:
        grant: lane through the junction, or -1. asked, granted: ticks, or -1.
    """

    grant: int = -1
    asked: int = -1
    granted: int = -1


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the decision depends on besides the vehicles.

    Attributes:
        light: int64 (M,) states.
        walked: bool (halves of crossings + 1,), someone is on it or comes to it.
        wanted: likewise, someone has waited long enough to be let across.
        blocked: lanes under the ego.
    """

    light: Ints
    walked: Bools
    wanted: Bools
    blocked: tuple[Obstacle, ...]


@dataclass(slots=True)
class HeldWays:
    """Ways that are taken, and room that is spoken for behind them.

    Attributes:
        connectors: ways taken, or waited for by somebody who was first.
        tails_m: how far along each the vehicle's tail is (far below 0: not there yet).
        speeds_mps: of those on their way (0: of those who are not there yet).
        room_m: by exit lane, for those who will come out there.
        tail_m: float64 (L,), of the last vehicle on each lane.
    """

    connectors: list[int]
    tails_m: list[float]
    speeds_mps: list[float]
    room_m: dict[int, float]
    tail_m: Floats

    @classmethod
    def of(
        cls,
        traffic: TrafficState,
        ego: EgoGrant,
        claim: Claim,
        lanes: LaneMap,
        around: Surroundings,
        half: Floats,
    ) -> HeldWays:
        tail = lanes.paths.length_m + 100.0
        # a vehicle that moves will have made room by the time the next one arrives
        behind = traffic.s_m - half + 1.5 * traffic.speed_mps
        np.minimum.at(tail, traffic.plan[:, 0], behind)
        for obstacle in around.blocked:
            tail[obstacle.lane] = min(tail[obstacle.lane], obstacle.tail_m)
        held = cls([], [], [], {}, tail)
        who = np.nonzero(traffic.grant >= 0)[0]
        along = traffic.s_m[who] - _offset_m(traffic, lanes, who) - half[who]
        for i, at in zip(who.tolist(), along.tolist(), strict=True):
            grant = int(traffic.grant[i])
            out = traffic.plan[i, 0] == lanes.exit_lane[lanes.connector[grant]]
            there = at > -2.0 * float(half[i])
            length = 0.0 if out else 2.0 * float(half[i])
            held.add(grant, length, lanes, at, float(traffic.speed_mps[i]) if there else 0.0)
        if ego.grant >= 0:
            held.add(ego.grant, claim.length_m, lanes, -claim.to_line_m - claim.length_m)
        for obstacle in around.blocked:
            if lanes.connector[obstacle.lane] >= 0 and obstacle.head_m > _ENTERED_M:
                held.add(obstacle.lane, 0.0, lanes, obstacle.tail_m)
        return held

    def add(
        self,
        through: int,
        length_m: float,
        lanes: LaneMap,
        along_m: float = _NOT_THERE_M,
        speed_mps: float = 0.0,
    ) -> None:
        """Take a way; `length_m` of room behind it is spoken for (0: none)."""
        connector = int(lanes.connector[through])
        self.connectors.append(connector)
        self.tails_m.append(along_m)
        self.speeds_mps.append(speed_mps)
        if length_m > 0.0:
            exit_lane = int(lanes.exit_lane[connector])
            self.room_m[exit_lane] = self.room_m.get(exit_lane, 0.0) + length_m + _SPACE_M

    def conflicts(self, through: int, lanes: LaneMap, to_line_m: float, speed_mps: float) -> bool:
        """Whether somebody is, or waits longer, on a way that crosses this one.

        Those who will be gone before the asking one gets to where the ways meet do not
        count; `to_line_m` and `speed_mps` are of the one who asks.
        """
        if not self.connectors:
            return False
        connector = int(lanes.connector[through])
        until = lanes.conflict_m[self.connectors, connector] - np.array(self.tails_m)
        way = to_line_m + lanes.meet_m[connector, self.connectors]
        arrives_s = (np.sqrt(speed_mps**2 + 2.0 * _START_MPS2 * way) - speed_mps) / _START_MPS2
        speeds = np.array(self.speeds_mps)
        leaves_s = np.where(speeds > 1.0, until / np.maximum(speeds, 1.0), np.inf)
        return bool(((until > 0.0) & (leaves_s > arrives_s)).any())

    def has_room(self, through: int, length_m: float, lanes: LaneMap, around: Surroundings) -> bool:
        """Whether the crossings are free and there is room behind the junction."""
        connector = int(lanes.connector[through])
        crossings = lanes.crossings[connector]
        if around.walked[crossings].any() or around.wanted[crossings].any():
            return False
        exit_lane = int(lanes.exit_lane[connector])
        room = float(self.tail_m[exit_lane]) - self.room_m.get(exit_lane, 0.0)
        return room > length_m + _SPACE_M


def yield_m(traffic: TrafficState, ego: EgoGrant, claim: Claim, lanes: LaneMap) -> Floats:
    """float64 (N,): from the front bumper to where it must wait for others in a junction.

    Those who were granted their way earlier go first; so does the ego once it is inside,
    granted or not.
    """
    wait = np.full(len(traffic.model), np.inf)
    who = np.nonzero(traffic.grant >= 0)[0]
    half = HALF_LENGTH_M[traffic.model[who]]
    along = traffic.s_m[who] - _offset_m(traffic, lanes, who)
    ways, tails, since = lanes.connector[traffic.grant[who]], along - half, traffic.granted[who]
    if claim.inside or ego.grant >= 0:
        ways = np.append(ways, lanes.connector[claim.through])
        tails = np.append(tails, -claim.to_line_m - claim.length_m)
        since = np.append(since, ego.granted if ego.grant >= 0 else -1)
    if len(ways) < 2 or not len(who):
        return wait
    mine = ways[: len(who), None]
    first = (since < since[: len(who), None]) & (tails < lanes.conflict_m[ways, mine])
    distance = lanes.meet_m[mine, ways] - (along + half)[:, None] - _MEET_GAP_M
    distance[~first | (distance < -_MEET_GAP_M)] = np.inf  # in it already: out of it
    wait[who] = distance.min(axis=1)
    return wait


def _offset_m(traffic: TrafficState, lanes: LaneMap, who: Ints) -> Floats:
    """What to take from `s_m` to get the distance along the granted way."""
    first, grant = traffic.plan[who, 0], traffic.grant[who]
    before = np.where(traffic.plan[who, 1] == grant, lanes.paths.length_m[first], 0.0)
    out = (first != grant) & (traffic.plan[who, 1] != grant)
    return before - np.where(out, lanes.paths.length_m[grant], 0.0)


def crossings_in_use(
    traffic: TrafficState, ego: EgoGrant, lanes: LaneMap, blocked: tuple[Obstacle, ...], count: int
) -> Bools:
    """bool (count,): a vehicle has a grant over this crossing, or the ego is on it."""
    inside = [obstacle.lane for obstacle in blocked if obstacle.head_m > _ENTERED_M]
    granted = traffic.grant[traffic.grant >= 0].tolist()
    through = np.array([*granted, *inside, *([ego.grant] if ego.grant >= 0 else [])], np.int64)
    halves = np.zeros(2 * count + 1, bool)  # the last one is for lanes that are on roads
    halves[lanes.crossings[lanes.connector[through]]] = True
    return np.asarray(halves[:-1].reshape(count, 2).any(axis=1))
