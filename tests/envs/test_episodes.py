"""Episodes are drawn from their seed, and train and test splits share nothing."""

from __future__ import annotations

import pytest

from sim2street.configs import ConfigError, parse
from sim2street.envs.episodes import EpisodeConfig, draw_options

CONFIG = EpisodeConfig(
    train_towns=(0, 10),
    test_towns=(10, 12),
    train_styles=("day", "pale"),
    test_styles=("dusk",),
    weather=("clear", "rain"),
    traffic=(0.5, 1.5),
)


def test_options_depend_on_the_seed_only() -> None:
    drawn = [draw_options(CONFIG, seed) for seed in range(60)]
    assert drawn == [draw_options(CONFIG, seed) for seed in range(60)]
    assert {options["style"] for options in drawn} == {"day", "pale"}
    assert {options["weather"] for options in drawn} == {"clear", "rain"}
    assert len({options["traffic"] for options in drawn}) == 60
    assert all(0.5 <= options["traffic"] <= 1.5 for options in drawn)


def test_splits_share_no_towns_and_styles() -> None:
    train, test = draw_options(CONFIG, 3), draw_options(CONFIG, 3, "test")
    assert (train["towns"], test["towns"]) == ([0, 10], [10, 12])
    assert (train["style"] in ("day", "pale"), test["style"]) == (True, "dusk")
    by_default = CONFIG.model_copy(update={"split": "test"})
    assert draw_options(by_default, 3) == test


def test_an_empty_config_draws_nothing() -> None:
    assert draw_options(EpisodeConfig(), 1) == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train_towns": [0, 10], "test_towns": [9, 12]}, "towns in common"),
        ({"train_towns": [4, 4]}, "after last"),
        ({"train_styles": ["day"], "test_styles": ["day"]}, "styles in common"),
        ({"traffic": [2.0, 1.0]}, "lowest"),
        ({"split": "tests"}, "split"),
        ({"train_town": [0, 1]}, "did you mean 'train_towns'"),
    ],
)
def test_bad_configs_are_refused(wrong, message) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(EpisodeConfig, wrong)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'test'"):
        draw_options(CONFIG, 0, "tests")
