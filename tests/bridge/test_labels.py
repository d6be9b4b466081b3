"""Label maps: their content, and the errors for unknown ids, colours and names."""

from __future__ import annotations

import numpy as np
import pytest

from sim2street.bridge.errors import LabelError
from sim2street.bridge.label_maps import label_map, label_map_names
from sim2street.bridge.labels import PALETTE, Tag, taxonomy_fingerprint

TABLES = {
    "carla": {0: "UNKNOWN", 1: "ROAD", 11: "SKY", 14: "CAR", 24: "ROAD_LINES", 28: "GUARD_RAIL"},
    "carla-0.9.13": {
        0: "UNKNOWN", 1: "BUILDING", 2: "FENCE", 3: "OTHER", 4: "PEDESTRIAN RIDER", 5: "POLE",
        6: "ROAD_LINES", 7: "ROAD", 8: "SIDEWALK", 9: "VEGETATION",
        10: "CAR TRUCK BUS TRAIN MOTORCYCLE BICYCLE RIDER", 11: "WALL", 12: "TRAFFIC_SIGN",
        13: "SKY", 14: "GROUND", 15: "BRIDGE", 16: "RAIL_TRACK", 17: "GUARD_RAIL",
        18: "TRAFFIC_LIGHT", 19: "STATIC", 20: "DYNAMIC", 21: "WATER", 22: "TERRAIN",
    },
    "carla-0.9.11": {
        0: "UNKNOWN SKY", 1: "BUILDING", 4: "PEDESTRIAN RIDER", 6: "ROAD_LINES", 7: "ROAD",
        10: "CAR TRUCK BUS TRAIN MOTORCYCLE BICYCLE RIDER", 12: "TRAFFIC_SIGN TRAFFIC_LIGHT",
    },
    "cityscapes-ids": {
        0: "UNKNOWN", 3: "UNKNOWN", 7: "ROAD", 8: "SIDEWALK", 11: "BUILDING", 12: "WALL",
        13: "FENCE", 14: "GUARD_RAIL", 17: "POLE", 18: "POLE", 19: "TRAFFIC_LIGHT",
        20: "TRAFFIC_SIGN", 21: "VEGETATION", 22: "TERRAIN", 23: "SKY", 24: "PEDESTRIAN",
        25: "RIDER", 26: "CAR", 27: "TRUCK", 28: "BUS", 31: "TRAIN", 32: "MOTORCYCLE",
        33: "BICYCLE", 34: "CAR TRUCK BUS", 255: "UNKNOWN",
    },
    "camvid11": {
        0: "SKY", 1: "BUILDING WALL BRIDGE", 2: "POLE", 3: "ROAD", 4: "SIDEWALK",
        5: "VEGETATION", 6: "TRAFFIC_SIGN TRAFFIC_LIGHT", 7: "FENCE", 8: "CAR TRUCK BUS",
        9: "PEDESTRIAN", 10: "RIDER BICYCLE MOTORCYCLE", 11: "UNKNOWN",
    },
    "camvid32": {
        2: "RIDER BICYCLE", 4: "BUILDING", 10: "ROAD_LINES", 11: "ROAD_LINES", 17: "ROAD",
        21: "SKY", 26: "VEGETATION", 27: "TRUCK BUS", 30: "UNKNOWN", 31: "WALL",
    },
    "idd-lite": {
        0: "ROAD", 1: "SIDEWALK TERRAIN GROUND RAIL_TRACK", 2: "PEDESTRIAN RIDER",
        3: "CAR TRUCK BUS TRAIN MOTORCYCLE BICYCLE",
        4: "WALL FENCE POLE TRAFFIC_SIGN TRAFFIC_LIGHT GUARD_RAIL STATIC",
        5: "VEGETATION BUILDING BRIDGE", 6: "SKY", 255: "UNKNOWN",
    },
    "idd-level3": {
        0: "ROAD", 2: "SIDEWALK", 4: "PEDESTRIAN DYNAMIC", 8: "CAR", 9: "CAR", 18: "TRAFFIC_SIGN",
        19: "TRAFFIC_LIGHT", 20: "POLE", 22: "BUILDING", 24: "VEGETATION", 25: "SKY",
        255: "UNKNOWN",
    },
}  # fmt: skip
SIZES = {
    "carla": 29, "carla-0.9.13": 23, "carla-0.9.11": 13, "cityscapes-ids": 36,
    "cityscapes-train": 20, "camvid11": 12, "camvid32": 32, "idd-lite": 8, "idd-level3": 27,
    "bdd": 20,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(TABLES))
