"""The driver: accelerates, brakes and steers by what is ahead of it.

The model is `control`: a `RoadAhead` goes in, a `Control` comes out. It knows no world.

* Speed: the Intelligent Driver Model (IDM), Treiber, Hennecke and Helbing, "Congested traffic
  states in empirical observations and microscopic simulations" (2000).
* Steering: pure pursuit, Coulter, "Implementation of the pure pursuit path tracking algorithm"
  (1992).

Two drivers collect a `RoadAhead`: `drive` from the `EgoState` and the actors of any world, and
`sim2street.bridge.town.traffic.autopilot.Autopilot` from the embedded town, whose right of way it
knows. The town's traffic uses the same functions for its speed. `driver_for` chooses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import (
    ROUTE_SPACING_M,
    Actor,
    Control,
    EgoState,
    LightState,
    SensorFrame,
)
from sim2street.bridge.hazards import Hazard, hazards
from sim2street.bridge.world import World

Floats = npt.NDArray[np.float64]

Driver = Callable[[SensorFrame], Control]
"""Returns the control to apply after a frame."""

DEFAULT_SPEED_LIMIT_MPS = 8.0
"""Where a world tells no speed limit."""

LIGHT_RANGE_M = 60.0
"""Traffic lights farther away are ignored."""


@dataclass(frozen=True, slots=True)
class DriverParameters:
    """How fast and how close to others a driver drives.

    Attributes:
        accel_mps2, comfort_brake_mps2, time_gap_s, standstill_gap_m: a, b, T and s0 of the IDM.
        firm_brake_mps2: hardest braking for a yellow light or a lower speed limit.
        hardest_brake_mps2: hardest braking at all.
        curve_brake_mps2: braking ahead of curves and lower speed limits.
        lateral_accel_mps2: largest lateral acceleration in curves.
        stop_line_gap_m: distance from the front bumper to a stop line it waits at.
    """

    accel_mps2: float = 1.9
    comfort_brake_mps2: float = 2.0
    firm_brake_mps2: float = 3.0
    hardest_brake_mps2: float = 8.0
    curve_brake_mps2: float = 1.8
    lateral_accel_mps2: float = 2.2
    time_gap_s: float = 1.3
    standstill_gap_m: float = 2.5
    stop_line_gap_m: float = 1.0


@dataclass(frozen=True, slots=True)
class VehicleLimits:
    """What full steering, full throttle and full brake do. The defaults are an average car's."""

    wheelbase_m: float = 2.7
    max_wheel_rad: float = math.radians(37.0)
    full_throttle_mps2: float = 3.0
    full_brake_mps2: float = 8.0


@dataclass(frozen=True, slots=True)
class RoadAhead:
    """All that the driver model looks at. Distances are from the ego's front bumper.

    Attributes:
        target_mps: speed to drive on a free road, see `target_speed_mps`.
        path_point_m: (x, y) in the body frame, a point of the path `lookahead_m` ahead.
        obstacles: everything that the ego has to stay behind.
        stop_line_m: distance to a stop line that the ego must not cross; inf if there is none.
    """

    speed_mps: float
    target_mps: float
    path_point_m: tuple[float, float]
    obstacles: Sequence[Hazard] = ()
    stop_line_m: float = math.inf


def driver_for(world: World) -> Driver:
    """The driver for a world: `Autopilot` for the embedded town, else `drive`.

    Looks through worlds that wrap another one in an attribute `world`.
    """
    inner = world
    while isinstance(next_inner := getattr(inner, "world", None), World):
        inner = next_inner
    with suppress(ModuleNotFoundError):  # the town's packages are optional
        from sim2street.bridge.town.traffic.autopilot import Autopilot
        from sim2street.bridge.town.world import TownWorld

        if isinstance(inner, TownWorld):
            autopilot = Autopilot(inner)
            return lambda _: autopilot.control()
    return lambda frame: drive(frame.ego, frame.actors)


def drive(ego: EgoState, actors: Sequence[Actor] = ()) -> Control:
    """Follow the lane or the route of `ego`, and stop for traffic lights and the lead vehicle.

    With `actors` it also brakes for everybody in its way or about to cross it.
    """
    return control(road_ahead(ego, actors))


