"""Who may enter a junction: grants, handed out one by one.

A vehicle near its stop line asks; it is granted its way through the junction if the light
is green, no conflicting way is granted or blocked, nobody walks on the crossings it would
pass, and there is room for it behind the junction. A grant lasts until the vehicle's tail
has left the junction. So two vehicles never cross inside, and who is inside can always get
out: no deadlock. Whoever asked first goes first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bridge.town.lane_map import Bools, LaneMap
from bridge.town.lights import GREEN
from bridge.town.paths import Ints
from bridge.town.polyline import Floats
from bridge.town.traffic import HALF_LENGTH_M, Obstacle, TrafficState

_CLEAR_M = 0.5
_SPACE_M = 2.5
_BRAKE_MPS2 = 3.0
_PATIENCE_TICKS = 80
_ENTERED_M = 1.1
"""Who is less far past the stop line stands in nobody's way."""

_EGO = -1
"""The ego's number in the queue."""


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
        light: int64 (M,) states. walked: bool (crossings,), someone is on it.
        wanted: bool (crossings,), someone has waited long enough to be let across.
        blocked: lanes under the ego.
    """

    light: Ints
    walked: Bools
    wanted: Bools
    blocked: tuple[Obstacle, ...]


def decide(
    traffic: TrafficState,
    ego: EgoGrant,
    claim: Claim,
    lanes: LaneMap,
    around: Surroundings,
    tick: int,
) -> None:
    """Take back, and hand out, grants; writes to `traffic` and `ego`."""
    half = HALF_LENGTH_M[traffic.model]
    _take_back(traffic, lanes, around, half, tick)
    _take_back_ego(ego, claim, lanes, around, tick)
    asking = _asking(traffic, ego, lanes, around, half)
    traffic.asked[asking & (traffic.asked < 0)] = tick
    traffic.asked[~asking] = -1
    queue = [(int(traffic.asked[i]), int(i)) for i in np.nonzero(asking)[0]]
    if _ego_asks(ego, claim, traffic, lanes):
        ego.asked = tick if ego.asked < 0 else ego.asked
        queue.append((ego.asked, _EGO))
    if not queue:
        return
    held = _Held.of(traffic, ego, claim, lanes, around, half)
    for _, i in sorted(queue):
        before, through = (claim.before, claim.through) if i == _EGO else traffic.plan[i, :2]
        length = claim.length_m if i == _EGO else 2.0 * float(half[i])
        if not _light_lets(lanes, around, int(before)):
            continue
        if held.conflicts(int(through), lanes):
            held.add(int(through), 0.0, lanes)
        elif held.has_room(int(through), length, lanes, around):
            held.add(int(through), length, lanes)
            if i == _EGO:
                ego.grant, ego.granted, ego.asked = int(through), tick, -1
            else:
                traffic.grant[i], traffic.granted[i], traffic.asked[i] = through, tick, -1


def crossings_in_use(
    traffic: TrafficState, ego: EgoGrant, lanes: LaneMap, blocked: tuple[Obstacle, ...], count: int
) -> Bools:
    """bool (count,): a vehicle has a grant over this crossing, or the ego is on it."""
    inside = [obstacle.lane for obstacle in blocked if obstacle.head_m > _ENTERED_M]
    granted = traffic.grant[traffic.grant >= 0].tolist()
    through = np.array([*granted, *inside, *([ego.grant] if ego.grant >= 0 else [])], np.int64)
    used = np.zeros(count + 1, bool)  # the last one is for lanes that are on roads
    used[lanes.crossings[lanes.connector[through]]] = True
    return used[:count]


@dataclass(slots=True)
class _Held:
    """Ways that are taken, and room that is spoken for behind them.

    Attributes:
        connectors: ways taken, or waited for by somebody who was first.
        tails_m: how far along each the vehicle's tail is (-inf: not there yet).
        room_m: by exit lane, for those who will come out there.
        tail_m: float64 (L,), of the last vehicle on each lane.
    """

    connectors: list[int]
    tails_m: list[float]
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
    ) -> _Held:
        tail = lanes.paths.length_m + 100.0
        # a vehicle that moves will have made room by the time the next one arrives
        behind = traffic.s_m - half + 1.5 * traffic.speed_mps
        np.minimum.at(tail, traffic.plan[:, 0], behind)
        for obstacle in around.blocked:
            tail[obstacle.lane] = min(tail[obstacle.lane], obstacle.tail_m)
        held = cls([], [], {}, tail)
        for i in np.nonzero(traffic.grant >= 0)[0]:
            grant = int(traffic.grant[i])
            out = traffic.plan[i, 0] == lanes.exit_lane[lanes.connector[grant]]
            along = traffic.s_m[i] - half[i] + (lanes.paths.length_m[grant] if out else 0.0)
            on_it = out or traffic.plan[i, 0] == grant
            length = 0.0 if out else 2.0 * float(half[i])
            held.add(grant, length, lanes, float(along) if on_it else -np.inf)
        if ego.grant >= 0:
            held.add(ego.grant, claim.length_m, lanes, -claim.to_line_m - claim.length_m)
        for obstacle in around.blocked:
            if lanes.connector[obstacle.lane] >= 0 and obstacle.head_m > _ENTERED_M:
                held.add(obstacle.lane, 0.0, lanes, obstacle.tail_m)
        return held

    def add(self, through: int, length_m: float, lanes: LaneMap, along_m: float = -np.inf) -> None:
        """Take a way; `length_m` of room behind it is spoken for (0: none)."""
        connector = int(lanes.connector[through])
        self.connectors.append(connector)
        self.tails_m.append(along_m)
        if length_m > 0.0:
            exit_lane = int(lanes.exit_lane[connector])
            self.room_m[exit_lane] = self.room_m.get(exit_lane, 0.0) + length_m + _SPACE_M

    def conflicts(self, through: int, lanes: LaneMap) -> bool:
        """Whether somebody is, or waits longer, on a way that crosses this one."""
        until = lanes.conflict_m[self.connectors, int(lanes.connector[through])]
        return bool((np.array(self.tails_m) < until).any())

    def has_room(self, through: int, length_m: float, lanes: LaneMap, around: Surroundings) -> bool:
        """Whether the crossings are free and there is room behind the junction."""
        connector = int(lanes.connector[through])
        crossings = lanes.crossings[connector]
        if around.walked[crossings].any() or around.wanted[crossings].any():
            return False
        exit_lane = int(lanes.exit_lane[connector])
        room = float(self.tail_m[exit_lane]) - self.room_m.get(exit_lane, 0.0)
        return room > length_m + _SPACE_M


def _take_back(
    traffic: TrafficState, lanes: LaneMap, around: Surroundings, half: Floats, tick: int
) -> None:
    first, second = traffic.plan[:, 0], traffic.plan[:, 1]
    grant = traffic.grant
    has = grant >= 0
    passed = (first != grant) & (second != grant) & (traffic.s_m - half > _CLEAR_M)
    waits = second == grant
    to_line = lanes.paths.length_m[first] - traffic.s_m - half
    light = lanes.light[first]
    red = np.append(around.light, GREEN)[light] != GREEN  # -1, no light: always green
    can_stop = to_line > traffic.speed_mps**2 / (2.0 * _BRAKE_MPS2)
    idle = (traffic.speed_mps < 0.3) & (tick - traffic.granted > _PATIENCE_TICKS)
    idle &= to_line > 0.0
    grant[has & (passed | (waits & ((red & can_stop) | idle)))] = -1


def _take_back_ego(
    ego: EgoGrant, claim: Claim, lanes: LaneMap, around: Surroundings, tick: int
) -> None:
    if ego.grant < 0 or claim.inside:
        return
    can_stop = claim.to_line_m > claim.speed_mps**2 / (2.0 * _BRAKE_MPS2)
    red = can_stop and not _light_lets(lanes, around, claim.before)
    idle = claim.speed_mps < 0.3 and tick - ego.granted > _PATIENCE_TICKS
    if red or idle or claim.through != ego.grant:
        ego.grant = -1


def _asking(
    traffic: TrafficState, ego: EgoGrant, lanes: LaneMap, around: Surroundings, half: Floats
) -> Bools:
    """Near enough to the line, without a grant, and nobody else without one ahead."""
    first, second = traffic.plan[:, 0], traffic.plan[:, 1]
    waits = (lanes.connector[second] >= 0) & (traffic.grant < 0)
    foremost = np.full(len(lanes.connector), -1.0)
    np.maximum.at(foremost, first[waits], traffic.s_m[waits])
    to_line = lanes.paths.length_m[first] - traffic.s_m - half
    asking = waits & (traffic.s_m == foremost[first]) & (to_line < _ask_from_m(traffic.speed_mps))
    for obstacle in around.blocked if ego.grant < 0 else ():
        asking &= (first != obstacle.lane) | (traffic.s_m > obstacle.tail_m)
    return np.asarray(asking)


def _ego_asks(ego: EgoGrant, claim: Claim, traffic: TrafficState, lanes: LaneMap) -> bool:
    near = claim.to_line_m < _ask_from_m(np.array(claim.speed_mps))
    if ego.grant >= 0 or claim.inside or not near:
        ego.asked = -1
        return False
    ahead = (traffic.plan[:, 0] == claim.before) & (traffic.grant < 0)
    ahead &= traffic.s_m > lanes.paths.length_m[claim.before] - claim.to_line_m
    return not ahead.any()


def _ask_from_m(speed: Floats) -> Floats:
    return 4.0 + 0.5 * speed + speed * speed / (2.0 * 2.0)


def _light_lets(lanes: LaneMap, around: Surroundings, before: int) -> bool:
    light = int(lanes.light[before])
    return light < 0 or int(around.light[light]) == GREEN
