"""The World contract on every implementation but CARLA."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contracts.world_contract import MakeWorld, WorldContract
from support.processes import ServerProcess
from support.toy_world import ToyWorld

from sim2street.bridge.check.run import weaving_control
from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import Control
from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.recording import Recorder, ReplayWorld
from sim2street.bridge.remapped_world import RemappedWorld
from sim2street.bridge.rendered_world import RenderedWorld
from sim2street.bridge.transport import ClientConfig, RemoteRenderer, RemoteWorld
from sim2street.bridge.world import World

SIZE = (48, 24)


class TestToyWorld(WorldContract):
    @pytest.fixture
    def make_world(self) -> MakeWorld:
        return lambda: ToyWorld(*SIZE)


class TestRemappedWorld(WorldContract):
    @pytest.fixture
    def make_world(self) -> MakeWorld:
        return lambda: RemappedWorld(ToyWorld(*SIZE), {"car": "bus", "building": "vegetation"})


@pytest.fixture(scope="module")
def town() -> Iterator[World]:
    """Shared by all tests, because building a town takes a while."""
    with small_town() as world:
        yield world


def small_town() -> World:
    pytest.importorskip("panda3d")
    from sim2street.bridge.town.world import CameraConfig, TownConfig, TownWorld

    camera = CameraConfig(width_px=160, height_px=80)
    config = TownConfig(town=1, vehicles=10, pedestrians=10, cameras={"front": camera})
    return TownWorld(config)


class TestTownWorld(WorldContract):
    @pytest.fixture
    def make_world(self) -> MakeWorld:
        return small_town

    @pytest.fixture
    def world(self, town: World) -> World:
        return town

    def test_a_step_needs_a_reset(self) -> None:
        with small_town() as world, pytest.raises(WorldError, match="reset"):
            world.step(Control())


@pytest.fixture(scope="module")
def world_server() -> Iterator[ServerProcess]:
    with ServerProcess("world", settings={"size": SIZE}) as server:
        yield server


@pytest.fixture(scope="module")
def renderer_server() -> Iterator[ServerProcess]:
    with ServerProcess("renderer") as server:
        yield server


class TestRemoteWorld(WorldContract):
    can_open_two = False

    @pytest.fixture
    def make_world(self, world_server: ServerProcess) -> MakeWorld:
        return lambda: RemoteWorld(ClientConfig(endpoint=world_server.endpoint))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "drive.mcap"
    with Recorder(ToyWorld(*SIZE), path) as world:
        for seed in WorldContract.seeds:
            world.reset(seed)
            for tick in range(WorldContract.ticks):
                world.step(weaving_control(tick))
    return path


class TestReplayWorld(WorldContract):
    obeys_control = False

    @pytest.fixture
    def make_world(self, recording: Path) -> MakeWorld:
        return lambda: ReplayWorld(recording)


class TestRecorder(WorldContract):
    @pytest.fixture
    def make_world(self, tmp_path: Path) -> MakeWorld:
        def make() -> Recorder:
            return Recorder(ToyWorld(*SIZE), tmp_path / f"{len(list(tmp_path.iterdir()))}.mcap")

        return make

    def test_closing_twice_and_opening_again(self, make_world: MakeWorld) -> None:
        """A finished recording is not overwritten, so it cannot be opened again."""
        world = make_world()
        world.open()
        assert world.reset(0).tick == 0
        world.close()
        world.close()


class TestRenderedWorld(WorldContract):
    @pytest.fixture
    def make_world(self) -> MakeWorld:
        return lambda: RenderedWorld(ToyWorld(*SIZE), PaletteRenderer())


class TestRenderedWorldOverTheWire(WorldContract):
    can_open_two = False

    @pytest.fixture
    def make_world(self, world_server: ServerProcess, renderer_server: ServerProcess) -> MakeWorld:
        world = ClientConfig(endpoint=world_server.endpoint)
        renderer = ClientConfig(endpoint=renderer_server.endpoint)
        return lambda: RenderedWorld(RemoteWorld(world), RemoteRenderer(renderer))
