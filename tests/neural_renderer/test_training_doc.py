"""docs/training.md says what is so: commands, configs, weights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sim2street.apps.cli import run
from sim2street.configs import load
from sim2street.neural_renderer.evaluation.config import EvaluationConfig
from sim2street.neural_renderer.training.config import LossWeights, TrainConfig

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "training.md").read_text()
CONFIGS = sorted(path.stem for path in (ROOT / "configs" / "train").glob("*.yaml"))


def test_every_command_it_names_exists(capsys) -> None:
    named = set(re.findall(r"sim2street ((?:style |bench )?[a-z]+)", TEXT))
    assert named >= {"train", "pack", "seed", "distil", "finetune", "evaluate", "style make"}
    for command in named:
        assert run([*command.split(), "--help"]) == 0, command
    for option in set(re.findall(r"(--[a-z][a-z0-9-]+)", TEXT)) - {"--nproc-per-node"}:
        scripts = [*(ROOT / "apps" / "commands").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
        sources = (path.read_text() for path in scripts)
        assert any(f'"{option}"' in source for source in sources), option


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_is_named_and_can_be_read(name: str) -> None:
    assert f"| `{name}` |" in TEXT
    config = load(TrainConfig, "train", name)
    for phase in config.phases:
        assert phase.size_px[0] % 32 == phase.size_px[1] % 32 == 0
        assert set(phase.mix) <= {source.name for source in config.sources}
        assert not phase.town_share or config.town_clips is not None


def test_every_evaluation_config_can_be_read() -> None:
    for path in (ROOT / "configs" / "evaluate").glob("*.yaml"):
        load(EvaluationConfig, "evaluate", path.stem)


def test_its_weights_are_the_default_ones() -> None:
    told = {name: float(value) for name, value in re.findall(r"`(\w+)`.*? \| ([\d.]+) \|", TEXT)}
    weights = LossWeights().model_dump()
    assert {name: told.get(name) for name in weights} == weights
