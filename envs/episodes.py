"""What varies from episode to episode: streets, weather, traffic and style, by the seed."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, model_validator

from sim2street.configs import ConfigError, StrictModel, did_you_mean

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

SPLIT_OPTION = "split"
"""The one reset option that is the env's own; all others go to the world."""


class EpisodeConfig(StrictModel):
    """How episodes differ; what is left out stays as the world and the renderer have it.

    Each draw is a reset option of the world, made from the episode's seed. Options of the
    task and of `reset(options=...)` replace it.

    Attributes:
        split: which towns and styles are drawn from; `reset(options={"split": ...})`
            chooses for one episode.
        train_towns, test_towns: town ids, the first and the one after the last.
        train_styles, test_styles: names of the renderer's styles.
        weather: names of presets. traffic: lowest and highest factor on its density.
    """

    split: Split = "train"
    train_towns: tuple[NonNegativeInt, NonNegativeInt] | None = None
    test_towns: tuple[NonNegativeInt, NonNegativeInt] | None = None
    train_styles: tuple[str, ...] = ()
    test_styles: tuple[str, ...] = ()
    weather: tuple[str, ...] = ()
    traffic: tuple[float, float] | None = Field(default=None)

    @model_validator(mode="after")
    def _apart(self) -> EpisodeConfig:
        both = sorted(set(self.train_styles) & set(self.test_styles))
        if both:
            raise ValueError(f"styles are for training or for testing, not for both: {both}")
        a, b = self.train_towns, self.test_towns
        if a is not None and b is not None and max(a[0], b[0]) < min(a[1], b[1]):
            raise ValueError(f"train_towns {a} and test_towns {b} have towns in common")
        for name, pair in (("train_towns", a), ("test_towns", b)):
            if pair is not None and pair[0] >= pair[1]:
                raise ValueError(f"{name}: the first must be below the second, got {pair}")
        if self.traffic is not None and not 0.0 <= self.traffic[0] <= self.traffic[1]:
            raise ValueError(f"traffic: expected 0 <= lowest <= highest, got {self.traffic}")
        return self


def draw_options(config: EpisodeConfig, seed: int, split: str | None = None) -> dict[str, Any]:
    """Reset options of the episode with this seed, in this split or the config's."""
    chosen = config.split if split is None else split
    if chosen not in SPLITS:
        raise ConfigError(f"unknown split '{chosen}'{did_you_mean(str(chosen), list(SPLITS))}")
    train = chosen == "train"
    styles = config.train_styles if train else config.test_styles
    towns = config.train_towns if train else config.test_towns
    sky, road, look = (np.random.default_rng([seed, 0x65, stream]) for stream in range(3))
    options: dict[str, Any] = {}
    if towns is not None:
        options["towns"] = list(towns)  # the world draws: it knows whether its town is fixed
    if config.weather:
        options["weather"] = config.weather[int(sky.integers(len(config.weather)))]
    if config.traffic is not None:
        options["traffic"] = float(road.uniform(*config.traffic))
    if styles:
        options["style"] = styles[int(look.integers(len(styles)))]
    return options
