"""The command line: what it makes, and how it answers mistakes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sim2street.apps.cli import run
from sim2street.apps.commands import options
from sim2street.bridge.palette import PaletteRenderer

ROOT = Path(__file__).parents[2]
COMMANDS = ["demo", "render", "record", "replay", "check-world", "keys", "doctor", "watch"]
COMMANDS += ["train", "distil", "finetune", "seed", "pack", "evaluate"]
COMMANDS += ["style make", "style list", "style blend", "bench renderer"]
SERVE_COMMANDS = ["serve world", "serve renderer"]
NOBODY = "tcp://127.0.0.1:9"


def film_frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def save_labels(folder: Path, count: int = 3, width: int = 40, height: int = 24) -> Path:
    folder.mkdir()
    for index in range(count):
        ids = np.full((height, width), 11, np.uint8)
        ids[height // 2 + index :] = 1
        Image.fromarray(ids).save(folder / f"{index}.png")
    return folder


def one_error_line(capsys) -> str:
    text = capsys.readouterr().err.removesuffix("\n")
    assert text.startswith("error: ")
    assert len(text.splitlines()) == 1, text
    return text


def test_demo_films_labels_depth_and_rendered(served_world, tmp_path, capsys) -> None:
    out = tmp_path / "demo"
    arguments = ["demo", "--world", served_world, "--renderer", "palette"]
    assert run([*arguments, "--ticks", "12", "--scale", "2", "--out", str(out)]) == 0
    frames = film_frames(out / "demo.mp4")
    assert len(frames) == 12
    assert frames[0].shape == (64, 3 * 128, 3)
    # road bottom centre in palette purple, sky at the top in blue (lossy film)
    np.testing.assert_allclose(frames[0][60, 64], (128, 64, 128), atol=12)
    np.testing.assert_allclose(frames[0][4, 64], (70, 130, 180), atol=12)
    with Image.open(out / "contact.png") as sheet:
        assert sheet.width > 3 * 128
    assert sorted(path.name for path in out.iterdir()) == ["contact.png", "demo.mp4"]
    shown = capsys.readouterr().out
    assert "12 frames" in shown
    assert all(stage in shown for stage in ("render", "film", "demo.mp4"))


def test_render_turns_label_maps_into_frames_and_a_film(tmp_path, capsys) -> None:
    labels = save_labels(tmp_path / "labels", width=41, height=25)
    out = tmp_path / "out"
    assert run(["render", str(labels), "--renderer", "palette", "--out", str(out)]) == 0
    frames = sorted((out / "frames").iterdir())
    assert [frame.name for frame in frames] == ["0.png", "1.png", "2.png"]
    with Image.open(frames[0]) as frame:
        assert frame.size == (41, 25)
        assert frame.getpixel((20, 24)) == (128, 64, 128)
    assert len(film_frames(out / "film.mp4")) == 3
    assert (out / "contact.png").is_file()


def test_render_answers_a_wrong_style_as_demo_does(tmp_path, capsys) -> None:
    labels = save_labels(tmp_path / "labels")
    arguments = ["render", str(labels), "-r", "palette", "--style", "dusk"]
    assert run([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "unknown style 'dusk'" in one_error_line(capsys)
    assert not (tmp_path / "out").exists()


def test_render_takes_pictures_of_different_sizes(tmp_path, monkeypatch) -> None:
    closed: list[int] = []
    monkeypatch.setattr(PaletteRenderer, "close_session", lambda _, number: closed.append(number))
    labels = save_labels(tmp_path / "labels", count=2)
    ids = np.full((50, 60), 1, np.uint8)
    Image.fromarray(ids).save(labels / "9.png")
    out = tmp_path / "out"
    assert run(["render", str(labels), "-r", "palette", "-o", str(out)]) == 0
    with Image.open(out / "frames" / "9.png") as frame:
        assert frame.size == (60, 50)
    assert len(film_frames(out / "film.mp4")) == 3
    assert len(closed) == 1  # nobody needs the first size's session any more


def test_a_failed_render_leaves_nothing_that_looks_finished(tmp_path, capsys) -> None:
    labels = save_labels(tmp_path / "labels")
    (labels / "2.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    assert run(["render", str(labels), "-r", "palette", "-o", str(out)]) == 1
    assert "2.png is not an image" in one_error_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


def test_render_does_not_mix_with_what_is_there(tmp_path, capsys) -> None:
    labels = save_labels(tmp_path / "labels")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep me")
    assert run(["render", str(labels), "-r", "palette", "-o", str(tmp_path / "out")]) == 1
    assert "exists already" in one_error_line(capsys)
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep me"


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["demo", "--tiks", "3"], 2, "did you mean --ticks"),
        (["dmeo"], 2, "Did you mean 'demo'"),
        (["demo", "--ticks", "0"], 2, "--ticks"),
        (["demo", "--world", "twon"], 2, "no world config named 'twon'"),
        (["demo", "--renderer", "palete"], 2, "did you mean 'palette'"),
        (["demo", "--size", "512*256"], 2, "expected WIDTHxHEIGHT"),
        (["demo", "--style", "day=much"], 2, "NAME=WEIGHT"),
        (["render", "nowhere"], 1, "no such file or folder: nowhere"),
        (["render", ".", "--naming", "camvd"], 2, "did you mean 'camvid'"),
        (["replay", "nowhere.mcap"], 1, "nowhere.mcap"),
        (["record", "drive.bag"], 2, "ends in .mcap"),
        (["serve", "wrld"], 2, "Did you mean 'world'"),
        (["serve", "renderer", "-r", "palette", "--bind", "tcp://*:5556"], 2, "without keys"),
        (["serve", "world", "--bind", "5555"], 2, "is not an endpoint"),
        (["check-world", NOBODY, "--timeout", "0.3"], 1, "127.0.0.1:9"),
    ],
)
def test_mistakes_get_one_line_that_helps(arguments, code, hint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    assert hint in one_error_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_unknown_keys_in_yaml_are_named(tmp_path, capsys) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("kind: remote\nendpont: tcp://127.0.0.1:5555\n")
    assert run(["demo", "--world", str(config)]) == 2
    assert "unknown key 'endpont'; did you mean 'endpoint'" in one_error_line(capsys)
    config.write_text("kind: remot\n")
    assert run(["demo", "--world", str(config)]) == 2
    assert "did you mean 'remote'" in one_error_line(capsys)
    config.write_text("endpoint: tcp://127.0.0.1:5555\n")
    assert run(["demo", "--world", str(config)]) == 2
    assert "the key 'kind' is missing" in one_error_line(capsys)


@pytest.mark.parametrize("option", ["--world", "--renderer"])
def test_no_server_there(option, served_world, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(options, "FIRST_ANSWER_S", 0.3)
    out = tmp_path / "out"
    given = {"--world": served_world, "--renderer": "palette", option: NOBODY}
    arguments = [word for pair in given.items() for word in pair]
    assert run(["demo", *arguments, "--out", str(out)]) == 1
    assert "Is the server running there?" in one_error_line(capsys)
    assert not out.exists()


def test_a_missing_style_is_named(served_world, tmp_path, capsys) -> None:
    arguments = ["demo", "-w", served_world, "-r", "palette", "-o", str(tmp_path / "out")]
    assert run([*arguments, "--style", "dusk"]) == 2
    assert "unknown style 'dusk'" in one_error_line(capsys)
    assert not (tmp_path / "out" / "demo.mp4").exists()


@pytest.mark.parametrize("command", [[], ["serve"]])
def test_no_command_shows_the_help(command, capsys) -> None:
    assert run(command) == 2
    captured = capsys.readouterr()
    assert "Usage: sim2street" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize("command", [*COMMANDS, *SERVE_COMMANDS])
def test_every_command_explains_itself(command, capsys) -> None:
    assert run([*command.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: sim2street {command}" in shown
    assert len(shown.splitlines()) > 5


def test_keys_are_made_once(tmp_path, capsys) -> None:
    assert run(["keys", str(tmp_path), "gpu"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu.key", "gpu.key_secret"]
    assert run(["keys", str(tmp_path), "gpu"]) == 2
    assert "exist already" in one_error_line(capsys)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_drive_cleanly(served_world, tmp_path, number, code) -> None:
    command = [sys.executable, "-m", "sim2street.apps.cli", "demo", "--world", served_world]
    command += ["--renderer", "palette", "--ticks", "1000000", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        deadline_s = time.monotonic() + 90.0
        while not list(tmp_path.glob("out/.demo.partial-*")):
            assert time.monotonic() < deadline_s
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60.0)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("given", [None, "7"])
def test_threads_wait_briefly_unless_the_user_says_otherwise(given, monkeypatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # restored afterwards, whoever set it
    monkeypatch.setenv("GOMP_SPINCOUNT", given or "")
    if given is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    assert run(["style", "list", "--help"]) == 0
    assert os.environ["GOMP_SPINCOUNT"] == (given or "2000")
