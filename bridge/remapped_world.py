"""A World whose labels are changed on the way: what is a building shall be a tree.

Semantic manipulation at run time: only labels, and the tags of actors, change; depth, poses
and instances stay those of the world, so motion stays exact. The renderer paints what the
labels say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from sim2street.bridge.frame import ByteArray, Control, SensorFrame, WorldSpec
from sim2street.bridge.labels import Tag
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, did_you_mean

Changes = Mapping[str, str]
"""Names of tags to names of tags, such as {"building": "vegetation"}; case does not matter."""


def remap_table(changes: Changes) -> ByteArray:
    """Uint8 (29,): the tag that each tag becomes. ConfigError names what is no tag."""
    if not isinstance(changes, Mapping):
        raise ConfigError(f"remap: expected names of tags to names of tags, got {changes!r}")
    table = np.arange(len(Tag), dtype=np.uint8)
    for old, new in changes.items():
        table[_tag(old)] = _tag(new)
    return table


class RemappedWorld(World):
    """A World with other labels. `remap` changes them between two frames.

    `reset(options={"remap": {...}})` sets them for the episode and those after it.
    """

    def __init__(self, world: World, changes: Changes) -> None:
        self.world = world
        self._table = remap_table(changes)

    @property
    def spec(self) -> WorldSpec:
        return self.world.spec

    @property
    def option_names(self) -> frozenset[str] | None:
        names = self.world.option_names
        return None if names is None else names | {"remap"}

    def open(self, sensors: bool = True) -> None:
        self.world.open(sensors)

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        rest = dict(options or {})
        if "remap" in rest:
            self.remap(rest.pop("remap"))
        return self._remapped(self.world.reset(seed, rest))

    def step(self, control: Control) -> SensorFrame:
        return self._remapped(self.world.step(control))

    def get_state(self) -> Any:
        return self.world.get_state(), self._table.copy()

    def set_state(self, state: Any) -> SensorFrame:
        inner, table = state
        self._table = table.copy()
        return self._remapped(self.world.set_state(inner))

    def remap(self, changes: Changes) -> None:
        """From the next frame on; an empty mapping shows the world as it is."""
        self._table = remap_table(changes)

    def close(self) -> None:
        self.world.close()

    def _remapped(self, frame: SensorFrame) -> SensorFrame:
        views = {
            name: view
            if view.labels is None
            else dataclasses.replace(view, labels=self._table[view.labels])
            for name, view in frame.views.items()
        }
        actors = tuple(
            dataclasses.replace(actor, tag=int(self._table[actor.tag])) for actor in frame.actors
        )
        return dataclasses.replace(frame, views=views, actors=actors)


def _tag(name: str) -> int:
    known = {tag.name.lower(): int(tag) for tag in Tag}
    key = str(name).lower()
    if key not in known:
        raise ConfigError(f"remap: there is no tag '{name}'{did_you_mean(key, list(known))}")
    return known[key]
