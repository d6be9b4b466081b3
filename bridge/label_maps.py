"""Label maps: how the label ids and colours of simulators and data sets translate to our tags.

Some data sets put several of our classes under one id (CamVid's "sign_symbol" is a traffic sign
or a traffic light). Such an id maps to all tags that it may mean. An id that says nothing about
a pixel maps to UNKNOWN.

Sources of ids and colours: `carla.CityObjectLabel` of each client version and its
CityScapesPalette.h, `labels.py` of cityscapesScripts, `label_colors.txt` of CamVid, SegNet's
11-class grouping of it with SegNet's colours, `label.py` of the BDD100K toolkit, `anue_labels.py`
of IDD (levels 1 and 3 of its label hierarchy).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from sim2street.bridge.errors import LabelError
from sim2street.bridge.frame import ByteArray
from sim2street.bridge.labels import PALETTE, Tag
from sim2street.configs import did_you_mean

Color = tuple[int, int, int]
"""sRGB, 0..255."""

_VEHICLES = "CAR TRUCK BUS TRAIN MOTORCYCLE BICYCLE"


@dataclass(frozen=True)
class LabelMap:
    """The tags that each label id (0..255) of one source may mean.

    Attributes:
        name: as in `label_map(name)`.
        tags_by_id: label id to the tags it may mean, the most likely one first.
        colors: label id to its colour in colour-coded label images of this source; empty if there
            are no such images. A colour that several ids share stands for the first of them.
        more_colors: other colours that stand for an id, as older versions of the source use.
    """

    name: str
    tags_by_id: Mapping[int, tuple[Tag, ...]]
    colors: Mapping[int, Color] = field(default_factory=dict)
    more_colors: Mapping[Color, int] = field(default_factory=dict)

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

    @property
    def void_id(self) -> int:
        """The id of pixels without a label. Every map has one."""
        return next(i for i, tags in self.tags_by_id.items() if tags[0] is Tag.UNKNOWN)

    @cached_property
    def ids_by_color(self) -> Mapping[Color, int]:
        """Every colour that stands for an id, and this id."""
        ids: dict[Color, int] = {}
        for label_id, color in self.colors.items():
            ids.setdefault(color, label_id)
        return {**self.more_colors, **ids}

    def missing_ids(self, ids: npt.NDArray[np.integer]) -> list[int]:
        """Those of `ids` (0..255) that the map does not have, each once, in order."""
        counts = np.bincount(np.asarray(ids, dtype=np.uint8).ravel(), minlength=256)
        return [int(i) for i in np.flatnonzero(counts) if int(i) not in self.tags_by_id]

    def check_ids(self, ids: ByteArray, source: str) -> None:
        """Raise LabelError if the map lacks some of `ids`; `source` starts the message."""
        missing = self.missing_ids(ids)
        if missing:
            fit = [name for name in label_map_names() if not label_map(name).missing_ids(ids)]
            others = f"; these maps have all of them: {', '.join(fit)}" if fit else ""
            raise LabelError(
                f"{source}: ids {missing} are not in the label map '{self.name}', which has ids "
                f"{id_ranges(self.tags_by_id)}; is it the right map for these labels?{others}"
            )

    def ids_of_colors(self, rgb: ByteArray) -> tuple[ByteArray, npt.NDArray[np.bool_]]:
        """Label ids of the colours of a label image.

        Args:
            rgb: uint8 (H, W, 3).

        Returns:
            ids: uint8 (H, W); `void_id` where the colour is unknown.
            known: bool (H, W), whether the map has the colour.
        """
        codes = color_codes(rgb)
        known_colors = sorted(self.ids_by_color.items())  # in the order of their codes
        if not known_colors:
            return np.full(codes.shape, self.void_id, np.uint8), np.zeros(codes.shape, bool)
        table = color_codes(np.array([color for color, _ in known_colors], np.uint8))
        at = np.searchsorted(table, codes).clip(max=len(table) - 1)
        known: npt.NDArray[np.bool_] = table[at] == codes
        ids = np.array([label_id for _, label_id in known_colors], np.uint8)[at]
        ids[~known] = self.void_id
        return ids, known


def label_map_names() -> tuple[str, ...]:
    """The names that `label_map` accepts."""
    return tuple(_DEFINITIONS)


@cache
def label_map(name: str) -> LabelMap:
    """The label map called `name`. LabelError suggests the nearest name if there is none."""
    if name not in _DEFINITIONS:
        raise LabelError(f"unknown label map '{name}'{did_you_mean(name, list(label_map_names()))}")
    tags_by_id, colors = _parse(_DEFINITIONS[name])
    more_colors = {
        color: label_id
        for text in _MORE_COLORS.get(name, ())
        for label_id, color in _parse(text)[1].items()
    }
    return LabelMap(name, tags_by_id, colors, more_colors)


def color_codes(rgb: ByteArray) -> npt.NDArray[np.uint32]:
    """Each colour (..., 3) as one number 0xRRGGBB."""
    wide = rgb.astype(np.uint32)
    return (wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]).astype(np.uint32)


def id_ranges(ids: Iterable[int]) -> str:
    """`[0, 1, 2, 255]` as "0-2, 255"."""
    parts: list[list[int]] = []
    for label_id in sorted(ids):
        if parts and label_id == parts[-1][1] + 1:
            parts[-1][1] = label_id
        else:
            parts.append([label_id, label_id])
    return ", ".join(f"{a}-{b}" if a != b else f"{a}" for a, b in parts)


# The tables below have a line `id TAG [TAG ...] [R,G,B]` or `first-last TAG [TAG ...] [R,G,B]` for
# each id: the tags it may mean, the most likely one first, and its colour.


def _parse(table: str) -> tuple[dict[int, tuple[Tag, ...]], dict[int, Color]]:
    """The tags and the colour of each id in a table."""
    tags_by_id: dict[int, tuple[Tag, ...]] = {}
    colors: dict[int, Color] = {}
    for line in table.strip().splitlines():
        ids, *words = line.split()
        first, _, last = ids.partition("-")
        tags = tuple(Tag[word] for word in words if "," not in word)
        color = next((word for word in words if "," in word), None)
        for label_id in range(int(first), int(last or first) + 1):
            tags_by_id[label_id] = tags
            if color is not None:
                red, green, blue = map(int, color.split(","))
                colors[label_id] = (red, green, blue)
    return tags_by_id, colors


def _tags(tags: Iterable[Tag], offset: int = 0) -> str:
    """A table of tags in their palette colours; an id is the tag plus `offset`."""
    return "\n".join(
        f"{tag + offset} {tag.name} {','.join(map(str, PALETTE[tag].tolist()))}" for tag in tags
    )


_CARLA = _tags(Tag)

# The colours that CARLA's documentation and older versions give to fences and terrain.
_CARLA_MORE = """
5 FENCE 100,40,40
10 TERRAIN 145,170,100
"""

# CARLA 0.9.10 to 0.9.13.
_CARLA_0_9_13 = f"""
0 UNKNOWN 0,0,0
1 BUILDING 70,70,70
2 FENCE 100,40,40
3 OTHER 55,90,80
4 PEDESTRIAN RIDER 220,20,60
5 POLE 153,153,153
6 ROAD_LINES 157,234,50
7 ROAD 128,64,128
8 SIDEWALK 244,35,232
9 VEGETATION 107,142,35
10 {_VEHICLES} RIDER 0,0,142
11 WALL 102,102,156
12 TRAFFIC_SIGN 220,220,0
13 SKY 70,130,180
14 GROUND 81,0,81
15 BRIDGE 150,100,100
16 RAIL_TRACK 230,150,140
17 GUARD_RAIL 180,165,180
18 TRAFFIC_LIGHT 250,170,30
19 STATIC 110,190,160
20 DYNAMIC 170,120,50
21 WATER 45,60,150
22 TERRAIN 145,170,100
"""

_CARLA_0_9_13_MORE = """
2 FENCE 190,153,153
22 TERRAIN 152,251,152
"""

# These versions have no id for the sky. Its pixels have id 0, like everything without a class.
_CARLA_0_9_11 = f"""
0 UNKNOWN SKY 0,0,0
1 BUILDING 70,70,70
2 FENCE GUARD_RAIL 190,153,153
3 OTHER STATIC DYNAMIC 250,170,160
4 PEDESTRIAN RIDER 220,20,60
5 POLE 153,153,153
6 ROAD_LINES 157,234,50
7 ROAD 128,64,128
8 SIDEWALK 244,35,232
9 VEGETATION 107,142,35
10 {_VEHICLES} RIDER 0,0,142
11 WALL 102,102,156
12 TRAFFIC_SIGN TRAFFIC_LIGHT 220,220,0
"""

_CARLA_0_9_11_MORE = """
2 FENCE 100,40,40
3 OTHER 55,90,80
"""

# Licence plates have the id -1. Data sets in this format store them as 34, or as 255 (-1 as a
# byte), which also stands for pixels without a label.
_CITYSCAPES_IDS = """
0-3 UNKNOWN 0,0,0
4 STATIC 0,0,0
5 DYNAMIC 111,74,0
6 GROUND 81,0,81
7 ROAD 128,64,128
8 SIDEWALK 244,35,232
9 GROUND ROAD 250,170,160
10 RAIL_TRACK 230,150,140
11 BUILDING 70,70,70
12 WALL 102,102,156
13 FENCE 190,153,153
14 GUARD_RAIL 180,165,180
15 BRIDGE 150,100,100
16 WALL BUILDING BRIDGE 150,120,90
17-18 POLE 153,153,153
19 TRAFFIC_LIGHT 250,170,30
20 TRAFFIC_SIGN 220,220,0
21 VEGETATION 107,142,35
22 TERRAIN 152,251,152
23 SKY 70,130,180
24 PEDESTRIAN 220,20,60
25 RIDER 255,0,0
26 CAR 0,0,142
27 TRUCK 0,0,70
28 BUS 0,60,100
29 CAR TRUCK 0,0,90
30 TRUCK CAR 0,0,110
31 TRAIN 0,80,100
32 MOTORCYCLE 0,0,230
33 BICYCLE 119,11,32
34 CAR TRUCK BUS 0,0,142
255 UNKNOWN 0,0,0
"""

# trainId = tag - 1 for the tags 1..19.
_CITYSCAPES_TRAIN = f"""
{_tags((tag for tag in Tag if 1 <= tag <= 19), -1)}
255 UNKNOWN 0,0,0
"""

# Classes of Cityscapes without a trainId: dynamic, ground, parking, rail track, guard rail, bridge,
# tunnel, caravan, trailer.
_CITYSCAPES_TRAIN_MORE = tuple(
    f"255 UNKNOWN {color}"
    for color in (
        "111,74,0", "81,0,81", "250,170,160", "230,150,140", "180,165,180", "150,100,100",
        "150,120,90", "0,0,90", "0,0,110",
    )
)  # fmt: skip

# The same of BDD100K: garage, banner, billboard, lane divider, street light, traffic cone, traffic
# device, frame of a traffic sign.
_BDD_MORE = tuple(
    f"255 UNKNOWN {color}"
    for color in (
        "180,100,180", "250,170,100", "220,220,250", "255,165,0", "220,220,100", "255,70,0",
        "220,220,220", "250,170,250",
    )
)  # fmt: skip

# Lane markings are part of ROAD here; `neural_renderer.data.road_lines` detects them in photos.
_CAMVID11 = """
0 SKY 128,128,128
1 BUILDING WALL BRIDGE 128,0,0
2 POLE 192,192,128
3 ROAD 128,64,128
4 SIDEWALK 60,40,222
5 VEGETATION 128,128,0
6 TRAFFIC_SIGN TRAFFIC_LIGHT 192,128,128
7 FENCE 64,64,128
8 CAR TRUCK BUS 64,0,128
9 PEDESTRIAN 64,64,0
10 RIDER BICYCLE MOTORCYCLE 0,128,192
11 UNKNOWN 0,0,0
"""

# SegNet's road markings, and the colour of CamVid's own sidewalks.
_CAMVID11_MORE = """
3 ROAD 255,69,0
4 SIDEWALK 0,0,192
"""

# In alphabetical order, as in CamVid's list of colours.
_CAMVID32 = """
0 DYNAMIC 64,128,64
1 BUILDING BRIDGE 192,0,128
2 RIDER BICYCLE 0,128,192
3 BRIDGE 0,128,64
4 BUILDING 128,0,0
5 CAR 64,0,128
6 DYNAMIC 64,0,192
7 PEDESTRIAN 192,128,64
8 POLE 192,192,128
9 FENCE 64,64,128
10 ROAD_LINES 128,0,192
11 ROAD_LINES 192,0,64
12 TRAFFIC_SIGN 128,128,64
13 MOTORCYCLE RIDER 192,0,192
14 DYNAMIC CAR TRUCK 128,64,64
15 GROUND SIDEWALK 64,192,128
16 PEDESTRIAN 64,64,0
17 ROAD 128,64,128
18 GROUND SIDEWALK 128,128,192
19 SIDEWALK 0,0,192
20 TRAFFIC_SIGN 192,128,128
21 SKY 128,128,128
22 CAR 64,128,192
23 STATIC 0,0,64
24 TRAFFIC_LIGHT 0,64,64
25 TRAIN 192,64,128
26 VEGETATION 128,128,0
27 TRUCK BUS 192,128,192
28 WALL BUILDING BRIDGE 64,0,64
29 VEGETATION TERRAIN 192,192,0
30 UNKNOWN 0,0,0
31 WALL 64,192,0
"""

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

# 1: parking and other drivable ground. 3: rail tracks and other ground. 4: animals too. 8: the
# autorickshaw. 12: caravan, trailer, train, other vehicles. 13: the curb. 17: billboards. 25: also
# the background without a class.
_IDD_LEVEL3 = """
0 ROAD 128,64,128
1 GROUND ROAD 250,170,160
2 SIDEWALK 244,35,232
3 TERRAIN GROUND RAIL_TRACK 152,251,152
4 PEDESTRIAN DYNAMIC 220,20,60
5 RIDER 255,0,0
6 MOTORCYCLE 0,0,230
7 BICYCLE 119,11,32
8 CAR 255,204,54
9 CAR 0,0,142
10 TRUCK 0,0,70
11 BUS 0,60,100
12 TRUCK CAR TRAIN 136,143,153
13 STATIC SIDEWALK 220,190,40
14 WALL 102,102,156
15 FENCE 190,153,153
16 GUARD_RAIL 180,165,180
17 STATIC TRAFFIC_SIGN 174,64,67
18 TRAFFIC_SIGN 220,220,0
19 TRAFFIC_LIGHT 250,170,30
20 POLE 153,153,153
21 STATIC 169,187,214
22 BUILDING 70,70,70
23 BRIDGE 150,100,100
24 VEGETATION 107,142,35
25 SKY 70,130,180
255 UNKNOWN 0,0,0
"""

# Drivable ground, rail tracks, animals, caravans, trailers, trains and tunnels.
_IDD_LEVEL3_MORE = (
    "1 GROUND 81,0,81", "3 RAIL_TRACK 230,150,140", "4 DYNAMIC 246,198,145", "12 TRUCK 0,0,90",
    "12 TRUCK 0,0,110", "12 TRAIN 0,80,100", "23 BRIDGE 150,120,90",
)  # fmt: skip

_DEFINITIONS: dict[str, str] = {
    "carla": _CARLA,
    "carla-0.9.13": _CARLA_0_9_13,
    "carla-0.9.11": _CARLA_0_9_11,
    "cityscapes-ids": _CITYSCAPES_IDS,
    "cityscapes-train": _CITYSCAPES_TRAIN,
    "camvid11": _CAMVID11,
    "camvid32": _CAMVID32,
    "idd-lite": _IDD_LITE,
    "idd-level3": _IDD_LEVEL3,
    "bdd": _CITYSCAPES_TRAIN,
}

# Tables with further colours of an id.
_MORE_COLORS: dict[str, tuple[str, ...]] = {
    "carla": (_CARLA_MORE,),
    "carla-0.9.13": (_CARLA_0_9_13_MORE,),
    "carla-0.9.11": (_CARLA_0_9_11_MORE,),
    "cityscapes-train": _CITYSCAPES_TRAIN_MORE,
    "camvid11": (_CAMVID11_MORE,),
    "idd-level3": _IDD_LEVEL3_MORE,
    "bdd": (*_CITYSCAPES_TRAIN_MORE, *_BDD_MORE),
}
