"""`sim2street watch` and `--publish`, with worlds and demos in real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from straight_road import StraightRoadWorld

from sim2street.apps.cli import run
from sim2street.apps.commands.watch import PICTURE_NAME
from sim2street.bridge.frame import Control
from sim2street.bridge.transport import (
    ClientConfig,
    FramePublisher,
    PublishedWorld,
    RemoteWorld,
    ServerConfig,
    generate_keys,
)

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
END_S = 90.0
ROAD_COLOUR, SKY_COLOUR = (128, 64, 128), (70, 130, 180)

TOWN = """
kind: town
town: 3
vehicles: 2
pedestrians: 2
cameras:
  front: {width_px: 96, height_px: 48}
"""


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`sim2street ARGUMENTS` as a process that ends with the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sim2street.apps.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def announced_endpoint(process: subprocess.Popen[str], what: str) -> str:
    """The endpoint in the line in which the process says where it serves or publishes."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(rf"{what} on (\S+)", line)
    assert found, (line, process.stderr.read() if process.poll() is not None else "")
    return found[1]


@contextmanager
def driven(endpoint: str) -> Iterator[None]:
    """A client that steps the served world until the block ends."""
    stop = threading.Event()

    def drive() -> None:
        with RemoteWorld(ClientConfig(endpoint=endpoint, open_deadline_s=END_S)) as world:
            world.reset(5)
            while not stop.wait(0.01):
                world.step(Control(throttle=0.3))

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(END_S)


@contextmanager
def publishing(config: ServerConfig) -> Iterator[str]:
    """The endpoint of a world that is stepped 50 times a second in a thread."""
    stop = threading.Event()
    with FramePublisher(config) as publisher:

        def drive() -> None:
            with PublishedWorld(StraightRoadWorld(), publisher) as world:
                world.reset(0)
                while not stop.wait(0.02):
                    world.step(Control(throttle=0.1))

        thread = threading.Thread(target=drive)
        thread.start()
        try:
            yield publisher.endpoint
        finally:
            stop.set()
            thread.join(END_S)


def test_a_served_world_is_watched_while_a_client_drives_it(tmp_path) -> None:
    config, folder = tmp_path / "town.yaml", tmp_path / "newest"
    config.write_text(TOWN)
    anywhere = "tcp://127.0.0.1:0"
    with command(
        "serve", "world", str(config), "--bind", anywhere, "--publish", anywhere
    ) as server:
        published = announced_endpoint(server, "publishing frames")
        served = announced_endpoint(server, "serving a world")
        options = ["--frames", "5", "--out", str(folder), "--every", "0"]
        with driven(served), command("watch", published, *options) as watcher:
            shown, errors = watcher.communicate(timeout=END_S)
        assert (watcher.returncode, errors) == (0, "")
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=END_S)
        assert server.returncode == 0
    assert re.search(r"episode \d+ +tick \d+ +received 1 +dropped 0", shown)
    assert "front 96x48: labels depth_m instances" in shown
    assert "received 5 frames, dropped " in shown
    assert [path.name for path in folder.iterdir()] == [PICTURE_NAME]
    with Image.open(folder / PICTURE_NAME) as picture:
        assert picture.size == (2 * 96, 48)
        assert picture.getpixel((48, 47)) in {ROAD_COLOUR, (157, 234, 50)}  # road or its markings


