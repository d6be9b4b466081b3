"""`sim2street serve` as processes: found by clients, killed and restarted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gymnasium
import numpy as np
import psutil
import pytest

from sim2street import envs
from sim2street.apps.cli import run
from sim2street.bridge.transport import ClientConfig, query_status

pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).parents[2]
DRIVE_STRAIGHT = np.array([0.0, 0.5], np.float32)
START_TIMEOUT_S = 90.0

TOWN = """
kind: town
town: 3
vehicles: 2
pedestrians: 2
cameras:
  front: {width_px: 128, height_px: 64}
"""


@pytest.fixture
def town(tmp_path: Path) -> str:
    """A small town as a YAML file."""
    path = tmp_path / "town.yaml"
    path.write_text(TOWN)
    return str(path)


def free_endpoint() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def served(*arguments: str, endpoint: str) -> Iterator[subprocess.Popen[str]]:
    """`sim2street serve ...` as a process that answers requests."""
    command = [sys.executable, "-m", "sim2street.apps.cli", "serve", *arguments, "--bind", endpoint]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, text=True) as process:
        try:
            query_status(ClientConfig(endpoint=endpoint, open_deadline_s=START_TIMEOUT_S))
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60.0)
            except subprocess.TimeoutExpired:
                process.kill()


def test_a_served_world_and_renderer_make_an_env_of_three_processes(town) -> None:
    world, renderer = free_endpoint(), free_endpoint()
    with (
        served("world", town, endpoint=world) as world_process,
        served("renderer", "--renderer", "palette", endpoint=renderer) as renderer_process,
    ):
        env = gymnasium.make("sim2street/TownFollow-v0", world=world, renderer=renderer)
        env.reset(seed=5)
        ticks = [env.step(DRIVE_STRAIGHT)[4]["tick"] for _ in range(20)]
        env.close()
    assert ticks == list(range(1, 21))
    assert (world_process.returncode, renderer_process.returncode) == (0, 0)


def test_a_killed_world_truncates_the_episode_and_a_restarted_one_takes_the_next_reset(
    town,
) -> None:
    endpoint = free_endpoint()
    with served("world", town, "--supervise", endpoint=endpoint) as supervisor:
        env = gymnasium.make("sim2street/TownFollowState-v0", world=endpoint)
        env.reset(seed=5)
        env.step(DRIVE_STRAIGHT)
        [server] = psutil.Process(supervisor.pid).children()
        server.send_signal(signal.SIGKILL)
        _, reward, terminated, truncated, info = env.step(DRIVE_STRAIGHT)
        assert (reward, terminated, truncated) == (0.0, False, True)
        assert info["error"]
        env.reset(seed=5)
        assert env.step(DRIVE_STRAIGHT)[4]["tick"] == 1
        env.close()
    assert supervisor.returncode == 0
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


def test_a_killed_supervisor_takes_its_server_along_and_the_port_is_free_again(town) -> None:
    endpoint = free_endpoint()
    with served("world", town, "--supervise", endpoint=endpoint) as supervisor:
        [server] = psutil.Process(supervisor.pid).children()
        supervisor.kill()
        with served("world", town, endpoint=endpoint) as next_one:
            assert next_one.poll() is None
        gone, _ = psutil.wait_procs([server], timeout=20.0)
        assert gone


def test_every_env_id_without_images_works_with_a_served_world() -> None:
    """No id needs settings that only a world in its own process would know."""
    ids = [name for name in envs.ENV_CONFIGS if "/Town" in name and "State" in name]
    assert len(ids) >= 5
    endpoint = free_endpoint()
    with served("world", "town_short", "--size", "64x32", endpoint=endpoint):
        for env_id in ids:
            env = gymnasium.make(env_id, world=endpoint)
            env.reset(seed=5)
            assert env.step(DRIVE_STRAIGHT)[4]["tick"] == 1
            env.close()


def test_a_port_in_use_is_reported(town, capsys) -> None:
    endpoint = free_endpoint()
    with served("world", town, endpoint=endpoint):
        assert run(["serve", "world", town, "--bind", endpoint]) == 2
    assert "is in use by another process" in capsys.readouterr().err


def test_a_server_prints_its_endpoint_and_what_it_counted(town, tmp_path) -> None:
    command = [sys.executable, "-m", "sim2street.apps.cli", "serve", "world", town]
    command += ["--bind", "tcp://127.0.0.1:0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        announced = process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60.0)
    assert "serving a world on tcp://" in announced
    assert "no requests" in rest
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_ticks_through_three_processes(town) -> None:
    world, renderer = free_endpoint(), free_endpoint()
    with (
        served("world", town, endpoint=world),
        served("renderer", "--renderer", "palette", endpoint=renderer),
    ):
        task = {"endings": [], "time_limit_s": 1e6}
        env = gymnasium.make("sim2street/TownFollow-v0", world=world, renderer=renderer, task=task)
        env.reset(seed=5)
        ticks = [env.step(DRIVE_STRAIGHT * 0.2)[4]["tick"] for _ in range(1000)]
        env.close()
    assert ticks == list(range(1, 1001))
