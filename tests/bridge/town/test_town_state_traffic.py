"""Traffic and people: they keep out of each other's way, and nobody waits for ever."""

import numpy as np
import pytest

from sim2street.bridge.frame import Control
from sim2street.bridge.town.plan.layout import FIRST_PARKED_ID
from sim2street.bridge.town.plan.traffic_lights import RED, light_states
from sim2street.bridge.town.simulation import Simulation
from sim2street.bridge.town.traffic.autopilot import Autopilot
from sim2street.bridge.town.traffic.collisions import Box, Boxes, StreetSpace, overlap
from sim2street.bridge.town.traffic.vehicles import HALF_LENGTH_M
from sim2street.bridge.town.world import TownConfig, TownWorld

PATIENCE_S = 150.0


def touching_pairs(boxes: Boxes, count: int) -> set[tuple[int, int]]:
    """Pairs of boxes that overlap, one of them among the first `count`."""
    pairs = set()
    dx = boxes.x_m[:count, None] - boxes.x_m
    dy = boxes.y_m[:count, None] - boxes.y_m
    reach = np.hypot(boxes.half_length_m, boxes.half_width_m)
    near = np.hypot(dx, dy) < reach[:count, None] + reach
    for a, b in np.argwhere(near):
        if a != b:
            box = Box(*(float(v[a]) for v in _columns(boxes)), 0.0)
            if overlap(box, boxes, np.array([b]))[0]:
                pairs.add((int(a), int(b)))
    return pairs


def _columns(boxes: Boxes) -> tuple[np.ndarray, ...]:
    return boxes.x_m, boxes.y_m, boxes.heading_rad, boxes.half_length_m, boxes.half_width_m


def drive(town: int, seed: int, ticks: int, **config: object) -> None:
    """Drive with the autopilot; assert all the way that nobody touches anybody."""
    with_config = TownConfig.model_validate({"town": town, **config})
    world = TownWorld(with_config)
    world.open(sensors=False)
    frame = world.reset(seed)
    autopilot = Autopilot(world)
    traffic = world.simulation.state.traffic
    waited, way = np.zeros(len(traffic.model)), 0.0
    for tick in range(ticks):
        frame = world.step(autopilot.control())
        assert not frame.ego.collision, f"tick {tick}: {frame.ego}"
        assert not frame.ego.off_lane, f"tick {tick}: {frame.ego}"
        way += frame.ego.speed_mps * with_config.tick_s
        if tick % 5:
            continue
        traffic = world.simulation.state.traffic
        assert not touching_pairs(world.simulation.boxes, len(traffic.model)), f"tick {tick}"
        waited = np.where(traffic.speed_mps < 0.1, waited + 5 * with_config.tick_s, 0.0)
        assert waited.max() < PATIENCE_S
        assert_nobody_runs_a_red(world.simulation)
    assert way > ticks * with_config.tick_s * 1.2  # it gets on
    world.close()


def assert_nobody_runs_a_red(simulation: Simulation) -> None:
    """Who has just passed a stop line was let through: it holds a grant for its way."""
    traffic, lanes = simulation.state.traffic, simulation.town.lanes
    inside = lanes.connector[traffic.lane_plan[:, 0]] >= 0
    assert (traffic.granted_lane[inside] == traffic.lane_plan[inside, 0]).all()


@pytest.mark.parametrize(("town", "seed"), [(0, 10), (3, 11), (905, 12)])
def test_autopilot_and_traffic_touch_nobody(town: int, seed: int):
    drive(town, seed, 1200)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("town", "seed"), [(1, 20), (5, 25), (7, 21), (950, 22)])
def test_autopilot_and_traffic_touch_nobody_for_long(town: int, seed: int):
    drive(town, seed, 10_000)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_dense_traffic_does_not_lock_up():
    drive(2, 30, 6000, vehicles=110, pedestrians=150)


