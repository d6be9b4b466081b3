"""Tests against a running CARLA server: `make test-carla HOST=localhost:2000`."""

from __future__ import annotations

import os

import pytest

from sim2street.bridge.carla.config import CarlaConfig
from sim2street.bridge.carla.diagnose import diagnose, parse_host
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.check.run import check_world, weaving_control
from sim2street.bridge.frame import Control

SERVER = os.environ.get("SIM2STREET_CARLA", "")
TICKS = 60

pytestmark = pytest.mark.skipif(not SERVER, reason="needs a CARLA server: SIM2STREET_CARLA=HOST")


def config(**changes) -> CarlaConfig:
    host, port = parse_host(SERVER)
    return CarlaConfig(**{"host": host, "port": port, "vehicles": 10, **changes})


def test_diagnose_finds_nothing_wrong() -> None:
    assert [result for result in diagnose(config()) if not result.ok] == []


def test_a_drive_gives_complete_frames() -> None:
    with CarlaWorld(config()) as world:
        frame = world.reset(0)
        for tick in range(TICKS):
            frame = world.step(weaving_control(tick))
            frame.validate()
            assert frame.tick == tick + 1
            assert frame.view.labels is not None
            assert len(set(frame.view.labels.ravel().tolist())) > 3
        assert frame.ego.speed_mps > 0.5
        assert frame.ego.route_distance_m is not None


def test_frames_keep_the_contract() -> None:
    """Errors only: the warning that episodes do not repeat exactly is expected of real physics."""
    with CarlaWorld(config(vehicles=0)) as world:
        findings = check_world(world, seed=0, ticks=20)
    assert [finding for finding in findings if finding.severity == "error"] == []


def test_the_server_is_healthy_after_several_resets() -> None:
    with CarlaWorld(config()) as world:
        for seed in range(3):
            world.reset(seed)
            world.step(Control(throttle=0.5))
    assert [result for result in diagnose(config()) if not result.ok] == []
