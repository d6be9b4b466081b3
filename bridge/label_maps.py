"""For each simulator and data set: the map from its label ids to *sets* of tags.

Where a data set lumps things together (CamVid's "sign_symbol" is a sign or a light) an id
maps to all the tags it may mean. An id that says nothing about a pixel maps to
{UNKNOWN}. Sources: `carla.CityObjectLabel` of each client version, cityscapesScripts
`labels.py`, CamVid's `label_colors.txt` and SegNet's 11-class grouping of it, the IDD
label hierarchy (level 1).
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

TAG_COUNT = len(Tag)
_VEHICLES = "CAR TRUCK BUS TRAIN MOTORCYCLE BICYCLE"


@dataclass(frozen=True)
class LabelMap:
    """From label ids 0..255 to sets of tags.

    Attributes:
        name: as in `label_map(name)`.
        sets: id to the tags it may mean, the likeliest first.
        colors: id to its sRGB colour, where labels come as colour pictures too.
    """

    name: str
    sets: Mapping[int, tuple[Tag, ...]]
    colors: Mapping[int, tuple[int, int, int]] | None = None

    @property
    def table(self) -> dict[int, frozenset[Tag]]:
        """Id to its set of tags."""
        return {label_id: frozenset(tags) for label_id, tags in self.sets.items()}

    @property
    def multihot(self) -> npt.NDArray[np.bool_]:
        """Bool (256, 29): row = id, True for each tag it may mean; unknown ids: UNKNOWN."""
        rows = np.zeros((256, TAG_COUNT), dtype=bool)
        rows[:, Tag.UNKNOWN] = True
        for label_id, tags in self.sets.items():
            rows[label_id] = False
            rows[label_id, list(tags)] = True
        return rows

    @property
    def primary(self) -> ByteArray:
        """Uint8 (256,): one representative tag per id, 0 for ids the map does not know."""
        tags = np.zeros(256, dtype=np.uint8)
        for label_id, members in self.sets.items():
            tags[label_id] = members[0]
        return tags

    def check(self, ids: ByteArray, source: str = "labels") -> None:
        """Raise LabelError where `ids` holds one that this map does not know."""
        counts = np.bincount(np.asarray(ids, dtype=np.uint8).ravel(), minlength=256)
        strange = [int(i) for i in np.flatnonzero(counts) if int(i) not in self.sets]
        if strange:
            raise LabelError(
                f"{source}: ids {strange} are not in the label map '{self.name}' "
                f"(it knows {_ranges(sorted(self.sets))}); is it the right map for these labels?"
            )

    def to_tags(self, ids: ByteArray, source: str = "labels") -> ByteArray:
        """Representative tags of `ids`, uint8, same shape; LabelError names unknown ids."""
        self.check(ids, source)
        return self.primary[ids]

    def from_colors(self, rgb: ByteArray, source: str = "labels") -> ByteArray:
        """Ids (uint8 (H, W)) of a colour-coded label picture (uint8 (H, W, 3))."""
        if self.colors is None:
            raise LabelError(f"{source}: the label map '{self.name}' has no colours, only ids")
        codes = _pack(rgb)
        ids = np.zeros(codes.shape, dtype=np.uint8)
        found = np.zeros(codes.shape, dtype=bool)
        for label_id, color in self.colors.items():
            hit = codes == _pack(np.array(color, dtype=np.uint8))
            ids[hit] = label_id
            found |= hit
        if not found.all():
            strange = tuple(int(v) for v in rgb[~found][0])
            raise LabelError(
                f"{source}: colour {strange} is not in the label map '{self.name}' "
                f"({int((~found).sum())} pixels have unknown colours; were the labels resized "
                "with interpolation or saved as JPEG?)"
            )
        return ids


def label_map_names() -> tuple[str, ...]:
    """All names that `label_map` knows."""
    return tuple(_BUILDERS)


@cache
def label_map(name: str) -> LabelMap:
    """The label map called `name`, or LabelError with the nearest known name."""
    if name not in _BUILDERS:
        raise LabelError(f"unknown label map '{name}'{did_you_mean(name, list(label_map_names()))}")
    text, colors = _BUILDERS[name]
    return LabelMap(name, _parse(text), colors)


def _parse(text: str) -> dict[int, tuple[Tag, ...]]:
    """Lines `id TAG [TAG ...]` (or `first-last TAG ...`) to sets; the first tag is primary."""
    sets: dict[int, tuple[Tag, ...]] = {}
    for line in text.strip().splitlines():
        ids, *names = line.split()
        first, _, last = ids.partition("-")
        for label_id in range(int(first), int(last or first) + 1):
            sets[label_id] = tuple(Tag[name] for name in names)
    return sets


def _pack(rgb: ByteArray) -> npt.NDArray[np.uint32]:
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

# The old table has no sky: it carries 0, as everything without a class does.
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

# CamVid paints lane markings as road in this version; `data.road_lines` finds them again.
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

_BUILDERS: dict[str, tuple[str, Mapping[int, tuple[int, int, int]] | None]] = {
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
