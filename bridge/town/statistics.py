"""How much a stack of label maps looks like streets: shares, rows, edge length.

Real reference numbers (tests/data/street_statistics.json) and the town are measured with
this same code, on the groups of classes that photographs of streets are labelled with.
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
"""Groups by name; the order is that of the rows of every result."""

ROWS = 32
"""Row profiles are averaged to this many bands from top to bottom."""


@dataclass(frozen=True, slots=True)
class StreetStatistics:
    """Statistics of a stack of label maps.

    Attributes:
        frames: how many label maps.
        shares: share of all pixels, by group.
        rows: float64 (groups, ROWS), share of every group in each band of rows.
        edges_per_pixel: pairs of neighbours (right, below) of unlike groups, per pixel.
    """

    frames: int
    shares: dict[str, float]
    rows: Floats
    edges_per_pixel: float


def group_table() -> ByteArray:
    """uint8 (29,): tag to the number of its group."""
    table = np.full(len(Tag), len(GROUPS) - 1, np.uint8)
    for number, tags in enumerate(GROUPS.values()):
        table[list(tags)] = number
    return table


def measure(label_maps: Iterable[ByteArray]) -> StreetStatistics:
    """Statistics of label maps (H, W) of tags; H at least `ROWS`."""
    table, count = group_table(), 0
    rows = np.zeros((len(GROUPS), ROWS))
    edges = 0.0
    for labels in label_maps:
        groups = table[labels]
        bands = (np.arange(len(groups)) * ROWS) // len(groups)
        for number in range(len(GROUPS)):
            per_row = (groups == number).mean(axis=1)
            rows[number] += np.bincount(bands, per_row, ROWS) / np.bincount(bands, None, ROWS)
        across = np.count_nonzero(groups[:, 1:] != groups[:, :-1])
        down = np.count_nonzero(groups[1:] != groups[:-1])
        edges += (across + down) / groups.size
        count += 1
    rows /= max(count, 1)
    shares = dict(zip(GROUPS, rows.mean(axis=1).tolist(), strict=True))
    return StreetStatistics(count, shares, rows, edges / max(count, 1))


def row_distance(a: Floats, b: Floats) -> float:
    """Mean over the bands of the total variation distance of two row profiles: 0..1."""
    return float(np.abs(a - b).sum(axis=0).mean() / 2)
