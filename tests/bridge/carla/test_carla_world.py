"""CarlaWorld with CARLA's real client and the stand-in server."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

pytest.importorskip("carla")
pytest.importorskip("panda3d")

from sim2street.bridge.carla.config import CarlaCameraConfig, CarlaConfig
from sim2street.bridge.carla.standin.process import StandInProcess, call
from sim2street.bridge.carla.world import LANE_INVASION, CarlaWorld
from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import Control, LightState, SensorFrame
from sim2street.bridge.labels import Tag

pytestmark = pytest.mark.timeout(400)

SMALL_CAMERA = CarlaCameraConfig(width_px=48, height_px=24)


def config(standin: StandInProcess, **changes) -> CarlaConfig:
    settings = {
        "port": standin.port,
        "cameras": {"front": SMALL_CAMERA},
        "warm_up_ticks": 2,
        **changes,
    }
    return CarlaConfig(**settings)


@pytest.fixture
def standin(carla_standin: StandInProcess) -> Iterator[StandInProcess]:
    yield carla_standin
    assert carla_standin.actors() == []


def driven(world: CarlaWorld, control: Control, ticks: int) -> list[SensorFrame]:
    return [world.step(control) for _ in range(ticks)]


def test_the_traffic_manager_drives_and_survives_fewer_vehicles(standin: StandInProcess) -> None:
    """The second episode has fewer vehicles; the client survives that some are destroyed."""
    world = CarlaWorld(config(standin, vehicles=8, actor_range_m=2000.0))
    world.open()
    first = world.reset(3)
    last = driven(world, Control(), 30)[-1]
    assert len(last.actors) == 8
    start = {actor.actor_id: actor.pose[:3, 3] for actor in first.actors}
    moved = [np.linalg.norm(a.pose[:3, 3] - start[a.actor_id]) for a in last.actors]
    assert sum(m > 1.0 for m in moved) >= 4
    world.reset(4, {"vehicles": 3})
    assert len(driven(world, Control(), 5)[-1].actors) == 3
    client = world._client
    world.close()
    assert client is not None
    assert client._process.returncode == 0


def test_several_views_and_kinds_of_images(standin: StandInProcess) -> None:
    left = CarlaCameraConfig(width_px=32, height_px=32, fov_deg=80.0, yaw_deg=90.0)
    settings = {"cameras": {"front": SMALL_CAMERA, "left": left}, "pictures": ("labels", "rgb")}
    with CarlaWorld(config(standin, **settings)) as world:
        frame = world.reset(0)
        frame.validate()
        assert list(frame.views) == ["front", "left"]
        view = frame.views["left"]
        assert view.rgb is not None
        assert view.rgb.shape == (32, 32, 3)
        assert view.depth_m is None
        ego_left, view_direction = frame.ego.pose[:3, 1], view.pose[:3, 2]
        assert float(ego_left @ view_direction) > 0.99


def test_steering_right_has_the_right_sign_everywhere(standin: StandInProcess) -> None:
    with CarlaWorld(config(standin)) as world:
        start = world.reset(1).ego
        assert abs(start.lane_offset_m) < 0.1
        assert abs(start.heading_error_rad) < 0.05
        assert start.speed_limit_mps > 5.0
        assert start.route_distance_m == pytest.approx(1000.0, abs=5.0)
        driven(world, Control(throttle=1.0), 20)
        frames = driven(world, Control(throttle=0.3, steer=0.3), 12)
        ego = frames[-1].ego
        assert ego.yaw_rate_rps < -0.05, "clockwise, seen from above"
        assert ego.heading_error_rad < start.heading_error_rad - 0.1
        assert ego.lane_offset_m < -0.1
        assert ego.speed_mps == pytest.approx(np.linalg.norm(ego.velocity_mps), rel=0.02)
        assert ego.route_distance_m < start.route_distance_m - 1.0


def test_leaving_the_lane_and_collisions_are_reported(standin: StandInProcess) -> None:
    with CarlaWorld(config(standin)) as world:
        world.reset(1)
        frames = driven(world, Control(throttle=1.0, steer=-0.3), 120)
        assert any(frame.ego.off_lane for frame in frames)
        assert any(LANE_INVASION in frame.flags for frame in frames)
        first = next(i for i, frame in enumerate(frames) if frame.ego.collision)
        assert not any(frame.ego.collision for frame in frames[:first])
        assert world.reset(1).ego.collision is False


def test_weather_and_route_ahead(standin: StandInProcess) -> None:
    with CarlaWorld(config(standin)) as world:
        frame = world.reset(0, {"weather": "rain"})
        assert frame.weather.rain == pytest.approx(0.7)
        assert call(standin.port, "get_weather_parameters")[0][1][1] == pytest.approx(70.0)
        points = world.route_ahead(5, 4.0)
        assert points.shape == (5, 2)
        assert points[0] == pytest.approx([4.0, 0.0], abs=0.4)
        assert (np.diff(points[:, 0]) > 2.0).all()


def test_resets_reuse_the_actors(standin: StandInProcess) -> None:
    with CarlaWorld(config(standin, vehicles=3, autopilot=False)) as world:
        world.reset(0)
        known = ids(standin)
        for seed in range(4):
            world.reset(seed)
            world.step(Control(throttle=0.5))
        assert ids(standin) == known


def test_an_existing_vehicle_with_the_role_name_becomes_the_ego_and_stays(
    standin: StandInProcess,
) -> None:
    hero = spawned(standin, spawn_points(standin)[4], role="hero")
    try:
        with CarlaWorld(config(standin, vehicles=2, autopilot=False)) as world:
            start = world.reset(0).ego.pose[:2, 3]
            assert start == pytest.approx(rear_axle_at(spawn_points(standin)[4], world), abs=0.1)
            driven(world, Control(throttle=1.0), 10)
            assert world.reset(1).ego.speed_mps > 0.1, "another client's vehicle is not moved"
            moved = world.reset(1, {"spawn": 7}).ego.pose[:2, 3]
            assert moved == pytest.approx(rear_axle_at(spawn_points(standin)[7], world), abs=0.1)
        assert standin.actors() == ["vehicle.tesla.model3"]
    finally:
        call(standin.port, "destroy_actor", hero)


def test_an_occupied_spawn_point_is_not_used(standin: StandInProcess) -> None:
    """A new ego and a reused one take another point."""
    with CarlaWorld(config(standin)) as world:
        fifth = rear_axle_at(spawn_points(standin)[5], world)
        guest = spawned(standin, spawn_points(standin)[5])
        try:
            for seed in range(2):
                ego = world.reset(seed, {"spawn": 5}).ego
                assert math.dist(ego.pose[:2, 3], fifth) > 4.0
                assert not driven(world, Control(), 2)[-1].ego.collision
        finally:
            call(standin.port, "destroy_actor", guest)
        world.step(Control())  # shows the client that the point is free again
        assert math.dist(world.reset(0, {"spawn": 5}).ego.pose[:2, 3], fifth) < 0.1


@pytest.mark.parametrize("autopilot", [True, False])
def test_more_vehicles_than_the_map_has_room_for(standin: StandInProcess, autopilot: bool) -> None:
    with CarlaWorld(config(standin, autopilot=autopilot)) as world:
        with pytest.raises(WorldError, match=r"room for \d+ of 400 vehicles"):
            world.reset(0, {"vehicles": 400})
        assert standin.actors() == [], "vehicles spawned before the error are destroyed"
        assert len(world.reset(0, {"vehicles": 2}).actors) <= 2


def test_destroyed_traffic_is_replaced_at_the_next_reset(standin: StandInProcess) -> None:
    with CarlaWorld(config(standin, vehicles=3, autopilot=False, actor_range_m=2000.0)) as world:
        assert len(world.reset(0).actors) == 3
        call(standin.port, "destroy_actor", world.carla_ids[2])
        assert [a.actor_id for a in driven(world, Control(), 2)[-1].actors] == [1, 3]
        assert len(world.reset(1).actors) == 3


@pytest.mark.slow
def test_the_same_seed_gives_the_same_traffic(standin: StandInProcess) -> None:
    """With the Traffic Manager, in two clients one after the other.

    Within 2 m: on a busy machine its threads may start to drive a tick later.
    """
    tracks = []
    for _ in range(2):
        with CarlaWorld(config(standin, vehicles=4, actor_range_m=2000.0)) as world:
            world.reset(5)
            frames = driven(world, Control(brake=1.0), 40)
            tracks.append([[a.pose[:2, 3].tolist() for a in frame.actors] for frame in frames])
    assert np.allclose(tracks[0][0], tracks[1][0], atol=0.5)
    assert np.allclose(tracks[0], tracks[1], atol=2.0)
    assert not np.allclose(tracks[0][0], tracks[0][-1], atol=3.0), "they drive"


def test_walkers_and_bicycles_of_other_clients_are_in_frames(standin: StandInProcess) -> None:
    """A walker 8 m ahead crosses the street at 1.4 m/s; a bicycle stands 12 m ahead."""
    camera = CarlaCameraConfig(width_px=160, height_px=80)
    with CarlaWorld(config(standin, cameras={"front": camera})) as world:
        world.reset(0, {"spawn": 3})
        (x, y, z), (_, yaw, _) = spawn_points(standin)[3]
        ahead = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        guests = []
        for metres, kind in ((8.0, "walker.pedestrian.0001"), (12.0, "vehicle.gazelle.omafiets")):
            place = [x + metres * ahead[0], y + metres * ahead[1], z + 0.9]
            guests.append(spawned(standin, [place, [0.0, yaw, 0.0]], kind=kind))
        try:
            walk = [[-ahead[1], ahead[0], 0.0], 1.4, False]
            call(standin.port, "apply_control_to_walker", guests[0], walk)
            frames = driven(world, Control(brake=1.0), 10)
        finally:
            for guest in guests:
                call(standin.port, "destroy_actor", guest)
        first, last = frames[1], frames[-1]
        assert [actor.tag for actor in last.actors] == [Tag.PEDESTRIAN, Tag.BICYCLE]
        walked_m = math.dist(first.actors[0].pose[:2, 3], last.actors[0].pose[:2, 3])
        assert walked_m == pytest.approx(8 * 0.05 * 1.4, abs=0.01)
        assert np.linalg.norm(last.actors[0].velocity_mps) == pytest.approx(1.4, abs=0.01)
        view = first.view
        assert view.labels is not None
        assert view.instances is not None
        for actor in first.actors:
            pixels = view.instances == actor.actor_id
            assert pixels.sum() > 10
            assert np.isin(view.labels[pixels], (actor.tag, Tag.RIDER)).all()


def test_the_next_light_has_the_servers_state(standin: StandInProcess) -> None:
    """Its distance shrinks by the distance driven."""
    with CarlaWorld(config(standin)) as world:
        seed = next(s for s in range(20) if near_light(world.reset(s)))
        before = world.reset(seed)
        light = before.ego.next_light
        assert light is not None
        for number, state in enumerate((LightState.RED, LightState.YELLOW, LightState.GREEN)):
            for actor in traffic_lights(standin):
                call(standin.port, "set_traffic_light_state", actor, number)
            after = world.step(Control(throttle=0.5))
            assert after.ego.next_light is not None
            assert after.ego.next_light.state == state
        driven_m = math.dist(before.ego.pose[:2, 3], after.ego.pose[:2, 3])
        assert after.ego.next_light.distance_m == pytest.approx(
            light.distance_m - driven_m, abs=0.05
        )


def near_light(frame: SensorFrame) -> bool:
    return frame.ego.next_light is not None and frame.ego.next_light.distance_m > 10.0


def traffic_lights(standin: StandInProcess) -> list[int]:
    found = call(standin.port, "get_actors_by_id", list(range(2, 200)))[0][1]
    return [actor[0] for actor in found if actor[2][1] == "traffic.traffic_light"]


def spawn_points(standin: StandInProcess) -> list:
    return call(standin.port, "get_map_info")[0][1][1]


def rear_axle_at(point: list, world: CarlaWorld) -> tuple[float, float]:
    """(x, y) of the middle of the rear axle of an ego at a spawn point, in our axes."""
    (x, y, _), (_, yaw, _) = point
    back = world.config.rear_axle_m
    return x + back * math.cos(math.radians(yaw)), -y - back * math.sin(math.radians(yaw))


def spawned(
    standin: StandInProcess, point: list, role: str = "guest", kind: str = "vehicle.tesla.model3"
) -> int:
    """Spawn an actor as another client would; returns its id."""
    known = call(standin.port, "get_actor_definitions")[0][1]
    uid = next(number for number, name, *_ in known if name == kind)
    description = [uid, kind, [["role_name", 4, role]]]
    return call(standin.port, "spawn_actor", description, point)[0][1][0]


def ids(standin: StandInProcess) -> list[int]:
    return [a[0] for a in call(standin.port, "get_actors_by_id", list(range(200, 50_000)))[0][1]]


@pytest.mark.slow
def test_a_hundred_resets_spawn_no_new_actor(standin: StandInProcess) -> None:
    with CarlaWorld(config(standin, vehicles=4, autopilot=False)) as world:
        world.reset(0)
        known = ids(standin)
        for seed in range(100):
            world.reset(seed)
        assert ids(standin) == known


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_memory_does_not_grow_in_ten_thousand_ticks(standin: StandInProcess) -> None:
    """Of this process and the client process, after the first thousand ticks."""
    with CarlaWorld(config(standin, vehicles=2, autopilot=False)) as world:
        world.reset(0)
        ours, child = psutil.Process(), psutil.Process(world.client_pid)
        driven(world, Control(brake=1.0), 1000)
        before = ours.memory_info().rss, child.memory_info().rss
        for _ in range(9000):
            world.step(Control(brake=1.0))
        after = ours.memory_info().rss, child.memory_info().rss
    for old, new in zip(before, after, strict=True):
        assert new - old < 24 << 20, f"{old >> 20} MiB became {new >> 20} MiB"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_clients_exit_cleanly(standin: StandInProcess) -> None:
    """Every other one with traffic of the Traffic Manager."""
    codes = []
    for run, vehicles in zip(range(50), itertools.cycle((0, 4)), strict=False):
        world = CarlaWorld(config(standin, vehicles=vehicles))
        world.open()
        world.reset(run)
        driven(world, Control(throttle=0.5), 3)
        client = world._client
        world.close()
        assert client is not None
        codes.append(client._process.returncode)
    assert codes == [0] * 50
