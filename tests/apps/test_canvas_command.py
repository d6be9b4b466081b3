"""`sim2street canvas` and the renderer `canvas`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim2street.apps.cli import run
from sim2street.apps.compose import build_renderer, build_world
from sim2street.bridge.labels import Tag
from sim2street.bridge.rendered_world import RenderedWorld
from sim2street.neural_renderer.canvas.atlas import AtlasError


def test_it_films_a_drive_and_shows_the_last_frame(tmp_path: Path) -> None:
    out = tmp_path / "canvas"
    assert run(["canvas", "--ticks", "2", "--size", "128x64", "--out", str(out)]) == 0
    panels = np.asarray(Image.open(out / "canvas.png"))
    assert panels.shape == (2 * 64, 2 * 128, 3)
    assert panels[:64, 128:].std() > 15  # the canvas
    assert (out / "canvas.mp4").stat().st_size > 500


def test_a_sheet_shows_the_last_frame_in_every_weather(tmp_path: Path) -> None:
    arguments = ["canvas", "--weathers", "--ticks", "1", "--size", "128x64"]
    assert run([*arguments, "--out", str(tmp_path)]) == 0
    sheet = np.asarray(Image.open(tmp_path / "weathers.png").convert("L")).astype(float)
    assert sheet.shape[0] > 3 * 64
    assert sheet.shape[1] > 2 * 128
    clear, night = sheet[4:68, 4:132], sheet[-80:-30, -120:-10]
    assert night.mean() < 0.6 * clear.mean()


def test_the_worlds_weather_reaches_the_picture() -> None:
    """Chosen by the world's reset option, as `demo --weather` and the envs choose it."""
    renderer = build_renderer("canvas")
    town = build_world("town", size_px=(128, 64), surfaces=renderer.uses_surfaces)
    with RenderedWorld(town, renderer) as world:
        world.open()
        clear, fog, night = (
            world.reset(4, {"weather": name, "town": 3}).view.rgb.astype(float)
            for name in ("clear", "fog", "night")
        )
    assert fog.std() < 0.8 * clear.std()
    assert night.mean() < 0.6 * clear.mean()


def test_a_file_that_is_no_atlas_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "photo.atlas"
    wrong.write_text("hello")
    assert run(["canvas", "--atlas", str(wrong), "--ticks", "1"]) == 1
    assert "is not an atlas" in capsys.readouterr().err


def test_label_maps_without_depth_are_rendered() -> None:
    labels = np.full((64, 128), Tag.SKY, np.uint8)
    labels[32:] = Tag.ROAD
    labels[10:40, :50] = Tag.BUILDING
    with build_renderer("canvas") as renderer:
        image = renderer.render_labels(labels)
        twice = renderer.render_labels(labels, scale=2)
    assert image.shape == (64, 128, 3)
    assert twice.shape == (128, 256, 3)
    assert image[32:].std() > 1.0


def test_a_missing_atlas_is_named() -> None:
    with pytest.raises(AtlasError, match=r"none\.atlas"):
        build_renderer("canvas", {"atlas": "none.atlas"})
