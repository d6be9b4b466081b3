"""Label maps: how the label ids of simulators and data sets translate to our tags.

Some data sets put several of our classes under one id (CamVid's "sign_symbol" is a traffic sign
or a traffic light). Such an id maps to all tags that it may mean. An id that says nothing about
a pixel maps to UNKNOWN.

Sources: `carla.CityObjectLabel` of each client version, `labels.py` of cityscapesScripts,
`label_colors.txt` of CamVid and SegNet's 11-class grouping of it, level 1 of the IDD label
hierarchy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from sim2street.bridge.errors import LabelError
from sim2street.bridge.frame import ByteArray
from sim2street.bridge.labels import Tag
from sim2street.configs import did_you_mean

_VEHICLES = "CAR TRUCK BUS TRAIN MOTORCYCLE BICYCLE"


@dataclass(frozen=True)
class LabelMap:
    """The tags that each label id (0..255) of one source may mean.

    Attributes:
        name: as in `label_map(name)`.
        tags_by_id: label id to the tags it may mean, the most likely one first.
        colors: label id to its sRGB colour, if the source also has colour-coded label images.
    """

    name: str
    tags_by_id: Mapping[int, tuple[Tag, ...]]
    colors: Mapping[int, tuple[int, int, int]] | None = None

    @property
    def multihot(self) -> npt.NDArray[np.bool_]:
        """bool (256, 29): True in row `id` for each tag it may mean. Other ids mean UNKNOWN."""
        rows = np.zeros((256, len(Tag)), dtype=bool)
        rows[:, Tag.UNKNOWN] = True
        for label_id, tags in self.tags_by_id.items():
            rows[label_id] = False
            rows[label_id, list(tags)] = True
        return rows

    @property
    def primary(self) -> ByteArray:
        """uint8 (256,): the most likely tag of each id, 0 for ids that the map lacks."""
        primary = np.zeros(256, dtype=np.uint8)
        for label_id, tags in self.tags_by_id.items():
            primary[label_id] = tags[0]
        return primary

    def check_ids(self, ids: ByteArray, source: str = "labels") -> None:
        """Raise LabelError if the map lacks some of `ids`; `source` starts the message."""
        counts = np.bincount(np.asarray(ids, dtype=np.uint8).ravel(), minlength=256)
        missing = [int(i) for i in np.flatnonzero(counts) if int(i) not in self.tags_by_id]
        if missing:
            raise LabelError(
                f"{source}: ids {missing} are not in the label map '{self.name}', which has ids "
                f"{_ranges(sorted(self.tags_by_id))}; is it the right map for these labels?"
            )

    def to_tags(self, ids: ByteArray, source: str = "labels") -> ByteArray:
        """The most likely tag of each id: uint8, same shape. LabelError if the map lacks an id."""
        self.check_ids(ids, source)
        return self.primary[ids]

    def ids_from_colors(self, rgb: ByteArray, source: str = "labels") -> ByteArray:
        """Label ids, uint8 (H, W), of a colour-coded label image, uint8 (H, W, 3).

        Raises:
            LabelError: the map has no colours, or not the colour of some pixel.
        """
        if self.colors is None:
            raise LabelError(f"{source}: the label map '{self.name}' has no colours, only ids")
        codes = _color_codes(rgb)
        ids = np.zeros(codes.shape, dtype=np.uint8)
        found = np.zeros(codes.shape, dtype=bool)
        for label_id, color in self.colors.items():
            matches = codes == _color_codes(np.array(color, dtype=np.uint8))
            ids[matches] = label_id
            found |= matches
        if not found.all():
            unknown = tuple(int(v) for v in rgb[~found][0])
            raise LabelError(
                f"{source}: colour {unknown} is not in the label map '{self.name}' "
                f"({int((~found).sum())} pixels have unknown colours; were the labels resized "
                "with interpolation or saved as JPEG?)"
            )
        return ids


def label_map_names() -> tuple[str, ...]:
    """The names that `label_map` accepts."""
    return tuple(_DEFINITIONS)


@cache
def label_map(name: str) -> LabelMap:
    """The label map called `name`. LabelError suggests the nearest name if there is none."""
    if name not in _DEFINITIONS:
        raise LabelError(f"unknown label map '{name}'{did_you_mean(name, list(label_map_names()))}")
    text, colors = _DEFINITIONS[name]
    return LabelMap(name, _parse(text), colors)


def _parse(text: str) -> dict[int, tuple[Tag, ...]]:
    """Parse lines `id TAG [TAG ...]` or `first-last TAG [TAG ...]`, most likely tag first."""
    tags_by_id: dict[int, tuple[Tag, ...]] = {}
    for line in text.strip().splitlines():
        ids, *names = line.split()
        first, _, last = ids.partition("-")
        for label_id in range(int(first), int(last or first) + 1):
            tags_by_id[label_id] = tuple(Tag[name] for name in names)
    return tags_by_id


def _color_codes(rgb: ByteArray) -> npt.NDArray[np.uint32]:
    """Each colour (..., 3) as one number 0xRRGGBB."""
    wide = rgb.astype(np.uint32)
    return (wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]).astype(np.uint32)


def _ranges(ids: list[int]) -> str:
    """`[0, 1, 2, 255]` as "0-2, 255"."""
    parts: list[list[int]] = []
    for label_id in ids:
        if parts and label_id == parts[-1][1] + 1:
            parts[-1][1] = label_id
        else:
            parts.append([label_id, label_id])
    return ", ".join(f"{a}-{b}" if a != b else f"{a}" for a, b in parts)


_CARLA = "\n".join(f"{tag.value} {tag.name}" for tag in Tag)

_CARLA_0_9_13 = f"""
0 UNKNOWN
1 BUILDING
2 FENCE
3 OTHER
4 PEDESTRIAN RIDER
5 POLE
6 ROAD_LINES
7 ROAD
8 SIDEWALK
9 VEGETATION
10 {_VEHICLES} RIDER
11 WALL
12 TRAFFIC_SIGN
13 SKY
14 GROUND
15 BRIDGE
16 RAIL_TRACK
17 GUARD_RAIL
18 TRAFFIC_LIGHT
19 STATIC
20 DYNAMIC
21 WATER
22 TERRAIN
"""

# This version has no id for the sky. Its pixels have id 0, like everything without a class.
_CARLA_0_9_11 = f"""
0 UNKNOWN SKY
1 BUILDING
2 FENCE GUARD_RAIL
3 OTHER STATIC DYNAMIC
4 PEDESTRIAN RIDER
5 POLE
6 ROAD_LINES
7 ROAD
8 SIDEWALK
9 VEGETATION
10 {_VEHICLES} RIDER
11 WALL
12 TRAFFIC_SIGN TRAFFIC_LIGHT
"""

_CITYSCAPES_IDS = """
0-3 UNKNOWN
4 STATIC
5 DYNAMIC
6 GROUND
7 ROAD
8 SIDEWALK
9 GROUND ROAD
10 RAIL_TRACK
11 BUILDING
12 WALL
13 FENCE
14 GUARD_RAIL
15 BRIDGE
16 WALL BUILDING BRIDGE
17-18 POLE
19 TRAFFIC_LIGHT
20 TRAFFIC_SIGN
21 VEGETATION
22 TERRAIN
23 SKY
24 PEDESTRIAN
25 RIDER
26 CAR
27 TRUCK
28 BUS
29 CAR TRUCK
30 TRUCK CAR
31 TRAIN
32 MOTORCYCLE
33 BICYCLE
"""

# trainId = tag - 1 for the tags 1..19.
_CITYSCAPES_TRAIN = "\n".join(
    [*(f"{tag.value - 1} {tag.name}" for tag in Tag if 1 <= tag.value <= 19), "255 UNKNOWN"]
)

# Lane markings are part of ROAD here; `neural_renderer.data.road_lines` detects them in photos.
_CAMVID11 = """
0 SKY
1 BUILDING WALL BRIDGE
2 POLE
3 ROAD
4 SIDEWALK
5 VEGETATION
6 TRAFFIC_SIGN TRAFFIC_LIGHT
7 FENCE
8 CAR TRUCK BUS
9 PEDESTRIAN
10 RIDER BICYCLE MOTORCYCLE
11 UNKNOWN
"""

# Name, colour and tags of each class; the id is the position in this list.
_CAMVID32 = (
    ("Animal", (64, 128, 64), "DYNAMIC"),
    ("Archway", (192, 0, 128), "BUILDING BRIDGE"),
    ("Bicyclist", (0, 128, 192), "RIDER BICYCLE"),
    ("Bridge", (0, 128, 64), "BRIDGE"),
    ("Building", (128, 0, 0), "BUILDING"),
    ("Car", (64, 0, 128), "CAR"),
    ("CartLuggagePram", (64, 0, 192), "DYNAMIC"),
    ("Child", (192, 128, 64), "PEDESTRIAN"),
    ("Column_Pole", (192, 192, 128), "POLE"),
    ("Fence", (64, 64, 128), "FENCE"),
    ("LaneMkgsDriv", (128, 0, 192), "ROAD_LINES"),
    ("LaneMkgsNonDriv", (192, 0, 64), "ROAD_LINES"),
    ("Misc_Text", (128, 128, 64), "TRAFFIC_SIGN"),
    ("MotorcycleScooter", (192, 0, 192), "MOTORCYCLE RIDER"),
    ("OtherMoving", (128, 64, 64), "DYNAMIC CAR TRUCK"),
    ("ParkingBlock", (64, 192, 128), "GROUND SIDEWALK"),
    ("Pedestrian", (64, 64, 0), "PEDESTRIAN"),
    ("Road", (128, 64, 128), "ROAD"),
    ("RoadShoulder", (128, 128, 192), "GROUND SIDEWALK"),
    ("Sidewalk", (0, 0, 192), "SIDEWALK"),
    ("SignSymbol", (192, 128, 128), "TRAFFIC_SIGN"),
    ("Sky", (128, 128, 128), "SKY"),
    ("SUVPickupTruck", (64, 128, 192), "CAR"),
    ("TrafficCone", (0, 0, 64), "STATIC"),
    ("TrafficLight", (0, 64, 64), "TRAFFIC_LIGHT"),
    ("Train", (192, 64, 128), "TRAIN"),
    ("Tree", (128, 128, 0), "VEGETATION"),
    ("Truck_Bus", (192, 128, 192), "TRUCK BUS"),
    ("Tunnel", (64, 0, 64), "WALL BUILDING BRIDGE"),
    ("VegetationMisc", (192, 192, 0), "VEGETATION TERRAIN"),
    ("Void", (0, 0, 0), "UNKNOWN"),
    ("Wall", (64, 192, 0), "WALL"),
)

_IDD_LITE = f"""
0 ROAD
1 SIDEWALK TERRAIN GROUND RAIL_TRACK
2 PEDESTRIAN RIDER
3 {_VEHICLES}
4 WALL FENCE POLE TRAFFIC_SIGN TRAFFIC_LIGHT GUARD_RAIL STATIC
5 VEGETATION BUILDING BRIDGE
6 SKY
255 UNKNOWN
"""

# Name of a label map -> its text for `_parse`, and its colours if it has any.
_DEFINITIONS: dict[str, tuple[str, Mapping[int, tuple[int, int, int]] | None]] = {
    "carla": (_CARLA, None),
    "carla-0.9.13": (_CARLA_0_9_13, None),
    "carla-0.9.11": (_CARLA_0_9_11, None),
    "cityscapes-ids": (_CITYSCAPES_IDS, None),
    "cityscapes-train": (_CITYSCAPES_TRAIN, None),
    "camvid11": (_CAMVID11, None),
    "camvid32": (
        "\n".join(f"{index} {tags}" for index, (_, _, tags) in enumerate(_CAMVID32)),
        {index: color for index, (_, color, _) in enumerate(_CAMVID32)},
    ),
    "idd-lite": (_IDD_LITE, None),
    "bdd": (_CITYSCAPES_TRAIN, None),
}
