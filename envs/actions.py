"""Action spaces: how an action of the agent becomes steering, throttle and brake."""

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
    """The action space of an env.

    Attributes:
        kind: "continuous" (steering and acceleration, each in [-1, 1]) or "discrete" (one
            index into a grid of steering and acceleration values).
        steer_levels: number of steering values of the grid; odd, so that 0 is one of them.
        accel_levels: number of acceleration values of the grid; odd.
        max_steer: steering command of an action of 1; in (0, 1], where 1 is full lock.
        repeat: ticks for which each action is applied.
    """

    kind: Literal["continuous", "discrete"] = "continuous"
    steer_levels: int = Field(default=5, ge=3)
    accel_levels: int = Field(default=3, ge=3)
    max_steer: float = Field(default=1.0, gt=0.0, le=1.0)
    repeat: int = Field(default=1, ge=1, le=100)


class ActionMapping(ABC, Generic[ActionT]):
    """An action space, and the vehicle control that each action stands for."""

    @property
    @abstractmethod
    def space(self) -> spaces.Space[Any]:
        """The Gymnasium space of the actions."""

    @abstractmethod
    def control(self, action: ActionT) -> Control:
        """The vehicle control of an action.

        Raises:
            ConfigError: the action does not belong to the space.
        """


class ContinuousActions(ActionMapping[npt.ArrayLike]):
    """float32 (2,) in [-1, 1]: steering (> 0 is right), acceleration (> 0 throttle, < 0 brake)."""

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


class DiscreteActions(ActionMapping[npt.ArrayLike]):
    """An index into a grid of steering and acceleration values, steering varying fastest.

    The middle index steers straight and neither accelerates nor brakes.
    """

    def __init__(self, steer_levels: int = 5, accel_levels: int = 3, max_steer: float = 1.0):
        if steer_levels % 2 == 0 or accel_levels % 2 == 0:
            raise ConfigError("steer_levels and accel_levels must be odd, so that 0 is one of them")
        self._steers = np.linspace(-max_steer, max_steer, steer_levels)
        self._accels = np.linspace(-1.0, 1.0, accel_levels)

    @property
    def space(self) -> spaces.Discrete:
        return spaces.Discrete(len(self._steers) * len(self._accels))

    def control(self, action: npt.ArrayLike) -> Control:
        count = len(self._steers) * len(self._accels)
        values = np.asarray(action)  # libraries give an int, or an array with one element
        whole = values.size == 1 and np.issubdtype(values.dtype, np.integer)
        if not whole or not 0 <= values.item() < count:
            raise ConfigError(f"action: expected an index in 0..{count - 1}, got {action!r}")
        index = int(values.item())
        accel_index, steer_index = divmod(index, len(self._steers))
        return _control(float(self._steers[steer_index]), float(self._accels[accel_index]))


def make_actions(config: ActionConfig) -> ActionMapping[Any]:
    """The action mapping that a config describes."""
    if config.kind == "continuous":
        return ContinuousActions(config.max_steer)
    return DiscreteActions(config.steer_levels, config.accel_levels, config.max_steer)


def _control(steer: float, accel: float) -> Control:
    return Control(steer=steer, throttle=max(accel, 0.0), brake=max(-accel, 0.0))
