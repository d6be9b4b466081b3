"""Against a CARLA server that is running somewhere: `make test-carla HOST=localhost:2000`."""

from __future__ import annotations

import os

import pytest

from sim2street.bridge.carla.config import CarlaConfig
from sim2street.bridge.carla.diagnose import diagnose, parse_host
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.check.run import check_world, weave
from sim2street.bridge.frame import Control

WHERE = os.environ.get("SIM2STREET_CARLA", "")
TICKS = 60

pytestmark = pytest.mark.skipif(not WHERE, reason="needs a CARLA server: SIM2STREET_CARLA=HOST")


def config(**changes) -> CarlaConfig:
    host, port = parse_host(WHERE)
    return CarlaConfig(**{"host": host, "port": port, "vehicles": 10, **changes})


def test_nothing_is_wrong_with_the_connection() -> None:
    assert [answer for answer in diagnose(config()) if not answer.well] == []


def test_a_drive_of_whole_frames() -> None:
    with CarlaWorld(config()) as world:
        frame = world.reset(0)
        for tick in range(TICKS):
            frame = world.step(weave(tick))
            frame.validate()
            assert frame.tick == tick + 1
            assert frame.view.labels is not None
            assert len(set(frame.view.labels.ravel().tolist())) > 3
        assert frame.ego.speed_mps > 0.5
        assert frame.ego.route_distance_m is not None


def test_frames_keep_the_contract() -> None:
    """Real physics repeats itself only nearly: that warning is none of ours."""
    with CarlaWorld(config(vehicles=0)) as world:
        findings = check_world(world, seed=0, ticks=20)
    assert [finding for finding in findings if finding.severity == "error"] == []


def test_resets_reuse_what_is_there_and_the_end_leaves_nothing() -> None:
    with CarlaWorld(config()) as world:
        for seed in range(3):
            world.reset(seed)
            world.step(Control(throttle=0.5))
    assert [answer for answer in diagnose(config()) if not answer.well] == []
