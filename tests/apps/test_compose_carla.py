"""CARLA by name: from YAML to a World."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("msgpack")

from sim2street.apps.cli import run
from sim2street.apps.compose import build_world
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.configs import ConfigError


def test_carla_by_name_with_settings_and_a_size() -> None:
    world = build_world("carla", {"host": "sim", "port": 2300, "attach": "observe"}, (320, 160))
    assert isinstance(world, CarlaWorld)
    assert (world.config.host, world.config.port, world.config.attach) == ("sim", 2300, "observe")
    assert world.config.cameras["front"].width_px == 320
    assert world.config.vehicles == 30, "the rest is from the file"


def test_the_standin_by_name() -> None:
    pytest.importorskip("panda3d")
    world = build_world("carla-standin", {"town": 5})
    assert isinstance(world, CarlaWorld)
    assert world.config.vehicles == 20
    world.close()


@pytest.mark.parametrize("wrong", [{"hosts": "sim"}, {"attach": "drive"}, {"weather": "snow"}])
def test_mistakes_are_explained(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(wrong)))):
        build_world("carla", wrong)


@pytest.mark.slow
def test_the_demo_runs_through_carlas_own_client(tmp_path: Path, capsys) -> None:
    pytest.importorskip("carla")
    command = ["demo", "--world", "carla-standin", "--renderer", "palette", "--ticks", "5"]
    assert run([*command, "--out", str(tmp_path), "--size", "128x64"]) == 0
    assert (tmp_path / "demo.mp4").stat().st_size > 1000
    assert "handover" in capsys.readouterr().out
