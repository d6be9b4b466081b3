"""CARLA clients of other versions, each in its own interpreter, with a stand-in of its version.

`SIM2STREET_CARLA_PYTHONS` lists interpreters that have `carla` and `numpy`, separated as in
PATH. They need nothing of this project.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("panda3d")
pytest.importorskip("msgpack")

from sim2street.bridge.carla.config import CarlaCameraConfig, CarlaConfig
from sim2street.bridge.carla.standin.fixture import SMALL_TOWN
from sim2street.bridge.carla.standin.process import StandInProcess
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.check.run import check_world
from sim2street.bridge.frame import Control

TOUR = Path(__file__).with_name("client_tour.py")
PYTHONS = [
    path for path in os.environ.get("SIM2STREET_CARLA_PYTHONS", "").split(os.pathsep) if path
]
VERSION = "import carla; print(carla.Client('127.0.0.1', 1).get_client_version())"

pytestmark = pytest.mark.skipif(
    not PYTHONS, reason="needs SIM2STREET_CARLA_PYTHONS=PYTHON[:PYTHON...] with CARLA's clients"
)


@pytest.fixture(scope="module", params=PYTHONS or [""])
def python(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def version(python: str) -> str:
    result = subprocess.run([python, "-c", VERSION], capture_output=True, text=True, timeout=60)
    return result.stdout.strip()


@pytest.fixture(scope="module")
def standin(version: str) -> Iterator[StandInProcess]:
    with StandInProcess({**SMALL_TOWN, "version": version}) as process:
        yield process
        assert process.actors() == []


def config(standin: StandInProcess, python: str, **changes: Any) -> CarlaConfig:
    cameras = {"front": CarlaCameraConfig(width_px=160, height_px=80)}
    return CarlaConfig(
        **{"port": standin.port, "client_python": python, "cameras": cameras, **changes}
    )


def test_the_client_tour_works(standin: StandInProcess, python: str, version: str) -> None:
    """The main results of the tour; `test_carla_standin.py` checks all of them."""
    command = [python, str(TOUR), str(standin.port)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert result.returncode == 0, result.stderr
    tour = json.loads(result.stdout.splitlines()[-1])
    assert tour["versions"] == [version] * 2
    assert all(steps == 60 for _, _, steps, _ in tour["roads"])
    assert all(set(frames) == {frame} for frame, frames, _, _ in tour["drive"])
    assert tour["batch"][1] < 0.1
    assert tour["collision"]
    assert all(tour["destroyed"])
    assert tour["left"] == []


@pytest.mark.parametrize("flow", ["synchronous_mode", "manual_control", "generate_traffic"])
def test_example_flows_work(standin: StandInProcess, python: str, version: str, flow: str) -> None:
    """Their main results; `test_carla_flows.py` checks all of them."""
    if version == "0.9.13" and flow != "generate_traffic":
        pytest.skip("this client does not announce that it listens, so the first images are lost")
    command = [python, str(TOUR.with_name("client_flows.py")), flow, str(standin.port)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    if flow == "manual_control":
        assert answer["gnss"][:3] == pytest.approx(answer["gnss"][3:], abs=1e-9)
    if flow == "generate_traffic":
        assert sum(metres > 4.0 for metres in answer["walked_m"]) >= 5


def test_frames_keep_the_contract(standin: StandInProcess, python: str, version: str) -> None:
    """Before 0.9.16 instance images carry Unreal's ids, so actors are matched by place."""
    settings = {"vehicles": 12, "autopilot": False, "weather": "rain"}
    with CarlaWorld(config(standin, python, **settings)) as world:
        assert check_world(world, seed=0, ticks=12) == []
        assert world.spec.version == version


def test_the_traffic_manager_drives(standin: StandInProcess, python: str) -> None:
    with CarlaWorld(config(standin, python, vehicles=6, actor_range_m=2000.0)) as world:
        first = world.reset(1)
        last = [world.step(Control(throttle=0.5)) for _ in range(30)][-1]
        start = {actor.actor_id: actor.pose[:2, 3] for actor in first.actors}
        moved = [abs(actor.pose[:2, 3] - start[actor.actor_id]).max() for actor in last.actors]
        assert sum(metres > 1.0 for metres in moved) >= 3
        assert last.ego.speed_mps > 0.5
        client = world._client
    assert client is not None
    assert client._process.returncode == 0
