"""The stand-in's roads as CARLA's client reads them: no waypoint is beside its lane."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("carla")
pytest.importorskip("panda3d")

import carla
from route_agent import Planner

from sim2street.bridge.carla.standin.opendrive import opendrive
from sim2street.bridge.town.plan.layout_generator import LayoutConfig
from sim2street.bridge.town.plan.town_map import town_map

TOWNS = [
    *(3, 9, 17),
    *(pytest.param(town, marks=pytest.mark.slow) for town in range(20) if town not in (3, 9, 17)),
]
STEP_M = 0.5


@pytest.mark.parametrize("town", TOWNS)
def test_lanes_neither_jump_nor_end_without_an_exit(town: int) -> None:
    """Float32 moves waypoints by metres on arcs with a radius of millions of metres."""
    xml = opendrive(town_map(town, LayoutConfig()).layout, "town")
    smallest_1pm = min(abs(float(c)) for c in re.findall(r'curvature="([-.\d]+)"', xml))
    assert smallest_1pm >= 1e-4
    roads = carla.Map("town", xml)
    longest_m = 0.0
    for waypoint in roads.generate_waypoints(4.0):
        if waypoint.lane_type == carla.LaneType.Driving:
            after = waypoint.next(STEP_M)[0].transform.location
            longest_m = max(longest_m, after.distance(waypoint.transform.location))
    assert longest_m < 1.5 * STEP_M, "outer lanes of bends are longer than the road's middle"
    planner = Planner(roads)
    points = [first.transform.location for first, _ in roads.get_topology()]
    for goal in points[:: max(1, len(points) // 10)]:
        assert planner.route(points[0], goal)
