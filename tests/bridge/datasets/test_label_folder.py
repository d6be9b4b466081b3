"""Folders of label images become views."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from label_pictures import HEIGHT, WIDTH, photograph, save, street_colors, street_ids, street_tags

from sim2street.bridge.datasets.label_folder import LabelFolder, shrink_labels
from sim2street.bridge.datasets.naming import naming_names
from sim2street.bridge.errors import DatasetError, LabelError
from sim2street.bridge.frame import View
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError

FOCAL_PX = WIDTH / 2 / np.tan(np.radians(31.0))


def only_view(folder: LabelFolder) -> tuple[str, View]:
    [(name, view)] = list(folder.views())
    return name, view


def road_depth_m(height_m: float = 1.6) -> np.ndarray:
    rows = np.arange(HEIGHT)[:, None] - (HEIGHT / 2 - 0.5)
    depth_m = np.where(rows > 0, FOCAL_PX * height_m / np.maximum(rows, 1.0), 80.0)
    return np.repeat(depth_m, WIDTH, axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("naming", "file"),
    [
        ("cityscapes", "aachen/aachen_000001_000019_gtFine_labelIds.png"),
        ("cityscapes-train", "aachen_000001_000019_gtFine_labelTrainIds.png"),
        ("camvid", "0016E5_07959.png"),
        ("idd-lite", "0/024541_label.png"),
        ("bdd", "0004a4c0-d4dff0ad.png"),
        ("carla", "000001.PNG"),
    ],
)
def test_ids_become_tags(tmp_path: Path, naming: str, file: str) -> None:
    full = {"cityscapes": "cityscapes-ids", "camvid": "camvid11"}.get(naming, naming)
    save(street_ids(full), tmp_path / file)
    name, view = only_view(LabelFolder(tmp_path, naming))
    assert (view.labels[0, 0], view.labels[-1, -1]) == (Tag.SKY, Tag.ROAD)
    assert not name.endswith(("labelIds", "labelTrainIds", "_label", ".png", ".PNG"))
    view.validate()


def test_cityscapes_takes_label_ids_and_leaves_the_rest(tmp_path: Path) -> None:
    save(street_ids("cityscapes-ids"), tmp_path / "a_gtFine_labelIds.png")
    save(street_colors("cityscapes-ids"), tmp_path / "a_gtFine_color.png")
    save(photograph(), tmp_path / "a_leftImg8bit.png")
    files = LabelFolder(tmp_path, "cityscapes").files()
    assert [file.name for file in files] == ["a_gtFine_labelIds.png"]
    files[0].unlink()
    name, view = only_view(LabelFolder(tmp_path, "cityscapes"))
    assert name == "a"
    assert np.array_equal(view.labels, street_tags())


def test_a_single_file_must_not_be_named_otherwise(tmp_path: Path) -> None:
    path = save(street_ids("bdd"), tmp_path / "a_gtFine_labelTrainIds.png")
    assert only_view(LabelFolder(path, "bdd"))[0] == "a"
    with pytest.raises(DatasetError, match="by their names they are labels of"):
        list(LabelFolder(path, "cityscapes").views())


@pytest.mark.parametrize("at", ["npy", "png"])
def test_depth_is_found_by_name(tmp_path: Path, at: str) -> None:
    name = unicodedata.normalize("NFD", "Köln")
    save(street_ids("cityscapes-ids"), tmp_path / "labels" / "s" / f"{name}_gtFine_labelIds.png")
    depth = tmp_path / "depth" / "s" / f"Köln{'_depth' if at == 'png' else ''}.{at}"
    depth.parent.mkdir(parents=True)
    if at == "npy":
        np.save(depth, road_depth_m())
    else:
        save((road_depth_m() * 256).astype(np.uint16), depth)
    _, view = only_view(LabelFolder(tmp_path / "labels", "cityscapes", tmp_path / "depth"))
    np.testing.assert_allclose(view.depth_m, road_depth_m(), atol=0.01)


def test_depth_that_does_not_fit_stops_before_anything_is_rendered(tmp_path: Path) -> None:
    save(street_ids("carla"), tmp_path / "labels" / "1.png")
    folder = LabelFolder(tmp_path / "labels", "carla", tmp_path / "depth")
    with pytest.raises(DatasetError, match=r"there is no folder .*depth"):
        next(folder.views())
    save((road_depth_m() * 1000).clip(0, 65535).astype(np.uint16), tmp_path / "depth" / "1.png")
    with pytest.raises(DatasetError, match="--depth-unit mm"):
        next(LabelFolder(tmp_path / "labels", "carla", tmp_path / "depth").views())
    _, view = only_view(LabelFolder(tmp_path / "labels", "carla", tmp_path / "depth", "mm"))
    np.testing.assert_allclose(view.depth_m, road_depth_m().clip(0, 65.535), atol=0.01)
    save(np.full((HEIGHT, WIDTH + 1), 256, np.uint16), tmp_path / "depth" / "1.png")
    with pytest.raises(DatasetError, match="depth is 129x64, its labels are 128x64"):
        next(LabelFolder(tmp_path / "labels", "carla", tmp_path / "depth").views())
    (tmp_path / "depth" / "1.png").rename(tmp_path / "depth" / "2.png")
    with pytest.raises(DatasetError, match=r"no depth for .*1\.png.*leave out --depth"):
        next(LabelFolder(tmp_path / "labels", "carla", tmp_path / "depth").views())
    save(np.full((HEIGHT, WIDTH), 256, np.uint16), tmp_path / "depth" / "1.png")
    np.save(tmp_path / "depth" / "1.npy", road_depth_m())
    with pytest.raises(DatasetError, match="two depth images for one name"):
        next(LabelFolder(tmp_path / "labels", "carla", tmp_path / "depth").views())


def test_wide_maps_shrink_and_keep_their_poles(tmp_path: Path) -> None:
    labels = street_tags(128, 256)
    small = shrink_labels(labels, 64, 32)
    assert (small == Tag.POLE).sum() >= 8
    save(labels, tmp_path / "1.png")
    _, view = only_view(LabelFolder(tmp_path, "carla", max_width_px=64))
    assert view.labels.shape == (32, 64)
    assert view.camera.fov_deg == pytest.approx(62.0)


def test_every_naming_can_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing else")
    for naming in naming_names():
        with pytest.raises(DatasetError, match=r"no label images in .*found 1 \.txt"):
            LabelFolder(tmp_path, naming).files()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda p: (p / "1.png").write_text("not a picture"), "not an image"),
        (lambda p: save(np.full((64, 128), 77, np.uint8), p / "1.png"), r"ids \[77\] are not in"),
        (lambda p: save(np.full((4, 4, 3), 99, np.uint8), p / "1.png"), "ids"),
        (lambda p: save(photograph(), p / "1.jpg"), "changes values"),
    ],
)
def test_broken_label_images_are_named(tmp_path: Path, prepare, message: str) -> None:
    prepare(tmp_path)
    with pytest.raises((DatasetError, LabelError), match=message) as caught:
        list(LabelFolder(tmp_path, "carla").views())
    assert "1." in str(caught.value)


def test_one_broken_file_among_many_is_named(tmp_path: Path) -> None:
    for index in range(40):
        save(street_ids("carla"), tmp_path / f"{index}.png")
    (tmp_path / "38.png").write_bytes(b"broken")
    with pytest.raises(DatasetError, match=r"38\.png"):
        list(LabelFolder(tmp_path, "carla").views())


def test_two_files_for_one_frame_are_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp"):
        save(street_ids("carla"), tmp_path / name)
    with pytest.raises(DatasetError, match=r"two label images would give one frame"):
        next(LabelFolder(tmp_path, "carla").views())


def test_a_wrong_naming_is_refused_unless_it_is_trusted(tmp_path: Path) -> None:
    save(street_ids("bdd"), tmp_path / "1.png")
    with pytest.raises(DatasetError, match="but with 'cityscapes-train' they do"):
        next(LabelFolder(tmp_path, "carla").views())
    only_view(LabelFolder(tmp_path, "carla", trust_naming=True))


def test_missing_folders_and_wrong_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file or folder"):
        LabelFolder(tmp_path / "nowhere", "carla").files()
    with pytest.raises(ConfigError, match="did you mean 'cityscapes'"):
        LabelFolder(tmp_path, "cityscape").files()
    with pytest.raises(ConfigError, match="did you mean 'mm'"):
        LabelFolder(tmp_path, "carla", depth_unit="mmm").files()
