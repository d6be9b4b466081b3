"""Weights from weights by the command line: seeds, students, finetuning, evaluation, styles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sim2street.apps.cli import run
from sim2street.neural_renderer.checkpoint import load_generator

TRAIN = """
size: {size}
sources:
  - {{name: toy, root: photos, layout: folder, labels: carla}}
phases:
  - {{steps: 2, size_px: [64, 32], batch_size: 1, mix: {{toy: 1.0}}, clip_share: {clips},
     clip_batch_size: 1, town_share: {clips}}}
weights: {{pixel: 1.0}}
{more}
"""

EVALUATE = """
size_px: [64, 32]
sources:
  - {name: toy, root: photos, layout: folder, labels: carla}
styles:
  - {name: toy, root: photos, layout: folder, labels: carla}
video_frames: 0
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, configs and a run of two steps."""
    root: Path = tmp_path_factory.mktemp("weights")
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (root / "photos" / kind).mkdir(parents=True)
    for index in range(4):
        labels = np.full((64, 128), 11, np.uint8)
        labels[26:, :40] = 3
        labels[30 + index :] = 1
        colours = np.full((12, 3), 90)
        colours[11] = (120, 170, 230)
        picture = np.clip(colours[labels] + rng.integers(-12, 12, (64, 128, 1)), 0, 255)
        name = f"{100 * index}.png"
        Image.fromarray(picture.astype(np.uint8)).save(root / "photos" / "images" / name)
        Image.fromarray(labels).save(root / "photos" / "labels" / name)
    (root / "train.yaml").write_text(TRAIN.format(size="tiny", clips=0.0, more=""))
    (root / "town.yaml").write_text(TRAIN.format(size="tiny", clips=1.0, more="town_clips: town"))
    (root / "evaluate.yaml").write_text(EVALUATE)
    assert run(command(root, "train.yaml", "first")) == 0
    return root


def command(root: Path, config: str, out: str, *more: str) -> list[str]:
    start = ["train", str(root / config), "-d", str(root), "--packs", str(root)]
    return [*start, "-o", str(root / out), "--device", "cpu", *more]


def test_a_seed_starts_another_run(place, capsys) -> None:
    seed = place / "seed"
    assert run(["seed", str(place / "first"), str(seed)]) == 0
    assert "seed of 1 files" in capsys.readouterr().out
    again = command(place, "train.yaml", "second", "--init-from", str(seed))
    assert run([*again, "--stop-at", "1"]) == 0
    shown = capsys.readouterr().out
    assert "init-from: taken" in shown
    assert "from step 2" in shown
    assert "init-from: new 0" in shown
    assert run(again) == 0
    shown = capsys.readouterr().out
    assert "init-from" not in shown  # the run's own state counts
    assert "step 2:" in shown
    assert load_generator(place / "second" / "generator.safetensors")[1].step == 4


def test_town_clips_are_packed_and_trained_on_by_a_student(place, served_world, capsys) -> None:
    packing = ["pack", str(place / "town"), "-w", served_world, "--clips", "2", "--frames", "3"]
    assert run([*packing, "--warm-up", "1", "--every", "1"]) == 0
    assert "2 clips" in capsys.readouterr().out
    teacher = place / "first" / "generator.safetensors"
    start = ["distil", str(teacher), "-c", str(place / "town.yaml"), "-d", str(place)]
    assert run([*start, "--packs", str(place), "-o", str(place / "student"), "--dry-run"]) == 0
    assert not (place / "student").exists()
    capsys.readouterr()
    arguments = [*start, "--packs", str(place), "-o", str(place / "student"), "--device", "cpu"]
    assert run(arguments) == 0
    assert "step 2:" in capsys.readouterr().out


def test_a_recording_is_packed_episode_by_episode(served_world, tmp_path, capsys) -> None:
    drive = tmp_path / "drive.mcap"
    assert run(["record", str(drive), "-w", served_world, "--ticks", "6", "--seed", "5"]) == 0
    packing = ["pack", str(tmp_path / "clips"), "-w", str(drive), "--warm-up", "1", "--every", "2"]
    assert run([*packing, "--clips", "1", "--frames", "3"]) == 0
    assert len(list((tmp_path / "clips").iterdir())) == 1
    assert run([*packing, "--clips", "2", "--frames", "3"]) == 2
    assert "episode must be in 0..0" in capsys.readouterr().err
    assert len(list((tmp_path / "clips").iterdir())) == 1


def test_finetuning_shows_its_gain_and_serves(place, tmp_path, capsys) -> None:
    first, target = place / "first" / "generator.safetensors", tmp_path / "here.safetensors"
    start = ["finetune", str(first), str(place / "photos"), "-o", str(target), "-n", "carla"]
    assert run([*start, "--size", "64x32", "--count", "2", "--iterations", "3"]) == 0
    shown = capsys.readouterr().out
    assert "L1 on 2 held-out photographs" in shown
    assert (tmp_path / "styles" / "here.safetensors").is_file()
    before, after = load_generator(first)[0].state_dict(), load_generator(target)[0].state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert "to_pixels.weight" in moved
    assert not any(name.startswith(("stem", "downs", "style_encoder")) for name in moved)
    assert run([*start, "--size", "64x32", "--count", "4", "--iterations", "1"]) == 0
    assert "gain is not measured" in capsys.readouterr().out
    assert run([*start, "--judges", str(first)]) == 2
    assert "has no discriminators" in capsys.readouterr().err


def test_evaluation_writes_a_table_numbers_and_pictures(place, tmp_path, capsys) -> None:
    first = place / "first" / "generator.safetensors"
    start = ["evaluate", str(first), "-d", str(place), "-c", str(place / "evaluate.yaml")]
    alexnet = tmp_path / "alex.pth"
    from sim2street.neural_renderer.metrics.perceptual import AlexNetFeatures

    torch.save(AlexNetFeatures().state_dict(), alexnet)
    more = ["--alexnet", str(alexnet), "--stills", "3", "-o", str(tmp_path / "out")]
    assert run([*start, *more, "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    assert "KID (AlexNet)" in shown.out, shown.err
    assert "left out: style retrieval: " in shown.out
    numbers = json.loads((tmp_path / "out" / "generator.json").read_text())
    assert numbers["measures"]["KID (AlexNet)"]["n"] == 3
    assert numbers["networks"]["--alexnet"]["file"] == "alex.pth"
    with Image.open(tmp_path / "out" / "generator.png") as sheet:
        assert sheet.size == (3 * 64, 3 * (32 + 4))


def test_an_evaluation_that_measures_nothing_is_an_error(place, tmp_path, capsys) -> None:
    first = place / "first" / "generator.safetensors"
    start = ["evaluate", str(first), "-d", str(place), "-c", str(place / "evaluate.yaml")]
    assert run([*start, "--stills", "1", "-o", str(tmp_path / "out"), "--device", "cpu"]) == 2
    shown = capsys.readouterr()
    assert "nothing was measured" in shown.err
    assert "no --segmenter" in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert "measure" not in shown.out
    assert not list((tmp_path / "out").glob("*.json"))


def test_styles_are_listed_and_blended(place, capsys) -> None:
    weights = ["--weights", str(place / "first" / "generator.safetensors")]
    for name, count in (("day", "1"), ("dusk", "2")):
        make = ["style", "make", name, str(place / "photos"), "-n", "carla", "--size", "64x32"]
        assert run([*make, "--count", count, *weights]) == 0
    assert run(["style", "blend", "both", "day=0.3,dusk=0.7", *weights]) == 0
    capsys.readouterr()
    assert run(["style", "list", *weights]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()] == ["both", "day", "dusk"]
    assert "24 tokens" in shown  # 8 of day and 16 of dusk
    assert run(["style", "blend", "x", "day=1,dsk=1", *weights]) == 2
    assert "did you mean 'dusk'" in capsys.readouterr().err


def test_styles_are_fitted(place, tmp_path, capsys) -> None:
    from sim2street.neural_renderer.networks.features import Vgg16Features

    torch.save(Vgg16Features().state_dict(), tmp_path / "vgg.pth")
    weights = ["--weights", str(place / "first" / "generator.safetensors"), "-o", str(tmp_path)]
    make = ["style", "make", "day", str(place / "photos"), "-n", "carla", "--size", "64x32"]
    styles = []
    for more in ([], ["--fit", "2", "--vgg16", str(tmp_path / "vgg.pth")]):
        assert run([*make, "--count", "1", *weights, *more]) == 0, capsys.readouterr().err
        styles.append((tmp_path / "day.safetensors").read_bytes())
    assert styles[0] != styles[1]


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["seed", "nowhere.pt", "out"], 1, "no state of a training run"),
        (["train", "photos", "-o", "run", "--kind", "spde"], 2, "'kind'"),
        (["distil", "no.safetensors", "-o", "run"], 1, "no weights at no.safetensors"),
        (["evaluate", "no.safetensors"], 1, "no weights at no.safetensors"),
        (["evaluate", "no.safetensors", "-c", "photo"], 2, "did you mean 'photos'"),
        (["finetune", "no.safetensors", ".", "-o", "x.pt"], 2, "end in .safetensors"),
        (["finetune", "x", ".", "-o", "x.safetensors", "--lpips", "y"], 2, "both --alexnet"),
        (["style", "list", "--weights", "no.safetensors"], 1, "no weights at"),
        (["style", "make", "x", ".", "--fit", "9"], 2, "--fit and --vgg16 need each other"),
        (
            ["evaluate", "tiny", "--fit", "9", "--vgg16", "no.pth"],
            2,
            "no feature weights at no.pth",
        ),
    ],
)
def test_mistakes_get_one_line(arguments, code, hint, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    shown = capsys.readouterr().err
    assert hint in shown
    assert len(shown.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
