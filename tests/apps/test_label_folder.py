"""Label maps of every kind a user may bring, and every way in which they may be broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim2street.apps.label_folder import (
    ImageError,
    LabelFolder,
    naming_names,
    read_depth_m,
    shrink_labels,
)
from sim2street.bridge.errors import LabelError
from sim2street.bridge.labels import PALETTE, Tag
from sim2street.configs import ConfigError


def save(array: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def street(road: int, sky: int, height: int = 24, width: int = 40) -> np.ndarray:
    ids = np.full((height, width), sky, np.uint8)
    ids[height // 2 :] = road
    return ids


def only_view(folder: LabelFolder):
    [(name, view)] = list(folder.views())
    return name, view


@pytest.mark.parametrize(
    ("naming", "file", "road", "sky"),
    [
        ("cityscapes", "aachen/aachen_000001_000019_gtFine_labelIds.png", 7, 23),
        ("cityscapes-train", "aachen_000001_000019_gtFine_labelTrainIds.png", 0, 10),
        ("camvid", "0016E5_07959.png", 3, 0),
        ("idd-lite", "0_024541.png", 0, 6),
        ("carla", "000001.png", 1, 11),
    ],
)
def test_ids_become_tags(tmp_path, naming, file, road, sky) -> None:
    save(street(road, sky), tmp_path / file)
    name, view = only_view(LabelFolder(tmp_path, naming))
    assert set(np.unique(view.labels)) == {Tag.ROAD, Tag.SKY}
    assert view.labels[-1, 0] == Tag.ROAD
    assert not name.endswith(("labelIds", "labelTrainIds", ".png"))
    view.validate()


def test_cityscapes_takes_label_ids_and_leaves_the_colour_pictures(tmp_path) -> None:
    save(street(7, 23), tmp_path / "a_gtFine_labelIds.png")
    save(PALETTE[street(1, 11)], tmp_path / "a_gtFine_color.png")
    assert [f.name for f in LabelFolder(tmp_path, "cityscapes").files()] == [
        "a_gtFine_labelIds.png"
    ]


def test_carla_labels_in_the_red_channel_or_in_colour(tmp_path) -> None:
    tags = street(Tag.ROAD, Tag.SKY)
    raw = np.stack([tags, np.zeros_like(tags), np.zeros_like(tags)], axis=-1)
    save(raw, tmp_path / "raw" / "1.png")
    save(PALETTE[tags], tmp_path / "coloured" / "1.png")
    for kind in ("raw", "coloured"):
        _, view = only_view(LabelFolder(tmp_path / kind, "carla"))
        assert np.array_equal(view.labels, tags)


def test_camvid_colours(tmp_path) -> None:
    colours = np.full((8, 8, 3), (128, 64, 128), np.uint8)
    colours[:2] = (128, 128, 128)
    save(colours, tmp_path / "0001TP_006690_L.png")
    name, view = only_view(LabelFolder(tmp_path, "camvid32"))
    assert name == "0001TP_006690"
    assert (view.labels[0, 0], view.labels[-1, 0]) == (Tag.SKY, Tag.ROAD)


@pytest.mark.parametrize("kind", ["npy", "kitti", "carla"])
def test_depth_in_three_encodings(tmp_path, kind) -> None:
    save(street(1, 11), tmp_path / "labels" / "1.png")
    depth_m = np.full((24, 40), 12.5, np.float32)
    (tmp_path / "depth").mkdir()
    if kind == "npy":
        np.save(tmp_path / "depth" / "1.npy", depth_m)
    elif kind == "kitti":
        save((depth_m * 256).astype(np.uint16), tmp_path / "depth" / "1.png")
    else:
        code = (depth_m / 1000 * (2**24 - 1)).astype(np.uint32)
        rgb = np.stack([code & 255, code >> 8 & 255, code >> 16], axis=-1).astype(np.uint8)
        save(rgb, tmp_path / "depth" / "1.png")
    _, view = only_view(LabelFolder(tmp_path / "labels", "carla", tmp_path / "depth"))
    np.testing.assert_allclose(view.depth_m, depth_m, atol=0.01)


def test_missing_and_infinite_depth_is_far_away(tmp_path) -> None:
    np.save(tmp_path / "d.npy", np.array([[np.inf, np.nan, 3.0]], np.float32))
    assert read_depth_m(tmp_path / "d.npy").tolist() == [[1000.0, 1000.0, 3.0]]


def test_wide_maps_shrink_and_keep_their_poles(tmp_path) -> None:
    labels = street(Tag.ROAD, Tag.SKY, height=128, width=256)
    labels[20:100, 100:102] = Tag.POLE
    small = shrink_labels(labels, 64, 32)
    assert (small == Tag.POLE).sum() >= 15
    save(labels, tmp_path / "1.png")
    _, view = only_view(LabelFolder(tmp_path, "carla", max_width_px=64))
    assert view.labels.shape == (32, 64)
    assert view.camera.fov_deg == pytest.approx(62.0)


def test_every_naming_can_be_asked_for(tmp_path) -> None:
    for naming in naming_names():
        with pytest.raises(ImageError, match="no label maps"):
            LabelFolder(tmp_path, naming).files()


def test_grey_with_opacity_is_read_as_grey(tmp_path) -> None:
    ids = street(1, 11)
    Image.merge("LA", [Image.fromarray(ids), Image.new("L", ids.shape[::-1], 255)]).save(
        tmp_path / "1.png"
    )
    _, view = only_view(LabelFolder(tmp_path, "carla"))
    assert np.array_equal(view.labels, ids)


def broken_png(path: Path) -> None:
    save(street(1, 11, 200, 200), path)
    path.write_bytes(path.read_bytes()[:60])


def archive_of_depths(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, depth=np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: path.write_bytes(b""), "not a plain array"),
        (lambda path: path.write_bytes(b"\x93NUMPY"), "not a plain array"),
        (lambda path: np.save(path, np.array([["far"]])), "expected depths in metres"),
        (archive_of_depths, "not a plain array"),
    ],
)
def test_broken_arrays_of_depth_are_named(tmp_path, prepare, message) -> None:
    path = tmp_path / "1.npy"
    prepare(path)
    with pytest.raises(ImageError, match=message) as caught:
        read_depth_m(path)
    assert "1.npy" in str(caught.value)


def test_an_image_beyond_all_sizes_is_refused(tmp_path, monkeypatch) -> None:
    save(street(1, 11), tmp_path / "1.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match=r"1\.png is too large"):
        list(LabelFolder(tmp_path, "carla").views())


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda p: (p / "1.png").write_text("not a picture"), "not an image"),
        (lambda p: broken_png(p / "1.png"), "damaged"),
        (lambda p: save(street(1, 77), p / "1.png"), r"ids \[77\] are not in"),
        (lambda p: save(street(1, 11).astype(np.uint16) * 300, p / "1.png"), "ids above 255"),
        (lambda p: save(np.full((4, 4, 3), 99, np.uint8), p / "1.png"), "colour"),
    ],
)
def test_broken_label_maps_are_named(tmp_path, prepare, message) -> None:
    prepare(tmp_path)
    with pytest.raises((ImageError, LabelError), match=message) as caught:
        list(LabelFolder(tmp_path, "carla").views())
    assert "1.png" in str(caught.value)


def test_missing_files_are_named(tmp_path) -> None:
    with pytest.raises(ImageError, match="no such file or folder"):
        LabelFolder(tmp_path / "nowhere", "carla").files()
    with pytest.raises(ConfigError, match="did you mean 'cityscapes'"):
        LabelFolder(tmp_path, "cityscape").files()
    save(street(1, 11), tmp_path / "labels" / "1.png")
    with pytest.raises(ImageError, match=r"no depth for .*1\.png.*leave out --depth"):
        list(LabelFolder(tmp_path / "labels", "carla", tmp_path).views())


def test_depth_of_another_size_or_with_too_few_bits_is_refused(tmp_path) -> None:
    save(street(1, 11), tmp_path / "labels" / "1.png")
    folder = LabelFolder(tmp_path / "labels", "carla", tmp_path / "depth")
    save(np.full((24, 41), 256, np.uint16), tmp_path / "depth" / "1.png")
    with pytest.raises(ImageError, match="depth is 41x24, its labels are 40x24"):
        list(folder.views())
    save(np.full((24, 40), 25, np.uint8), tmp_path / "depth" / "1.png")
    with pytest.raises(ImageError, match="got 8 bits"):
        list(folder.views())
