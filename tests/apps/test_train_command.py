"""Training, making a style and filming with them, through the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim2street.apps.cli import run

CONFIG = """
size: tiny
sources:
  - {name: toy, root: photos, layout: folder, labels: carla}
validation:
  - {name: toy, root: photos, layout: folder, labels: carla}
phases:
  - {steps: 2, size_px: [64, 32], batch_size: 1, mix: {toy: 1.0}}
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images of a grey road under a blue sky, with labels."""
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for index in range(3):
        labels = np.full((64, 128), 11, np.uint8)
        labels[26:, :40] = 3
        labels[30 + index :] = 1
        colours = np.array([[0, 0, 0], [90, 90, 95], [0] * 3, [130, 90, 70], *([[0] * 3] * 7)])
        colours = np.vstack([colours, [120, 170, 230]])
        noise = rng.integers(-12, 12, (64, 128, 1))
        image = np.clip(colours[labels] + noise, 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{index}.png")
    return folder


def test_training_resumes_and_its_weights_render_a_film(
    photos, served_world, tmp_path, capsys
) -> None:
    config, folder = tmp_path / "toy.yaml", tmp_path / "run"
    config.write_text(CONFIG)
    command = ["train", str(config), "--data", str(tmp_path), "--out", str(folder)]
    assert run([*command, "--device", "cpu", "--stop-at", "1"]) == 0
    assert "step 1:" in capsys.readouterr().out
    assert run([*command, "--device", "cpu"]) == 0
    assert "step 2:" in capsys.readouterr().out
    weights = folder / "generator.safetensors"
    style = ["style", "make", "grey", str(photos), "--weights", str(weights)]
    assert run([*style, "--naming", "carla", "--size", "64x32"]) == 0
    assert (folder / "styles" / "grey.safetensors").is_file()
    demo = ["demo", "-w", served_world, "-r", str(weights), "--ticks", "3"]
    assert run([*demo, "--style", "grey", "-o", str(tmp_path / "film")]) == 0
    assert (tmp_path / "film" / "demo.mp4").is_file()
    assert "research use" in capsys.readouterr().err
    assert run([*demo, "--style", "gray", "-o", str(tmp_path / "none")]) == 2
    assert "did you mean 'grey'" in capsys.readouterr().err


def test_a_dry_run_prints_the_config_and_writes_nothing(tmp_path, capsys) -> None:
    assert run(["train", "photos", "-o", str(tmp_path / "run"), "--dry-run"]) == 0
    assert "steps in" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["train", "photo", "-o", "run"], 2, "did you mean 'photos'"),
        (["style", "make", "x", ".", "--weights", "no.safetensors"], 1, "no weights at"),
        (["demo", "-r", "no.safetensors"], 1, "no weights at"),
    ],
)
def test_user_errors_are_reported_in_one_line(
    arguments, code, hint, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    assert hint in capsys.readouterr().err


def test_weights_for_another_taxonomy_are_refused(tmp_path, capsys) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "other.safetensors"
    metadata = {
        "format": "sim2street-generator/1",
        "size": "tiny",
        "class_map": '{"names": [], "group_of": [], "taxonomy": "0123456789abcdef"}',
    }
    save_file({"x": np.zeros(1, np.float32)}, path, metadata)
    assert run(["demo", "-r", str(path), "-o", str(tmp_path / "out")]) == 1
    assert "taxonomy 0123456789abcdef" in capsys.readouterr().err
