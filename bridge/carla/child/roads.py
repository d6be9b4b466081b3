"""What the client's map knows: a route along lanes, and where traffic lights stop vehicles."""

from __future__ import annotations

from typing import Any

import numpy as np

STEP_M = 2.0
"""Distance between two waypoints of a route."""

_LIGHTS = "traffic.traffic_light*"


def route_from(town: Any, location: Any, length_m: float, rng: Any) -> np.ndarray:
    """A route that follows the lane at `location` and takes a random exit at each junction.

    Returns float64 (N, 6) in CARLA's axes: x, y, z (m), yaw (degrees), lane width (m) and
    distance along the route (m), one row per waypoint.
    """
    waypoint = town.get_waypoint(location)
    rows = []  # type: list[list[float]]
    travelled_m = 0.0
    while waypoint is not None and travelled_m < length_m:
        place = waypoint.transform.location
        if rows:
            travelled_m += float(np.hypot(place.x - rows[-1][0], place.y - rows[-1][1]))
        yaw = waypoint.transform.rotation.yaw
        rows.append([place.x, place.y, place.z, yaw, waypoint.lane_width, travelled_m])
        following = waypoint.next(STEP_M)
        waypoint = following[rng.randint(len(following))] if following else None
    return np.array(rows, np.float64).reshape(-1, 6)


def stop_points(world: Any) -> list[tuple[Any, list[list[float]]]]:
    """Every traffic light with the ends (x, y in m, yaw in degrees) of the lanes it controls."""
    found = []
    for light in world.get_actors().filter(_LIGHTS):
        ends = [waypoint.transform for waypoint in light.get_stop_waypoints()]
        found.append((light, [[t.location.x, t.location.y, t.rotation.yaw] for t in ends]))
    return found
