"""docs/training.md against the code: commands, options, configurations, default weights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from sim2street.apps.cli import run
from sim2street.configs import load, parse
from sim2street.neural_renderer.data.photos import PhotoSourceConfig
from sim2street.neural_renderer.evaluation.config import EvaluationConfig
from sim2street.neural_renderer.training.config import LossWeights, Phase, TrainConfig

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "training.md").read_text()
CONFIGS = sorted(path.stem for path in (ROOT / "configs" / "train").glob("*.yaml"))


def yaml_block(first_key: str) -> str:
    """The YAML example of the document that starts with a key."""
    (block,) = re.findall(rf"```yaml\n({first_key}:.*?)```", TEXT, re.DOTALL)
    assert isinstance(block, str)
    return block


def test_every_command_and_option_exists(capsys) -> None:
    named = set(re.findall(r"sim2street ((?:style |bench )?[a-z]+)", TEXT))
    assert named >= {"train", "pack", "seed", "distil", "finetune", "evaluate", "style make"}
    for command in named:
        assert run([*command.split(), "--help"]) == 0, command
    for option in set(re.findall(r"(--[a-z][a-z0-9-]+)", TEXT)) - {"--nproc-per-node"}:
        scripts = [*(ROOT / "apps" / "commands").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
        sources = (path.read_text() for path in scripts)
        assert any(f'"{option}"' in source for source in sources), option


@pytest.mark.parametrize("name", CONFIGS)
def test_every_training_config_is_in_the_text_and_loads(name: str) -> None:
    assert f"| `{name}` |" in TEXT
    config = load(TrainConfig, "train", name)
    for phase in config.phases:
        assert phase.size_px[0] % 32 == phase.size_px[1] % 32 == 0
        assert set(phase.mix) <= {source.name for source in config.sources}
        assert not phase.town_share or config.town_clips is not None


def test_the_example_is_a_valid_config_that_shows_every_key() -> None:
    block = yaml_block("size")
    config = parse(TrainConfig, yaml.safe_load(block), "docs/training.md")
    assert config.sources[0].name in config.phases[0].mix
    for model in (TrainConfig, Phase, PhotoSourceConfig):
        for key in model.model_fields:
            assert re.search(rf"\b{key}:", block), key


def test_keys_that_the_example_shows_with_their_default_have_it() -> None:
    shown = yaml.safe_load(yaml_block("size"))
    source = parse(PhotoSourceConfig, shown["sources"][0])
    same = ("fov_deg", "camera_height_m", "bottom", "every", "label_folder", "horizon")
    plain = parse(PhotoSourceConfig, {"name": "a", "root": "a", "layout": "camvid"})
    assert [getattr(source, key) for key in same] == [getattr(plain, key) for key in same]


def test_every_evaluation_config_loads() -> None:
    for path in (ROOT / "configs" / "evaluate").glob("*.yaml"):
        load(EvaluationConfig, "evaluate", path.stem)
    parse(EvaluationConfig, yaml.safe_load(yaml_block("size_px")), "docs/training.md")


def test_loss_weights_in_the_text_are_the_defaults() -> None:
    table = TEXT.split("| term of the generator's loss |")[1].split("\n\n")[0]
    told = {name: float(value) for name, value in re.findall(r"`(\w+)`.*? \| ([\d.]+) \|", table)}
    assert told == LossWeights().model_dump()
