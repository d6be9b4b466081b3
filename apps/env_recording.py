"""Recording an env: the frames of its world, and its actions and rewards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sim2street.bridge.recording import Recorder
from sim2street.bridge.world import World
from sim2street.configs import ConfigError
from sim2street.envs.driving import DrivingEnv
from sim2street.envs.observations import Observation

ACTION_TOPIC, REWARD_TOPIC = "/env/action", "/env/reward"


def recorder_of(world: World, file: Path) -> Recorder:
    """A Recorder around `world`. ConfigError unless the file ends in .mcap."""
    if file.suffix != ".mcap":
        raise ConfigError(f"record: a recording ends in .mcap, got {file}")
    return Recorder(world, file)


class RecordedDrivingEnv(DrivingEnv):
    """A DrivingEnv whose world is a Recorder. `close` completes the file.

    An action is recorded at the time of the frame that it answers, a reward at the time of the
    frame that follows.
    """

    world: Recorder
    _runs = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode, as in `DrivingEnv.reset`."""
        made = super().reset(seed=seed, options=options)
        self._runs = True
        return made

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply an action, as in `DrivingEnv.step`, and record it with its reward."""
        if self._runs:
            self.world.note(ACTION_TOPIC, {"action": plain(action)})
        observation, reward, terminated, truncated, info = super().step(action)
        self._runs = not (terminated or truncated)
        note = {
            "reward": float(reward),
            "terms": plain(info["rewards"]),
            "terminated": terminated,
            "truncated": truncated,
            "ending": info["ending"] or "",
        }
        self.world.note(REWARD_TOPIC, note)
        return observation, reward, terminated, truncated, info


def plain(value: Any) -> Any:
    """An action or rewards as plain JSON."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    return np.asarray(value).tolist()
