"""Ctrl-C and SIGTERM: what there is to save is saved, and the exit code says how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from straight_road import StraightRoadWorld
from test_train_command import CONFIG, photos  # noqa: F401  (a fixture)

from sim2street.apps.cli import run
from sim2street.apps.interrupts import saving_first
from sim2street.bridge.errors import RecordingError
from sim2street.bridge.frame import Control
from sim2street.bridge.recording import Recorder, ReplayWorld, partial_path

ROOT = Path(__file__).parents[2]
LONG = CONFIG.replace("steps: 2", "steps: 5000") + "sample_every: 1\n"


def signal_when(number: int, ready: Callable[[], bool]) -> threading.Thread:
    """Send this process a signal as soon as `ready` says so."""

    def wait() -> None:
        deadline_s = time.monotonic() + 60.0
        while not ready() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def training(root: Path) -> tuple[list[str], Path]:
    (root / "toy.yaml").write_text(LONG)
    folder = root / "run"
    command = ["train", str(root / "toy.yaml"), "--data", str(root), "--out", str(folder)]
    return [*command, "--device", "cpu"], folder


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_training_saves_before_it_ends(photos, tmp_path, capfd, number, code) -> None:  # noqa: F811
    command, folder = training(tmp_path)
    sheets = folder / "samples"
    signal_when(number, lambda: len(list(sheets.glob("*.png"))) >= 2)
    assert run(command) == code
    shown = capfd.readouterr()
    assert "finishing this step, then saving the state; press Ctrl-C again" in shown.err
    done = int(shown.err.split("stopped at step ")[1].split()[0])
    assert 2 <= done < 5000
    assert f"of 5000: the state is saved in {folder / 'state.pt'}" in shown.err
    assert (folder / "generator.safetensors").is_file()
    assert run([*command, "--stop-at", str(done + 1)]) == 0
    assert f"step {done + 1}:" in capfd.readouterr().out


def test_nothing_is_saved_where_nothing_was_trained(photos, tmp_path, monkeypatch, capsys) -> None:  # noqa: F811
    command, folder = training(tmp_path)

    def interrupted(*_arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("sim2street.neural_renderer.training.trainer.train_step", interrupted)
    assert run(command) == 130
    assert "error: interrupted" in capsys.readouterr().err
    assert not (folder / "state.pt").exists()


def test_a_second_signal_ends_at_once(capfd) -> None:
    for number, raised in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)):
        with saving_first("saving") as stop:
            stop.has_work = True
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.requested
            assert stop.exit_code == 130
            with pytest.raises(raised):
                os.kill(os.getpid(), number)
        assert "saving; press Ctrl-C again to end at once" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_recording_that_is_stopped_does_not_look_finished(served_world, tmp_path, capfd) -> None:
    file = tmp_path / "drive.mcap"
    part = partial_path(file)
    started_s = time.monotonic()

    def has_begun() -> bool:
        nonlocal started_s
        started_s = started_s if part.exists() else time.monotonic()
        return time.monotonic() - started_s > 0.5

    signal_when(signal.SIGINT, has_begun)
    assert run(["record", str(file), "-w", served_world, "--ticks", "100000"]) == 130
    errors = capfd.readouterr().err
    ticks = int(errors.split("stopped after ")[1].split()[0])
    assert f"`sim2street replay {part} --recover` films them" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["drive.partial.mcap"]
    assert run(["replay", str(part), "-o", str(tmp_path / "a.mp4")]) == 1
    errors = capfd.readouterr().err
    assert f"is incomplete: recording ended early (stopped after {ticks} of 100000 ticks)" in errors
    with ReplayWorld(part, recover=True) as replay:
        assert replay.episodes[0].ticks == ticks - 1  # the first frame is tick 0
    assert run(["record", str(file), "-w", served_world, "--ticks", "3"]) == 1
    assert "is there already" in capfd.readouterr().err


def test_a_recording_that_fails_does_not_look_finished(served_world, tmp_path, capsys) -> None:
    file = tmp_path / "drive.mcap"
    arguments = ["record", str(file), "-w", served_world, "--ticks", "3", "--weather", "soup"]
    assert run(arguments) == 2
    assert "weather" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_a_with_block_leaves_an_incomplete_recording(tmp_path: Path) -> None:
    def drive(file: Path, error: BaseException) -> None:
        with Recorder(StraightRoadWorld(64, 32), file) as world:
            world.reset(0)
            for _ in range(3):
                world.step(Control())
            raise error

    file = tmp_path / "drive.mcap"
    with pytest.raises(ValueError, match="my mistake"):
        drive(file, ValueError("my mistake"))
    with pytest.raises(RecordingError, match="my mistake"):
        ReplayWorld(partial_path(file)).open()
    with ReplayWorld(partial_path(file), recover=True) as replay:
        assert replay.episodes[0].ticks == 3
    with pytest.raises(KeyboardInterrupt):
        drive(tmp_path / "other.mcap", KeyboardInterrupt())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "drive.partial.mcap",
        "other.partial.mcap",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_terminals_ctrl_c_reaches_the_helpers_of_a_training_too(photos, tmp_path, number) -> None:  # noqa: F811
    """A terminal signals all processes of a command, also those that prepare batches."""
    command, folder = training(tmp_path)
    (tmp_path / "toy.yaml").write_text(LONG + "workers: 2\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "sim2street.apps.cli", *command],
        stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
    ) as process:  # fmt: skip
        deadline_s = time.monotonic() + 90.0
        while len(list((folder / "samples").glob("*.png"))) < 3:
            assert time.monotonic() < deadline_s
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=60.0)
    assert process.returncode == 128 + number
    assert "the state is saved in" in errors
    assert "Traceback" not in errors
    assert (folder / "state.pt").is_file()