def test_a_demo_publishes_its_rendered_frames(served_world, tmp_path) -> None:
    folder = tmp_path / "newest"
    arguments = ["--world", served_world, "--renderer", "palette", "--ticks", "100000"]
    arguments += ["--out", str(tmp_path / "film"), "--publish", "tcp://127.0.0.1:0"]
    with command("demo", *arguments) as demo:
        endpoint = announced_endpoint(demo, "publishing frames")
        with command("watch", endpoint, "--frames", "3", "--out", str(folder)) as watcher:
            shown, errors = watcher.communicate(timeout=END_S)
        assert (watcher.returncode, errors) == (0, "")
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=END_S)
        assert demo.returncode == 130
    assert "rgb" in shown
    with Image.open(folder / PICTURE_NAME) as picture:
        pixels = np.asarray(picture)
    height, width = pixels.shape[0], pixels.shape[1] // 3
    labels, rgb = pixels[:, :width], pixels[:, 2 * width :]
    np.testing.assert_array_equal(labels[2, width // 2], SKY_COLOUR)
    np.testing.assert_allclose(rgb[height - 4, width // 2], ROAD_COLOUR, atol=16)  # shaded


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_watcher_after_its_summary(number, code, tmp_path) -> None:
    with (
        publishing(ServerConfig(endpoint="tcp://127.0.0.1:0")) as endpoint,
        command("watch", endpoint, "--out", str(tmp_path)) as watcher,
    ):
        deadline_s = time.monotonic() + END_S
        while not (tmp_path / PICTURE_NAME).exists():
            assert time.monotonic() < deadline_s
            assert watcher.poll() is None
            time.sleep(0.05)
        watcher.send_signal(number)
        shown, errors = watcher.communicate(timeout=END_S)
    assert watcher.returncode == code
    assert "Traceback" not in errors
    assert re.search(r"received \d+ frames, dropped \d+", shown)
    assert [path.name for path in tmp_path.iterdir()] == [PICTURE_NAME]


def test_pictures_are_saved_at_most_as_often_as_asked(tmp_path, monkeypatch, capsys) -> None:
    saved: list[Path] = []
    monkeypatch.setattr(
        "sim2street.apps.commands.watch.save_image", lambda _, path: saved.append(path)
    )
    with publishing(ServerConfig(endpoint="tcp://127.0.0.1:0")) as endpoint:
        arguments = ["watch", endpoint, "--frames", "5", "--out", str(tmp_path)]
        assert run([*arguments, "--every", "1000"]) == 0
        assert saved == [tmp_path / PICTURE_NAME]
        assert run([*arguments, "--every", "0"]) == 0
        assert len(saved) == 1 + 5
    assert "received 5 frames" in capsys.readouterr().out


def test_a_watcher_needs_the_keys_of_an_encrypted_stream(tmp_path, capsys) -> None:
    keys = generate_keys(tmp_path, "both")
    config = ServerConfig(
        endpoint="tcp://127.0.0.1:0", secret_key=keys.secret, allowed_clients=tmp_path
    )
    with publishing(config) as endpoint:
        pair = ["--secret-key", str(keys.secret), "--server-key", str(keys.public)]
        assert run(["watch", endpoint, "--frames", "1", *pair]) == 0
        capsys.readouterr()
        assert run(["watch", endpoint, "--frames", "1", "--timeout", "0.5"]) == 1
    assert "are the keys right?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["watch", "tcp://127.0.0.1:9", "--timeout", "0.2"], 1, "no frame from tcp://127.0.0.1:9"),
        (["watch", "5557"], 2, "is not an endpoint"),
        (["watch", "ipc://x", "--server-key", "a.key"], 2, "both secret_key and server_key"),
        (["demo", "--publish", "5557"], 2, "is not an endpoint"),
        (["serve", "world", "--publish", "tcp://*:0"], 2, "without keys"),
        (["serve", "world", "--supervise", "--publish", "tcp://127.0.0.1:0"], 2, "fixed port"),
    ],
)
def test_mistakes_get_one_line_that_helps(arguments, code, hint, capsys) -> None:
    assert run(arguments) == code
    captured = capsys.readouterr()
    assert hint in captured.err
    assert len(captured.err.splitlines()) == 1


def test_a_camera_that_is_not_there_is_named(tmp_path, capsys) -> None:
    with publishing(ServerConfig(endpoint="tcp://127.0.0.1:0")) as endpoint:
        assert run(["watch", endpoint, "--out", str(tmp_path), "--camera", "frnt"]) == 1
    assert "did you mean 'front'" in capsys.readouterr().err
