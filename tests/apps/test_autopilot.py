"""The autopilots keep to the lane, the limit and their distance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from straight_road import StraightRoadWorld

from sim2street.apps.compose import build_world, opened
from sim2street.bridge.driver import drive, driver_for
from sim2street.bridge.frame import EgoState, LeadVehicle, LightState, NextLight
from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.rendered_world import RenderedWorld

CRUISING = EgoState(pose=np.eye(4, dtype=np.float32), speed_mps=10.0, speed_limit_mps=10.0)


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        ({"lane_offset_m": 0.5}, 1.0),  # too far left: steer right
        ({"heading_error_rad": 0.1}, 1.0),
        ({"curvature_1pm": 0.02}, -1.0),  # the lane bends left: steer left
        ({"lane_offset_m": -0.5}, -1.0),
    ],
)
def test_steering_goes_back_to_the_lane(change, sign) -> None:
    control = drive(dataclasses.replace(CRUISING, **change))
    assert control.steer * sign > 0.02


@pytest.mark.parametrize(
    "change",
    [
        {"lead": LeadVehicle(distance_m=8.0, speed_mps=5.0)},
        {"next_light": NextLight(LightState.RED, distance_m=20.0)},
        {"speed_mps": 14.0},
        {"curvature_1pm": 0.1},
    ],
)
def test_it_brakes_for_traffic_lights_limits_and_curves(change) -> None:
    control = drive(dataclasses.replace(CRUISING, **change))
    assert control.brake > 0.1
    assert control.throttle == 0.0


def test_it_neither_brakes_for_green_nor_for_a_yellow_that_comes_too_late() -> None:
    for light in (NextLight(LightState.GREEN, 10.0), NextLight(LightState.YELLOW, 5.0)):
        assert drive(dataclasses.replace(CRUISING, next_light=light)).brake < 0.01


def test_it_stops_at_a_red_light_before_the_line() -> None:
    speed_mps, left_m = 10.0, 50.0
    for _ in range(400):
        light = NextLight(LightState.RED, left_m)
        control = drive(dataclasses.replace(CRUISING, speed_mps=speed_mps, next_light=light))
        speed_mps = max(0.0, speed_mps + 0.05 * (3.0 * control.throttle - 8.0 * control.brake))
        left_m -= 0.05 * speed_mps
    assert speed_mps == pytest.approx(0.0, abs=0.05)
    assert 0.0 < left_m < 3.0


def test_it_drives_a_world_it_knows_nothing_of() -> None:
    world = StraightRoadWorld()
    world.open()
    frame = world.reset(seed=4)
    driver = driver_for(world)
    for _ in range(150):
        frame = world.step(driver(frame))
    assert abs(frame.ego.lane_offset_m) < 0.05
    assert frame.ego.speed_mps == pytest.approx(10.0, abs=0.5)


def test_the_town_is_driven_by_its_own_autopilot_without_a_scratch() -> None:
    with opened(build_world("town"), sensors=False) as town:
        driver = driver_for(RenderedWorld(town, PaletteRenderer()))
        frame = town.reset(seed=3)
        before_m = frame.ego.route_distance_m
        for _ in range(400):
            frame = town.step(driver(frame))
            assert not frame.ego.collision
            assert not frame.ego.off_lane
    assert frame.ego.route_distance_m < before_m - 50.0
