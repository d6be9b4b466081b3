"""The ego: its motion, what it touches, and what the frame says about it."""

import dataclasses
import math

import numpy as np
import pytest

from sim2street.bridge.errors import FrameError
from sim2street.bridge.frame import Actor, Control, LightState, SensorFrame
from sim2street.bridge.town.plan.layout import FIRST_PARKED_ID
from sim2street.bridge.town.traffic.collisions import Box, Boxes, corners, overlap, touching
from sim2street.bridge.town.traffic.ego import EgoConfig, EgoMotion, advance
from sim2street.bridge.town.traffic.ego_lanes import ego_box
from sim2street.bridge.town.world import TownConfig, TownWorld

CONFIG = EgoConfig()
TICK_S = 0.05


def run(ego: EgoMotion, control: Control, ticks: int) -> EgoMotion:
    for _ in range(ticks):
        ego = advance(ego, control, TICK_S, CONFIG)
    return ego


def test_full_throttle_and_full_brake():
    ego = run(EgoMotion(0.0, 0.0, 0.0), Control(throttle=1.0), 100)
    assert 12.0 < ego.speed_mps < 3.5 * 5.0
    assert ego.x_m > 0.0
    assert ego.y_m == 0.0
    braked = run(ego, Control(brake=1.0), 200)
    assert braked.speed_mps == 0.0
    way = braked.x_m - ego.x_m
    assert way == pytest.approx(ego.speed_mps**2 / (2 * CONFIG.brake_mps2), rel=0.1)


def test_brakes_hold_and_rolling_stops():
    assert run(EgoMotion(0.0, 0.0, 0.0), Control(brake=1.0), 10).x_m == 0.0
    rolling = run(EgoMotion(0.0, 0.0, 0.0, speed_mps=3.0), Control(), 2000)
    assert rolling.speed_mps == 0.0


def test_reverse_drives_backwards_up_to_its_limit():
    ego = run(EgoMotion(0.0, 0.0, 0.0), Control(throttle=1.0, reverse=True), 200)
    assert ego.x_m < -5.0
    assert -CONFIG.reverse_mps - 0.2 < ego.speed_mps < -CONFIG.reverse_mps + 0.2


def test_positive_steer_turns_right_on_the_circle_of_the_bicycle_model():
    control = Control(steer=0.5, throttle=0.1)
    ego = run(EgoMotion(0.0, 0.0, 0.0, speed_mps=2.0), control, 40)
    assert ego.heading_rad < 0.0
    assert ego.yaw_rate_rps < 0.0
    radius = CONFIG.wheelbase_m / math.tan(math.radians(CONFIG.steer_deg) * 0.5)
    slow = run(EgoMotion(0.0, 0.0, 0.0, 2.0, -math.radians(CONFIG.steer_deg) * 0.5), control, 1)
    points = []
    for _ in range(600):
        slow = advance(slow, control, TICK_S, CONFIG)
        points.append((slow.x_m, slow.y_m))
        if slow.speed_mps > 4.0:
            break
    x, y = np.array(points).T
    assert np.hypot(x, y + radius) == pytest.approx(np.full(len(x), radius), rel=1e-6)


def test_tyres_widen_fast_curves():
    fast = EgoMotion(0.0, 0.0, 0.0, speed_mps=15.0, wheel_rad=-math.radians(CONFIG.steer_deg))
    after = advance(fast, Control(steer=1.0), TICK_S, CONFIG)
    assert abs(after.yaw_rate_rps * after.speed_mps) == pytest.approx(CONFIG.lateral_mps2, rel=0.02)


