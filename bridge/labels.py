"""Label taxonomy: the tags 0..28 that label images contain, with names, colours and fingerprint.

The tags are those of CARLA >= 0.9.14. For tags 1..19, tag - 1 is the Cityscapes trainId.
"""

from __future__ import annotations

import enum
import hashlib

import numpy as np

from sim2street.bridge.frame import ByteArray


class Tag(enum.IntEnum):
    """What a pixel shows; equal to `carla.CityObjectLabel` of CARLA >= 0.9.14."""

    UNKNOWN = 0
    ROAD = 1
    SIDEWALK = 2
    BUILDING = 3
    WALL = 4
    FENCE = 5
    POLE = 6
    TRAFFIC_LIGHT = 7
    TRAFFIC_SIGN = 8
    VEGETATION = 9
    TERRAIN = 10
    SKY = 11
    PEDESTRIAN = 12
    RIDER = 13
    CAR = 14
    TRUCK = 15
    BUS = 16
    TRAIN = 17
    MOTORCYCLE = 18
    BICYCLE = 19
    STATIC = 20
    DYNAMIC = 21
    OTHER = 22
    WATER = 23
    ROAD_LINES = 24
    GROUND = 25
    BRIDGE = 26
    RAIL_TRACK = 27
    GUARD_RAIL = 28


PALETTE: ByteArray = np.array(
    [
        (0, 0, 0), (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156),
        (190, 153, 153), (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35),
        (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
        (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
        (110, 190, 160), (170, 120, 50), (55, 90, 80), (45, 60, 150), (157, 234, 50),
        (81, 0, 81), (150, 100, 100), (230, 150, 140), (180, 165, 180),
    ],
    dtype=np.uint8,
)  # fmt: skip
"""sRGB colour of each tag, uint8 (29, 3): CARLA's colours (Cityscapes' for tags 1..19)."""
PALETTE.setflags(write=False)


def taxonomy_fingerprint() -> str:
    """Hash of tags and names, 16 hexadecimal digits. Peers with another fingerprint are refused."""
    text = ",".join(f"{tag.value}:{tag.name}" for tag in Tag)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
