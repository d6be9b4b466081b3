"""Which files count, and what is said about the others."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from label_pictures import save, street_ids

from sim2street.bridge.datasets.files import evenly_spaced, find_images, shown
from sim2street.bridge.errors import DatasetError


def names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in find_images(folder)]


def test_suffixes_count_in_any_case_and_others_do_not(tmp_path: Path) -> None:
    ids = street_ids("carla")
    for name in ("A.PNG", "b.png", "c.Bmp", "d.TIF", "e.webp"):
        save(ids, tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    (tmp_path / "readme.txt").write_text("no image")
    assert names(tmp_path) == ["A.PNG", "b.png", "c.Bmp", "d.TIF", "e.webp"]


def test_hidden_and_system_files_are_left_out(tmp_path: Path) -> None:
    save(street_ids("carla"), tmp_path / "a.png")
    for name in (
        "._a.png",
        ".DS_Store",
        "Thumbs.db",
        "__MACOSX/a.png",
        ".cache/b.png",
        "@eaDir/c.png",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\x00\x05\x16\x07 no image")
    assert names(tmp_path) == ["a.png"]


def test_numbers_are_in_numeric_order(tmp_path: Path) -> None:
    for name in ("10.png", "9.png", "s2/1.png", "s10/1.png"):
        save(street_ids("carla"), tmp_path / name)
    assert names(tmp_path) == ["9.png", "10.png", "s2/1.png", "s10/1.png"]


def test_links_are_followed_but_never_in_a_circle(tmp_path: Path) -> None:
    save(street_ids("carla"), tmp_path / "real" / "a.png")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "real")
    (folder / "b.png").symlink_to(tmp_path / "real" / "a.png")
    (folder / "round").symlink_to(folder)
    assert names(folder) == ["b.png", "link/a.png"]


@pytest.mark.parametrize("target", ["nowhere.png", "broken.png"])
def test_a_link_to_nothing_is_named(tmp_path: Path, target: str) -> None:
    (tmp_path / "broken.png").symlink_to(target)
    with pytest.raises(DatasetError, match=r"broken\.png is a link to (nowhere|broken)\.png"):
        find_images(tmp_path)


def test_wrong_folders_are_named_with_what_there_is(tmp_path: Path) -> None:
    save(street_ids("carla"), tmp_path / "data" / "a.png")
    with pytest.raises(DatasetError, match=r"a\.png is a file, expected a folder"):
        find_images(tmp_path / "data" / "a.png")
    with pytest.raises(DatasetError, match=r"no folder .*data/labels; in .*data there are a"):
        find_images(tmp_path / "data" / "labels")
    archive = shutil.make_archive(str(tmp_path / "labels"), "zip", tmp_path / "data")
    with pytest.raises(DatasetError, match=r"labels\.zip is an archive: unpack it"):
        find_images(Path(archive))
    (tmp_path / "gone").symlink_to(tmp_path / "removed")
    with pytest.raises(DatasetError, match=r"gone is a link to .*removed, which is missing"):
        find_images(tmp_path / "gone")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root may")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    closed = Path("/tmp") / f"{tmp_path.parent.name}-{os.getpid()}-closed"
    closed.mkdir(mode=0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(DatasetError, match=r"closed may not be read \(permission denied\)"):
            find_images(closed)
    finally:
        os.seteuid(0)
        closed.rmdir()


def test_names_in_any_script_can_be_shown(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Köln_é.png")
    save(street_ids("carla"), tmp_path / decomposed)
    not_utf8 = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xfcckw\xe4rts.png"))
    save(street_ids("carla"), not_utf8)
    assert len(find_images(tmp_path)) == 2
    assert shown(not_utf8).endswith("r?ckw?rts.png")
    shown(not_utf8).encode()


def test_evenly_spaced_items() -> None:
    assert evenly_spaced(range(7), 4) == [0, 2, 4, 6]
    assert evenly_spaced(range(9), 1) == [4]
    assert evenly_spaced("ab", 5) == ["a", "b"]
    assert evenly_spaced([], 3) == []
