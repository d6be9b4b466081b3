"""What every World keeps. Derive a `Test...` class and give it a `make_world` fixture."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from support.frames import assert_same_frame, differences

from sim2street.bridge.check.run import check_world, weave
from sim2street.bridge.errors import FrameError, WorldError
from sim2street.bridge.frame import Control, SensorFrame
from sim2street.bridge.labels import taxonomy_fingerprint
from sim2street.bridge.world import World
from sim2street.configs import ConfigError

MakeWorld = Callable[[], World]
APART = ("stamps", "episode")
"""Fields in which two runs of one episode may differ."""


class WorldContract:
    """The suite. Class attributes say what an implementation cannot do.

    Attributes:
        ticks: how far an episode can be driven at least. heeds_control: False for a
            recording. shares_nothing: False where only one may be open at a time. seeds: two
            seeds of different episodes.
    """

    ticks: ClassVar[int] = 12
    heeds_control: ClassVar[bool] = True
    shares_nothing: ClassVar[bool] = True
    seeds: ClassVar[tuple[int, int]] = (0, 1)
    unknown_option: ClassVar[dict[str, Any]] = {"no_such_option": 1}

    @pytest.fixture
    def make_world(self) -> MakeWorld:
        """A new world, not yet opened."""
        raise NotImplementedError

    @pytest.fixture
    def world(self, make_world: MakeWorld) -> Iterator[World]:
        """An opened world."""
        with make_world() as world:
            yield world

    def drive(self, world: World, seed: int) -> list[SensorFrame]:
        """An episode, start to end."""
        return [world.reset(seed), *(world.step(weave(tick)) for tick in range(self.ticks))]

    def test_spec_is_whole_and_stable(self, world: World) -> None:
        spec = world.spec
        assert spec.name
        assert spec.version
        assert 0.0 < spec.tick_s <= 1.0
        assert spec.taxonomy == taxonomy_fingerprint()
        assert spec.fields <= {"labels", "depth_m", "instances", "motion_px", "rgb"}
        for camera in spec.cameras.values():
            camera.validate()
        world.reset(self.seeds[0])
        assert world.spec == spec

    def test_frames_keep_the_contract_tick_by_tick(self, world: World) -> None:
        spec = world.spec
        frames = self.drive(world, self.seeds[0])
        for tick, frame in enumerate(frames):
            frame.validate()
            assert frame.tick == tick
            assert frame.episode == frames[0].episode
            assert frame.time_s == pytest.approx(tick * spec.tick_s, abs=1e-6)
            assert frame.views.keys() == spec.cameras.keys()
            for name, view in frame.views.items():
                assert view.camera == spec.cameras[name]
                for field in spec.fields:
                    assert getattr(view, field) is not None, f"{name}.{field} at tick {tick}"

    def test_every_reset_is_an_episode_of_its_own(self, world: World) -> None:
        frames = [world.reset(seed) for seed in (self.seeds[0], self.seeds[0], self.seeds[1])]
        assert [frame.tick for frame in frames] == [0, 0, 0]
        numbers = [frame.episode for frame in frames]
        assert all(b == a + 1 for a, b in itertools.pairwise(numbers))
        assert world.step(Control()).episode == numbers[-1]
        assert world.reset().tick == 0

    def test_the_same_seed_gives_the_same_episode(self, world: World) -> None:
        first, second = (self.drive(world, self.seeds[0]) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            assert_same_frame(a, b, ignore=APART)
        other = world.reset(self.seeds[1])
        assert differences(other, first[0], ignore=APART)

    def test_a_new_world_gives_the_same_episode_too(
        self, world: World, make_world: MakeWorld
    ) -> None:
        here = self.drive(world, self.seeds[0])
        if not self.shares_nothing:
            world.close()
        with make_world() as another:
            there = self.drive(another, self.seeds[0])
        for a, b in zip(here, there, strict=True):
            assert_same_frame(a, b, ignore=APART)

    def test_controls_matter(self, world: World) -> None:
        if not self.heeds_control:
            pytest.skip("this world does not heed its controls")
        ends = []
        for control in (Control(throttle=1.0), Control(brake=1.0)):
            world.reset(self.seeds[0])
            ends.append([world.step(control) for _ in range(self.ticks)][-1])
        assert ends[0].ego.speed_mps > ends[1].ego.speed_mps + 0.1

    def test_controls_out_of_range_are_refused_and_do_not_tick(self, world: World) -> None:
        world.reset(self.seeds[0])
        for control in (Control(steer=1.5), Control(throttle=float("nan")), Control(brake=-0.1)):
            with pytest.raises(FrameError, match="control"):
                world.step(control)
        assert world.step(Control()).tick == 1

    def test_unknown_options_are_refused(self, world: World) -> None:
        with pytest.raises(ConfigError, match="no_such_option"):
            world.reset(self.seeds[0], self.unknown_option)
        assert world.reset(self.seeds[0]).tick == 0

    def test_a_step_needs_a_reset(self, world: World) -> None:
        with pytest.raises(WorldError, match="reset"):
            world.step(Control())

    def test_frames_stay_what_they_were(self, world: World) -> None:
        first = world.reset(self.seeds[0])
        kept = [(v.labels.tobytes(), v.pose.tobytes()) for v in first.views.values()]
        for tick in range(3):
            world.step(weave(tick))
        assert [(v.labels.tobytes(), v.pose.tobytes()) for v in first.views.values()] == kept

    def test_state_only_is_the_same_drive_unseen(self, make_world: MakeWorld) -> None:
        drives = []
        for sensors in (True, False):
            world = make_world()
            world.open(sensors)
            drives.append(self.drive(world, self.seeds[0]))
            world.close()
        for seen, unseen in zip(*drives, strict=True):
            assert unseen.views == {}
            assert differences(seen.ego, unseen.ego) == []
            assert differences(seen.actors, unseen.actors) == []

    def test_closing_twice_and_opening_again(self, make_world: MakeWorld) -> None:
        world = make_world()
        world.close()
        for _ in range(2):
            world.open()
            assert world.reset(self.seeds[0]).tick == 0
            world.close()
            world.close()

    def test_the_world_check_finds_nothing(self, world: World) -> None:
        assert check_world(world, self.seeds[0], self.ticks) == []

    def test_actors_and_instances_belong_together(self, world: World) -> None:
        """Pixels with an actor's id show that actor's tag."""
        for frame in self.drive(world, self.seeds[0]):
            tags = {actor.actor_id: actor.tag for actor in frame.actors}
            assert len(tags) == len(frame.actors)
            for view in frame.views.values():
                if view.instances is None or view.labels is None:
                    continue
                for number in set(np.unique(view.instances).tolist()) & set(tags):
                    shown = view.labels[view.instances == number]
                    assert (shown == tags[number]).mean() > 0.5
