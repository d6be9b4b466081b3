"""A driver for the town's ego: pure pursuit of the route, the traffic's speed model.

It knows what an attentive driver knows: the route, what stands or moves in its lane ahead
(people too), and whether it has the right of way at the next junction.
"""

from __future__ import annotations

import math

import numpy as np

from sim2street.bridge.frame import Control
from sim2street.bridge.town.simulation import Simulation
from sim2street.bridge.town.traffic.perception import nearest_ahead
from sim2street.bridge.town.traffic.vehicles import idm, to_stop
from sim2street.bridge.town.world import TownWorld

_LATERAL_MPS2 = 2.2
_BRAKE_MPS2 = 1.8
_HARDEST_MPS2 = 8.0
_LINE_GAP_M = 1.0
_GAP_M = 2.5
_BESIDE_M = 0.2
_PREVIEW_M = 60


class Autopilot:
    """Drives a TownWorld: `world.step(autopilot.control())`."""

    def __init__(self, world: TownWorld) -> None:
        self._world = world

    def control(self) -> Control:
        """The command for the next tick."""
        simulation = self._world.simulation
        accel = _acceleration(simulation, self._world.right_of_way)
        steer = _steer(simulation, self._world)
        config = simulation.ego_config
        if accel >= 0.0:
            return Control(steer=steer, throttle=min(1.0, accel / config.accel_mps2))
        return Control(steer=steer, brake=min(1.0, -accel / config.brake_mps2))


def _steer(simulation: Simulation, world: TownWorld) -> float:
    """Pure pursuit (Coulter 1992): the arc through a point ahead on the route."""
    speed, config = simulation.state.ego.speed_mps, simulation.ego_config
    distance = min(max(2.5 + 0.45 * speed, 3.5), 10.0)
    x, y = world.route_ahead(1, distance)[0]
    curvature = 2.0 * y / max(x * x + y * y, 1.0)
    wheel = math.atan(curvature * config.wheelbase_m)
    return min(1.0, max(-1.0, -wheel / math.radians(config.steer_deg)))


def _acceleration(simulation: Simulation, right_of_way: bool) -> float:
    speed = simulation.state.ego.speed_mps
    band = simulation.ego_config.half_width_m + _BESIDE_M
    gap, index, along = nearest_ahead(simulation, len(simulation.boxes.x_m), band)
    cars = simulation.state.traffic.speed_mps
    lead_speed = float(cars[index]) * max(along, 0.0) if 0 <= index < len(cars) else 0.0
    claim = simulation.claim
    line = 1000.0 if right_of_way or claim.inside else max(claim.to_line_m, 0.0)
    wanted = _wanted_mps(simulation)
    now, target = np.array([speed]), np.array([wanted])
    follow = idm(now, target, np.array([min(gap, 1000.0)]), np.array([lead_speed]), _GAP_M)
    stop = to_stop(now, target, np.array([line]), _LINE_GAP_M)
    return max(-_HARDEST_MPS2, min(float(follow[0]), float(stop[0])))


def _wanted_mps(simulation: Simulation) -> float:
    """Speed from which every limit and curve ahead can be met by gentle braking."""
    route = simulation.route
    begin = route.state.segment
    ahead = slice(begin, begin + _PREVIEW_M)
    curve = np.sqrt(_LATERAL_MPS2 / np.maximum(np.abs(route.curvature_1pm[ahead]), 1e-4))
    limit = np.minimum(curve, route.limit_mps[ahead])
    distance = np.maximum(route.s_m[ahead] - simulation.point.at_m, 0.0)
    return float(np.sqrt((limit * limit + 2.0 * _BRAKE_MPS2 * distance).min()))
