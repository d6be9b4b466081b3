"""What an env knows of its episode: how it goes on, its `info`, and snapshots of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sim2street.bridge.frame import Control, SensorFrame
from sim2street.configs import ConfigError
from sim2street.envs.observations import ObservedViews, ObserverState
from sim2street.envs.pace import Pace
from sim2street.envs.rewards import Transition
from sim2street.envs.tasks import Outcome, TaskConfig


@dataclass(slots=True)
class Episode:
    """An episode so far, apart from its world and its observations.

    Attributes:
        seed: the seed it was started with.
        options: those that the world was reset with.
        frame: of the last tick.
        pace: how far the ego is behind a slow driver, or ahead of a fast one.
        last_control: the control of the last tick.
        distance_m: driven since the reset.
        over: whether it has ended.
    """

    seed: int
    options: Mapping[str, Any]
    frame: SensorFrame
    pace: Pace
    last_control: Control = field(default_factory=Control)
    distance_m: float = 0.0
    over: bool = False

    @classmethod
    def start(cls, seed: int, options: Mapping[str, Any], frame: SensorFrame) -> Episode:
        """An episode at its first frame."""
        return cls(seed, options, frame, Pace.at_start(frame))

    def advance(self, control: Control, after: SensorFrame) -> Transition:
        """Take in the next tick; returns it as a transition, for the task."""
        dt_s = after.time_s - self.frame.time_s
        self.pace = self.pace.after(after, dt_s)
        transition = Transition(self.frame, control, after, self.last_control, self.pace)
        self.distance_m += abs(after.ego.speed_mps) * dt_s
        self.frame, self.last_control = after, control
        return transition

    def info(self, outcome: Outcome, error: str = "") -> dict[str, Any]:
        """The `info` of a reset or step: always the same keys and types, in new objects."""
        return {
            "tick": self.frame.tick,
            "flags": " ".join(self.frame.flags),
            "speed_mps": float(self.frame.ego.speed_mps),
            "distance_m": self.distance_m,
            "seed": self.seed,
            "options": {name: _without_lists(value) for name, value in self.options.items()},
            "rewards": dict(outcome.rewards),
            "endings": dict(outcome.endings),
            "ending": outcome.ending or outcome.cutoff or "",
            "is_success": outcome.success,
            "error": error,
        }


@dataclass(frozen=True, slots=True)
class EnvState:
    """Snapshot of an env in the middle of an episode; see `DrivingEnv.get_state`.

    Attributes:
        world: the snapshot of the world, which says itself which worlds it fits.
        task: the task it belongs to.
        views: what the env observed ; only an env that observes the same
            takes over the history of its observations.
        rng: state of the generator that draws the seeds of the next episodes.
    """

    world: Any
    task: TaskConfig
    episode: Episode
    views: ObservedViews
    observer: ObserverState
    rng: Mapping[str, Any]

    @property
    def episode_over(self) -> bool:
        """Whether the episode has ended."""
        return self.episode.over

    def episode_at(self, frame: SensorFrame) -> Episode:
        """The episode, to continue from `frame` in place of its own last one."""
        return replace(self.episode, frame=frame)


def check_snapshot(state: object, task: TaskConfig) -> EnvState:
    """The snapshot itself, if it is one of an env with this task.

    Raises:
        ConfigError: it is something else, or a snapshot of another task.
    """
    if not isinstance(state, EnvState):
        raise ConfigError(
            "set_state: expected a snapshot that get_state of a sim2street env returned, "
            f"got {type(state).__name__}"
        )
    differing = [
        name for name in TaskConfig.model_fields if getattr(state.task, name) != getattr(task, name)
    ]
    if differing:
        raise ConfigError(
            "set_state: the snapshot is of another task; its settings differ in "
            f"{', '.join(differing)}. Restore it in an env with the same id and task settings"
        )
    return state


def _without_lists(value: Any) -> Any:
    """Lists and tuples as arrays, which libraries can stack; mappings as new dicts."""
    if isinstance(value, Mapping):
        return {name: _without_lists(item) for name, item in value.items()}
    return np.array(value) if isinstance(value, list | tuple) else value
