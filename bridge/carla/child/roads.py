"""What the map knows: a route along lanes, and where its traffic lights stop traffic."""

from __future__ import annotations

from typing import Any

import numpy as np

STEP_M = 2.0
_LIGHTS = "traffic.traffic_light*"


def route_from(town: Any, location: Any, length_m: float, rng: Any) -> np.ndarray:
    """float64 (N, 6): x, y, z, yaw (degrees), lane width, curve-free length so far.

    Follows the lane at `location`; at junctions a way is drawn.
    """
    waypoint = town.get_waypoint(location)
    rows = []  # type: list[list[float]]
    travelled = 0.0
    while waypoint is not None and travelled < length_m:
        place = waypoint.transform.location
        if rows:
            travelled += float(np.hypot(place.x - rows[-1][0], place.y - rows[-1][1]))
        yaw = waypoint.transform.rotation.yaw
        rows.append([place.x, place.y, place.z, yaw, waypoint.lane_width, travelled])
        ways = waypoint.next(STEP_M)
        waypoint = ways[rng.randint(len(ways))] if ways else None
    return np.array(rows, np.float64).reshape(-1, 6)


def stop_points(world: Any) -> list[tuple[Any, list[list[float]]]]:
    """Every traffic light with the ends (x, y, yaw) of the lanes that it rules."""
    found = []
    for light in world.get_actors().filter(_LIGHTS):
        ends = [waypoint.transform for waypoint in light.get_stop_waypoints()]
        found.append((light, [[t.location.x, t.location.y, t.rotation.yaw] for t in ends]))
    return found
