"""`sim2street render` on folders as people bring them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim2street.apps.cli import run
from sim2street.bridge.labels import PALETTE, Tag

ROAD, SKY = (128, 64, 128), (70, 130, 180)


def street(road: int = Tag.ROAD, sky: int = Tag.SKY, building: int = Tag.BUILDING) -> np.ndarray:
    ids = np.full((32, 64), sky, np.uint8)
    ids[8:16, :20] = building
    ids[16:] = road
    return ids


def save(picture: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def render(source: Path, out: Path, *options: str) -> int:
    return run(["render", str(source), "-r", "palette", "-o", str(out), *options])


def frames(out: Path) -> dict[str, tuple[int, ...]]:
    """Colour of the road in every frame, by name."""
    found = {}
    for path in sorted((out / "frames").rglob("*.png")):
        with Image.open(path) as image:
            found[str(path.relative_to(out / "frames"))] = image.getpixel((40, 31))
            assert image.getpixel((40, 1)) == SKY
    return found


def test_a_folder_from_a_mac_and_one_from_windows(tmp_path, capsys) -> None:
    save(street(), tmp_path / "labels" / "A.PNG")
    for name in ("._A.PNG", ".DS_Store", "Thumbs.db", "__MACOSX/._A.PNG"):
        path = tmp_path / "labels" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\x00\x05\x16\x07")
    assert render(tmp_path / "labels", tmp_path / "out") == 0
    assert frames(tmp_path / "out") == {"A.png": ROAD}


def test_names_that_are_no_utf8(tmp_path, capsys) -> None:
    save(street(), Path(os.fsdecode(os.fsencode(tmp_path) + b"/labels/stra\xdfe.png")))
    assert render(tmp_path / "labels", tmp_path / "out") == 0
    assert list(frames(tmp_path / "out").values()) == [ROAD]
    next((tmp_path / "labels").iterdir()).write_bytes(b"broken")
    assert render(tmp_path / "labels", tmp_path / "out2") == 1
    assert "stra?e.png is not an image" in capsys.readouterr().err


def test_bdd100k_s_labels_give_each_frame_once(tmp_path, capsys) -> None:
    folder = tmp_path / "labels" / "sem_seg"
    save(street(0, 10, 2), folder / "masks" / "train" / "a.png")
    save(PALETTE[street()], folder / "colormaps" / "train" / "a.png")
    assert render(tmp_path / "labels", tmp_path / "out", "-n", "bdd") == 0
    assert frames(tmp_path / "out") == {"sem_seg/masks/train/a.png": ROAD}
    assert render(folder / "colormaps", tmp_path / "out2", "-n", "bdd") == 0
    assert frames(tmp_path / "out2") == {"train/a.png": ROAD}


def test_cityscapes_colours(tmp_path, capsys) -> None:
    save(PALETTE[street()], tmp_path / "labels/berlin/berlin_000000_000019_gtFine_color.png")
    assert render(tmp_path / "labels", tmp_path / "out", "-n", "cityscapes") == 0
    assert frames(tmp_path / "out") == {"berlin/berlin_000000_000019.png": ROAD}


def test_colours_of_older_carla(tmp_path, capsys) -> None:
    colours = PALETTE[street()]
    colours[16:24, :8] = (100, 40, 40)  # a fence
    save(colours, tmp_path / "labels" / "a.png")
    for naming in ("carla", "carla-0.9.13", "carla-0.9.11"):
        out = tmp_path / naming
        if naming == "carla-0.9.11":  # it has no colour for the sky
            assert render(tmp_path / "labels", out, "-n", naming) == 1
            assert "colours are those of" in capsys.readouterr().err
            continue
        assert render(tmp_path / "labels", out, "-n", naming) == 0
        assert frames(out) == {"a.png": ROAD}


def test_stray_pixels_are_warned_of_once(tmp_path, capsys, caplog) -> None:
    colours = np.full((96, 64, 3), (128, 128, 128), np.uint8)
    colours[48:] = (128, 64, 128)
    colours[50, 5] = (26, 26, 26)
    for name in ("a_L.png", "b_L.png"):
        save(colours, tmp_path / "labels" / name)
    assert render(tmp_path / "labels", tmp_path / "out", "-n", "camvid32") == 0
    assert len(frames(tmp_path / "out")) == 2
    assert len([r for r in caplog.records if "taken as Void" in r.message]) == 1


@pytest.mark.parametrize(
    ("naming", "name", "hint"),
    [
        ("cityscapes", "a_gtFine_labelTrainIds.png", "they are labels of bdd or cityscapes-train"),
        ("cityscapes", "a.png", "but with 'cityscapes-train' they do"),
        ("carla", "a.png", "but with 'cityscapes-train' they do"),
    ],
)
def test_train_ids_under_another_naming_render_nothing(
    naming, name, hint, tmp_path, capsys
) -> None:
    save(street(0, 10, 2), tmp_path / "labels" / name)
    assert render(tmp_path / "labels", tmp_path / "out", "-n", naming) == 1
    assert hint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    if name == "a.png":
        assert render(tmp_path / "labels", tmp_path / "out", "-n", naming, "--trust-naming") == 0


def test_depth_that_is_none_renders_nothing(tmp_path, capsys) -> None:
    save(street(), tmp_path / "labels" / "a.png")
    rows = np.arange(32)[:, None].repeat(64, 1)
    metres = np.where(rows >= 16, 85.0 / (rows - 15.5).clip(0.5), 1000.0)
    logarithmic = (255 * (1 + np.log(metres / 1000) / 5.70378)).clip(0, 255).astype(np.uint8)
    depth = tmp_path / "depth" / "a.png"
    command = [tmp_path / "labels", tmp_path / "out", "--depth", str(depth.parent)]
    save(np.stack([logarithmic] * 3, -1), depth)
    assert render(*command) == 1
    assert "red, green and blue are equal" in capsys.readouterr().err
    save((metres.clip(0, 65) * 1000).astype(np.uint16), depth)
    assert render(*command) == 1
    assert "with --depth-unit mm" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert render(*command, "--depth-unit", "mm") == 0
    assert render(*command[:1], tmp_path / "out2", *command[2:], "--depth-unit", "inch") == 2
    assert "--depth-unit: unknown unit 'inch'" in capsys.readouterr().err
