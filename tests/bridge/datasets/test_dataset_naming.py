"""A wrong naming is told by the names of files, and by where things are in the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_pictures import street_ids, street_tags

from sim2street.bridge.datasets.label_images import LabelImage
from sim2street.bridge.datasets.naming import (
    choose_labels,
    find_map,
    frame_name,
    naming_names,
)
from sim2street.bridge.datasets.plausibility import check_naming
from sim2street.bridge.errors import DatasetError
from sim2street.bridge.label_maps import label_map, label_map_names
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError

ROOT = Path("/data")


def chosen(naming: str, *names: str) -> list[str]:
    files = [ROOT / name for name in names]
    found = choose_labels(files, find_map(naming), ROOT)
    return [str(path.relative_to(ROOT)) for path in found]


def test_short_names_and_a_suggestion() -> None:
    assert find_map("cityscapes").name == "cityscapes-ids"
    assert find_map("camvid").name == "camvid11"
    assert set(label_map_names()) < set(naming_names())
    with pytest.raises(ConfigError, match="did you mean 'cityscapes'"):
        find_map("cityscape")


def test_files_named_for_the_label_map_come_first() -> None:
    frame = "aachen/aachen_000000_000019_gtFine_"
    tree = [f"{frame}{kind}.png" for kind in ("color", "instanceIds", "labelIds", "labelTrainIds")]
    photo = "aachen/aachen_000000_000019_leftImg8bit.png"
    assert chosen("cityscapes", *tree, photo) == [f"{frame}labelIds.png"]
    assert chosen("cityscapes-train", *tree, photo) == [f"{frame}labelTrainIds.png"]
    assert chosen("bdd", *tree, photo) == [f"{frame}labelTrainIds.png"]
    assert chosen("cityscapes", tree[0], tree[1], photo) == [f"{frame}color.png"]
    assert chosen("camvid32", "a_L.png", "figure.png") == ["a_L.png"]
    assert chosen("carla", "a_L.png", "b.png") == ["a_L.png", "b.png"]
    assert chosen("carla", "a.png", "photo.jpg") == ["a.png"]
    assert chosen("idd-lite", "0/1_label.png", "0/1_inst_label.png") == ["0/1_label.png"]
    assert chosen(
        "idd-level3", "0/1_gtFine_labellevel3Ids.png", "0/1_gtFine_labellevel1Ids.png"
    ) == ["0/1_gtFine_labellevel3Ids.png"]


def test_folders_of_data_sets_as_downloaded() -> None:
    masks, colours = "labels/sem_seg/masks/train/a.png", "labels/sem_seg/colormaps/train/a.png"
    others = ("labels/pan_seg/bitmasks/train/a.png", "images/10k/train/a.jpg")
    assert chosen("bdd", colours, masks, *others) == [masks]
    assert chosen("bdd", colours, *others) == [colours]
    assert chosen("camvid", "train/a.png", "trainannot/a.png") == ["trainannot/a.png"]
    assert chosen("bdd", "images/a.jpg", "images/a_pseudo.png") == ["images/a_pseudo.png"]
    assert chosen("camvid32", "val/a.png", "val_labels/a_L.png") == ["val_labels/a_L.png"]


@pytest.mark.parametrize(
    ("naming", "name", "meant"),
    [
        ("cityscapes", "a_gtFine_labelTrainIds.png", "bdd or cityscapes-train"),
        ("cityscapes-train", "a_gtFine_labelIds.png", "cityscapes-ids"),
        ("bdd", "a_labelIds.png", "cityscapes-ids"),
        ("idd-lite", "a_gtFine_labellevel3Ids.png", "idd-level3"),
        ("carla", "a_train_id.png", "bdd or cityscapes-train"),
    ],
)
def test_files_named_as_another_naming_are_refused(naming: str, name: str, meant: str) -> None:
    with pytest.raises(DatasetError, match=f"by their names they are labels of {meant}"):
        chosen(naming, name)


def test_instances_and_colours_without_a_palette_are_refused() -> None:
    with pytest.raises(DatasetError, match="named as something else, such as a_instanceIds"):
        chosen("cityscapes", "a_instanceIds.png")
    with pytest.raises(DatasetError, match="named as something else, such as a_color"):
        chosen("idd-lite", "a_color.png")


def test_names_of_frames() -> None:
    for name, frame in {
        "b_000000_000019_gtFine_labelIds.png": "b_000000_000019",
        "b_000000_000019_gtFine_color.png": "b_000000_000019",
        "b_000000_000019_leftImg8bit.png": "b_000000_000019",
        "0001TP_006690_L.png": "0001TP_006690",
        "024541_image.jpg": "024541",
        "a_train_id.png": "a",
        "_L.png": "_L",
    }.items():
        assert frame_name(Path(name)) == frame


def image(naming: str, tags: np.ndarray | None = None, coding: str = "ids") -> LabelImage:
    return LabelImage(street_ids(naming, tags), coding)  # type: ignore[arg-type]


@pytest.mark.parametrize("naming", label_map_names())
def test_the_right_naming_passes_without_a_word(naming: str, caplog) -> None:
    check_naming([image(naming)], label_map(naming), "labels")
    assert not caplog.records


WRONG = [
    (true, wrong)
    for true in label_map_names()
    for wrong in label_map_names()
    if not label_map(wrong).missing_ids(street_ids(true))
    and not np.array_equal(
        label_map(true).primary[street_ids(true)], label_map(wrong).primary[street_ids(true)]
    )
]


@pytest.mark.parametrize(("true", "wrong"), WRONG)
def test_a_wrong_naming_is_refused_and_the_right_one_is_told(true: str, wrong: str) -> None:
    with pytest.raises(DatasetError, match=r"not look like a street .* but with .* they do") as e:
        check_naming([image(true)], label_map(wrong), "labels")
    assert "--trust-naming" in str(e.value)
    told = str(e.value).split("but with '")[1].split("'")[0]
    ids = street_ids(true)
    assert np.array_equal(label_map(told).primary[ids], label_map(true).primary[ids])


def test_the_namings_that_can_be_confused_are_among_the_tested() -> None:
    assert len(WRONG) > 30
    assert {
        ("bdd", "cityscapes-ids"),
        ("cityscapes-train", "carla"),
        ("carla-0.9.13", "carla"),
    } <= {*WRONG}


def test_labels_that_are_upside_down_are_refused() -> None:
    for coding in ("ids", "colours"):
        flipped = image("carla", street_tags()[::-1], coding)
        with pytest.raises(DatasetError, match=r"look upside down \(.*SKY at the bottom\)"):
            check_naming([flipped], label_map("carla"), "labels")


def test_colours_are_not_doubted(caplog) -> None:
    check_naming([image("bdd", coding="colours")], label_map("cityscapes-ids"), "labels")
    check_naming([], label_map("carla"), "labels")


def test_unusual_views_are_not_refused() -> None:
    """A facade, a wood, a car park from above, water; none of them looks like another naming."""
    rng = np.random.default_rng(0)
    for top, bottom in [
        (Tag.BUILDING, Tag.BUILDING), (Tag.SKY, Tag.BUILDING), (Tag.VEGETATION, Tag.VEGETATION),
        (Tag.SKY, Tag.WATER), (Tag.CAR, Tag.GROUND), (Tag.SKY, Tag.TERRAIN), (Tag.ROAD, Tag.ROAD),
        (Tag.SKY, Tag.CAR), (Tag.BUILDING, Tag.SIDEWALK), (Tag.VEGETATION, Tag.CAR),
    ]:  # fmt: skip
        tags = np.full((64, 128), top, np.uint8)
        tags[32:] = bottom
        tags[16:48, 32:64] = Tag.WALL
        check_naming([image("carla", tags)], label_map("carla"), "labels")
    noise = rng.integers(0, 29, (64, 128)).astype(np.uint8)
    check_naming([image("carla", noise)], label_map("carla"), "labels")
