"""Who may enter a junction: grants, handed out one by one.

A vehicle near its stop line asks; it is granted its way through the junction if the light
is green, nobody with a grant will be in its way, nobody walks on the crossings it would
pass, and there is room for it behind the junction. A grant lasts until the vehicle's tail
has left the junction. Whoever asked first goes first; inside, whoever was granted first
goes first, and the others wait where their ways meet. So nobody waits for somebody who
waits for him, and who is inside can always get out: no deadlock.
"""

from __future__ import annotations

import numpy as np

from sim2street.bridge.town.plan.lane_map import Bools, LaneMap
from sim2street.bridge.town.plan.polyline import Floats
from sim2street.bridge.town.plan.traffic_lights import GREEN
from sim2street.bridge.town.traffic.junction_reservations import (
    Claim,
    EgoGrant,
    HeldWays,
    Surroundings,
)
from sim2street.bridge.town.traffic.vehicles import HALF_LENGTH_M, TrafficState

_CLEAR_M = 0.5
_BRAKE_MPS2 = 2.6
_PATIENCE_TICKS = 80
_AT_ONCE_MPS = 1000.0
_EGO = -1
"""The ego's number in the queue."""


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
    held = HeldWays.of(traffic, ego, claim, lanes, around, half)
    for _, i in sorted(queue):
        before, through = (claim.before, claim.through) if i == _EGO else traffic.plan[i, :2]
        length = claim.length_m if i == _EGO else 2.0 * float(half[i])
        if not _light_lets(lanes, around, int(before)):
            continue
        to_line, speed = 0.0, _AT_ONCE_MPS  # the ego may not wait where ways meet
        if i != _EGO:
            to_line = float(lanes.paths.length_m[int(before)] - traffic.s_m[i] - half[i])
            speed = float(traffic.speed_mps[i])
        if held.conflicts(int(through), lanes, to_line, speed):
            held.add(int(through), 0.0, lanes)
        elif held.has_room(int(through), length, lanes, around):
            held.add(int(through), length, lanes)
            if i == _EGO:
                ego.grant, ego.granted, ego.asked = int(through), tick, -1
            else:
                traffic.grant[i], traffic.granted[i], traffic.asked[i] = through, tick, -1


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
