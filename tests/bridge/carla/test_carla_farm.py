"""A farm of stand-ins: servers that are killed or stopped come back, and none outlives the farm."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("carla")
pytest.importorskip("panda3d")

from sim2street.bridge.carla.config import CarlaConfig
from sim2street.bridge.carla.farm import COMMANDS, CarlaFarm, Endpoint, FarmConfig
from sim2street.bridge.carla.standin.process import call
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.errors import WorldError, WorldLost
from sim2street.bridge.frame import Control
from sim2street.configs import ConfigError

SOON_S = 60.0
KEEPER = Path(__file__).parents[3] / "bridge" / "carla" / "farm" / "keeper.py"
QUICK = {
    "command": "standin",
    "first_port": 0,
    "check_every_s": 0.3,
    "answer_timeout_s": 1.0,
    "hang_timeout_s": 2.0,
    "first_pause_s": 0.2,
    "grace_s": 2.0,
}

pytestmark = pytest.mark.timeout(300)


def wait_until(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.05)


def processes_with(text: str) -> list[psutil.Process]:
    """Running processes that have this text in their command line, except of this one."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        is_here = any(text in part for part in process.info["cmdline"] or ())
        if is_here and process.pid != os.getpid() and process.info["status"] != "zombie":
            found.append(process)
    return found


def test_a_killed_and_a_stopped_server_are_restarted() -> None:
    lines: list[str] = []
    with CarlaFarm(FarmConfig(servers=2, **QUICK), lines.append) as farm:
        ports, pids = farm.ports, farm.pids
        assert [call(port, "version") for port in ports] == [[[1, "0.9.16"]]] * 2
        settings = {"cameras": {}, "timeout_s": 1.5, "server_patience_s": SOON_S}
        world = CarlaWorld(CarlaConfig(port=ports[0], **settings))
        world.open()
        world.reset(0)
        os.kill(pids[0], signal.SIGKILL)
        os.kill(pids[1], signal.SIGSTOP)
        with pytest.raises(WorldLost):
            world.step(Control())
        world.reset(0)  # waits until the server is back
        assert world.step(Control()).tick == 1
        world.close()
        wait_until(lambda: sum("ready again" in line for line in lines) == 2)
        assert farm.restarts == [1, 1]
        assert farm.ports == ports
        assert call(ports[1], "version") == [[1, "0.9.16"]]
    assert any("exit code 137" in line for line in lines)
    assert any("has not answered for" in line for line in lines)
    assert not any(psutil.pid_exists(pid) for pid in [*pids, *farm.pids])


