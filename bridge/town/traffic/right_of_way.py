"""Right of way at junctions: who may enter a junction, and when.

A vehicle near its stop line asks for its connector, the lane through the junction. It is granted
if the light is green, nobody with a grant conflicts, nobody walks on the crosswalks it would
cross, and the exit lane has room. A grant lasts until the vehicle's tail has left the junction.

Nobody waits for somebody who waits for them, so traffic cannot lock up: grants are given in the
order of asking, vehicles inside a junction yield only to older grants, and a vehicle that has
entered always has room to leave.
"""

from __future__ import annotations

import numpy as np

from sim2street.bridge.town.plan.lane_map import Bools, LaneMap
from sim2street.bridge.town.plan.polyline import Floats
from sim2street.bridge.town.plan.traffic_lights import GREEN
from sim2street.bridge.town.traffic.junction_reservations import (
    EgoAtJunction,
    EgoGrant,
    JunctionConditions,
    JunctionReservations,
)
from sim2street.bridge.town.traffic.vehicles import HALF_LENGTH_M, TrafficState

_EXIT_CLEARANCE_M = 0.5
_RED_LIGHT_BRAKE_MPS2 = 2.6
"""A grant is revoked at a red light if this much braking stops the vehicle before the line."""

_IDLE_MPS = 0.3
_IDLE_TICKS = 80
"""A grant is revoked if its vehicle has not entered, and stands, this long after the grant."""

_IMMEDIATE_MPS = 1000.0
"""Speed that stands for an arrival at once: the ego is not expected to yield inside a junction."""

_EGO = -1
"""The ego's index in the queue."""


def update_grants(
    traffic: TrafficState,
    grant: EgoGrant,
    ego: EgoAtJunction,
    lanes: LaneMap,
    conditions: JunctionConditions,
    tick: int,
) -> None:
    """Revoke and give grants; writes to `traffic` and `grant`."""
    half = HALF_LENGTH_M[traffic.model]
    _revoke(traffic, lanes, conditions, half, tick)
    _revoke_ego(grant, ego, lanes, conditions, tick)
    asking = _asking(traffic, grant, lanes, conditions, half)
    traffic.asked_tick[asking & (traffic.asked_tick < 0)] = tick
    traffic.asked_tick[~asking] = -1
    queue = [(int(traffic.asked_tick[i]), int(i)) for i in np.nonzero(asking)[0]]
    if _ego_asks(grant, ego, traffic, lanes):
        grant.asked_tick = tick if grant.asked_tick < 0 else grant.asked_tick
        queue.append((grant.asked_tick, _EGO))
    if not queue:
        return
    reservations = JunctionReservations.of(traffic, grant, ego, lanes, conditions, half)
    for _, i in sorted(queue):
        if i == _EGO:
            approach, connector_lane = ego.approach_lane, ego.connector_lane
            length, to_line, speed = ego.length_m, 0.0, _IMMEDIATE_MPS
        else:
            approach, connector_lane = traffic.lane_plan[i, :2].tolist()
            length, speed = 2.0 * float(half[i]), float(traffic.speed_mps[i])
            to_line = float(lanes.paths.length_m[approach] - traffic.s_m[i] - half[i])
        if not _light_is_green(lanes, conditions, approach):
            continue
        if reservations.conflicts(connector_lane, lanes, to_line, speed):
            reservations.add(connector_lane, 0.0, lanes)  # so that nobody behind overtakes it
        elif reservations.has_room(connector_lane, length, lanes, conditions):
            reservations.add(connector_lane, length, lanes)
            _give(traffic, grant, i, connector_lane, tick)


def _give(traffic: TrafficState, grant: EgoGrant, i: int, connector_lane: int, tick: int) -> None:
    if i == _EGO:
        grant.granted_lane, grant.granted_tick, grant.asked_tick = connector_lane, tick, -1
    else:
        traffic.granted_lane[i], traffic.granted_tick[i] = connector_lane, tick
        traffic.asked_tick[i] = -1


