"""The World contract: a Control goes in, a SensorFrame comes out.

The embedded town, CARLA, a recording and a socket are all Worlds; the suite in
`tests/contracts/` runs on every one of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import Control, SensorFrame, WorldSpec


class World(ABC):
    """A driving world in lock step: nothing happens between two calls.

    Life: `open` once, then `reset` and `step` as often as wanted, then `close`
    (allowed twice). A world is used from one thread.
    """

    @property
    @abstractmethod
    def spec(self) -> WorldSpec:
        """What this world offers. May need `open` first."""

    @abstractmethod
    def open(self, sensors: bool = True) -> None:
        """Acquire what the world needs. `sensors=False`: state only, `views` stay empty."""

    @abstractmethod
    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        """Start a new episode and return its tick 0. The same seed gives the same episode.

        Raises:
            WorldError: the world cannot start an episode now.
            ConfigError: an option is unknown or out of range.
        """

    @abstractmethod
    def step(self, control: Control) -> SensorFrame:
        """Advance exactly one tick.

        Raises:
            WorldError: the episode is over for good; call `reset`.
        """

    @property
    def option_names(self) -> frozenset[str] | None:
        """What `reset(options=...)` knows; None where only the world itself can tell."""
        return None

    def get_state(self) -> Any:
        """A snapshot of the episode, from which `set_state` goes on exactly.

        Raises:
            WorldError: this world cannot save its state.
        """
        raise WorldError(f"{type(self).__name__} cannot save its state")

    def set_state(self, state: Any) -> SensorFrame:
        """Go on from a snapshot of this world, and return its frame.

        Raises:
            WorldError: this world cannot take one up.
        """
        raise WorldError(f"{type(self).__name__} cannot take up a state")

    @abstractmethod
    def close(self) -> None:
        """Release sockets, processes and memory. Allowed more than once."""

    def __enter__(self) -> World:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
