"""Which actors are hazards, and drives through a town behind a socket."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sim2street.bridge.driver import drive, driver_for
from sim2street.bridge.frame import Actor, EgoState
from sim2street.bridge.hazards import FRONT_M, hazards
from sim2street.bridge.labels import Tag
from sim2street.bridge.transport import ClientConfig, RemoteWorld, query_status

ROOT = Path(__file__).parents[2]
EGO = EgoState(pose=np.eye(4, dtype=np.float32), speed_mps=8.0, speed_limit_mps=10.0)


def actor(x, y, heading_rad=0.0, speed_mps=0.0, tag=Tag.PEDESTRIAN, extent=(0.35, 0.28, 0.9)):
    cos, sin = math.cos(heading_rad), math.sin(heading_rad)
    pose = np.eye(4, dtype=np.float32)
    pose[:2, :2] = [[cos, -sin], [sin, cos]]
    pose[:2, 3] = x, y
    return Actor(7, int(tag), pose, extent, (cos * speed_mps, sin * speed_mps, 0.0))


def car(*args, **kwargs):
    return actor(*args, tag=Tag.CAR, extent=(2.2, 0.9, 0.75), **kwargs)


def test_the_gap_to_a_car_ahead_ends_at_its_rear_bumper():
    (found,) = hazards(EGO, [car(20.0, 0.3, speed_mps=3.0)])
    assert found.gap_m == pytest.approx(20.0 - 2.2 - FRONT_M, abs=0.05)
    assert found.speed_mps == pytest.approx(3.0)


@pytest.mark.parametrize(
    "other",
    [
        actor(15.0, 4.0),  # stands on the sidewalk
        actor(15.0, 4.0, speed_mps=1.4),  # walks along it
        actor(-6.0, 0.0, speed_mps=8.0),  # behind
        car(25.0, 3.3, heading_rad=math.pi, speed_mps=10.0),  # oncoming, in its own lane
        actor(15.0, 3.0, heading_rad=math.pi / 2, speed_mps=1.4),  # has crossed
        actor(40.0, 30.0, heading_rad=-math.pi / 2, speed_mps=1.4),  # will cross much later
    ],
)
def test_an_actor_that_is_not_in_the_way_is_no_hazard(other):
    assert hazards(EGO, [other]) == []


@pytest.mark.parametrize(
    "other",
    [
        actor(15.0, -2.5, heading_rad=math.pi / 2, speed_mps=1.4),  # steps off the kerb
        car(18.0, 12.0, heading_rad=-math.pi / 2, speed_mps=7.0),  # from the left
    ],
)
def test_it_brakes_for_an_actor_that_is_about_to_cross(other):
    assert hazards(EGO, [other])
    assert drive(EGO, [other]).brake > 0.2
    assert drive(EGO, []).brake == 0.0


def test_in_a_bend_the_next_lane_is_not_the_own_lane():
    """An oncoming car on the outer lane heads across the ego's axis, but passes beside it."""
    radius, angle = 25.0, np.arange(1, 7) * 5.0 / 25.0
    route = tuple((radius * math.sin(a), radius * (1 - math.cos(a))) for a in angle)
    bend = EgoState(pose=np.eye(4, dtype=np.float32), speed_mps=7.0, route_ahead_m=route)
    outer = radius + 3.4
    at = 0.6
    oncoming = car(outer * math.sin(at), radius - outer * math.cos(at), at + math.pi, 7.0)
    assert hazards(bend, [oncoming]) == []
    own = car(radius * math.sin(at), radius * (1 - math.cos(at)), at, 2.0)
    assert hazards(bend, [own])


def test_it_stops_for_a_pedestrian_who_stands_on_the_road():
    x, speed_mps = 0.0, 9.0
    for _ in range(300):
        pose = np.eye(4, dtype=np.float32)
        pose[0, 3] = x
        ego = EgoState(pose=pose, speed_mps=speed_mps, speed_limit_mps=10.0)
        control = drive(ego, [actor(45.0, 0.2)])
        speed_mps = max(0.0, speed_mps + 0.05 * (3.0 * control.throttle - 8.0 * control.brake))
        x += 0.05 * speed_mps
    assert speed_mps == pytest.approx(0.0, abs=0.05)
    assert 0.5 < 45.0 - 0.35 - FRONT_M - x < 6.0


@contextmanager
def town_server() -> Iterator[RemoteWorld]:
    """A town in another process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    command = [
        sys.executable,
        "-m",
        "sim2street.apps.cli",
        "serve",
        "world",
        "town",
        "--bind",
        endpoint,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE) as process:
        try:
            query_status(ClientConfig(endpoint=endpoint, open_deadline_s=90.0))
            with RemoteWorld(ClientConfig(endpoint=endpoint, deadline_s=30.0)) as world:
                world.open(sensors=False)
                yield world
        finally:
            process.terminate()
            process.communicate(timeout=60.0)


def drives(episodes, ticks):
    """For each episode: metres driven, and whether there was a collision or the lane was left."""
    with town_server() as world:
        driver = driver_for(world)
        for seed in episodes:
            frame = world.reset(seed)
            before_m = frame.ego.route_distance_m
            failed = False
            for _ in range(ticks):
                frame = world.step(driver(frame))
                failed = frame.ego.collision or frame.ego.off_lane
                if failed or not frame.ego.route_distance_m:
                    break
            yield before_m - frame.ego.route_distance_m, failed


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_town_behind_a_socket_is_driven_by_its_frames_alone():
    driven_m, failed = zip(*drives([0, 6], 350), strict=True)
    assert not any(failed)
    assert min(driven_m) > 20.0
    assert sum(driven_m) > 100.0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twelve_episodes_behind_a_socket_have_at_most_one_collision():
    """Without right of way it has to predict others, so a collision in one episode is tolerated."""
    driven_m, failed = zip(*drives(range(40, 52), 800), strict=True)
    assert sum(failed) <= 1
    assert min(driven_m) > 20.0
    assert np.mean(driven_m) > 100.0
