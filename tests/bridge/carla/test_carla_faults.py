"""Every failure of CARLA raises the right error before its deadline, and a reset recovers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("carla")
pytest.importorskip("panda3d")

from sim2street.bridge.carla.config import CarlaCameraConfig, CarlaConfig
from sim2street.bridge.carla.standin.fixture import SMALL_TOWN
from sim2street.bridge.carla.standin.process import StandInProcess, call
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.errors import SensorTimeout, WorldError, WorldLost
from sim2street.bridge.frame import Control, SensorFrame
from sim2street.configs import ConfigError

DEPTH = "sensor.camera.depth"
CLEAN_UP_S = 3.0
SLACK_S = 20.0
"""For a busy machine. A missed deadline would take longer still."""

SHORT_DEADLINES = {"timeout_s": 1.5, "sensor_deadline_s": 1.0}
"""So that tests in which something never comes do not wait for long."""

pytestmark = pytest.mark.timeout(400)


def config(standin: StandInProcess, **changes) -> CarlaConfig:
    settings = {
        "port": standin.port,
        "cameras": {"front": CarlaCameraConfig(width_px=64, height_px=32)},
        "vehicles": 2,
        "autopilot": False,
        "warm_up_ticks": 2,
        **changes,
    }
    return CarlaConfig(**settings)


@pytest.fixture
def standin(carla_standin: StandInProcess) -> Iterator[StandInProcess]:
    yield carla_standin
    carla_standin.signal(signal.SIGCONT)
    carla_standin.fault("none")


@pytest.fixture
def world(standin: StandInProcess) -> Iterator[CarlaWorld]:
    yield from driving(standin)


@pytest.fixture
def impatient(standin: StandInProcess) -> Iterator[CarlaWorld]:
    yield from driving(standin, **SHORT_DEADLINES)


def driving(standin: StandInProcess, **changes: float) -> Iterator[CarlaWorld]:
    """A world after its second tick. At the end, checks that it left nothing on the server."""
    with CarlaWorld(config(standin, **changes)) as world:
        world.reset(0)
        world.step(Control())
        yield world
    assert standin.actors() == []
    assert not synchronous(standin)


def synchronous(standin: StandInProcess) -> bool:
    return bool(call(standin.port, "get_episode_settings")[0][1][0])


@contextmanager
def within(limit_s: float) -> Iterator[None]:
    started_s = time.monotonic()
    yield
    assert time.monotonic() - started_s < limit_s + SLACK_S


def drive(world: CarlaWorld, ticks: int = 3) -> list[SensorFrame]:
    """Drive a few ticks and check that each gives a complete frame."""
    frames = [world.step(Control(throttle=0.3)) for _ in range(ticks)]
    for frame in frames:
        frame.validate()
    return frames


def check_recovery(world: CarlaWorld) -> None:
    """The episode has ended, and the next one works."""
    with pytest.raises(WorldError, match="reset"):
        world.step(Control())
    with within(15.0):
        assert world.reset(0).tick == 0
    assert [frame.tick for frame in drive(world)] == [1, 2, 3]


@pytest.mark.parametrize("fault", ["drop", "stop", "mixed"])
def test_a_missing_image_names_its_sensor(
    impatient: CarlaWorld, standin: StandInProcess, fault: str
) -> None:
    standin.fault(fault, DEPTH)
    with within(1.0 + CLEAN_UP_S), pytest.raises(SensorTimeout, match=r"front\.depth_m"):
        impatient.step(Control())
    standin.fault("none")
    check_recovery(impatient)


def test_late_images_are_waited_for_until_the_deadline(
    impatient: CarlaWorld, standin: StandInProcess
) -> None:
    standin.fault("delay", 0.2)
    assert len(drive(impatient)) == 3
    standin.fault("delay", 3.0)
    with within(1.0 + CLEAN_UP_S), pytest.raises(SensorTimeout):
        impatient.step(Control())
    standin.fault("none")
    check_recovery(impatient)


@pytest.mark.slow
def test_a_frozen_server(impatient: CarlaWorld, standin: StandInProcess) -> None:
    standin.signal(signal.SIGSTOP)
    with within(impatient.config.step_deadline_s + CLEAN_UP_S), pytest.raises(WorldLost):
        impatient.step(Control())
    standin.signal(signal.SIGCONT)
    check_recovery(impatient)


def test_a_server_that_freezes_during_reset(standin: StandInProcess) -> None:
    """The actors spawned by then are destroyed once the server runs again."""
    world = CarlaWorld(config(standin, warm_up_ticks=100_000, **SHORT_DEADLINES))
    world.open()
    freezer = threading.Thread(target=freeze_after_spawns, args=(standin, 8))
    freezer.start()
    with within(60.0), pytest.raises(WorldLost):
        world.reset(0)
    freezer.join()
    standin.signal(signal.SIGCONT)
    world.close()
    assert standin.actors() == []
    assert not synchronous(standin)


def freeze_after_spawns(standin: StandInProcess, actors: int) -> None:
    while len(standin.actors()) < actors:
        time.sleep(0.05)
    time.sleep(0.3)
    standin.signal(signal.SIGSTOP)


def test_a_server_that_freezes_for_half_a_second(
    world: CarlaWorld, standin: StandInProcess
) -> None:
    standin.fault("freeze", 0.5)
    assert len(drive(world)) == 3


def test_a_map_that_another_client_loads(world: CarlaWorld, standin: StandInProcess) -> None:
    standin.fault("reload")
    with within(world.config.step_deadline_s + CLEAN_UP_S), pytest.raises(WorldLost):
        drive(world)
    check_recovery(world)


def test_an_ego_that_another_client_destroys(world: CarlaWorld, standin: StandInProcess) -> None:
    (hero,) = (a[0] for a in all_actors(standin) if ["role_name", 4, "hero"] in a[2][2])
    assert call(standin.port, "destroy_actor", hero) == [[1, True]]
    with within(world.config.step_deadline_s + CLEAN_UP_S), pytest.raises(WorldLost, match="ego"):
        world.step(Control())
    check_recovery(world)


def all_actors(standin: StandInProcess) -> list:
    return call(standin.port, "get_actors_by_id", list(range(200, 5000)))[0][1]


def test_a_message_that_makes_the_client_abort(world: CarlaWorld, standin: StandInProcess) -> None:
    standin.fault("garble")
    with (
        within(world.config.step_deadline_s + CLEAN_UP_S),
        pytest.raises(WorldLost, match="signal"),
    ):
        drive(world)
    check_recovery(world)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
def test_a_client_that_crashes_or_hangs(
    impatient: CarlaWorld, standin: StandInProcess, number: int
) -> None:
    before = sorted(standin.actors())
    os.kill(impatient.client_pid, number)
    with within(impatient.config.step_deadline_s + CLEAN_UP_S), pytest.raises(WorldLost):
        impatient.step(Control())
    check_recovery(impatient)
    assert sorted(standin.actors()) == before, "the next client cleaned up"


def test_a_server_of_another_version_is_refused(
    standin: StandInProcess,
) -> None:
    standin.fault("version", "0.9.15")
    world = CarlaWorld(config(standin))
    with pytest.raises(ConfigError, match=r"0\.9\.15.*0\.9\.16"):
        world.open()
    world.close()
    standin.fault("none")


def test_an_interpreter_without_the_client(standin: StandInProcess, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$2"\n')
    bare.chmod(0o755)
    world = CarlaWorld(config(standin, client_python=str(bare)))
    with pytest.raises((ConfigError, WorldLost), match=r"carla|numpy"):
        world.open()
    world.close()


def test_an_interpreter_that_does_not_exist(standin: StandInProcess, tmp_path: Path) -> None:
    world = CarlaWorld(config(standin, client_python=str(tmp_path / "python")))
    with pytest.raises(ConfigError, match=r"client_python.*No such file"):
        world.open()
    world.close()


def test_no_server() -> None:
    world = CarlaWorld(CarlaConfig(port=1, timeout_s=1.0))
    with within(3.0 + CLEAN_UP_S), pytest.raises(WorldLost):
        world.open()
    world.close()


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back() -> None:
    with (
        StandInProcess(SMALL_TOWN) as mortal,
        CarlaWorld(config(mortal, **SHORT_DEADLINES)) as world,
    ):
        world.reset(0)
        mortal.fault("die")
        with within(world.config.step_deadline_s + CLEAN_UP_S), pytest.raises(WorldLost):
            drive(world)
        with within(2.5 + CLEAN_UP_S), pytest.raises(WorldLost):
            world.reset(0)
        mortal.close()
        mortal.start()
        assert world.reset(0).tick == 0
        drive(world)


def test_an_observer_sees_what_another_client_ticks(
    world: CarlaWorld, standin: StandInProcess
) -> None:
    present = standin.actors()
    with CarlaWorld(config(standin, attach="observe")) as observer:
        with ticking(lambda: world.step(Control(throttle=0.5))):
            first = observer.reset()
            seen = [observer.step(Control(brake=1.0)) for _ in range(5)]
        for frame in seen:
            frame.validate()
            assert frame.view.labels is not None
        assert first.ego.speed_mps < seen[-1].ego.speed_mps, "its control is not applied"
        assert [frame.tick for frame in seen] == [1, 2, 3, 4, 5]
        assert seen[0].time_s < seen[-1].time_s
        assert seen[-1].view.pose[:2, 3] == pytest.approx(
            (seen[-1].ego.pose @ mount(observer))[:2, 3], abs=0.02
        ), "images and state are of one frame"
    assert sorted(standin.actors()) == sorted(present)


def test_a_slow_observer_skips_frames_and_stays_at_the_newest(
    world: CarlaWorld, standin: StandInProcess
) -> None:
    """It gets many more images than it asks for, and keeps only the newest."""
    with CarlaWorld(config(standin, attach="observe")) as observer:
        ticked: list[SensorFrame] = []
        with ticking(lambda: ticked.append(world.step(Control(throttle=0.2)))):
            before = len(ticked)
            first, after = observer.reset(), len(ticked)
            for turn in range(1, 4):
                while len(ticked) < after + 12 * turn:  # more frames than a camera keeps
                    time.sleep(0.02)
                since = len(ticked) - after
                frame = observer.step(Control())
                frame.validate()
                seen = round((frame.time_s - first.time_s) / observer.config.tick_s)
                assert since - 6 <= seen <= len(ticked) - before + 2


def mount(world: CarlaWorld) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = world.config.cameras["front"].position_m
    return pose


def test_an_observer_of_a_server_that_nobody_ticks(
    world: CarlaWorld, standin: StandInProcess
) -> None:
    observer = CarlaWorld(config(standin, attach="observe", **SHORT_DEADLINES))
    with within(10.0), observer, pytest.raises(WorldLost, match="nobody ticks"):
        observer.reset()


@contextmanager
def ticking(step: Callable[[], object]) -> Iterator[None]:
    """Tick in another thread during the block."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            step()
            time.sleep(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


DRIVER = """
import sys
from sim2street.bridge.carla.config import CarlaConfig
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.frame import Control
cameras = {"front": {"width_px": 64, "height_px": 32}}
with CarlaWorld(CarlaConfig(port=int(sys.argv[1]), cameras=cameras, warm_up_ticks=2)) as world:
    world.reset(0)
    while True:
        world.step(Control(throttle=0.2))
        sys.stdout.write("tick\\n")
        sys.stdout.flush()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_server_is_restored_however_we_end(standin: StandInProcess, number: int) -> None:
    """Ctrl-C unwinds the stack. If the parent is killed, the child sees its pipe end."""
    command = [sys.executable, "-c", DRIVER, str(standin.port)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdout is not None
    with process.stdout:
        for _ in range(3):
            assert process.stdout.readline() == b"tick\n"
        assert synchronous(standin)
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        process.wait(60)
    until_s = time.monotonic() + 60.0
    while time.monotonic() < until_s and (standin.actors() or synchronous(standin)):
        time.sleep(0.1)
    assert standin.actors() == []
    assert not synchronous(standin)


def test_ctrl_c_within_a_step_restores_the_server(standin: StandInProcess) -> None:
    """The step's answer arrives before the answer to `close`."""
    world = CarlaWorld(config(standin))
    world.open()
    world.reset(0)
    standin.fault("delay", 0.4)
    threading.Timer(0.15, signal.raise_signal, (signal.SIGINT,)).start()
    with pytest.raises(KeyboardInterrupt):
        drive(world, 5)
    assert standin.actors() == []
    assert not synchronous(standin)
    world.close()


def test_close_cleans_up_after_a_crashed_client(
    standin: StandInProcess,
) -> None:
    world = CarlaWorld(config(standin))
    world.open()
    world.reset(0)
    os.kill(world.client_pid, signal.SIGKILL)
    with pytest.raises(WorldLost):
        world.step(Control())
    world.close()
    assert standin.actors() == []
    assert not synchronous(standin)
