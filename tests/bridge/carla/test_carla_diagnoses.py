"""An error names its cause: what listens at the port, what the server does not do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq

pytest.importorskip("carla")
pytest.importorskip("panda3d")

from sim2street.bridge.carla.config import CarlaCameraConfig, CarlaConfig
from sim2street.bridge.carla.diagnose import CheckResult, diagnose
from sim2street.bridge.carla.probe import server_version, wait_for_server
from sim2street.bridge.carla.standin.process import StandInProcess, call
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.errors import WorldError, WorldLost
from sim2street.bridge.frame import Control
from sim2street.configs import ConfigError

pytestmark = pytest.mark.timeout(300)
HOST = "127.0.0.1"


def config(port: int, **changes) -> CarlaConfig:
    cameras = {"front": CarlaCameraConfig(width_px=64, height_px=32)}
    settings = {"cameras": cameras, "warm_up_ticks": 2, "timeout_s": 1.0}
    return CarlaConfig(**{"port": port, **settings, **changes})


@contextmanager
def listening(answer: bytes | None, port: int = 0) -> Iterator[int]:
    """A port that answers with these bytes; with none: closes the connection; None: is silent."""
    with socket.create_server((HOST, port)) as server:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(100)
                    if answer:
                        peer.sendall(answer)
                    if answer is None:
                        ended.wait(30.0)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (None, WorldLost, "did not answer within 1.0 s"),
        (b"", WorldLost, "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ConfigError, "a web server"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ConfigError, "SSH-2.0"),
        (b"\x94\x01\x01\xc0\x91\x92\x01\xa60.10.0", ConfigError, "Unreal Engine 5"),
    ],
)
def test_something_else_than_a_server_listens(
    answer: bytes | None, kind: type[Exception], message: str
) -> None:
    with listening(answer) as port:
        world = CarlaWorld(config(port))
        started_s = time.monotonic()
        with pytest.raises(kind, match=message):
            world.open()
        assert time.monotonic() - started_s < 5.0
        world.close()


def test_a_served_world_of_ours_listens() -> None:
    context = zmq.Context()
    try:
        with context.socket(zmq.ROUTER) as server:
            port = server.bind_to_random_port(f"tcp://{HOST}")
            with pytest.raises(ConfigError, match="ZeroMQ"):
                server_version(HOST, port, 2.0)
    finally:
        context.destroy(linger=0)


def test_the_port_of_the_streams(carla_standin: StandInProcess) -> None:
    with pytest.raises(WorldLost, match="data streams, which is one above"):
        server_version(HOST, carla_standin.port + 1, 2.0)


def test_a_host_that_is_not_known() -> None:
    with pytest.raises(ConfigError, match=r"no\.such\.host\.invalid"):
        server_version("no.such.host.invalid", 2000)


def test_a_server_that_comes_up_later_is_waited_for() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
    ended = threading.Event()

    def serve_later() -> None:
        time.sleep(0.7)
        with listening(b"\x94\x01\x01\xc0\x91\x92\x01\xa60.9.16", port):
            ended.wait(30.0)

    server = threading.Thread(target=serve_later)
    server.start()
    try:
        assert wait_for_server(HOST, port, 2.0, patience_s=20.0) == "0.9.16"
    finally:
        ended.set()
        server.join()


def test_the_versions_answer_is_parsed(carla_standin: StandInProcess) -> None:
    assert server_version(HOST, carla_standin.port) == "0.9.16"


@contextmanager
def no_rendering(standin: StandInProcess) -> Iterator[None]:
    settings = call(standin.port, "get_episode_settings")[0][1]
    call(standin.port, "set_episode_settings", [settings[0], True, *settings[2:]])
    try:
        yield
    finally:
        settings = call(standin.port, "get_episode_settings")[0][1]
        call(standin.port, "set_episode_settings", [settings[0], False, *settings[2:]])


def test_no_rendering_mode_is_named_at_once(carla_standin: StandInProcess) -> None:
    world = CarlaWorld(config(carla_standin.port))
    with no_rendering(carla_standin), pytest.raises(WorldError, match="no_rendering_mode is on"):
        world.open()
    world.close()
    with no_rendering(carla_standin), CarlaWorld(config(carla_standin.port, cameras={})) as blind:
        blind.reset(0)
        assert blind.step(Control()).tick == 1
        assert call(carla_standin.port, "get_episode_settings")[0][1][1], "it stays on"


def test_no_rendering_mode_that_is_switched_on_later(carla_standin: StandInProcess) -> None:
    with CarlaWorld(config(carla_standin.port, sensor_deadline_s=0.5)) as world:
        world.reset(0)
        with no_rendering(carla_standin):
            with pytest.raises(WorldError, match="no_rendering_mode is on"):
                world.step(Control())
            with pytest.raises(WorldError, match="no_rendering_mode is on"):
                world.reset(0)
        world.reset(0)
        assert world.step(Control()).tick == 1


@pytest.mark.slow
def test_a_spawn_that_hangs_is_no_occupied_spawn_point(carla_standin: StandInProcess) -> None:
    world = CarlaWorld(config(carla_standin.port))
    world.open()
    carla_standin.fault("freeze_at_spawn", 1)
    with pytest.raises(WorldLost, match="time-out"):
        world.reset(0)
    call(carla_standin.port, "version")
    world.close()
    assert carla_standin.actors() == []


def results_of(port: int) -> list[CheckResult]:
    return list(diagnose(config(port)))


def test_the_doctor_names_a_closed_port_of_the_streams() -> None:
    with listening(b"\x94\x01\x01\xc0\x91\x92\x01\xa60.9.16") as port:
        results = results_of(port)
    assert [result.ok for result in results] == [True, False]
    assert "-carla-streaming-port" in results[-1].detail


def test_the_doctor_names_a_silent_port() -> None:
    with listening(None) as port:
        (result,) = results_of(port)
    assert "hangs or still starts" in result.detail
