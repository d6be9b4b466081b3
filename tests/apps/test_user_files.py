"""Styles of one's own: where they are written, and how commands and envs find them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from straight_road import StraightRoadWorld
from support.untrained import untrained_weights
from test_train_command import photos  # noqa: F401  (a fixture)

import sim2street
from sim2street.apps import user_files
from sim2street.apps.cli import run
from sim2street.apps.compose import WEIGHTS_FOLDER, make_env, open_rendered, style_folders
from sim2street.bridge.frame import Control
from sim2street.bridge.labels import Tag
from sim2street.bridge.recording import Recorder
from sim2street.configs import ConfigError

TINY = WEIGHTS_FOLDER / "tiny" / "tiny.safetensors"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("SIM2STREET_HOME", str(folder))
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Weights without styles, and a style file for them in another folder."""
    weights, styles = untrained_weights(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(styles / "day.safetensors", tmp_path / "elsewhere" / "mine.safetensors")
    shutil.rmtree(styles)
    return weights


def labels_in(folder: Path) -> Path:
    folder.mkdir()
    ids = np.full((32, 64), 11, np.uint8)
    ids[16:] = 1
    Image.fromarray(ids).save(folder / "0.png")
    return folder


def everything_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)


def test_a_style_for_shipped_weights_is_the_users(photos, home, tmp_path, capsys) -> None:  # noqa: F811
    package = everything_below(WEIGHTS_FOLDER)
    make = ["style", "make", "grey", str(photos), "-n", "carla", "--size", "64x32", "--count", "1"]
    assert run(make) == 0
    assert everything_below(WEIGHTS_FOLDER) == package
    [style] = home.rglob("*.safetensors")
    assert style.parent == user_files.styles_of_user(TINY)
    assert str(style) in capsys.readouterr().out
    assert run(["style", "blend", "mixed", "grey=0.5,day=0.5"]) == 0
    assert everything_below(WEIGHTS_FOLDER) == package
    capsys.readouterr()
    assert run(["style", "list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["clear", "day", "dusk", "haze", "pale", "grey", "mixed"]
    with sim2street.load_renderer("tiny", device="cpu") as renderer:
        assert renderer.styles() == tuple(names)
    start = ["render", str(labels_in(tmp_path / "labels")), "-r", "tiny"]
    assert run([*start, "--style", "grey", "-o", str(tmp_path / "out")]) == 0
    make[2] = "day"
    assert run(make) == 2
    assert "have a style 'day' already" in capsys.readouterr().err
    make[2] = "../day"
    assert run(make) == 2
    assert "becomes a file name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"HOME": "/h"}, "/h/.local/share/sim2street"),
        ("linux", {"HOME": "/h", "XDG_DATA_HOME": "/d"}, "/d/sim2street"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Application Support/sim2street"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/sim2street"),
        ("linux", {"HOME": "/h", "SIM2STREET_HOME": "~/mine"}, "/h/mine"),
    ],
)
def test_the_users_folder(platform, variables, expected, monkeypatch) -> None:
    for name in ("SIM2STREET_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert user_files.user_folder() == Path(expected)


def test_a_user_without_a_home(monkeypatch, tmp_path) -> None:
    def none(_path: type[Path]) -> Path:
        raise RuntimeError

    monkeypatch.delenv("SIM2STREET_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(none))
    with pytest.raises(ConfigError, match="set SIM2STREET_HOME"):
        user_files.styles_of_user(TINY)
    assert style_folders(TINY) == [TINY.parent / "styles"]  # renderers find what there is


def test_a_style_file_by_its_path(own, served_world, tmp_path, capsys) -> None:
    style = str(tmp_path / "elsewhere" / "mine.safetensors")
    start = ["-r", str(own), "--style", style]
    demo = ["demo", "-w", served_world, "--ticks", "2"]
    assert run([*demo, *start, "-o", str(tmp_path / "demo")]) == 0, capsys.readouterr().err
    labels = labels_in(tmp_path / "labels")
    assert run(["render", str(labels), *start, "-o", str(tmp_path / "render")]) == 0
    assert (tmp_path / "render" / "frames" / "0.png").is_file()
    capsys.readouterr()
    for wrong, said, code in (
        ("none.safetensors", "there is no such file", 1),
        (str(own), "is not a style file", 1),
        ("default", "these weights have no styles", 2),
        ("random", "these weights have no styles", 2),
    ):
        assert run([*demo, "-r", str(own), "--style", wrong, "-o", str(tmp_path / "no")]) == code
        assert said in capsys.readouterr().err
    assert run([*demo, "-r", "palette", "--style", style, "-o", str(tmp_path / "no")]) == 1
    assert len(capsys.readouterr().err) < 300  # not the bytes of the file
    assert run([*demo, "-r", "tiny", "--style", style, "-o", str(tmp_path / "no")]) == 1
    assert "was made with other weights" in capsys.readouterr().err


def test_an_env_takes_a_style_file(own, tmp_path) -> None:
    style = str(tmp_path / "elsewhere" / "mine.safetensors")
    with Recorder(StraightRoadWorld(64, 32), tmp_path / "drive.mcap") as world:
        world.reset(0)
        world.step(Control())
    env = make_env(
        "replay", recording=tmp_path / "drive.mcap", renderer=str(own), style=style,
        renderer_settings={"device": "cpu"},
    )  # fmt: skip
    try:
        observation, _ = env.reset(seed=5)
        again, info = env.reset(seed=5, options={"style": style})
        assert info["options"]["style"] == style
        np.testing.assert_array_equal(observation["image"], again["image"])
        with pytest.raises(ConfigError, match="there is no such file"):
            env.reset(options={"style": "none.safetensors"})
    finally:
        env.close()


def test_a_style_file_reaches_a_renderer_behind_a_socket(own, serve_renderer, tmp_path) -> None:
    endpoint = serve_renderer(sim2street.load_renderer(str(own), device="cpu"))
    remote = sim2street.load_renderer(endpoint)
    assert remote.styles() == ()
    style = str(tmp_path / "elsewhere" / "mine.safetensors")
    with open_rendered(StraightRoadWorld(64, 32), remote, style) as world:
        rgb = world.reset(0).view.rgb
    assert rgb is not None
    labels = np.full((32, 64), Tag.ROAD, np.uint8)
    image = sim2street.load_renderer(str(own), device="cpu").render_labels(
        labels, style=sim2street.load_style(style)
    )
    assert image.shape == rgb.shape


def test_a_folder_without_styles_is_named(own, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"no style files \(\.safetensors\) in .*nowhere"):
        sim2street.load_renderer(str(own), styles=tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["folder", "model.pt", "drive.bag"])
def test_other_files_are_no_worlds_or_renderers(name, tmp_path, capsys) -> None:
    path = tmp_path / name
    path.mkdir() if name == "folder" else path.write_bytes(b"x")
    for option in ("--renderer", "--world"):
        assert run(["demo", option, str(path), "-o", str(tmp_path / "out")]) == 2
        assert "expected a shipped config" in capsys.readouterr().err
