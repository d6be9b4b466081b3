"""Tests that every World passes. Derive a `Test...` class with a `make_world` fixture."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from support.frames import assert_same_frame, differences

from sim2street.bridge.check.run import check_world, weaving_control
from sim2street.bridge.errors import FrameError, WorldError
from sim2street.bridge.frame import Control, SensorFrame
from sim2street.bridge.labels import taxonomy_fingerprint
from sim2street.bridge.world import World
from sim2street.configs import ConfigError

MakeWorld = Callable[[], World]
NOT_REPEATED = ("stamps", "episode")
"""Fields in which two runs of the same episode may differ."""


class WorldContract:
    """The tests. Class attributes describe the limits of an implementation.

    Attributes:
        ticks: number of ticks that every episode lasts at least.
        obeys_control: False if controls have no effect (a recording).
        can_open_two: False if only one world may be open at a time (a served world).
        seeds: two seeds of different episodes.
        unknown_option: reset options that are refused.
    """

    ticks: ClassVar[int] = 12
    obeys_control: ClassVar[bool] = True
    can_open_two: ClassVar[bool] = True
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
        """All frames of an episode."""
        return [
            world.reset(seed),
            *(world.step(weaving_control(tick)) for tick in range(self.ticks)),
        ]

    def test_spec_is_complete_and_constant(self, world: World) -> None:
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

    def test_every_reset_starts_a_new_episode(self, world: World) -> None:
        frames = [world.reset(seed) for seed in (self.seeds[0], self.seeds[0], self.seeds[1])]
        assert [frame.tick for frame in frames] == [0, 0, 0]
        numbers = [frame.episode for frame in frames]
        assert all(b == a + 1 for a, b in itertools.pairwise(numbers))
        assert world.step(Control()).episode == numbers[-1]
        assert world.reset().tick == 0

    def test_the_same_seed_gives_the_same_episode(self, world: World) -> None:
        first, second = (self.drive(world, self.seeds[0]) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            assert_same_frame(a, b, ignore=NOT_REPEATED)
        other = world.reset(self.seeds[1])
        assert differences(other, first[0], ignore=NOT_REPEATED)

    def test_a_new_world_gives_the_same_episode_too(
        self, world: World, make_world: MakeWorld
    ) -> None:
        here = self.drive(world, self.seeds[0])
        if not self.can_open_two:
            world.close()
        with make_world() as another:
            there = self.drive(another, self.seeds[0])
        for a, b in zip(here, there, strict=True):
            assert_same_frame(a, b, ignore=NOT_REPEATED)

    def test_controls_have_an_effect(self, world: World) -> None:
        if not self.obeys_control:
            pytest.skip("controls have no effect in this world")
        ends = []
        for control in (Control(throttle=1.0), Control(brake=1.0)):
            world.reset(self.seeds[0])
            ends.append([world.step(control) for _ in range(self.ticks)][-1])
        assert ends[0].ego.speed_mps > ends[1].ego.speed_mps + 0.1

    def test_controls_out_of_range_are_refused_and_do_not_advance(self, world: World) -> None:
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

    def test_frames_do_not_change_later(self, world: World) -> None:
        first = world.reset(self.seeds[0])
        kept = [(v.labels.tobytes(), v.pose.tobytes()) for v in first.views.values()]
        for tick in range(3):
            world.step(weaving_control(tick))
        assert [(v.labels.tobytes(), v.pose.tobytes()) for v in first.views.values()] == kept

    def test_without_sensors_the_drive_is_the_same(self, make_world: MakeWorld) -> None:
        drives = []
        for sensors in (True, False):
            world = make_world()
            world.open(sensors)
            drives.append(self.drive(world, self.seeds[0]))
            world.close()
        for with_views, without in zip(*drives, strict=True):
            assert without.views == {}
            assert differences(with_views.ego, without.ego) == []
            assert differences(with_views.actors, without.actors) == []

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

    def test_instances_match_the_actors(self, world: World) -> None:
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