def control(
    ahead: RoadAhead,
    vehicle: VehicleLimits | None = None,
    parameters: DriverParameters | None = None,
) -> Control:
    """The control of the driver model for what is ahead. Default vehicle: an average car."""
    vehicle, parameters = vehicle or VehicleLimits(), parameters or DriverParameters()
    wheel_rad = math.atan(pursuit_curvature_1pm(ahead.path_point_m) * vehicle.wheelbase_m)
    steer = min(1.0, max(-1.0, -wheel_rad / vehicle.max_wheel_rad))
    accel_mps2 = acceleration_mps2(ahead, parameters)
    if accel_mps2 >= 0.0:
        return Control(steer=steer, throttle=min(1.0, accel_mps2 / vehicle.full_throttle_mps2))
    return Control(steer=steer, brake=min(1.0, -accel_mps2 / vehicle.full_brake_mps2))


def acceleration_mps2(ahead: RoadAhead, parameters: DriverParameters) -> float:
    """The lowest of the accelerations for the free road, each obstacle and the stop line."""
    speed = ahead.speed_mps
    # The IDM brakes at most this hard for a target speed below the present one.
    excess = 1.0 + parameters.firm_brake_mps2 / parameters.accel_mps2
    target = max(ahead.target_mps, speed / excess**0.25)
    accels = [
        float(idm_acceleration_mps2(speed, target, math.inf, 0.0, parameters)),
        float(stop_line_acceleration_mps2(speed, target, ahead.stop_line_m, parameters)),
    ]
    for obstacle in ahead.obstacles:
        accel = idm_acceleration_mps2(speed, target, obstacle.gap_m, obstacle.speed_mps, parameters)
        accels.append(float(accel))
        closing = max(speed - obstacle.speed_mps, 0.0)
        needed = closing * closing / (2.0 * max(obstacle.gap_m - 0.5, 0.1))
        if needed > parameters.firm_brake_mps2:
            accels.append(-needed)
    return max(-parameters.hardest_brake_mps2, min(accels))


def idm_acceleration_mps2(
    speed_mps: Floats | float,
    target_mps: Floats | float,
    gap_m: Floats | float,
    leader_mps: Floats | float,
    parameters: DriverParameters,
    standstill_gap_m: float | None = None,
) -> Floats:
    """Acceleration of the IDM (eq. 3) behind a leader, for numbers or arrays (N,).

    Args:
        gap_m: from bumper to bumper; inf on a free road.
        standstill_gap_m: default: that of the parameters.
    """
    accel, brake = parameters.accel_mps2, parameters.comfort_brake_mps2
    standstill = parameters.standstill_gap_m if standstill_gap_m is None else standstill_gap_m
    closing = speed_mps * (speed_mps - leader_mps) / (2.0 * (accel * brake) ** 0.5)
    desired = standstill + np.maximum(speed_mps * parameters.time_gap_s + closing, 0.0)
    free = (speed_mps / np.maximum(target_mps, 0.1)) ** 4
    result: Floats = accel * (1.0 - free - (desired / np.maximum(gap_m, 0.1)) ** 2)
    return result


def stop_line_acceleration_mps2(
    speed_mps: Floats | float,
    target_mps: Floats | float,
    stop_line_m: Floats | float,
    parameters: DriverParameters,
) -> Floats:
    """Acceleration towards a stop before a line, for numbers or arrays (N,).

    The IDM behind a standing leader, but little harder than stopping there takes: a light may
    turn red when the line is near.
    """
    gap = parameters.stop_line_gap_m
    needed = speed_mps * speed_mps / (2.0 * np.maximum(stop_line_m - gap, 0.2))
    calm = idm_acceleration_mps2(speed_mps, target_mps, stop_line_m, 0.0, parameters, gap)
    result: Floats = np.maximum(calm, -1.1 * needed - 0.5)
    return result


def curve_speed_mps(curvature_1pm: Floats, lateral_accel_mps2: float) -> Floats:
    """Speed (N,) at which curves of this curvature (N,) take this lateral acceleration."""
    speed: Floats = np.sqrt(lateral_accel_mps2 / np.maximum(np.abs(curvature_1pm), 1e-4))
    return speed


