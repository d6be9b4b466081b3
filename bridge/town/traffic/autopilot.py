"""The town's driver of the ego: the model of `sim2street.bridge.driver`, with the town's knowledge.

It sees the exact route, the boxes of everybody on it (vehicles, pedestrians, parked cars), and
whether the ego has the right of way at the next junction.
"""

from __future__ import annotations

import math

from sim2street.bridge.driver import (
    RoadAhead,
    VehicleLimits,
    control,
    lookahead_m,
    target_speed_mps,
)
from sim2street.bridge.frame import Control
from sim2street.bridge.hazards import Hazard
from sim2street.bridge.town.simulation import Simulation
from sim2street.bridge.town.traffic.ego import EgoConfig
from sim2street.bridge.town.traffic.perception import nearest_ahead
from sim2street.bridge.town.world import TownWorld

_SIDE_CLEARANCE_M = 0.2
_PREVIEW_POINTS = 60
"""Points of the route, about a metre apart, whose speed limits and curves are looked at."""


class Autopilot:
    """Drives the ego of a TownWorld: `world.step(autopilot.control())`."""

    def __init__(self, world: TownWorld) -> None:
        self._world = world

    def control(self) -> Control:
        """The control for the next tick."""
        simulation = self._world.simulation
        speed = simulation.state.ego.speed_mps
        x, y = self._world.route_ahead(1, lookahead_m(speed))[0].tolist()
        ahead = RoadAhead(
            speed_mps=speed,
            target_mps=_target_speed_mps(simulation),
            path_point_m=(x, y),
            obstacles=_obstacles(simulation),
            stop_line_m=math.inf if self._world.right_of_way else _stop_line_m(simulation),
        )
        return control(ahead, _limits(simulation.ego_config))


def _limits(config: EgoConfig) -> VehicleLimits:
    return VehicleLimits(
        wheelbase_m=config.wheelbase_m,
        max_wheel_rad=math.radians(config.steer_deg),
        full_throttle_mps2=config.accel_mps2,
        full_brake_mps2=config.brake_mps2,
    )


def _obstacles(simulation: Simulation) -> list[Hazard]:
    """The nearest box on the ego's path; pedestrians count as standing."""
    half_width_m = simulation.ego_config.half_width_m + _SIDE_CLEARANCE_M
    gap, index, facing = nearest_ahead(simulation, len(simulation.boxes.x_m), half_width_m)
    if index < 0:
        return []
    cars = simulation.state.traffic.speed_mps
    return [Hazard(gap, float(cars[index]) * max(facing, 0.0) if index < len(cars) else 0.0)]


def _stop_line_m(simulation: Simulation) -> float:
    """Distance to the stop line of the next junction; inf for an ego inside a junction."""
    ego = simulation.ego_at_junction
    return math.inf if ego.inside else max(ego.to_stop_line_m, 0.0)


def _target_speed_mps(simulation: Simulation) -> float:
    route = simulation.route
    begin = route.state.segment
    ahead = slice(begin, begin + _PREVIEW_POINTS)
    distance = route.s_m[ahead] - simulation.route_point.at_m
    return target_speed_mps(distance, route.limit_mps[ahead], route.curvature_1pm[ahead])
