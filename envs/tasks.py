"""What an episode is about: weights for reward terms, endings, and what counts as success.

A task is configuration over the terms of `sim2street.envs.terms`, each by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, field_validator

from sim2street.configs import StrictModel, did_you_mean
from sim2street.envs.terms import ENDINGS, TERMS, Transition

__all__ = ["ENDINGS", "TERMS", "TIME_LIMIT", "Outcome", "Task", "TaskConfig", "Transition"]

TIME_LIMIT = "time_limit"
"""How `info["ending"]` calls an episode that lasted to its time limit."""


class TaskConfig(StrictModel):
    """Follow the lane to the goal, unless told otherwise.

    Attributes:
        rewards: weight per reward term; the reward is the weighted sum.
        endings: what ends an episode for good (`terminated`).
        cutoffs: what cuts it off without being anybody's fault (`truncated`).
        success: the endings that count as success; "time_limit" is one of them where the
            task is to last.
        time_limit_s: simulated seconds after which it is cut off (`truncated`).
        reset_options: go to the world's reset, before the caller's own options.
    """

    rewards: dict[str, float] = Field(
        default_factory=lambda: {
            "progress": 0.1,
            "lane_offset": -0.2,
            "overspeed": -0.1,
            "steer_change": -0.05,
            "collision": -10.0,
            "off_lane": -5.0,
            "goal": 10.0,
        }
    )
    endings: tuple[str, ...] = ("collision", "off_lane", "goal")
    cutoffs: tuple[str, ...] = ()
    success: tuple[str, ...] = ("goal",)
    time_limit_s: float = Field(default=60.0, gt=0.0)
    reset_options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("rewards")
    @classmethod
    def _known_rewards(cls, rewards: dict[str, float]) -> dict[str, float]:
        _check_names("reward term", rewards, TERMS)
        return rewards

    @field_validator("endings", "cutoffs")
    @classmethod
    def _known_endings(cls, endings: tuple[str, ...]) -> tuple[str, ...]:
        _check_names("ending", endings, ENDINGS)
        return endings

    @field_validator("success")
    @classmethod
    def _known_success(cls, success: tuple[str, ...]) -> tuple[str, ...]:
        _check_names("ending", success, (*ENDINGS, TIME_LIMIT))
        return success


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transition was worth.

    Attributes:
        rewards: per term, weighted; their sum is the reward.
        ending: the name of the ending that was met, or None.
        truncated: whether the episode was cut off.
        endings: of each ending and cutoff of the task, whether it is met now.
        cutoff: what cut it off ("time_limit" or one of the task's cutoffs), or None.
        success: whether the episode ended well with this transition.
    """

    rewards: dict[str, float]
    ending: str | None
    truncated: bool
    endings: dict[str, bool] = field(default_factory=dict)
    cutoff: str | None = None
    success: bool = False

    @property
    def reward(self) -> float:
        """The sum of the terms."""
        return float(sum(self.rewards.values()))

    @property
    def over(self) -> bool:
        """Whether the episode is over, either way."""
        return self.ending is not None or self.truncated


class Task:
    """Reward and endings, as configured. Has no state: the transition tells all."""

    def __init__(self, config: TaskConfig | None = None) -> None:
        self.config = config or TaskConfig()

    def judge(self, transition: Transition) -> Outcome:
        """The reward terms of a transition, and whether it ends the episode."""
        config, after = self.config, transition.after
        rewards = {
            name: weight * TERMS[name](transition) for name, weight in config.rewards.items()
        }
        met = {name: bool(ENDINGS[name](transition)) for name in (*config.endings, *config.cutoffs)}
        ending = next((name for name in config.endings if met[name]), None)
        cutoff = next((name for name in config.cutoffs if met[name]), None)
        if cutoff is None and after.time_s >= config.time_limit_s - 1e-6:
            cutoff = TIME_LIMIT
        if ending is not None:
            cutoff = None
        success = (ending or cutoff) in config.success
        return Outcome(rewards, ending, cutoff is not None, met, cutoff, success)


def _check_names(what: str, names: Iterable[str], known: Mapping[str, Any] | Iterable[str]) -> None:
    table = list(known)
    for name in names:
        if name not in table:
            raise ValueError(f"unknown {what} '{name}'{did_you_mean(name, table)}")
