"""`sim2street doctor --carla HOST` tells what is wrong with a connection."""

from __future__ import annotations

import pytest

pytest.importorskip("carla")
pytest.importorskip("panda3d")

from sim2street.apps.cli import run
from sim2street.bridge.carla.standin.process import StandInProcess, call


def test_a_healthy_server_is_described_and_left_alone(
    carla_standin: StandInProcess, capsys
) -> None:
    settings = call(carla_standin.port, "get_episode_settings")
    assert run(["doctor", "--carla", f"127.0.0.1:{carla_standin.port}"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("0.9.16", "sim2street_town_3", "by its own clock", "role name 'hero'"):
        assert part in shown
    assert call(carla_standin.port, "get_episode_settings") == settings
    assert carla_standin.actors() == []


def test_another_version_is_named(carla_standin: StandInProcess, capsys) -> None:
    carla_standin.fault("version", "0.9.13")
    try:
        assert run(["doctor", "--carla", f"127.0.0.1:{carla_standin.port}"]) == 1
    finally:
        carla_standin.fault("none")
    shown = capsys.readouterr().out
    assert "0.9.13" in shown
    assert "client_python" in shown


def test_no_server(capsys) -> None:
    assert run(["doctor", "--carla", "127.0.0.1:1"]) == 1
    assert "is the server up" in " ".join(capsys.readouterr().out.split())


def test_a_host_that_is_none() -> None:
    assert run(["doctor", "--carla", "sim:port"]) == 2