FARM = """
import sys
from sim2street.bridge.carla.farm import CarlaFarm, FarmConfig
with CarlaFarm(FarmConfig(servers=1, command="standin", first_port=0)) as farm:
    print(farm.pids[0], flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_the_servers_of_a_killed_farm_end() -> None:
    command = [sys.executable, "-c", FARM]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as farm:
        assert farm.stdout is not None
        server = psutil.Process(int(farm.stdout.readline()))
        farm.kill()
    server.wait(SOON_S)


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1]])
print("started", flush=True)
time.sleep(600)
"""


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A keeper of a server that ignores SIGTERM and has a child, and a mark of both processes."""
    mark, log = f"mark-{os.getpid()}-{tmp_path.name}", tmp_path / "log"
    settings = {
        "command": [sys.executable, "-c", STUBBORN, mark],
        "stop_command": ["touch", str(tmp_path / "stopped")],
        "log": str(log),
        "grace_s": 0.2,
    }
    command = [sys.executable, "-I", "-S", str(KEEPER), json.dumps(settings)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0
        wait_until(lambda: log.exists() and b"started" in log.read_bytes())
        yield process, mark
        process.kill()
    for left in processes_with(mark):
        left.kill()


def test_the_keeper_ends_a_stubborn_server_with_its_children(
    keeper: tuple[subprocess.Popen[bytes], str], tmp_path: Path
) -> None:
    process, mark = keeper
    assert process.stdin is not None
    assert len(processes_with(mark)) == 3, "with the keeper"
    process.stdin.close()
    assert process.wait(SOON_S) == 128 + signal.SIGKILL
    wait_until(lambda: not processes_with(mark))
    assert (tmp_path / "stopped").exists(), "the stop command was run"


def test_commands_get_ports_and_gpus() -> None:
    endpoint = Endpoint(1, 2004, gpu=3)
    config = FarmConfig(folder="/opt/my carla")
    assert endpoint.filled(COMMANDS["carla"].start.replace("{folder}", "'{folder}'"), config) == [
        "/opt/my carla/CarlaUE4.sh",
        "-RenderOffScreen",
        "-nosound",
        "-carla-rpc-port=2004",
        "-carla-streaming-port=2005",
        "-graphicsadapter=3",
    ]
    docker = endpoint.filled(COMMANDS["docker"].start, config)
    assert docker[:5] == ["docker", "run", "--rm", "--name", "sim2street-carla-2004"]
    assert "carlasim/carla:0.9.16" in docker
    assert "device=3" in docker
    assert endpoint.ports == (2004, 2005, 2006, 2007)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"command": "CarlaUE4.sh"}, r"placeholder \{port\}"),
        ({"command": "sleep {port} {prt}"}, r"unknown placeholder \{prt\}"),
        ({"command": "no-such-program {port}"}, "cannot start 'no-such-program'"),
        ({"command": "sh -c 'echo refusing {port}; exit 3'"}, "exit code 3 .*refusing"),
    ],
)
def test_a_command_that_cannot_work_is_named(settings: dict[str, str], message: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        CarlaFarm(FarmConfig(**{**QUICK, **settings})).start()


def test_a_server_that_never_answers_is_named() -> None:
    farm = CarlaFarm(
        FarmConfig(**{**QUICK, "command": "sleep {port}", "start_timeout_s": 0.5, "grace_s": 0.5})
    )
    with pytest.raises(WorldError, match="did not answer within"):
        farm.start()


def test_a_port_that_is_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WorldError, match=f"port {port} is in use"):
            CarlaFarm(FarmConfig(**{**QUICK, "first_port": port})).start()


def test_a_vector_needs_a_port_for_each_env() -> None:
    pytest.importorskip("gymnasium")
    from sim2street.apps.compose_vector import make_vector_env

    with pytest.raises(ConfigError, match="one for each of 2 envs, got 1"):
        make_vector_env("carla_route_state", num_envs=2, ports=[2000])
    with pytest.raises(ConfigError, match="either worlds or ports"):
        make_vector_env("carla_route_state", num_envs=1, ports=[2000], worlds=[{"port": 1}])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_its_servers(number: int) -> None:
    command = [sys.executable, "-m", "sim2street.apps.cli", "carla-farm", "2"]
    command += ["--command", "standin", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = ""
        while "ports=" not in line:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
        ports = [int(port) for port in re.findall(r"\d+", line.split("ports=")[1])]
        assert [call(port, "version") for port in ports] == [[[1, "0.9.16"]]] * 2
        process.send_signal(number)
        _, errors = process.communicate(timeout=SOON_S)
        assert process.returncode == 0
        assert errors == ""
    finally:
        process.kill()
        process.communicate()
    for port in ports:
        with pytest.raises(OSError, match="refused"):
            call(port, "version")


@pytest.mark.slow
def test_a_vector_of_envs_goes_on_when_a_server_is_replaced() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    with CarlaFarm(FarmConfig(servers=2, **QUICK)) as farm:
        vector = gymnasium.make_vec(
            "sim2street/CarlaRouteState-v0",
            num_envs=2,
            ports=farm.ports,
            world_settings={"vehicles": 2},
        )
        try:
            vector.reset(seed=1)
            os.kill(farm.pids[1], signal.SIGKILL)
            lost = back = False
            until_s = time.monotonic() + SOON_S
            while not back:
                assert time.monotonic() < until_s
                *_, truncated, infos = vector.step(vector.action_space.sample())
                assert not truncated[0] or "error" not in infos or not infos["_error"][0]
                lost = lost or bool(truncated[1])
                back = lost and farm.restarts[1] == 1 and not truncated[1]
        finally:
            vector.close()
