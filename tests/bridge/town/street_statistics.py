"""Statistics of label maps: class shares, shares by image row, and length of class borders.

`test_town_looks_statistics.py` compares label maps of the town with those of photographs
(street_statistics.json). Both are measured here, on groups of tags that correspond to the
classes of the photographs' labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import ByteArray
from sim2street.bridge.labels import Tag

Floats = npt.NDArray[np.float64]

GROUPS: dict[str, tuple[Tag, ...]] = {
    "sky": (Tag.SKY,),
    "building": (Tag.BUILDING, Tag.WALL, Tag.BRIDGE),
    "pole": (Tag.POLE,),
    "road": (Tag.ROAD, Tag.ROAD_LINES),
    "sidewalk": (Tag.SIDEWALK,),
    "vegetation": (Tag.VEGETATION, Tag.TERRAIN),
    "sign": (Tag.TRAFFIC_SIGN, Tag.TRAFFIC_LIGHT),
    "fence": (Tag.FENCE, Tag.GUARD_RAIL),
    "car": (Tag.CAR, Tag.TRUCK, Tag.BUS, Tag.TRAIN),
    "pedestrian": (Tag.PEDESTRIAN,),
    "cyclist": (Tag.RIDER, Tag.BICYCLE, Tag.MOTORCYCLE),
    "other": (Tag.UNKNOWN, Tag.STATIC, Tag.DYNAMIC, Tag.OTHER, Tag.WATER, Tag.GROUND,
              Tag.RAIL_TRACK),
}  # fmt: skip
"""Tags of each group; results list the groups in this order."""

BANDS = 32
"""Images are divided into this number of horizontal bands, from top to bottom."""


@dataclass(frozen=True, slots=True)
class StreetStatistics:
    """Statistics of several label maps.

    Attributes:
        frames: number of label maps.
        shares: share of all pixels, by group.
        rows: float64 (groups, BANDS), share of each group in each band.
        edges_per_pixel: number of horizontal and vertical neighbours of different groups,
            per pixel.
    """

    frames: int
    shares: dict[str, float]
    rows: Floats
    edges_per_pixel: float


def group_table() -> ByteArray:
    """uint8 (29,), the number of each tag's group."""
    table = np.full(len(Tag), len(GROUPS) - 1, np.uint8)
    for number, tags in enumerate(GROUPS.values()):
        table[list(tags)] = number
    return table


def measure(label_maps: Iterable[ByteArray]) -> StreetStatistics:
    """Statistics of label maps uint8 (H, W) of tags, where H is at least `BANDS`."""
    table, count = group_table(), 0
    rows = np.zeros((len(GROUPS), BANDS))
    edges = 0.0
    for labels in label_maps:
        groups = table[labels]
        bands = (np.arange(len(groups)) * BANDS) // len(groups)
        for number in range(len(GROUPS)):
            per_row = (groups == number).mean(axis=1)
            rows[number] += np.bincount(bands, per_row, BANDS) / np.bincount(bands, None, BANDS)
        across = np.count_nonzero(groups[:, 1:] != groups[:, :-1])
        down = np.count_nonzero(groups[1:] != groups[:-1])
        edges += (across + down) / groups.size
        count += 1
    rows /= max(count, 1)
    shares = dict(zip(GROUPS, rows.mean(axis=1).tolist(), strict=True))
    return StreetStatistics(count, shares, rows, edges / max(count, 1))


ROUGHNESS_STEPS = (2, 4, 8)


def foliage_roughness(label_maps: Iterable[ByteArray]) -> dict[int, float]:
    """How much longer outlines of foliage are than in label maps k times smaller, by k.

    An outline that is straight over k pixels gives 1. Maps with less than 1 % foliage are left
    out.
    """
    length = 0.0
    coarse = dict.fromkeys(ROUGHNESS_STEPS, 0.0)
    for labels in label_maps:
        foliage = labels == Tag.VEGETATION
        if foliage.mean() < 0.01:
            continue
        length += _border_length(foliage)
        for k in ROUGHNESS_STEPS:
            height, width = (size // k for size in foliage.shape)
            cells = foliage[: height * k, : width * k].reshape(height, k, width, k)
            coarse[k] += k * _border_length(cells.mean(axis=(1, 3)) >= 0.5)
    return {k: length / coarse[k] for k in ROUGHNESS_STEPS}


def _border_length(mask: npt.NDArray[np.bool_]) -> int:
    """Number of horizontal and vertical neighbours that differ."""
    across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    return int(np.count_nonzero(across) + np.count_nonzero(down))


def row_distance(a: Floats, b: Floats) -> float:
    """Total variation distance of two `StreetStatistics.rows`, averaged over bands, in [0, 1]."""
    return float(np.abs(a - b).sum(axis=0).mean() / 2)
