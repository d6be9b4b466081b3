"""Data sets as they are downloaded, and folders of one's own."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import pytest
from label_pictures import photograph, save, street_colors, street_ids

from sim2street.bridge.datasets.label_images import LabelReader
from sim2street.bridge.datasets.layouts import PhotoSet, find_photos
from sim2street.bridge.errors import DatasetError


def found(layout: str, root: Path, **options: str) -> list[tuple[str, int, str, str]]:
    photo_set = find_photos(layout, root, **options)
    for photo in photo_set.photos:
        LabelReader(photo_set.source_map).read(photo.labels)
    return [(p.drive, p.frame, p.image.name, p.labels.name) for p in photo_set.photos]


def pair(root: Path, image: str, labels: str, naming: str) -> None:
    save(photograph(), root / image)
    save(street_ids(naming), root / labels)


def test_camvid_of_segnet(tmp_path: Path) -> None:
    for split, name in (("train", "0001TP_006690"), ("train", "Seq05VD_f02610"), ("val", "b_1")):
        pair(tmp_path, f"{split}/{name}.png", f"{split}annot/{name}.png", "camvid11")
    assert found("camvid", tmp_path) == [
        ("0001TP", 6690, "0001TP_006690.png", "0001TP_006690.png"),
        ("Seq05VD", 2610, "Seq05VD_f02610.png", "Seq05VD_f02610.png"),
    ]
    assert [drive for drive, *_ in found("camvid", tmp_path, split="val")] == ["b"]


def test_camvid_of_kaggle_is_in_colours(tmp_path: Path) -> None:
    save(photograph(), tmp_path / "CamVid/train/0001TP_006690.png")
    save(street_colors("camvid32"), tmp_path / "CamVid/train_labels/0001TP_006690_L.png")
    for root in (tmp_path, tmp_path / "CamVid"):
        assert found("camvid", root) == [
            ("0001TP", 6690, "0001TP_006690.png", "0001TP_006690_L.png")
        ]
    assert find_photos("camvid", tmp_path).source_map.name == "camvid32"


def test_camvid_of_cambridge_has_no_splits(tmp_path: Path) -> None:
    save(photograph(), tmp_path / "701_StillsRaw_full/0001TP_006690.png")
    save(street_colors("camvid32"), tmp_path / "LabeledApproved_full/0001TP_006690_L.png")
    with pytest.raises(
        DatasetError, match="has no splits, so there is no 'train': set `split: all`"
    ):
        find_photos("camvid", tmp_path)
    assert [frame for _, frame, *_ in found("camvid", tmp_path, split="all")] == [6690]


def test_bdd100k(tmp_path: Path) -> None:
    root, name = tmp_path / "bdd100k", "0004a4c0-d4dff0ad"
    masks, colormaps = (
        f"labels/sem_seg/{kind}/train/{name}.png" for kind in ("masks", "colormaps")
    )
    pair(root, f"images/10k/train/{name}.jpg", masks, "bdd")
    save(street_colors("bdd"), root / colormaps)
    save(photograph(), root / "images/100k/train/other.jpg")
    for at in (root, tmp_path):
        assert found("bdd", at) == [(name, 0, f"{name}.jpg", f"{name}.png")]
    assert "masks" in str(find_photos("bdd", root).labels)
    shutil.rmtree(root / "labels/sem_seg/masks")
    assert found("bdd", root) == [(name, 0, f"{name}.jpg", f"{name}.png")]


def test_bdd100k_of_2018(tmp_path: Path) -> None:
    pair(tmp_path, "seg/images/val/a-b.jpg", "seg/labels/val/a-b_train_id.png", "bdd")
    save(street_colors("bdd"), tmp_path / "seg/color_labels/val/a-b_train_color.png")
    assert found("bdd", tmp_path, split="val") == [("a-b", 0, "a-b.jpg", "a-b_train_id.png")]


def test_idd_lite_and_idd(tmp_path: Path) -> None:
    lite = tmp_path / "idd20k_lite"
    pair(
        lite, "leftImg8bit/train/7/024541_image.jpg", "gtFine/train/7/024541_label.png", "idd-lite"
    )
    save(street_ids("idd-lite"), lite / "gtFine/train/7/024541_inst_label.png")
    assert found("idd-lite", lite) == [("7", 24541, "024541_image.jpg", "024541_label.png")]
    idd = tmp_path / "IDD_Segmentation"
    stem = "gtFine/train/201/frame0029_gtFine_"
    save(photograph(), idd / "leftImg8bit/train/201/frame0029_leftImg8bit.png")
    (idd / stem).parent.mkdir(parents=True)
    (idd / f"{stem}polygons.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"found 1 \.json; its polygons have to be drawn"):
        find_photos("idd-lite", idd)
    save(street_ids("idd-level3"), idd / f"{stem}labellevel3Ids.png")
    with pytest.raises(DatasetError, match="by their names they are labels of idd-level3"):
        find_photos("idd-lite", idd)
    assert found("idd-lite", idd, naming="idd-level3")[0][:2] == ("201", 29)
    save(street_ids("idd-lite"), idd / f"{stem}labellevel1Ids.png")
    assert found("idd-lite", idd)[0][3] == "frame0029_gtFine_labellevel1Ids.png"


def test_cityscapes_as_unpacked_from_its_two_archives(tmp_path: Path) -> None:
    frame = "berlin/berlin_000000_000019"
    images = tmp_path / "leftImg8bit_trainvaltest/leftImg8bit/train"
    labels = tmp_path / "gtFine_trainvaltest/gtFine/train"
    save(photograph(), images / f"{frame}_leftImg8bit.png")
    save(street_ids("cityscapes-ids"), labels / f"{frame}_gtFine_labelIds.png")
    save(street_colors("cityscapes-ids"), labels / f"{frame}_gtFine_color.png")
    save(street_ids("cityscapes-ids"), labels / f"{frame}_gtFine_instanceIds.png")
    (labels / f"{frame}_gtFine_polygons.json").write_text("{}")
    assert found("cityscapes", tmp_path) == [
        ("berlin", 19, "berlin_000000_000019_leftImg8bit.png",
         "berlin_000000_000019_gtFine_labelIds.png"),
    ]  # fmt: skip
    [(*_, labels_name)] = found("cityscapes", tmp_path, naming="cityscapes-train")
    assert labels_name.endswith("_color.png")  # its colours are known in every naming
    (images / f"{frame}_leftImg8bit.png").rename(images / "berlin/street.png")
    with pytest.raises(DatasetError, match="1 of 1 images have no labels"):
        find_photos("cityscapes", tmp_path)


def test_own_folders(tmp_path: Path) -> None:
    for name in ("a_1", "a_2", "b_f10"):
        pair(tmp_path, f"train/images/{name}.jpg", f"train/labels/{name}.png", "camvid11")
    drives = [(drive, frame) for drive, frame, *_ in found("camvid", tmp_path)]
    assert drives == [("a", 1), ("a", 2), ("b", 10)]
    assert [frame for _, frame, *_ in found("bdd", tmp_path, naming="camvid11")] == [0, 0, 0]
    (tmp_path / "train/labels").rename(tmp_path / "train/mine")
    assert len(found("camvid", tmp_path, label_folder="mine")) == 3
    with pytest.raises(
        DatasetError, match=r"train/images, but none with its labels: .*train/labels"
    ):
        find_photos("camvid", tmp_path)


def test_folders_may_be_nested_and_in_capitals(tmp_path: Path) -> None:
    pair(tmp_path, "Images/north/10.JPG", "LABELS/north/10.PNG", "bdd")
    pair(tmp_path, "Images/9.jpg", "LABELS/9.png", "bdd")
    assert found("folder", tmp_path) == [
        ("", 9, "9.jpg", "9.png"), ("north", 10, "10.JPG", "10.PNG"),
    ]  # fmt: skip


def test_names_pair_whatever_their_accents_and_endings(tmp_path: Path) -> None:
    image = unicodedata.normalize("NFC", "Köln_1")
    labels = unicodedata.normalize("NFD", "Köln_1")
    pair(tmp_path, f"images/{image}.jpg", f"labels/{labels}.png", "bdd")
    pair(tmp_path, "images/a_L.jpg", "labels/a_L.png", "bdd")
    pair(tmp_path, "images/a.jpg", "labels/a.png", "bdd")
    pair(tmp_path, "images/b_rgb.png", "labels/b_label.png", "bdd")
    names = [(image, labels) for *_, image, labels in found("folder", tmp_path)]
    assert ("a_L.jpg", "a_L.png") in names
    assert ("a.jpg", "a.png") in names
    assert ("b_rgb.png", "b_label.png") in names
    assert len(names) == 4


def counted(root: Path) -> PhotoSet:
    return find_photos("folder", root)


def test_what_does_not_pair_is_refused_or_counted(tmp_path: Path) -> None:
    pair(tmp_path, "images/a.jpg", "labels/a.png", "bdd")
    save(street_ids("bdd"), tmp_path / "labels/spare.png")
    assert counted(tmp_path).unused_labels == 1
    save(photograph(), tmp_path / "images/a.png")
    with pytest.raises(DatasetError, match=r"two photographs for .*a\.png: .*a\.jpg and .*a\.png"):
        counted(tmp_path)
    (tmp_path / "images/a.png").unlink()
    save(street_ids("bdd"), tmp_path / "labels/a.bmp")
    with pytest.raises(DatasetError, match=r"two label images for .*a\.jpg: .*a\.bmp and .*a\.png"):
        counted(tmp_path)
    (tmp_path / "labels/a.bmp").unlink()
    save(photograph(), tmp_path / "images/b.jpg")
    with pytest.raises(
        DatasetError, match=r"1 of 2 images have no labels in .*\(the first: .*b\.jpg"
    ):
        counted(tmp_path)


def test_wrong_folders_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no folder"):
        find_photos("camvid", tmp_path / "nowhere")
    pair(tmp_path, "train/images/a.jpg", "train/labels/a.png", "camvid11")
    with pytest.raises(
        DatasetError, match=r"a\.jpg is not named DRIVE_FRAME; use the layout 'folder'"
    ):
        find_photos("camvid", tmp_path)
    with pytest.raises(
        DatasetError, match=r"folders leftImg8bit/train and gtFine/train in .*train"
    ):
        find_photos("cityscapes", tmp_path)
    with pytest.raises(DatasetError, match=r"test/images and test/labels, or .*; there are train$"):
        find_photos("bdd", tmp_path, split="test")
    for name in ("one", "two"):
        pair(tmp_path / "all", f"{name}/images/a.jpg", f"{name}/labels/a.png", "bdd")
    with pytest.raises(DatasetError, match=r"has several folders images: .*one/images and .*two"):
        find_photos("folder", tmp_path / "all")


def test_empty_folders_and_unknown_formats_are_explained(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(DatasetError, match=r"no photographs in .*images: found no files"):
        counted(tmp_path)
    (tmp_path / "images/a.heic").write_bytes(b"\0")
    with pytest.raises(DatasetError, match=r"found 1 \.heic"):
        counted(tmp_path)
    save(photograph(), tmp_path / "images/a.jpg")
    with pytest.raises(DatasetError, match=r"no label images in .*labels: found no files"):
        counted(tmp_path)
    (tmp_path / "labels").rmdir()
    (tmp_path / "labels").write_bytes(b"a file")
    with pytest.raises(DatasetError, match="none with its labels"):
        counted(tmp_path)


def test_photographs_in_formats_that_cannot_be_read_are_mentioned(tmp_path: Path, caplog) -> None:
    pair(tmp_path, "images/a.jpg", "labels/a.png", "bdd")
    (tmp_path / "images/b.HEIC").write_bytes(b"\0")
    (tmp_path / "images/notes.txt").write_text("mine")
    for _ in range(2):
        assert len(counted(tmp_path).photos) == 1
    [record] = caplog.records
    assert record.message.endswith("images in formats that are not read are left out: 1 .heic")
