"""What CARLA's example scripts do works with the stand-in, by CARLA's own client."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("carla")
pytest.importorskip("panda3d")

from sim2street.bridge.carla.standin.cameras import optical_flow
from sim2street.bridge.carla.standin.fixture import SMALL_TOWN
from sim2street.bridge.carla.standin.process import StandInProcess
from sim2street.bridge.town.plan.layout_generator import LayoutConfig
from sim2street.bridge.town.plan.town_map import town_map

FLOWS = Path(__file__).with_name("client_flows.py")
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def standin(carla_standin: StandInProcess) -> Iterator[StandInProcess]:
    yield carla_standin
    assert carla_standin.actors() == []


def run(standin: StandInProcess, name: str, timeout_s: float = 200.0) -> dict[str, Any]:
    command = [sys.executable, str(FLOWS), name, str(standin.port)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


def test_synchronous_mode_without_warm_up_ticks(standin: StandInProcess) -> None:
    """The first tick already brings the images of sensors that listen only since then."""
    flow = run(standin, "synchronous_mode")
    frames = [row[:3] for row in flow["frames"]]
    assert all(world == rgb == semantic for world, rgb, semantic in frames)
    assert [row[0] - frames[0][0] for row in frames] == [0, 1, 2, 3, 4]
    assert all(colours > 5 for *_, colours in flow["frames"])
    assert flow["moved_m"] > 4.0


@pytest.mark.slow
def test_synchronous_mode_again_and_again(standin: StandInProcess) -> None:
    for _ in range(20):
        run(standin, "synchronous_mode")


@pytest.mark.slow
def test_tutorial(standin: StandInProcess) -> None:
    """Again and again: whether a Traffic Manager sees a new vehicle must not be left to chance."""
    for _ in range(6):
        flow = run(standin, "tutorial")
        assert flow["saved"] >= 3
        assert flow["driven_m"] > 1.0
        assert flow["others"] == 4


@pytest.mark.slow
def test_generate_traffic_with_walkers(standin: StandInProcess) -> None:
    flow = run(standin, "generate_traffic")
    assert flow["vehicles"] == flow["lights"] == 10
    assert sum(metres > 2.0 for metres in flow["driven_m"]) >= 7
    assert flow["walkers"] == 8
    assert flow["errors"] == []
    assert sum(6.0 < metres < 7.2 for metres in flow["walked_m"]) >= 5, "5 s at 1.4 m/s"
    assert all(0.5 < metres < 1.0 for metres in flow["heights_m"]), "feet on the ground"


def test_automatic_control_reaches_its_goals(standin: StandInProcess) -> None:
    """Two planned routes, with stops at red lights."""
    flow = run(standin, "automatic_control")
    for points, ticks, away_m, _ in flow["reached"]:
        assert points > 30
        assert ticks < 6000
        assert away_m < 4.0
    assert sum(stopped for *_, stopped in flow["reached"]) > 0


def test_manual_control(standin: StandInProcess) -> None:
    flow = run(standin, "manual_control")
    assert all(f"has no 'sensor.{name}'" in text for name, text in flow["refused"].items())
    assert len(flow["refused"]) == 3
    width, height, largest = flow["flow"]
    assert (width, height) == (96, 48)
    assert 0.0 < largest < 1.0
    assert flow["acceleration"] == pytest.approx(3.5, abs=0.3), "full throttle"
    forward, up, turning_rps, compass, turning_dps, yaw_deg = flow["imu"]
    assert forward == pytest.approx(3.5, abs=0.3)
    assert up == pytest.approx(9.81, abs=0.01)
    assert turning_rps == pytest.approx(math.radians(turning_dps), abs=1e-3)
    assert turning_rps < -0.01, "to the left, in CARLA's axes"
    assert math.remainder(compass - math.radians(yaw_deg + 90.0), 2.0 * math.pi) == pytest.approx(
        0.0, abs=1e-3
    )
    assert flow["gnss"][:3] == pytest.approx(flow["gnss"][3:], abs=1e-9)
    assert flow["weather"][0] == flow["weather"][1] > 10
    assert flow["light"] == 8
    assert flow["physics"] == [True, 4, True]
    assert flow["constant_mps"] == pytest.approx(6.0, abs=0.1)
    for name, text in flow["lacking"].items():
        assert name in text, "the next call tells what the stand-in lacks"
        assert "the stand-in has no" in text


def test_world_queries(standin: StandInProcess) -> None:
    flow = run(standin, "world_queries")
    layout = town_map(3, LayoutConfig(**SMALL_TOWN["layout"])).layout
    wanted = [c.polygon_m for junction in layout.junctions for c in junction.crossings]
    found = np.array(flow["crosswalks"]).reshape(-1, 5, 2) * (1.0, -1.0)
    assert len(found) == len(wanted)
    assert np.allclose(found[:, 0], found[:, 4]), "closed polygons"
    for polygon in wanted:
        assert np.abs(found[:, :4] - polygon).max(axis=(1, 2)).min() < 0.05
    for z, label in (*flow["down"], flow["below"]):
        assert z == pytest.approx(0.0, abs=0.05)
        assert label in ("Roads", "RoadLines")
    assert flow["on_the_car"][0][0] > 0.5
    assert flow["on_the_car"][0][1] == "Car"
    assert flow["seldom"] == [0, 3, 6, 9]


@pytest.mark.slow
def test_maps_are_loaded_by_name(standin: StandInProcess) -> None:
    flow = run(standin, "maps")
    assert {"sim2street_town_3", "Town01", "Town10HD"} <= set(flow["names"])
    assert all("not found" in flow["errors"][name] for name in ("Town99", "MyTown"))
    assert flow["loaded"].endswith("sim2street_town_5")
    assert flow["again"].endswith("sim2street_town_3")


def test_optical_flow_is_in_shares_of_the_image() -> None:
    """A point that moved by a quarter of the image to the right and up: CARLA's full size is 2."""
    source = np.stack(np.meshgrid(np.arange(8.0), np.arange(4.0)), -1) - (2.0, -1.0)
    known = np.ones((4, 8), np.bool_)
    known[0, 0] = False
    flow = optical_flow(source.astype(np.float32), known)
    assert np.allclose(flow[1:], (0.5, 0.5))
    assert flow[0, 0].tolist() == [0.0, 0.0]
