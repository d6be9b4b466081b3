"""Outputs are whole or not there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from support.small_disk import small_disk

from sim2street.apps.output import OutputError, partial_file, partial_folder
from sim2street.apps.video import color_depth, contact_sheet, fitted, open_film


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with partial_file(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
        assert temporary.suffix == ".txt"
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def write_half_a_file(path: Path) -> None:
    with partial_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def write_half_a_folder(path: Path) -> None:
    with partial_folder(path) as temporary:
        (temporary / "0.png").write_text("half")
        raise RuntimeError


def film_of(path: Path, frames: Iterable[np.ndarray]) -> None:
    with open_film(path, 10.0) as film:
        for frame in frames:
            film.write(frame)


def test_a_failure_keeps_the_old_file_and_leaves_no_new_one(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError):
        write_half_a_file(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "frames"
    with pytest.raises(RuntimeError):
        write_half_a_folder(target)
    assert list(tmp_path.iterdir()) == []
    with partial_folder(target) as temporary:
        (temporary / "0.png").write_text("whole")
    assert [path.name for path in target.iterdir()] == ["0.png"]
    with pytest.raises(OutputError, match="exists already"):
        write_half_a_folder(target)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        write_half_a_file(tmp_path / "out" / "a.mp4")


def test_a_full_disk_leaves_no_film(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the same kind of error comes."""
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    frames = [np.roll(noise, shift * 7, axis=0) for shift in range(60)]
    with small_disk(40_000), pytest.raises(OutputError, match=r"a\.mp4: File too large"):
        film_of(tmp_path / "a.mp4", frames)
    assert list(tmp_path.iterdir()) == []


def test_a_film_needs_frames_of_one_size(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no frames"):
        film_of(tmp_path / "a.mp4", [])
    frames = [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)]
    with pytest.raises(OutputError, match="size of the first"):
        film_of(tmp_path / "a.mp4", frames)
    assert list(tmp_path.iterdir()) == []


def test_depth_colours_run_from_red_to_blue_and_the_sky_is_black() -> None:
    near, far, sky = color_depth(np.array([[2.0, 150.0, 1000.0]], np.float32))[0].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]
    assert sky.tolist() == [0, 0, 0]


def test_pictures_are_fitted_without_distortion() -> None:
    picture = fitted(np.full((20, 10, 3), 200, np.uint8), 40, 40)
    assert picture.shape == (40, 40, 3)
    assert picture[20, 20].tolist() == [200, 200, 200]
    assert picture[20, 2].tolist() == [0, 0, 0]


def test_contact_sheets_hold_every_picture() -> None:
    pictures = [np.full((10, 20, 3), value, np.uint8) for value in (50, 100, 150)]
    sheet = np.array(contact_sheet(pictures, ["a", "b", "c"], columns=2))
    for picture in pictures:
        assert (sheet == picture[0, 0]).all(axis=-1).sum() >= 150
