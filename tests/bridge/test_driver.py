"""The driver keeps to the lane, the speed limit and its distance, and stops for red lights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from straight_road import StraightRoadWorld

from sim2street.apps.compose import build_world, opened
from sim2street.bridge.driver import (
    DriverParameters,
    RoadAhead,
    acceleration_mps2,
    drive,
    driver_for,
    target_speed_mps,
)
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


def test_it_brakes_neither_for_green_nor_for_a_late_yellow() -> None:
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


@pytest.mark.parametrize("gap_m", [0.5, 1.0, 3.0])
def test_it_stops_as_far_before_a_stop_line_as_the_parameters_say(gap_m) -> None:
    parameters = DriverParameters(stop_line_gap_m=gap_m)
    speed_mps, left_m = 10.0, 60.0
    for _ in range(1200):
        ahead = RoadAhead(speed_mps, 10.0, (10.0, 0.0), stop_line_m=left_m)
        speed_mps = max(0.0, speed_mps + 0.05 * acceleration_mps2(ahead, parameters))
        left_m -= 0.05 * speed_mps
    assert speed_mps == pytest.approx(0.0, abs=0.05)
    assert left_m == pytest.approx(gap_m, abs=0.3)


def test_it_slows_down_before_a_curve() -> None:
    distance_m = np.arange(0.0, 60.0)
    curvature_1pm = np.where(distance_m >= 30.0, 0.1, 0.0)
    target = target_speed_mps(distance_m, 13.9, curvature_1pm)
    assert target == pytest.approx(np.sqrt(2.2 / 0.1 + 2.0 * 1.8 * 30.0))
    assert target_speed_mps(distance_m, 13.9, 0.0 * curvature_1pm) == 13.9


def test_it_drives_a_world_by_its_frames_alone() -> None:
    world = StraightRoadWorld()
    world.open()
    frame = world.reset(seed=4)
    driver = driver_for(world)
    for _ in range(150):
        frame = world.step(driver(frame))
    assert abs(frame.ego.lane_offset_m) < 0.05
    assert frame.ego.speed_mps == pytest.approx(10.0, abs=0.5)


def test_the_town_is_driven_by_its_autopilot_without_a_collision() -> None:
    with opened(build_world("town"), sensors=False) as town:
        driver = driver_for(RenderedWorld(town, PaletteRenderer()))
        frame = town.reset(seed=3)
        before_m = frame.ego.route_distance_m
        for _ in range(400):
            frame = town.step(driver(frame))
            assert not frame.ego.collision
            assert not frame.ego.off_lane
    assert frame.ego.route_distance_m < before_m - 50.0


def test_both_drivers_of_an_empty_town_are_the_same_model() -> None:
    """They see the same road, one exactly and one through the points in its frames."""
    with opened(build_world("town"), sensors=False) as town:
        autopilot = driver_for(town)
        frame = town.reset(seed=5, options={"traffic": 0.0})
        differences = []
        for _ in range(400):
            exact, coarse = autopilot(frame), drive(frame.ego, frame.actors)
            differences.append(abs(exact.steer - coarse.steer))
            frame = town.step(coarse)
    assert frame.ego.speed_mps > 2.0
    assert np.mean(differences) < 0.02
