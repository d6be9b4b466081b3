"""RemappedWorld changes labels and tags, and nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.frames import assert_same_frame
from support.toy_world import ToyWorld

from sim2street.apps.compose import build_world
from sim2street.bridge.driver import driver_for
from sim2street.bridge.frame import Control, SensorFrame
from sim2street.bridge.labels import Tag
from sim2street.bridge.remapped_world import RemappedWorld, remap_table
from sim2street.configs import ConfigError

GO = Control(throttle=0.5)


def without_labels(frame: SensorFrame) -> SensorFrame:
    views = {name: dataclasses.replace(v, labels=None) for name, v in frame.views.items()}
    actors = tuple(dataclasses.replace(actor, tag=0) for actor in frame.actors)
    return dataclasses.replace(frame, views=views, actors=actors)


def test_only_labels_change() -> None:
    changes = {"building": "vegetation", "Car": "BUS"}
    with ToyWorld() as plain, RemappedWorld(ToyWorld(), changes) as world:
        for _ in range(3):
            pairs = [(plain.reset(2), world.reset(2)), (plain.step(GO), world.step(GO))]
        for before, after in pairs:
            assert_same_frame(without_labels(before), without_labels(after))
            old, new = before.view.labels, after.view.labels
            assert old is not None
            assert new is not None
            assert new.dtype == np.uint8
            assert (old == Tag.CAR).any()
            assert ((new == Tag.BUS) == np.isin(old, (Tag.CAR, Tag.BUS))).all()
            kept = ~np.isin(old, (Tag.CAR, Tag.BUILDING))
            assert (new[kept] == old[kept]).all()
            assert {a.tag for a in after.actors} == {int(Tag.BUS)} != {a.tag for a in before.actors}
        after.validate()


def test_labels_can_be_changed_between_two_frames_and_by_reset() -> None:
    with RemappedWorld(ToyWorld(), {}) as world:
        assert np.isin(world.reset(2).view.labels, Tag.CAR).any()
        world.remap({"car": "truck"})
        assert not np.isin(world.step(GO).view.labels, Tag.CAR).any()
        assert np.isin(world.reset(2, {"remap": {}}).view.labels, Tag.CAR).any()
        with pytest.raises(ConfigError, match="names of tags"):
            world.reset(2, {"remap": "car"})


def test_tags_can_be_swapped() -> None:
    table = remap_table({"car": "truck", "truck": "car"})
    assert (table[Tag.CAR], table[Tag.TRUCK]) == (Tag.TRUCK, Tag.CAR)


def test_an_unknown_tag_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no tag 'bulding'; did you mean 'building'"):
        remap_table({"bulding": "sky"})


def test_the_config_of_a_world_can_remap_it(tmp_path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("kind: town\ntown: 3\nremap: {building: vegetation}\n")
    world = build_world(str(mine))
    assert isinstance(world, RemappedWorld)
    assert driver_for(world) is not None
    over_a_socket = build_world("tcp://127.0.0.1:5999", {"remap": {"car": "bus"}})
    assert isinstance(over_a_socket, RemappedWorld)
    over_a_socket.close()
    with pytest.raises(ConfigError, match="did you mean 'building'"):
        build_world("town", {"remap": {"bulding": "sky"}})
