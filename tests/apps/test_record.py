"""Recordings by the command line: made, replayed, rendered, broken."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from straight_road import StraightRoadWorld
from support.small_disk import small_disk

from sim2street.apps.cli import run


def film_length(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.fixture
def drive(served_world: str, tmp_path: Path) -> Path:
    """A recording of ten ticks."""
    file = tmp_path / "drive.mcap"
    assert run(["record", str(file), "--world", served_world, "--ticks", "10"]) == 0
    return file


def test_a_recording_replays_and_renders(drive, tmp_path, capsys) -> None:
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drive.mcap"]
    assert run(["replay", str(drive), "--out", str(tmp_path / "replay.mp4")]) == 0
    assert film_length(tmp_path / "replay.mp4") == 10
    out = tmp_path / "out"
    assert run(["render", str(drive), "--renderer", "palette", "--out", str(out)]) == 0
    assert film_length(out / "film.mp4") == 10
    assert len(list((out / "frames").iterdir())) == 10
    assert "read" in capsys.readouterr().out


def test_a_recording_is_never_overwritten(drive, served_world, capsys) -> None:
    before = drive.read_bytes()
    assert run(["record", str(drive), "--world", served_world, "--ticks", "2"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert drive.read_bytes() == before


def test_a_broken_recording_says_so_and_can_be_read_as_far_as_it_goes(
    drive, tmp_path, capsys
) -> None:
    drive.write_bytes(drive.read_bytes()[:-800])
    film = tmp_path / "replay.mp4"
    assert run(["replay", str(drive), "--out", str(film)]) == 1
    assert "is not a finished recording" in capsys.readouterr().err
    assert not film.exists()
    assert run(["replay", str(drive), "--recover", "--out", str(film)]) == 0
    assert 1 <= film_length(film) <= 10


def test_an_unknown_camera_is_named(drive, tmp_path, capsys) -> None:
    film = tmp_path / "replay.mp4"
    assert run(["replay", str(drive), "--camera", "frnt", "--out", str(film)]) == 1
    assert "did you mean 'front'" in capsys.readouterr().err
    assert not film.exists()


def test_a_full_disk_ends_a_recording_with_one_line(serve, tmp_path, capsys) -> None:
    endpoint = serve(StraightRoadWorld(256, 128))
    file = tmp_path / "drive.mcap"
    with small_disk(1_000):
        assert run(["record", str(file), "--world", endpoint, "--ticks", "300"]) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert "cannot write" in errors[0]
    assert not file.exists()


def test_a_full_disk_ends_a_film_with_one_line(serve, tmp_path, capsys) -> None:
    endpoint = serve(StraightRoadWorld(512, 256))
    out = tmp_path / "out"
    arguments = ["demo", "--world", endpoint, "-r", "palette", "--ticks", "20"]
    with small_disk(1_000):
        assert run([*arguments, "--out", str(out)]) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert f"cannot write {out / 'demo.mp4'}: File too large" in errors[0]
    assert list(out.iterdir()) == []


def test_a_demo_of_a_recording_ends_where_it_ends(drive, tmp_path) -> None:
    out = tmp_path / "out"
    arguments = ["demo", "--world", str(drive), "-r", "palette", "--ticks", "50"]
    assert run([*arguments, "--out", str(out)]) == 0
    assert film_length(out / "demo.mp4") == 10
