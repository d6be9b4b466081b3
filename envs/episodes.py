"""Draws town, weather, traffic and rendering style of an episode from its seed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import NonNegativeInt, model_validator

from sim2street.configs import ConfigError, StrictModel, did_you_mean

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

SPLIT_OPTION = "split"
"""The only reset option that the env handles itself; all others go to the world."""


class EpisodeConfig(StrictModel):
    """What differs from episode to episode. A key that is left out is not drawn.

    Each draw becomes a reset option of the world. The task's `reset_options` and the
    caller's `reset(options=...)` replace it.

    Attributes:
        split: which towns and styles to draw from, "train" or "test";
            `reset(options={"split": ...})` replaces it for one episode.
        train_towns, test_towns: range of town ids: the first, and the one after the last.
        train_styles, test_styles: names of rendering styles.
        weather: names of weather presets.
        traffic: lowest and highest factor on the number of vehicles and pedestrians.
    """

    split: Split = "train"
    train_towns: tuple[NonNegativeInt, NonNegativeInt] | None = None
    test_towns: tuple[NonNegativeInt, NonNegativeInt] | None = None
    train_styles: tuple[str, ...] = ()
    test_styles: tuple[str, ...] = ()
    weather: tuple[str, ...] = ()
    traffic: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _check_ranges(self) -> EpisodeConfig:
        both = sorted(set(self.train_styles) & set(self.test_styles))
        if both:
            raise ValueError(f"train_styles and test_styles have styles in common: {both}")
        train, test = self.train_towns, self.test_towns
        if train and test and max(train[0], test[0]) < min(train[1], test[1]):
            raise ValueError(f"train_towns {train} and test_towns {test} have towns in common")
        for name, towns in (("train_towns", train), ("test_towns", test)):
            if towns is not None and towns[0] >= towns[1]:
                raise ValueError(f"{name}: expected [first, after last], got {list(towns)}")
        if self.traffic is not None and not 0.0 <= self.traffic[0] <= self.traffic[1]:
            raise ValueError(f"traffic: expected 0 <= lowest <= highest, got {self.traffic}")
        return self


def reset_options(
    config: EpisodeConfig,
    seed: int,
    of_task: Mapping[str, Any],
    asked: Mapping[str, Any],
    known: Collection[str] | None,
) -> dict[str, Any]:
    """The options with which the world is reset for the episode with this seed.

    Args:
        of_task: options of the task; they replace those drawn.
        asked: options of the caller; they replace all others. `split` is not passed on.
        known: names of the world's options; None if unknown.

    Raises:
        ConfigError: an option is unknown, or there is no such split.
    """
    rest = dict(asked)
    split = rest.pop(SPLIT_OPTION, None)
    for name in rest:
        if known is not None and name not in known:
            hint = did_you_mean(name, [*sorted(known), SPLIT_OPTION])
            raise ConfigError(f"reset options: unknown option '{name}'{hint}")
    return {**draw_options(config, seed, split, known), **of_task, **rest}


def draw_options(
    config: EpisodeConfig,
    seed: int,
    split: str | None = None,
    known: Collection[str] | None = None,
) -> dict[str, Any]:
    """The world's reset options of the episode with this seed.

    Args:
        split: "train" or "test"; None takes the config's.
        known: names of the world's options; None if unknown. A world whose town is fixed has no
            option `towns`, so none is drawn.

    Raises:
        ConfigError: there is no such split.
    """
    chosen = config.split if split is None else split
    if chosen not in SPLITS:
        raise ConfigError(f"unknown split '{chosen}'{did_you_mean(str(chosen), list(SPLITS))}")
    train = chosen == "train"
    styles = config.train_styles if train else config.test_styles
    towns = config.train_towns if train else config.test_towns
    if known is not None and "towns" not in known:
        towns = None
    if split is not None and towns is None and not styles:
        raise ConfigError(
            f"reset options: split '{split}' chooses nothing here: the config's `episodes` give "
            f"neither {split}_towns (which need a world whose town is not fixed) nor "
            f"{split}_styles. Leave it out, or choose with other options, such as `town`"
        )
    # One generator per option: drawing one more option leaves the others as they are.
    weather_rng, traffic_rng, style_rng = (
        np.random.default_rng([seed, 0x65, stream]) for stream in range(3)
    )
    options: dict[str, Any] = {}
    if towns is not None:
        # The world draws the town itself, unless its own config fixes one.
        options["towns"] = list(towns)
    if config.weather:
        options["weather"] = config.weather[int(weather_rng.integers(len(config.weather)))]
    if config.traffic is not None:
        options["traffic"] = float(traffic_rng.uniform(*config.traffic))
    if styles:
        options["style"] = styles[int(style_rng.integers(len(styles)))]
    return options
