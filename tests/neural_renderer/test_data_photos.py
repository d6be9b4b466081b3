"""Folders of data sets: which photographs are found, and the errors for wrong folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from street_photos import HEIGHT, WIDTH, painted_street, write_drives, write_pair

from sim2street.bridge.datasets.label_images import LabelReader
from sim2street.bridge.errors import DatasetError, LabelError
from sim2street.bridge.label_maps import label_map
from sim2street.configs import ConfigError, parse
from sim2street.neural_renderer.data.photos import (
    PhotoSourceConfig,
    SourceReport,
    check_source,
    list_photos,
    looks_for_lines,
    open_source,
    read_photo,
)
from sim2street.neural_renderer.data.prepare import load_photos


def source(root: Path, layout: str = "camvid", **more: object) -> PhotoSourceConfig:
    return parse(PhotoSourceConfig, {"name": "demo", "root": root, "layout": layout, **more})


def reader(naming: str = "camvid11") -> LabelReader:
    return LabelReader(label_map(naming))


def look(config: PhotoSourceConfig) -> SourceReport:
    found = open_source(config)
    return check_source(config, found, LabelReader(found.source_map))


def test_drive_and_frame_come_from_the_name(tmp_path: Path) -> None:
    items = list_photos(source(write_drives(tmp_path)))
    assert [(item.drive, item.frame) for item in items] == [
        ("a", 1), ("a", 2), ("b", 10), ("b", 20),
    ]  # fmt: skip
    rgb, labels = read_photo(items[0], reader())
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(labels.ids, painted_street(0)[1])


def test_drives_can_be_selected_excluded_and_subsampled(tmp_path: Path) -> None:
    root = write_drives(tmp_path)
    assert {i.drive for i in list_photos(source(root, drives=("b",)))} == {"b"}
    assert {i.drive for i in list_photos(source(root, exclude_drives=("b",)))} == {"a"}
    assert len(list_photos(source(root, every=2))) == 2


def test_each_bdd_image_is_a_drive_and_a_folder_is_one_drive(tmp_path: Path) -> None:
    write_drives(tmp_path)
    assert len({i.drive for i in list_photos(source(tmp_path, "bdd", labels="camvid11"))}) == 4
    folder = list_photos(source(tmp_path / "train", "folder"))
    assert {i.drive for i in folder} == {"demo"}
    assert [i.frame for i in folder] == [1, 2, 10, 20]


def test_colour_coded_labels(tmp_path: Path) -> None:
    write_pair(tmp_path / "train", "a_1")
    colours = np.full((HEIGHT, WIDTH, 3), label_map("camvid32").colors[17], np.uint8)
    Image.fromarray(colours).save(tmp_path / "train/labels/a_1.png")
    found = open_source(source(tmp_path, labels="camvid32"))
    _, labels = read_photo(found.photos[0], LabelReader(found.source_map))
    assert set(np.unique(labels.ids)) == {17}


def test_a_look_at_a_source(tmp_path: Path) -> None:
    report = look(source(write_drives(tmp_path)))
    assert (report.photos, report.drives, report.looked_at) == (4, 2, 4)
    assert report.lines() == [
        f"demo: 4 photographs, 2 drives: {tmp_path}/train/images",
        "  labels: camvid11; 4 pairs opened, 240x180: "
        "road, sky, building, vegetation, car, sidewalk",
    ]
    Image.fromarray(painted_street()[1]).save(tmp_path / "train/labels/spare.png")
    assert look(source(tmp_path)).lines()[2].startswith("  1 label images have no photograph")


@pytest.mark.parametrize("wrong", ["carla-0.9.13", "cityscapes-train", "carla"])
def test_a_wrong_naming_stops_before_the_photographs_are_prepared(
    tmp_path: Path, wrong: str
) -> None:
    config = source(write_drives(tmp_path), labels=wrong)
    with pytest.raises(DatasetError, match=r"demo, .*labels: .*but with 'camvid11' they do"):
        load_photos(config)
    trusted = source(tmp_path, labels=wrong, trust_naming=True)
    assert len(load_photos(trusted)) == 4


def test_photographs_are_upright(tmp_path: Path) -> None:
    write_drives(tmp_path)
    for path in sorted((tmp_path / "train/images").iterdir()):
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned by 90 degrees
        with Image.open(path) as image:
            turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(path, exif=exif)
    first, *_ = list_photos(source(tmp_path))
    rgb, _ = read_photo(first, reader())
    assert np.array_equal(rgb, painted_street(0)[0])


def test_which_sources_are_searched_for_lane_markings(tmp_path: Path) -> None:
    assert looks_for_lines(source(tmp_path))
    assert not looks_for_lines(source(tmp_path, "idd-lite"))
    assert not looks_for_lines(source(tmp_path, labels="camvid32"))
    assert not looks_for_lines(source(tmp_path, labels="carla"))
    assert looks_for_lines(source(tmp_path, "idd-lite", find_lines=True))


def test_wrong_folders_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="demo: there is no folder"):
        list_photos(source(tmp_path / "nowhere"))
    write_drives(tmp_path)
    with pytest.raises(ConfigError, match=r"demo: layout 'cityscapes' expects .*leftImg8bit/train"):
        list_photos(source(tmp_path, "cityscapes"))
    with pytest.raises(ConfigError, match=r"expects the folders test/images .*; there are train"):
        list_photos(source(tmp_path, split="test"))
    with pytest.raises(ConfigError, match=r"no drive 'aa'"):
        list_photos(source(tmp_path, drives=("aa",)))
    with pytest.raises(ConfigError, match="did you mean 'camvid11'"):
        list_photos(source(tmp_path, labels="camvid1"))
    with pytest.raises(ConfigError, match="unknown key 'lables'; did you mean 'labels'"):
        source(tmp_path, lables="camvid11")


def test_missing_labels_are_reported(tmp_path: Path) -> None:
    write_drives(tmp_path)
    (tmp_path / "train/labels/b_f10.png").unlink()
    with pytest.raises(ConfigError, match=r"1 of 4 images have no labels.*b_f10"):
        list_photos(source(tmp_path))


def test_files_that_do_not_fit_are_reported(tmp_path: Path) -> None:
    write_drives(tmp_path)
    first, second, third, fourth = list_photos(source(tmp_path))
    first.image.write_bytes(b"\x89PNG\r\n\x1a\n not a picture")
    with pytest.raises(DatasetError, match=r"a_1\.png is not an image"):
        read_photo(first, reader())
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(second.labels)
    with pytest.raises(DatasetError, match=r"labels are 7x9 but the photograph is 240x180; are"):
        read_photo(second, reader())
    Image.fromarray(np.full((HEIGHT, WIDTH), 99, np.uint8)).save(third.labels)
    with pytest.raises(LabelError, match=r"b_f10.png: ids \[99\]"):
        read_photo(third, reader())
    ids = painted_street()[1]
    Image.fromarray(np.ascontiguousarray(np.rot90(ids))).save(fourth.labels)
    with pytest.raises(DatasetError, match=r"180x240 but .* 240x180: one of them is turned by 90"):
        read_photo(fourth, reader())
    Image.fromarray(ids[::2, ::2]).save(fourth.labels)
    with pytest.raises(DatasetError, match=r"resize the labels without interpolation"):
        read_photo(fourth, reader())
