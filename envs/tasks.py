"""Tasks: which reward terms count how much, what ends an episode, and what is a success.

A task is configuration only (`TaskConfig`). The terms and endings that it names are functions
in `sim2street.envs.rewards`; the shipped tasks are the files `configs/env/*.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, field_validator

from sim2street.configs import StrictModel, did_you_mean
from sim2street.envs.rewards import ENDINGS, REWARD_TERMS, Transition

TIME_LIMIT = "time_limit"
"""`info["ending"]` of an episode that ran out of time."""


class TaskConfig(StrictModel):
    """What is rewarded, and when an episode ends. By default: follow the lane to the goal.

    Attributes:
        rewards: reward term -> weight; the reward is the weighted sum of the terms.
        endings: endings that terminate the episode (`terminated`).
        cutoffs: endings that only truncate the episode (`truncated`).
        success: endings and cutoffs that count as success; may contain "time_limit".
        time_limit_s: simulated seconds after which the episode is truncated.
        reset_options: options of every reset of the world; those of the caller replace them.
    """

    rewards: dict[str, float] = Field(
        default_factory=lambda: {
            "progress": 0.1,
            "lane_offset": -0.2,
            "overspeed": -0.1,
            "steer_change": -0.05,
            "collision": -10.0,
            "off_lane": -5.0,
            "ran_red_light": -10.0,
            "too_slow": -5.0,
            "too_fast": -5.0,
            "goal": 10.0,
        }
    )
    endings: tuple[str, ...] = (
        "collision",
        "off_lane",
        "ran_red_light",
        "too_slow",
        "too_fast",
        "goal",
    )
    cutoffs: tuple[str, ...] = ()
    success: tuple[str, ...] = ("goal",)
    time_limit_s: float = Field(default=60.0, gt=0.0)
    reset_options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("rewards")
    @classmethod
    def _check_rewards(cls, rewards: dict[str, float]) -> dict[str, float]:
        _check_names("reward term", rewards, REWARD_TERMS)
        return rewards

    @field_validator("endings", "cutoffs")
    @classmethod
    def _check_endings(cls, endings: tuple[str, ...]) -> tuple[str, ...]:
        _check_names("ending", endings, ENDINGS)
        return endings

    @field_validator("success")
    @classmethod
    def _check_success(cls, success: tuple[str, ...]) -> tuple[str, ...]:
        _check_names("ending", success, (*ENDINGS, TIME_LIMIT))
        return success


@dataclass(frozen=True, slots=True)
class Outcome:
    """Reward of one transition, and whether it ends the episode.

    Attributes:
        rewards: reward term -> weighted value; their sum is the reward.
        ending: name of the ending that terminated the episode, or None.
        truncated: whether the episode was truncated.
        endings: each ending and cutoff of the task -> whether it is met now.
        cutoff: what truncated the episode ("time_limit" or a cutoff of the task), or None.
        success: whether the episode ended with a success.
    """

    rewards: dict[str, float]
    ending: str | None
    truncated: bool
    endings: dict[str, bool] = field(default_factory=dict)
    cutoff: str | None = None
    success: bool = False

    @property
    def reward(self) -> float:
        """The weighted sum of the reward terms."""
        return float(sum(self.rewards.values()))

    @property
    def episode_over(self) -> bool:
        """Whether the episode was terminated or truncated."""
        return self.ending is not None or self.truncated


class Task:
    """Computes reward and endings as configured. Stateless: the transition is all it needs."""

    def __init__(self, config: TaskConfig | None = None) -> None:
        self.config = config or TaskConfig()

    def evaluate(self, transition: Transition) -> Outcome:
        """The reward of a transition, and whether it ends the episode.

        If several endings are met, the first in the config counts. An ending takes precedence
        over a cutoff, and a cutoff over the time limit.
        """
        config, after = self.config, transition.after
        rewards = {
            name: weight * REWARD_TERMS[name](transition) for name, weight in config.rewards.items()
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

    def nothing(self, cutoff: str | None = None) -> Outcome:
        """The outcome without a tick: no rewards, nothing met, but perhaps cut off."""
        config = self.config
        return Outcome(
            rewards=dict.fromkeys(config.rewards, 0.0),
            ending=None,
            truncated=cutoff is not None,
            endings=dict.fromkeys((*config.endings, *config.cutoffs), False),
            cutoff=cutoff,
        )


def _check_names(what: str, names: Iterable[str], known: Mapping[str, Any] | Iterable[str]) -> None:
    known_names = list(known)
    for name in names:
        if name not in known_names:
            raise ValueError(f"unknown {what} '{name}'{did_you_mean(name, known_names)}")