def test_boxes_touch_exactly_when_they_share_a_point():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 41)] * 2), axis=-1).reshape(-1, 2)
    near_misses = 0
    for _ in range(400):
        a = Box(0.0, 0.0, rng.uniform(-3, 3), *rng.uniform(0.3, 3.0, 2), 0.0)
        row = (*rng.uniform(-5, 5, 2), rng.uniform(-3, 3), *rng.uniform(0.3, 3.0, 2))
        b = Boxes(*(np.array([v]) for v in row))
        c, s = math.cos(row[2]), math.sin(row[2])
        points = grid * (row[3], row[4]) @ np.array([[c, s], [-s, c]]) + row[:2]
        c, s = math.cos(a.heading_rad), math.sin(a.heading_rad)
        local = points @ np.array([[c, -s], [s, c]])
        depth = np.minimum(a.half_length_m - np.abs(local[:, 0]), a.half_width_m - abs(local[:, 1]))
        touches = bool(overlap(a, b, np.array([0]))[0])
        if depth.max() > 0.0:
            assert touches
        elif not touches:
            near_misses += 1
        else:  # a corner of `a` between the samples of `b`
            assert depth.max() > -0.2
        assert len(touching(a, b)) == touches
    assert near_misses > 50


@pytest.fixture(scope="module")
def empty_world():
    with TownWorld(TownConfig(town=2, vehicles=0, pedestrians=0)) as opened:
        yield opened


@pytest.fixture
def world(empty_world: TownWorld) -> TownWorld:
    empty_world.close()
    empty_world.open(sensors=False)
    empty_world.reset(5)
    return empty_world


def put(world: TownWorld, ego: EgoMotion) -> SensorFrame:
    """The frame after one braked tick from there."""
    state = world.get_state()
    state.ego = ego
    world.set_state(state)
    return world.step(Control(brake=1.0))


def moved(ego: EgoMotion, ahead_m: float, left_m: float, turn_rad: float = 0.0) -> EgoMotion:
    c, s = math.cos(ego.heading_rad), math.sin(ego.heading_rad)
    return dataclasses.replace(
        ego,
        x_m=ego.x_m + ahead_m * c - left_m * s,
        y_m=ego.y_m + ahead_m * s + left_m * c,
        heading_rad=ego.heading_rad + turn_rad,
    )


def test_lane_offset_is_to_the_left_and_heading_error_to_the_left(world: TownWorld):
    start = world.get_state().ego
    frame = put(world, moved(start, 0.0, 0.4))
    assert frame.ego.lane_offset_m == pytest.approx(0.4, abs=0.02)
    assert not frame.ego.off_lane
    frame = put(world, moved(start, 0.0, -0.7, turn_rad=0.2))
    assert frame.ego.lane_offset_m == pytest.approx(-0.7, abs=0.02)
    assert frame.ego.heading_error_rad == pytest.approx(0.2, abs=0.02)


def test_off_lane_beyond_the_lane_or_against_it(world: TownWorld):
    start = world.get_state().ego
    assert put(world, moved(start, 0.0, 2.2)).ego.off_lane
    assert put(world, moved(start, 0.0, 0.0, turn_rad=math.pi)).ego.off_lane
    assert not put(world, start).ego.off_lane


def test_route_distance_counts_down_by_the_way_driven(world: TownWorld):
    first = world.reset(6)
    assert first.ego.route_distance_m == pytest.approx(world.config.route_length_m, abs=1e-3)
    frame, way = first, 0.0
    for _ in range(40):
        before = frame.ego.pose[:2, 3]
        frame = world.step(Control(throttle=0.5))
        way += float(np.hypot(*(frame.ego.pose[:2, 3] - before)))
    gone = first.ego.route_distance_m - frame.ego.route_distance_m
    assert way > 2.0
    assert gone == pytest.approx(way, rel=0.02)


def test_curvature_ahead_has_the_sign_and_size_of_the_bend(world: TownWorld):
    for lane in world.simulation.town.layout.lanes:
        if lane.road_id is None or len(lane.points_m) < 60:
            continue
        frame = world.reset(1, {"spawn": lane.lane_id})
        ahead = world.route_ahead(8, 1.0)
        turn = math.atan2(*(ahead[-1] - ahead[-2])[::-1])
        assert frame.ego.curvature_1pm == pytest.approx(turn / 7.5, abs=0.006)


