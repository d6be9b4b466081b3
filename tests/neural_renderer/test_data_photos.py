"""Folders of data sets: which photographs are found, and the errors for wrong folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from street_photos import HEIGHT, WIDTH, painted_street, write_drives, write_pair

from sim2street.bridge.errors import LabelError
from sim2street.bridge.label_maps import label_map
from sim2street.configs import ConfigError, parse
from sim2street.neural_renderer.data.photos import (
    PhotoSourceConfig,
    evenly_spaced,
    list_photos,
    looks_for_lines,
    read_photo,
    source_label_map,
)


def source(root: Path, layout: str = "camvid", **more: object) -> PhotoSourceConfig:
    return parse(PhotoSourceConfig, {"name": "demo", "root": root, "layout": layout, **more})


def test_drive_and_frame_come_from_the_name(tmp_path: Path) -> None:
    items = list_photos(source(write_drives(tmp_path)))
    assert [(item.drive, item.frame) for item in items] == [
        ("a", 1), ("a", 2), ("b", 10), ("b", 20),
    ]  # fmt: skip
    rgb, ids = read_photo(items[0], source_label_map(source(tmp_path)))
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(ids, painted_street(0)[1])


def test_drives_can_be_selected_excluded_and_subsampled(tmp_path: Path) -> None:
    root = write_drives(tmp_path)
    assert {i.drive for i in list_photos(source(root, drives=("b",)))} == {"b"}
    assert {i.drive for i in list_photos(source(root, exclude_drives=("b",)))} == {"a"}
    assert len(list_photos(source(root, every=2))) == 2


def test_evenly_spaced_items() -> None:
    assert evenly_spaced(range(7), 4) == [0, 2, 4, 6]
    assert evenly_spaced(range(9), 1) == [4]
    assert evenly_spaced("ab", 5) == ["a", "b"]
    assert evenly_spaced([], 3) == []


def test_each_bdd_image_is_a_drive_and_a_folder_is_one_drive(tmp_path: Path) -> None:
    write_drives(tmp_path)
    assert len({i.drive for i in list_photos(source(tmp_path, "bdd"))}) == 4
    folder = list_photos(source(tmp_path / "train", "folder"))
    assert {i.drive for i in folder} == {"demo"}
    assert [i.frame for i in folder] == [1, 2, 10, 20]


def test_cityscapes_layout(tmp_path: Path) -> None:
    rgb, _ = painted_street()
    for kind, ending, picture in (
        ("leftImg8bit", "leftImg8bit", rgb),
        ("gtFine", "gtFine_labelIds", np.full((HEIGHT, WIDTH), 7, np.uint8)),
    ):
        folder = tmp_path / kind / "train" / "bonn"
        folder.mkdir(parents=True)
        Image.fromarray(picture).save(folder / f"bonn_000003_000019_{ending}.png")
    (item,) = list_photos(source(tmp_path, "cityscapes"))
    assert (item.drive, item.frame) == ("bonn_000003", 19)
    (tmp_path / "gtFine/train/bonn/bonn_000003_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(ConfigError, match="has no labels"):
        list_photos(source(tmp_path, "cityscapes"))


def test_colour_coded_labels(tmp_path: Path) -> None:
    write_pair(tmp_path / "train", "a_1")
    lut = label_map("camvid32")
    assert lut.colors is not None
    colours = np.full((HEIGHT, WIDTH, 3), lut.colors[17], np.uint8)
    Image.fromarray(colours).save(tmp_path / "train/labels/a_1.png")
    config = source(tmp_path, labels="camvid32")
    (item,) = list_photos(config)
    assert set(np.unique(read_photo(item, source_label_map(config))[1])) == {17}
    with pytest.raises(ConfigError, match="'camvid32'"):
        read_photo(item, label_map("camvid11"))


def test_which_sources_are_searched_for_lane_markings(tmp_path: Path) -> None:
    assert looks_for_lines(source(tmp_path))
    assert not looks_for_lines(source(tmp_path, "idd-lite"))
    assert not looks_for_lines(source(tmp_path, labels="camvid32"))
    assert looks_for_lines(source(tmp_path, "idd-lite", find_lines=True))


def test_wrong_folders_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        list_photos(source(tmp_path / "nowhere"))
    write_drives(tmp_path)
    with pytest.raises(ConfigError, match=r"expects the folder .*gtFine|leftImg8bit"):
        list_photos(source(tmp_path, "cityscapes"))
    with pytest.raises(ConfigError, match=r"expects the folder .*test/images; there are train"):
        list_photos(source(tmp_path, split="test"))
    with pytest.raises(ConfigError, match=r"no drive 'aa'"):
        list_photos(source(tmp_path, drives=("aa",)))
    with pytest.raises(ConfigError, match="did you mean 'camvid11'"):
        source_label_map(source(tmp_path, labels="camvid1"))
    with pytest.raises(ConfigError, match="unknown key 'lables'; did you mean 'labels'"):
        source(tmp_path, lables="camvid11")


def test_missing_labels_are_reported(tmp_path: Path) -> None:
    write_drives(tmp_path)
    (tmp_path / "train/labels/b_f10.png").unlink()
    with pytest.raises(ConfigError, match=r"1 of 4 images have no labels.*b_f10"):
        list_photos(source(tmp_path))


def test_unreadable_images_are_reported(tmp_path: Path) -> None:
    write_drives(tmp_path)
    labels = label_map("camvid11")
    first, second, third, _ = list_photos(source(tmp_path))
    first.image.write_bytes(b"\x89PNG\r\n\x1a\n not a picture")
    with pytest.raises(ConfigError, match=r"a_1.png: cannot be read as an image"):
        read_photo(first, labels)
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(second.labels)
    with pytest.raises(ConfigError, match=r"labels are 7x9 but the photograph is 240x180"):
        read_photo(second, labels)
    Image.fromarray(np.full((HEIGHT, WIDTH), 99, np.uint8)).save(third.labels)
    with pytest.raises(LabelError, match=r"b_f10.png: ids \[99\]"):
        read_photo(third, labels)
