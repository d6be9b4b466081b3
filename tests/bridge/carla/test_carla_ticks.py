"""A second client that ticks the server, or changes how it ticks, is an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("carla")
pytest.importorskip("panda3d")

from sim2street.bridge.carla.config import CarlaConfig
from sim2street.bridge.carla.standin.process import StandInProcess, call
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import Control

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def world(carla_standin: StandInProcess) -> Iterator[CarlaWorld]:
    settings = call(carla_standin.port, "get_episode_settings")[0][1]
    with CarlaWorld(CarlaConfig(port=carla_standin.port, cameras={}, warm_up_ticks=2)) as world:
        world.reset(0)
        world.step(Control())
        yield world
    assert carla_standin.actors() == []
    assert call(carla_standin.port, "get_episode_settings")[0][1] == settings


def change_settings(standin: StandInProcess, changes: dict[int, Any]) -> None:
    """What another client does. Keys: 0 synchronous mode, 2 fixed delta."""
    settings = call(standin.port, "get_episode_settings")[0][1]
    changed = [changes.get(index, value) for index, value in enumerate(settings)]
    call(standin.port, "set_episode_settings", changed)


def check_error(world: CarlaWorld, message: str) -> None:
    with pytest.raises(WorldError, match=message):
        world.step(Control())
    assert world.reset(1).tick == 0
    assert world.step(Control()).tick == 1


@pytest.mark.parametrize("ticks", [1, 5])
def test_another_client_ticks(world: CarlaWorld, carla_standin: StandInProcess, ticks: int) -> None:
    for _ in range(ticks):
        call(carla_standin.port, "tick_cue")
    check_error(world, rf"advanced by {ticks} frames.*only one client may tick")


def test_another_client_ticks_during_a_reset(
    world: CarlaWorld, carla_standin: StandInProcess
) -> None:
    call(carla_standin.port, "tick_cue")
    with pytest.raises(WorldError, match="another client ticks"):
        world.reset(1)


def test_another_client_switches_synchronous_mode_off(
    world: CarlaWorld, carla_standin: StandInProcess
) -> None:
    change_settings(carla_standin, {0: False})
    call(carla_standin.port, "tick_cue")
    check_error(world, "synchronous mode off")


def test_another_client_changes_the_time_per_tick(
    world: CarlaWorld, carla_standin: StandInProcess
) -> None:
    change_settings(carla_standin, {2: [True, 0.1]})
    check_error(world, "0.1000 s .* instead of 0.0500 s")


def test_a_second_world_on_the_same_server(
    world: CarlaWorld, carla_standin: StandInProcess
) -> None:
    second = CarlaWorld(
        CarlaConfig(port=carla_standin.port, cameras={}, role_name="second", warm_up_ticks=2)
    )
    with second:
        second.reset(0)
        with pytest.raises(WorldError, match="another client ticks"):
            world.step(Control())
    change_settings(carla_standin, {0: False, 2: [False]})  # as the second world found it
