"""Training, making a style and filming with them, through the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim2street.apps.cli import run
from sim2street.bridge.labels import PALETTE

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


def test_a_dry_run_looks_at_the_data_and_writes_nothing(photos, tmp_path, capsys) -> None:
    (tmp_path / "toy.yaml").write_text(CONFIG)
    command = [
        "train",
        str(tmp_path / "toy.yaml"),
        "-d",
        str(tmp_path),
        "-o",
        str(tmp_path / "run"),
    ]
    assert run([*command, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "steps in 1 phases" in shown
    assert "toy: 3 photographs, 1 drives" in shown
    assert "labels: carla; 3 pairs opened, 128x64: road, sky, building" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "toy.yaml"]


@pytest.mark.parametrize(
    ("change", "code", "hint"),
    [
        (lambda p: (p / "labels/2.png").unlink(), 2, "1 of 3 images have no labels"),
        (lambda p: (p / "images/1.png").write_bytes(b""), 1, "1.png is not an image"),
        (lambda p: (p / "labels").rename(p / "masks"), 2, "none with its labels"),
        (lambda p: Image.new("L", (9, 9), 1).save(p / "labels/0.png"), 1, "labels are 9x9 but"),
    ],
)
def test_a_dry_run_finds_what_training_would(photos, change, code, hint, tmp_path, capsys) -> None:
    change(photos)
    (tmp_path / "toy.yaml").write_text(CONFIG)
    command = [
        "train",
        str(tmp_path / "toy.yaml"),
        "-d",
        str(tmp_path),
        "-o",
        str(tmp_path / "run"),
    ]
    assert run([*command, "--dry-run"]) == code
    assert hint in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_dry_run_names_missing_folders_and_networks(photos, tmp_path, capsys) -> None:
    assert run(["train", "photos", "-d", str(tmp_path), "-o", "run", "--dry-run"]) == 2
    assert "there is no folder" in capsys.readouterr().err
    (tmp_path / "toy.yaml").write_text(f"vgg16: vgg16.safetensors{CONFIG}")
    packs = ["--packs", str(tmp_path)]
    command = ["train", str(tmp_path / "toy.yaml"), "-d", str(tmp_path), "-o", "run", *packs]
    assert run([*command, "--dry-run"]) == 2
    assert "vgg16: there is no" in capsys.readouterr().err


@pytest.mark.parametrize("coding", ["red channel", "red channel with alpha", "colours", "indexed"])
def test_a_style_is_made_from_what_carla_saves(photos, coding, tmp_path, capsys) -> None:
    for path in (photos / "labels").iterdir():
        ids = np.asarray(Image.open(path))
        if coding == "colours":
            Image.fromarray(PALETTE[ids]).save(path)
        elif coding == "indexed":
            Image.fromarray(PALETTE[ids]).quantize(8).save(path)
        else:
            channels = [ids, np.zeros_like(ids), np.zeros_like(ids), np.full_like(ids, 255)]
            Image.fromarray(np.stack(channels[: 4 if "alpha" in coding else 3], -1)).save(path)
    make = ["style", "make", "x", str(photos), "--size", "64x32", "--out", str(tmp_path / "s")]
    assert run([*make, "--naming", "carla"]) == 0
    assert (tmp_path / "s" / "x.safetensors").is_file()


def test_a_style_with_a_wrong_naming_is_refused_unless_it_is_trusted(
    photos, tmp_path, capsys
) -> None:
    make = ["style", "make", "x", str(photos), "--size", "64x32", "--out", str(tmp_path / "s")]
    assert run(make) == 1  # cityscapes-train
    assert "but with 'carla' they do" in capsys.readouterr().err
    assert run([*make, "--trust-naming"]) == 0


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
