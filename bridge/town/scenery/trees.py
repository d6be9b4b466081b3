"""Places trees and bushes in the town, each with its levels of detail."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from sim2street.bridge.town.scenery.meshes import Layer, SceneryItem, placed
from sim2street.bridge.town.scenery.plant_meshes import PlantLevel, plants

_FINE_UP_TO_M = 21.0
_MEDIUM_UP_TO_M = 62.0
_COARSE_UP_TO_M = 130.0
_STREET_TREE_FAR_M = 330.0
_YARD_TREE_FAR_M = 170.0
"""Trees are not drawn beyond these distances."""


def tree_items(
    kind: str, rng: np.random.Generator, x: float, y: float, near_street: bool
) -> Iterator[SceneryItem]:
    """A plant at (x, y) with a random shape of its kind, heading and size.

    Args:
        kind: see `plant_meshes.plants`.
        rng: draws the shape, heading and size.
        x, y: where it stands, metres.
        near_street: cameras may come close: add the finest level, and draw it from farther.
    """
    shapes = plants(kind)
    plant = shapes[int(rng.integers(len(shapes)))]
    yaw, scale = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0.75, 1.08))
    far_m = _STREET_TREE_FAR_M if near_street else _YARD_TREE_FAR_M
    levels = [
        (plant.medium, 0.0, _MEDIUM_UP_TO_M),
        (plant.coarse, _MEDIUM_UP_TO_M, _COARSE_UP_TO_M),
        (plant.far, _COARSE_UP_TO_M, far_m),
    ]
    if near_street:
        levels[0] = (plant.medium, _FINE_UP_TO_M, _MEDIUM_UP_TO_M)
        levels.append((plant.fine, 0.0, _FINE_UP_TO_M))
    for level, level_near_m, level_far_m in levels:
        yield from plant_items(level, (x, y), yaw, scale, level_near_m, level_far_m)


def plant_items(
    level: PlantLevel,
    at: tuple[float, float],
    yaw_rad: float,
    scale: float,
    near_m: float,
    far_m: float,
) -> Iterator[SceneryItem]:
    """One level of detail of a plant, drawn at distances in [near_m, far_m)."""
    for part, layer in ((level.solid, Layer.SOLID), (level.sheets, Layer.SHEET)):
        if len(part):
            yield SceneryItem(placed(part, *at, 0.0, yaw_rad, scale), layer, at, near_m, far_m)
