"""The World contract on CarlaWorld: CARLA's real client with the stand-in server."""

from __future__ import annotations

import pytest

pytest.importorskip("carla")
pytest.importorskip("panda3d")
pytest.importorskip("msgpack")

from contracts.world_contract import MakeWorld, WorldContract

from sim2street.bridge.carla.config import CarlaCameraConfig, CarlaConfig
from sim2street.bridge.carla.standin.process import StandInProcess
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import Control
from sim2street.bridge.world import World

pytestmark = pytest.mark.timeout(400)


def make(standin: StandInProcess) -> World:
    camera = CarlaCameraConfig(width_px=160, height_px=80)
    return CarlaWorld(
        CarlaConfig(
            port=standin.port,
            cameras={"front": camera},
            vehicles=12,
            autopilot=False,
            weather="random",
            warm_up_ticks=2,
        )
    )


class TestCarlaWorld(WorldContract):
    can_open_two = False

    @pytest.fixture
    def make_world(self, carla_standin: StandInProcess) -> MakeWorld:
        return lambda: make(carla_standin)

    def test_a_step_needs_a_reset(self, make_world: MakeWorld) -> None:
        with make_world() as world, pytest.raises(WorldError, match="reset"):
            world.step(Control())

    def test_close_removes_the_actors(
        self,
        carla_standin: StandInProcess,
        make_world: MakeWorld,
    ) -> None:
        with make_world() as world:
            world.reset(0)
            assert "vehicle.tesla.model3" in carla_standin.actors()
        assert carla_standin.actors() == []