def _revoke(
    traffic: TrafficState,
    lanes: LaneMap,
    conditions: JunctionConditions,
    half: Floats,
    tick: int,
) -> None:
    """Revoke grants that are used up, that met a red light, or that nobody makes use of."""
    first, second = traffic.lane_plan[:, 0], traffic.lane_plan[:, 1]
    granted = traffic.granted_lane
    outside = (first != granted) & (second != granted)
    used_up = outside & (traffic.s_m - half > _EXIT_CLEARANCE_M)
    to_line = lanes.paths.length_m[first] - traffic.s_m - half
    light = lanes.light_id[first]
    red = np.append(conditions.light_states, GREEN)[light] != GREEN  # light -1: none, green
    can_stop = to_line > traffic.speed_mps**2 / (2.0 * _RED_LIGHT_BRAKE_MPS2)
    idle = (traffic.speed_mps < _IDLE_MPS) & (tick - traffic.granted_tick > _IDLE_TICKS)
    idle &= to_line > 0.0
    waiting = second == granted
    granted[(granted >= 0) & (used_up | (waiting & ((red & can_stop) | idle)))] = -1


def _revoke_ego(
    grant: EgoGrant, ego: EgoAtJunction, lanes: LaneMap, conditions: JunctionConditions, tick: int
) -> None:
    if grant.granted_lane < 0 or ego.inside:
        return
    can_stop = ego.to_stop_line_m > ego.speed_mps**2 / (2.0 * _RED_LIGHT_BRAKE_MPS2)
    red = can_stop and not _light_is_green(lanes, conditions, ego.approach_lane)
    idle = ego.speed_mps < _IDLE_MPS and tick - grant.granted_tick > _IDLE_TICKS
    if red or idle or ego.connector_lane != grant.granted_lane:
        grant.granted_lane = -1


def _asking(
    traffic: TrafficState,
    grant: EgoGrant,
    lanes: LaneMap,
    conditions: JunctionConditions,
    half: Floats,
) -> Bools:
    """bool (N,): near its stop line, without a grant, and first on its lane without one."""
    first, second = traffic.lane_plan[:, 0], traffic.lane_plan[:, 1]
    waits = (lanes.connector[second] >= 0) & (traffic.granted_lane < 0)
    foremost = np.full(len(lanes.connector), -1.0)
    np.maximum.at(foremost, first[waits], traffic.s_m[waits])
    to_line = lanes.paths.length_m[first] - traffic.s_m - half
    near = to_line < _ask_within_m(traffic.speed_mps)
    asking = waits & (traffic.s_m == foremost[first]) & near
    for part in conditions.ego_lanes if grant.granted_lane < 0 else ():
        asking &= (first != part.lane) | (traffic.s_m > part.tail_m)
    return np.asarray(asking)


def _ego_asks(grant: EgoGrant, ego: EgoAtJunction, traffic: TrafficState, lanes: LaneMap) -> bool:
    near = ego.to_stop_line_m < _ask_within_m(np.array(ego.speed_mps))
    if grant.granted_lane >= 0 or ego.inside or not near:
        grant.asked_tick = -1
        return False
    ahead = (traffic.lane_plan[:, 0] == ego.approach_lane) & (traffic.granted_lane < 0)
    ahead &= traffic.s_m > lanes.paths.length_m[ego.approach_lane] - ego.to_stop_line_m
    return not ahead.any()


def _ask_within_m(speed_mps: Floats) -> Floats:
    """Distance from the stop line within which a vehicle asks: a gentle stop, and some more."""
    return 4.0 + 0.5 * speed_mps + speed_mps * speed_mps / (2.0 * 2.0)


def _light_is_green(lanes: LaneMap, conditions: JunctionConditions, approach_lane: int) -> bool:
    """Whether the light of a road lane is green; True without a light."""
    light = int(lanes.light_id[approach_lane])
    return light < 0 or int(conditions.light_states[light]) == GREEN
