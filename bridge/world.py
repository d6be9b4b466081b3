"""The World contract: a `Control` goes in, a `SensorFrame` comes out.

The embedded town, CARLA, recordings and worlds behind a socket all implement it. The tests in
`tests/contracts/world_contract.py` run against every implementation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from sim2street.bridge.closing import Closing
from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import Control, SensorFrame, WorldSpec


class World(Closing):
    """A driving world in lockstep: simulated time advances only in `step`.

    Call `open`, then `reset`, then `step` repeatedly (and `reset` again for the next episode),
    then `close`. A world may be opened again after `close`. Use it from one thread only.
    """

    @property
    @abstractmethod
    def spec(self) -> WorldSpec:
        """What this world offers. Some worlds know it only after `open` (else WorldError)."""

    @abstractmethod
    def open(self, sensors: bool = True) -> None:
        """Acquire processes, sockets and memory.

        Args:
            sensors: False for worlds that only report state; their frames have no views.
        """

    @abstractmethod
    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        """Start a new episode and return its tick 0.

        Args:
            seed: the same seed and options give the same episode; None draws a new one.
            options: settings of this episode; see `option_names`.

        Raises:
            WorldError: the world cannot start an episode now.
            ConfigError: an option is unknown or out of range.
        """

    @abstractmethod
    def step(self, control: Control) -> SensorFrame:
        """Apply `control` for exactly one tick and return the frame after it.

        Raises:
            FrameError: the control is out of range; the world did not advance.
            WorldError: there is no episode, or it cannot go on; call `reset`.
        """

    @property
    def option_names(self) -> frozenset[str] | None:
        """Keys that `reset(options=...)` accepts; None if unknown (the world is remote)."""
        return None

    def get_state(self) -> Any:
        """A snapshot of the episode. `set_state` returns to it exactly.

        Raises:
            WorldError: this kind of world cannot save its state.
        """
        raise WorldError(f"{type(self).__name__} cannot save its state")

    def set_state(self, state: Any) -> SensorFrame:
        """Return to a snapshot that `get_state` of this world made, and return its frame.

        Raises:
            WorldError: this kind of world cannot restore a state.
        """
        raise WorldError(f"{type(self).__name__} cannot restore a state")

    @abstractmethod
    def close(self) -> None:
        """Release everything that `open` acquired. Calling it twice is allowed."""

    def __enter__(self) -> World:
        self.open()
        return self