def test_ids_map_to_the_documented_tags(name: str) -> None:
    tags_by_id = label_map(name).tags_by_id
    for label_id, tags in TABLES[name].items():
        assert set(tags_by_id[label_id]) == {Tag[tag] for tag in tags.split()}, label_id


def test_every_map_has_its_number_of_ids() -> None:
    assert {name: len(label_map(name).tags_by_id) for name in label_map_names()} == SIZES


@pytest.mark.parametrize("name", ["cityscapes-train", "bdd"])
def test_train_ids_are_tags_minus_one(name: str) -> None:
    tags_by_id = label_map(name).tags_by_id
    assert all(tags_by_id[tag - 1] == (Tag(tag),) for tag in range(1, 20))
    assert tags_by_id[255] == (Tag.UNKNOWN,)


@pytest.mark.parametrize("name", label_map_names())
def test_multihot_and_primary_agree_with_tags_by_id(name: str) -> None:
    source_map = label_map(name)
    assert source_map.multihot.shape == (256, 29)
    assert source_map.primary.dtype == np.uint8
    for label_id in range(256):
        tags = source_map.tags_by_id.get(label_id, (Tag.UNKNOWN,))
        assert set(np.flatnonzero(source_map.multihot[label_id])) == {int(tag) for tag in tags}
        assert Tag(int(source_map.primary[label_id])) in tags


def test_unknown_ids_are_named_with_the_maps_that_have_all() -> None:
    ids = np.array([[0, 3], [77, 200]], dtype=np.uint8)
    with pytest.raises(LabelError, match=r"frame 7: ids \[77, 200\].*'camvid11'.*0-11.*labels\?$"):
        label_map("camvid11").check_ids(ids, "frame 7")
    label_map("camvid11").check_ids(ids[:1], "frame 7")
    with pytest.raises(LabelError, match=r"these maps have all of them: .*camvid32"):
        label_map("camvid11").check_ids(np.array([[0, 31]], dtype=np.uint8), "frame 7")


def test_unknown_map_gets_a_suggestion() -> None:
    with pytest.raises(LabelError, match="did you mean 'camvid11'"):
        label_map("camvid-11")


def test_colours_give_ids_and_unknown_ones_void() -> None:
    source_map = label_map("camvid32")
    assert len(set(source_map.colors.values())) == 32
    ids = np.arange(32, dtype=np.uint8).reshape(4, 8)
    rgb = np.array([source_map.colors[int(i)] for i in ids.ravel()], np.uint8).reshape(4, 8, 3)
    found, known = source_map.ids_of_colors(rgb)
    assert np.array_equal(found, ids)
    assert known.all()
    rgb[1, 2] = (1, 2, 3)
    found, known = source_map.ids_of_colors(rgb)
    assert found[1, 2] == source_map.void_id == 30
    assert np.argwhere(~known).tolist() == [[1, 2]]
    assert not label_map("idd-lite").ids_of_colors(rgb)[1].any()


@pytest.mark.parametrize("name", label_map_names())
def test_every_map_has_a_void_id_and_colours_of_its_ids(name: str) -> None:
    source_map = label_map(name)
    assert source_map.primary[source_map.void_id] == Tag.UNKNOWN
    assert set(source_map.ids_by_color.values()) <= set(source_map.tags_by_id)
    assert set(source_map.colors) in (set(), set(source_map.tags_by_id))


def test_palette_and_fingerprint() -> None:
    assert PALETTE.shape == (len(Tag), 3)
    assert len({tuple(color) for color in PALETTE.tolist()}) == len(Tag)
    assert not PALETTE.flags.writeable
    assert len(taxonomy_fingerprint()) == 16
    assert taxonomy_fingerprint() == taxonomy_fingerprint()
