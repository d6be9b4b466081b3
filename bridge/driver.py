"""Who drives: the town's own autopilot, or one for every World that fills in EgoState."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress

from sim2street.bridge.frame import Actor, Control, EgoState, LightState, SensorFrame
from sim2street.bridge.hazards import Hazard, hazards
from sim2street.bridge.world import World

Driver = Callable[[SensorFrame], Control]
"""What to do after this frame."""

LATERAL_LIMIT_MPS2 = 2.0
COMFORT_ACCEL_MPS2 = 2.0
COMFORT_BRAKE_MPS2 = 3.0
FULL_THROTTLE_MPS2 = 3.0
FULL_BRAKE_MPS2 = 8.0
CURVATURE_OF_FULL_STEER_1PM = 0.28
"""A car of 2.7 m wheelbase with its wheels at about 37°."""

STANDSTILL_GAP_M = 3.0
TIME_GAP_S = 1.5
DEFAULT_SPEED_MPS = 8.0


def driver_for(world: World) -> Driver:
    """The town's autopilot, which knows right of way, where the world is the town itself."""
    inner = world
    while isinstance(next_inner := getattr(inner, "world", None), World):
        inner = next_inner
    with suppress(ModuleNotFoundError):  # a host without the town's packages has no town
        from sim2street.bridge.town.traffic.autopilot import Autopilot
        from sim2street.bridge.town.world import TownWorld

        if isinstance(inner, TownWorld):
            autopilot = Autopilot(inner)
            return lambda _: autopilot.control()
    return lambda frame: drive(frame.ego, frame.actors)


def drive(ego: EgoState, actors: Sequence[Actor] = ()) -> Control:
    """The Control of a calm driver: lane centre, speed limit, lights and the car ahead.

    With `actors` it also brakes for whoever is in its way or about to cross it.
    """
    in_the_way = hazards(ego, actors)
    accel_mps2 = min(
        _free_road(ego),
        min((_short_of(ego.speed_mps, each) for each in in_the_way), default=math.inf),
        _behind(ego.speed_mps, ego.lead.distance_m, ego.lead.speed_mps) if ego.lead else math.inf,
        _to_stop_line(ego),
    )
    steer = min(max(-_curvature_1pm(ego) / CURVATURE_OF_FULL_STEER_1PM, -1.0), 1.0)
    if accel_mps2 >= 0.0:
        return Control(steer=steer, throttle=min(accel_mps2 / FULL_THROTTLE_MPS2, 1.0))
    return Control(steer=steer, brake=min(-accel_mps2 / FULL_BRAKE_MPS2, 1.0))


def _curvature_1pm(ego: EgoState) -> float:
    """Pure pursuit, linear in offset and heading error: back on the lane in `ahead_m`."""
    ahead_m = max(4.0, 0.9 * ego.speed_mps)
    back_1pm = -2.0 * ego.lane_offset_m / ahead_m**2 - 2.0 * ego.heading_error_rad / ahead_m
    return ego.curvature_1pm + back_1pm


def _free_road(ego: EgoState) -> float:
    """Acceleration towards the speed that limit and curve allow."""
    limit_mps = ego.speed_limit_mps or DEFAULT_SPEED_MPS
    curve_mps = math.sqrt(LATERAL_LIMIT_MPS2 / max(abs(ego.curvature_1pm), 1e-4))
    target_mps = min(limit_mps, curve_mps)
    accel_mps2 = COMFORT_ACCEL_MPS2 * (1.0 - (ego.speed_mps / target_mps) ** 4)
    return max(accel_mps2, -COMFORT_BRAKE_MPS2)


def _behind(speed_mps: float, gap_m: float, lead_mps: float) -> float:
    """Intelligent driver model (Treiber et al. 2000), its interaction term."""
    closing = speed_mps * (speed_mps - lead_mps)
    wanted_m = STANDSTILL_GAP_M + max(
        0.0,
        speed_mps * TIME_GAP_S
        + closing / (2.0 * math.sqrt(COMFORT_ACCEL_MPS2 * COMFORT_BRAKE_MPS2)),
    )
    return COMFORT_ACCEL_MPS2 * (1.0 - (wanted_m / max(gap_m, 0.1)) ** 2)


def _short_of(speed_mps: float, hazard: Hazard) -> float:
    """Calm where there is room, and as hard as it takes where there is not."""
    calm = _behind(speed_mps, hazard.gap_m, hazard.speed_mps)
    closing = max(speed_mps - hazard.speed_mps, 0.0)
    needed = closing**2 / (2.0 * max(hazard.gap_m - 0.5, 0.1))
    return min(calm, -needed) if needed > COMFORT_BRAKE_MPS2 else max(calm, -FULL_BRAKE_MPS2)


def _to_stop_line(ego: EgoState) -> float:
    """Brake for a light that asks to stop, unless it is too late to do so comfortably."""
    light = ego.next_light
    if light is None or light.state is LightState.GREEN:
        return math.inf
    left_m = max(light.distance_m - 1.0, 0.0)
    needed_mps2 = ego.speed_mps**2 / (2.0 * max(left_m, 0.1))
    too_late = light.state is LightState.YELLOW and needed_mps2 > 1.5 * COMFORT_BRAKE_MPS2
    if too_late or left_m > 60.0:
        return math.inf
    if left_m < 0.3:
        return -COMFORT_BRAKE_MPS2
    if needed_mps2 < 0.6 * COMFORT_BRAKE_MPS2:
        return math.inf  # far enough: keep going
    return -needed_mps2
