"""Nothing stays on the server, whatever died or froze, and whenever it came back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

pytest.importorskip("carla")
pytest.importorskip("panda3d")

from sim2street.bridge.carla.config import CarlaCameraConfig, CarlaConfig
from sim2street.bridge.carla.standin.fixture import SMALL_TOWN
from sim2street.bridge.carla.standin.process import StandInProcess, call
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.errors import WorldLost
from sim2street.bridge.frame import Control

ORPHAN_S = 8.0
"""How long a client process may live without its parent: `child/__main__.py`."""

SLACK_S = 15.0
"""For a busy machine."""

pytestmark = pytest.mark.timeout(300)


def config(port: int, **changes) -> CarlaConfig:
    settings = {
        "port": port,
        "cameras": {"front": CarlaCameraConfig(width_px=64, height_px=32)},
        "vehicles": 1,
        "autopilot": False,
        "warm_up_ticks": 2,
        "timeout_s": 1.0,
        "sensor_deadline_s": 1.0,
        **changes,
    }
    return CarlaConfig(**settings)


@pytest.fixture
def standin(carla_standin: StandInProcess) -> Iterator[StandInProcess]:
    yield carla_standin
    carla_standin.signal(signal.SIGCONT)
    check_restored(carla_standin)


def check_restored(standin: StandInProcess) -> None:
    assert standin.actors() == []
    assert not call(standin.port, "get_episode_settings")[0][1][0], "synchronous mode"


def test_a_frozen_server_that_thaws_after_a_failed_reset(standin: StandInProcess) -> None:
    world = CarlaWorld(config(standin.port))
    world.open()
    world.reset(0)
    standin.signal(signal.SIGSTOP)
    with pytest.raises(WorldLost):
        world.step(Control())
    for _ in range(2):
        with pytest.raises(WorldLost, match="did not answer"):
            world.reset(0)
    standin.signal(signal.SIGCONT)
    world.close()


@pytest.mark.slow
def test_a_frozen_server_that_thaws_before_the_next_reset(standin: StandInProcess) -> None:
    with CarlaWorld(config(standin.port)) as world:
        world.reset(0)
        present = sorted(standin.actors())
        standin.signal(signal.SIGSTOP)
        for attempt in (lambda: world.step(Control()), lambda: world.reset(0)):
            with pytest.raises(WorldLost):
                attempt()
        standin.signal(signal.SIGCONT)
        world.reset(0)
        world.step(Control())
        assert sorted(standin.actors()) == present


@pytest.mark.slow
@pytest.mark.parametrize("calls", [1, 3, 6, 9])
def test_a_server_that_freezes_while_it_spawns(standin: StandInProcess, calls: int) -> None:
    """The call that was on its way is carried out once the server runs again."""
    world = CarlaWorld(config(standin.port, vehicles=3))
    world.open()
    standin.fault("freeze_at_spawn", calls)
    with pytest.raises(WorldLost):
        world.reset(0)
    wait_until_it_runs(standin)
    world.close()


def wait_until_it_runs(standin: StandInProcess) -> None:
    until_s = time.monotonic() + 30.0
    while time.monotonic() < until_s:
        try:
            call(standin.port, "version")
            return
        except OSError:
            time.sleep(0.1)


@pytest.mark.slow
def test_a_client_that_is_killed_while_it_spawns(standin: StandInProcess) -> None:
    """It cannot tell what it has spawned, and the ego has the same role name as any other."""
    world = CarlaWorld(config(standin.port, vehicles=4))
    world.open()
    pid = world.client_pid
    standin.fault("freeze_at_spawn", 3)
    killer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(WorldLost):
        world.reset(0)
    killer.join()
    wait_until_it_runs(standin)
    world.reset(0)
    vehicles = [name for name in standin.actors() if name.startswith("vehicle.")]
    assert len(vehicles) == 5
    world.close()


@pytest.mark.slow
def test_a_server_that_stays_frozen_is_reported(
    standin: StandInProcess, caplog: pytest.LogCaptureFixture
) -> None:
    world = CarlaWorld(config(standin.port))
    world.open()
    world.reset(0)
    standin.signal(signal.SIGSTOP)
    with pytest.raises(WorldLost):
        world.step(Control())
    world.close()
    assert "could not be cleaned up" in caplog.text
    assert "and synchronous mode stay there" in caplog.text
    standin.signal(signal.SIGCONT)
    with CarlaWorld(config(standin.port, role_name="other")) as next_world:
        next_world.reset(0)
    for actor in call(standin.port, "get_actors_by_id", list(range(200, 20_000)))[0][1]:
        call(standin.port, "destroy_actor", actor[0])
    settings = call(standin.port, "get_episode_settings")[0][1]
    call(standin.port, "set_episode_settings", [False, *settings[1:]])


DRIVER = """
import sys
from sim2street.bridge.carla.config import CarlaConfig
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.frame import Control
world = CarlaWorld(CarlaConfig(port=int(sys.argv[1]), vehicles=2, autopilot=True, cameras={}))
world.open()
world.reset(0)
print(world.client_pid, flush=True)
while True:
    world.step(Control())
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_no_client_lives_on_if_parent_and_server_die_together(number: int) -> None:
    with StandInProcess(SMALL_TOWN) as mortal:
        command = [sys.executable, "-c", DRIVER, str(mortal.port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            client = psutil.Process(int(parent.stdout.readline()))
            mortal.signal(number)
            parent.kill()
        client.wait(ORPHAN_S + SLACK_S)
