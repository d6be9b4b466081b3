"""What an agent's action means: a space, and the Control an action stands for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from pydantic import Field

from sim2street.bridge.frame import Control
from sim2street.configs import ConfigError, StrictModel

ActionT = TypeVar("ActionT")


class ActionConfig(StrictModel):
    """Which actions the agent has.

    Attributes:
        kind: "continuous" (steer and acceleration in [-1, 1]) or "discrete" (a grid).
        steer_levels: number of steering values of the grid, odd, so that 0 is among them.
        accel_levels: number of acceleration values of the grid, odd.
        max_steer: the steering that ±1 stands for.
        repeat: for how many ticks an action holds.
    """

    kind: Literal["continuous", "discrete"] = "continuous"
    steer_levels: int = Field(default=5, ge=3)
    accel_levels: int = Field(default=3, ge=3)
    max_steer: float = Field(default=1.0, gt=0.0, le=1.0)
    repeat: int = Field(default=1, ge=1, le=100)


class ActionMapping(ABC, Generic[ActionT]):
    """A Gymnasium space, and what its elements mean to the vehicle."""

    @property
    @abstractmethod
    def space(self) -> spaces.Space[Any]:
        """A new action space."""

    @abstractmethod
    def control(self, action: ActionT) -> Control:
        """The Control of an action, or ConfigError where it is none of the space."""


class ContinuousActions(ActionMapping[npt.ArrayLike]):
    """Box [-1, 1]: `steer` (> 0 turns right) and `accel` (> 0 throttle, < 0 brake)."""

    def __init__(self, max_steer: float = 1.0) -> None:
        self._max_steer = max_steer

    @property
    def space(self) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (2,), np.float32)

    def control(self, action: npt.ArrayLike) -> Control:
        values = np.asarray(action, np.float64)
        if values.shape != (2,) or not np.isfinite(values).all():
            raise ConfigError(f"action: expected two finite numbers (steer, accel), got {action!r}")
        steer, accel = np.clip(values, -1.0, 1.0).tolist()
        return _control(steer * self._max_steer, accel)


class DiscreteActions(ActionMapping[int]):
    """A grid of steering times acceleration; the middle index coasts straight on."""

    def __init__(self, steer_levels: int = 5, accel_levels: int = 3, max_steer: float = 1.0):
        if steer_levels % 2 == 0 or accel_levels % 2 == 0:
            raise ConfigError("steer_levels and accel_levels must be odd, so that 0 is among them")
        self._steers = np.linspace(-max_steer, max_steer, steer_levels)
        self._accels = np.linspace(-1.0, 1.0, accel_levels)

    @property
    def space(self) -> spaces.Discrete:
        return spaces.Discrete(len(self._steers) * len(self._accels))

    def control(self, action: int) -> Control:
        count = len(self._steers) * len(self._accels)
        index = int(action)
        if not 0 <= index < count:
            raise ConfigError(f"action: expected an index in 0..{count - 1}, got {action!r}")
        accel_index, steer_index = divmod(index, len(self._steers))
        return _control(float(self._steers[steer_index]), float(self._accels[accel_index]))


def make_actions(config: ActionConfig) -> ActionMapping[Any]:
    """The mapping that `config` describes."""
    if config.kind == "continuous":
        return ContinuousActions(config.max_steer)
    return DiscreteActions(config.steer_levels, config.accel_levels, config.max_steer)


def _control(steer: float, accel: float) -> Control:
    return Control(steer=steer, throttle=max(accel, 0.0), brake=max(-accel, 0.0))