def target_speed_mps(
    distance_m: Floats,
    speed_limit_mps: Floats | float,
    curvature_1pm: Floats,
    parameters: DriverParameters | None = None,
) -> float:
    """Highest speed from which gentle braking meets every speed limit and curve ahead.

    Args:
        distance_m: (N,), from the ego to samples of the path.
        speed_limit_mps: (N,) at these samples, or one value.
        curvature_1pm: (N,) at these samples.
    """
    parameters = parameters or DriverParameters()
    curve = curve_speed_mps(curvature_1pm, parameters.lateral_accel_mps2)
    speed = np.minimum(curve, speed_limit_mps)
    now = np.sqrt(speed * speed + 2.0 * parameters.curve_brake_mps2 * np.maximum(distance_m, 0.0))
    return float(now.min())


def lookahead_m(speed_mps: float) -> float:
    """Distance of the point of the path that pure pursuit steers for."""
    return min(max(2.5 + 0.45 * speed_mps, 3.5), 10.0)


def pursuit_curvature_1pm(path_point_m: tuple[float, float]) -> float:
    """Curvature of the arc from the rear axle through a point (body frame); positive: left."""
    x, y = path_point_m
    return 2.0 * y / max(x * x + y * y, 1.0)


def road_ahead(ego: EgoState, actors: Sequence[Actor] = ()) -> RoadAhead:
    """The input of the driver model, from what every world tells about its ego."""
    obstacles = hazards(ego, actors)
    if ego.lead is not None:
        obstacles.append(Hazard(ego.lead.distance_m, ego.lead.speed_mps))
    distance, curvature = _curvature_ahead(ego)
    limit = ego.speed_limit_mps or DEFAULT_SPEED_LIMIT_MPS
    return RoadAhead(
        speed_mps=ego.speed_mps,
        target_mps=target_speed_mps(distance, limit, curvature),
        path_point_m=_path_point_m(ego, lookahead_m(ego.speed_mps)),
        obstacles=obstacles,
        stop_line_m=_stop_line_m(ego, DriverParameters()),
    )


def _stop_line_m(ego: EgoState, parameters: DriverParameters) -> float:
    """Distance to the stop line of a red light, or of a yellow one that leaves room to stop."""
    light = ego.next_light
    if light is None or light.state is LightState.GREEN or light.distance_m > LIGHT_RANGE_M:
        return math.inf
    room_m = max(light.distance_m - parameters.stop_line_gap_m, 0.1)
    needed_mps2 = ego.speed_mps**2 / (2.0 * room_m)
    too_late = light.state is LightState.YELLOW and needed_mps2 > parameters.firm_brake_mps2
    return math.inf if too_late else light.distance_m


def _lane_foot_m(ego: EgoState) -> tuple[float, float]:
    """The point of the lane's centre line beside the ego, in the body frame."""
    error = ego.heading_error_rad
    return -ego.lane_offset_m * math.sin(error), -ego.lane_offset_m * math.cos(error)


def _path_point_m(ego: EgoState, distance_m: float) -> tuple[float, float]:
    """(x, y) in the body frame, `distance_m` (at most 10) along the ego's route or lane."""
    x, y = _lane_foot_m(ego)
    if len(ego.route_ahead_m) >= 2:  # a parabola through the points at 0, 5 and 10 m
        share = distance_m / ROUTE_SPACING_M
        weights = (
            (share - 1.0) * (share - 2.0) / 2.0,
            share * (2.0 - share),
            share * (share - 1.0) / 2.0,
        )
        knots = ((x, y), *ego.route_ahead_m[:2])
        return (
            sum(w * knot[0] for w, knot in zip(weights, knots, strict=True)),
            sum(w * knot[1] for w, knot in zip(weights, knots, strict=True)),
        )
    half_turn = ego.curvature_1pm * distance_m / 2.0
    chord_rad = half_turn - ego.heading_error_rad
    chord_m = distance_m * float(np.sinc(half_turn / math.pi))
    return x + chord_m * math.cos(chord_rad), y + chord_m * math.sin(chord_rad)


def _curvature_ahead(ego: EgoState) -> tuple[Floats, Floats]:
    """Distances (N,) along the path and its curvature (N,) there, as far as it is known."""
    distance, curvature = [0.0], [ego.curvature_1pm]
    if len(ego.route_ahead_m) >= 2:
        points = np.array([_lane_foot_m(ego), *ego.route_ahead_m])
        steps = np.diff(points, axis=0)
        turns = np.diff(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])))
        distance += [ROUTE_SPACING_M * (k + 1) for k in range(len(turns))]
        curvature += (turns / ROUTE_SPACING_M).tolist()
    return np.array(distance), np.array(curvature)
