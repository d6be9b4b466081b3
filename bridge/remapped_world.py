"""A World whose labels are changed at run time, for example so that buildings become trees.

Only the labels and the actors' tags change. Depth, poses and instances stay those of the wrapped
world, so motion stays exact. The renderer paints what the labels say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim2street.bridge.frame import ByteArray, Control, SensorFrame, View, WorldSpec
from sim2street.bridge.labels import Tag
from sim2street.bridge.surfaces import without_pixels
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, did_you_mean

TagChanges = Mapping[str, str]
"""Old tag name -> new tag name, such as {"building": "vegetation"}, in upper or lower case."""


def remap_table(changes: TagChanges) -> ByteArray:
    """The new tag of each tag, uint8 (29,). All changes apply at once, so tags can be swapped.

    Raises:
        ConfigError: a name is not the name of a tag.
    """
    if not isinstance(changes, Mapping):
        raise ConfigError(
            "remap: expected names of tags as keys and values, such as "
            f"{{building: vegetation}}, got {changes!r}"
        )
    table = np.arange(len(Tag), dtype=np.uint8)
    for old, new in changes.items():
        table[_tag(old)] = _tag(new)
    return table


@dataclass(frozen=True, slots=True)
class RemappedState:
    """A snapshot of a RemappedWorld: that of the wrapped world, and tag -> tag as an array."""

    world: Any
    table: ByteArray


class RemappedWorld(World):
    """Wraps a World and replaces its labels.

    `remap` sets the replacement from the next frame on, `reset(options={"remap": {...}})` from
    this episode on.
    """

    def __init__(self, world: World, changes: TagChanges) -> None:
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
        return RemappedState(self.world.get_state(), self._table.copy())

    def set_state(self, state: Any) -> SensorFrame:
        """Return to a snapshot of this world, or of the wrapped world alone (labels as now)."""
        if not isinstance(state, RemappedState):
            return self._remapped(self.world.set_state(state))
        frame = self.world.set_state(state.world)
        self._table = state.table.copy()
        return self._remapped(frame)

    def remap(self, changes: TagChanges) -> None:
        """Replace labels like this from the next frame on; {} leaves them unchanged."""
        self._table = remap_table(changes)

    def close(self) -> None:
        self.world.close()

    def _remapped(self, frame: SensorFrame) -> SensorFrame:
        views = {name: self._remapped_view(view) for name, view in frame.views.items()}
        actors = tuple(
            dataclasses.replace(actor, tag=int(self._table[actor.tag])) for actor in frame.actors
        )
        return dataclasses.replace(frame, views=views, actors=actors)

    def _remapped_view(self, view: View) -> View:
        """The view with other labels. What has another label than before has no surface."""
        if view.labels is None:
            return view
        labels, surfaces = self._table[view.labels], view.surfaces
        if surfaces is not None:
            surfaces = without_pixels(surfaces, labels != view.labels)
        return dataclasses.replace(view, labels=labels, surfaces=surfaces)


def _tag(name: str) -> int:
    known = {tag.name.lower(): int(tag) for tag in Tag}
    key = str(name).lower()
    if key not in known:
        raise ConfigError(f"remap: there is no tag '{name}'{did_you_mean(key, list(known))}")
    return known[key]