def test_next_light_is_the_light_of_the_lane_at_the_distance_of_its_line(world: TownWorld):
    layout = world.simulation.town.layout
    seen = 0
    for lane in layout.lanes:
        if lane.light_id is None:
            continue
        frame = world.reset(2, {"spawn": lane.lane_id})
        along = world.simulation.town.lanes.paths.length_m[lane.lane_id]
        at = world.simulation.route_point.at_m
        if frame.ego.next_light is None:
            assert along - at > 100.0
            continue
        seen += 1
        assert isinstance(frame.ego.next_light.state, LightState)
        expected = along - at - CONFIG.front_m
        assert frame.ego.next_light.distance_m == pytest.approx(expected, abs=1e-6)
    assert seen
    for lane in layout.lanes:
        if lane.road_id is not None and lane.light_id is None:
            assert world.reset(2, {"spawn": lane.lane_id}).ego.next_light is None


def test_lead_vehicle_is_measured_from_bumper_to_bumper():
    with TownWorld(TownConfig(town=2, vehicles=1, pedestrians=0)) as world:
        world.close()
        world.open(sensors=False)
        world.reset(5)
        lanes = world.simulation.town.layout.lanes
        longest = max(
            (la for la in lanes if la.road_id is not None), key=lambda la: len(la.points_m)
        )
        seed = next(
            s
            for s in range(99)
            if world.reset(s, {"spawn": longest.lane_id}).tick == 0
            and world.simulation.route_point.at_m < len(longest.points_m) - 110.0
        )
        world.reset(seed, {"spawn": longest.lane_id})
        state = world.get_state()
        lane = state.route.lane_ids[0]
        state.traffic.lane_plan[0, 0] = lane
        at = state.route.at_m - state.route.first_m
        state.traffic.s_m[0] = at + 30.0
        state.traffic.lane_offset_m[0] = 0.0
        state.traffic.speed_mps[0] = 3.0
        frame = world.set_state(state)
        half = world.simulation.boxes.half_length_m[0]
        assert frame.ego.lead is not None
        expected = 30.0 - half - CONFIG.front_m
        assert frame.ego.lead.distance_m == pytest.approx(expected, abs=0.1)
        assert frame.ego.lead.speed_mps == pytest.approx(3.0, abs=0.05)
        state.traffic.s_m[0] = at + 95.0
        assert world.set_state(state).ego.lead is None


def behind(car: Actor, distance_m: float) -> EgoMotion:
    c, s = float(car.pose[0, 0]), float(car.pose[1, 0])
    x, y = float(car.pose[0, 3]) - distance_m * c, float(car.pose[1, 3]) - distance_m * s
    return EgoMotion(x, y, math.atan2(s, c), 5.0)


def test_hitting_a_parked_car_stops_the_ego_and_says_so(world: TownWorld):
    town = world.simulation.town
    car, start = next(
        (car, start)
        for car in town.parked
        for start in [behind(car, 4.0 + CONFIG.front_m)]
        if not len(touching(ego_box(start, CONFIG), town.static_boxes))
    )
    state = world.get_state()
    state.ego = start
    frame = world.set_state(state)
    for _ in range(60):
        frame = world.step(Control(throttle=0.3))
        if frame.ego.collision:
            break
    assert frame.ego.collision
    assert frame.ego.speed_mps == 0.0
    assert car.actor_id >= FIRST_PARKED_ID
    box = ego_box(world.simulation.state.ego, CONFIG)
    assert not len(touching(box, world.simulation.boxes))  # it stands before the car, not in it
    for _ in range(12):
        frame = world.step(Control(throttle=0.5, reverse=True))
    assert not frame.ego.collision
    assert frame.ego.speed_mps < -0.5


def test_the_walls_beside_the_street_cannot_be_passed(world: TownWorld):
    turned = moved(world.get_state().ego, 0.0, 0.0, turn_rad=1.2)
    state = world.get_state()
    state.ego = dataclasses.replace(turned, speed_mps=6.0)
    world.set_state(state)
    hit = False
    for _ in range(200):
        frame = world.step(Control(throttle=0.6))
        hit = hit or frame.ego.collision
    assert hit
    space = world.simulation.town.space
    box = ego_box(world.simulation.state.ego, CONFIG)
    assert all(space.contains(*corner) for corner in corners(box))


def test_a_control_out_of_range_is_refused(world: TownWorld):
    with pytest.raises(FrameError, match="steer"):
        world.step(Control(steer=1.5))
