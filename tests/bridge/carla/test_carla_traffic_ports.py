"""Traffic Managers of several CarlaWorlds on one host do not get in each other's way."""

from __future__ import annotations

import os
import signal
import socket

import numpy as np
import pytest

pytest.importorskip("carla")
pytest.importorskip("panda3d")

from sim2street.bridge.carla.config import CarlaConfig
from sim2street.bridge.carla.standin.fixture import SMALL_TOWN
from sim2street.bridge.carla.standin.process import StandInProcess, call
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.errors import WorldLost
from sim2street.bridge.frame import Control
from sim2street.configs import ConfigError

pytestmark = pytest.mark.timeout(300)


def world_with_traffic(port: int, **changes) -> CarlaWorld:
    settings = {"cameras": {}, "vehicles": 3, "warm_up_ticks": 2, "actor_range_m": 2000.0}
    return CarlaWorld(CarlaConfig(**{"port": port, **settings, **changes}))


def check_that_traffic_drives(world: CarlaWorld, ticks: int = 30) -> None:
    frames = [world.step(Control(brake=1.0)) for _ in range(ticks)]
    first = {actor.actor_id: actor.pose[:2, 3] for actor in frames[0].actors}
    moved_m = [np.linalg.norm(a.pose[:2, 3] - first[a.actor_id]) for a in frames[-1].actors]
    assert sum(metres > 1.0 for metres in moved_m) >= 2


@pytest.mark.slow
def test_two_worlds_with_traffic_on_one_host(carla_standin: StandInProcess) -> None:
    with StandInProcess(SMALL_TOWN) as other:
        worlds = [world_with_traffic(server.port) for server in (carla_standin, other)]
        with worlds[0], worlds[1]:
            for seed, world in enumerate(worlds):
                world.reset(seed)
            for world in worlds:
                check_that_traffic_drives(world)


@pytest.fixture
def port() -> int:
    with socket.create_server(("", 0)) as free:
        return int(free.getsockname()[1])


def test_a_port_that_is_in_use_is_named(carla_standin: StandInProcess) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        message = rf"port {port} .*is in use.*any free port"
        world = world_with_traffic(carla_standin.port, traffic_manager_port=port)
        with world, pytest.raises(ConfigError, match=message):
            world.reset(0)
    assert carla_standin.actors() == []


@pytest.mark.slow
def test_a_given_port_works_again_after_a_crash(carla_standin: StandInProcess, port: int) -> None:
    """The server still names the crashed client's Traffic Manager at this port."""
    with world_with_traffic(carla_standin.port, traffic_manager_port=port) as world:
        world.reset(0)
        assert call(carla_standin.port, "is_traffic_manager_running", port) == [[1, True]]
        os.kill(world.client_pid, signal.SIGKILL)
        with pytest.raises(WorldLost):
            world.step(Control())
        world.reset(0)
        check_that_traffic_drives(world)