def test_vehicles_wait_at_red_and_only_enter_on_green():
    world = TownWorld(TownConfig(town=0, pedestrians=0, vehicles=60))
    world.open(sensors=False)
    world.reset(4)
    lanes, lights = world.simulation.town.lanes, world.simulation.town.lights
    entered = 0
    before = world.simulation.state.traffic.lane_plan[:, 0].copy()
    granted_on_green: dict[int, bool] = {}
    had = world.simulation.state.traffic.granted_lane.copy()
    for _ in range(1500):
        time_s = world.simulation.time_s
        world.step(Control(brake=1.0))
        traffic = world.simulation.state.traffic
        states = light_states(lights, time_s)
        for i in np.nonzero((traffic.granted_lane >= 0) & (had < 0))[0]:
            light = lanes.light_id[traffic.lane_plan[i, 0]]
            granted_on_green[int(i)] = light < 0 or states[light] != RED
        for i in np.nonzero(traffic.lane_plan[:, 0] != before)[0]:
            if lanes.light_id[before[i]] >= 0:
                entered += 1
                assert granted_on_green[int(i)]
        before, had = traffic.lane_plan[:, 0].copy(), traffic.granted_lane.copy()
    assert entered > 10
    world.close()


def test_long_vehicles_stay_off_sharp_bends():
    seen = 0
    for seed in range(6):
        world = TownWorld(TownConfig(town=1, vehicles=80))
        world.open(sensors=False)
        world.reset(seed)
        for _ in range(200):
            world.step(Control(brake=1.0))
        state, paths = world.simulation.state.traffic, world.simulation.town.lanes.paths
        at, _ = paths.locate(state.lane_plan[:, 0], state.s_m)
        half = HALF_LENGTH_M[state.model]
        swing = half**2 / 2 * np.abs(paths.curvature_1pm[at])
        seen += int((half > 4.0).sum())
        assert swing[half > 2.8].max(initial=0.0) < 0.8
        world.close()
    assert seen


def test_people_stay_on_sidewalks_and_crossings():
    world = TownWorld(TownConfig(town=3, vehicles=10, pedestrians=150))
    world.open(sensors=False)
    world.reset(1)
    town = world.simulation.town
    space = StreetSpace.of(town.layout)
    ways, lane_points = set(), np.stack([town.lanes.paths.x_m, town.lanes.paths.y_m], axis=1)
    roads = np.concatenate(
        [lane.points_m for lane in town.layout.lanes if lane.junction_id is None]
    )
    assert len(roads) < len(lane_points)
    for tick in range(1200):
        world.step(Control(brake=1.0))
        if tick % 40:
            continue
        boxes, first = world.simulation.boxes, len(world.simulation.state.traffic.model)
        people = slice(first, first + 150)
        ways |= set(world.simulation.state.walkers.walkway.tolist())
        for x, y in zip(boxes.x_m[people], boxes.y_m[people], strict=True):
            assert space.contains(x, y)
            assert np.hypot(*(roads - (x, y)).T).min() > 1.7  # off the lanes between junctions
    assert (town.walks.crossing_id[list(ways)] >= 0).any()  # some have crossed


def test_nobody_waits_at_a_kerb_for_ever():
    world = TownWorld(TownConfig(town=6, pedestrians=120))
    world.open(sensors=False)
    world.reset(2)
    longest = 0
    for _ in range(2000):
        world.step(Control(brake=1.0))
        waits = world.simulation.state.walkers.waiting_since
        if (waits >= 0).any():
            longest = max(longest, world.simulation.state.tick - int(waits[waits >= 0].min()))
    assert 0 < longest * 0.05 < 100.0


def test_traffic_counts_follow_the_config():
    world = TownWorld(TownConfig(town=0, vehicles=12, pedestrians=7))
    world.open(sensors=False)
    world.reset(0)
    state = world.simulation.state
    assert (len(state.traffic.model), len(state.walkers.model)) == (12, 7)
    world.reset(0, {"traffic": 2.0})
    state = world.simulation.state
    assert (len(state.traffic.model), len(state.walkers.model)) == (24, 14)
    world.reset(0, {"traffic": 0.0})
    ids = [actor.actor_id for actor in world.step(Control(throttle=1.0)).actors]
    assert min(ids) >= FIRST_PARKED_ID
    world.close()
