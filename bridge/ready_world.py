"""A World that is open already, and whose first episode has a given seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim2street.bridge.closing import closed_on_error
from sim2street.bridge.frame import Control, SensorFrame, WorldSpec
from sim2street.bridge.world import World


class ReadyWorld(World):
    """Wraps a World and opens it at once, so that it can be used with or without `with`.

    Args:
        sensors: see `World.open`.
        seed: of the first `reset` that names none. Later resets without a seed go on to other
            episodes, the same ones for the same seed.

    Raises:
        WorldError: the world cannot be opened; it is closed again.
    """

    def __init__(self, world: World, sensors: bool = True, seed: int | None = None) -> None:
        self.world = world
        self._next_seed = seed
        with closed_on_error(world):
            world.open(sensors)

    @property
    def spec(self) -> WorldSpec:
        return self.world.spec

    @property
    def option_names(self) -> frozenset[str] | None:
        return self.world.option_names

    def open(self, sensors: bool = True) -> None:
        """Does nothing: the world is open."""

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        chosen = self._next_seed if seed is None else seed
        frame = self.world.reset(chosen, options)
        self._next_seed = None
        return frame

    def step(self, control: Control) -> SensorFrame:
        return self.world.step(control)

    def get_state(self) -> Any:
        return self.world.get_state()

    def set_state(self, state: Any) -> SensorFrame:
        return self.world.set_state(state)

    def close(self) -> None:
        self.world.close()
