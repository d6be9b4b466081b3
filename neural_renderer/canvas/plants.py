"""Leaves on vegetation: an oblique projection from the world, steady while the camera moves."""

from __future__ import annotations

import numpy as np

from sim2street.bridge.frame import ByteArray, FloatArray, IdArray
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.canvas.hashing import mixed, unit
from sim2street.neural_renderer.canvas.parts import AtlasParts
from sim2street.neural_renderer.canvas.surface_map import SurfaceMap

OBLIQUE = np.array([[0.83, -0.55, 0.0], [0.22, 0.31, 0.93]], np.float32)
"""Rows: texture x and y of a point in the world. Seen from any street, neither axis vanishes."""

HEDGE_TOP_M = 2.2
"""Vegetation below this height takes hedge textures."""

TINT_RANGE = 0.12
"""Plants differ in sRGB value by up to this share."""


def place_plants(
    surfaces: SurfaceMap,
    labels: ByteArray,
    instances: IdArray | None,
    points_m: FloatArray,
    parts: AtlasParts,
    seed: int,
) -> None:
    """Fill texture, texel and tint of vegetation pixels; points_m as in `place_ground`."""
    pixels = np.flatnonzero(labels == Tag.VEGETATION)
    foliage = parts.groups.get("foliage")
    if foliage is None or not len(pixels):
        return
    hedge = parts.groups.get("hedge", foliage)
    points = points_m.reshape(3, -1)[:, pixels]
    # Plants without ids of their own change their look every few metres.
    plant = np.floor(points[:2] / 6.0).astype(np.int64)
    key = mixed(plant[0], plant[1], seed, 21)
    if instances is not None:
        ids = instances.reshape(-1)[pixels].astype(np.int64)
        key = np.where(ids > 0, mixed(ids, seed, 21), key)
    low = points[2] < HEDGE_TOP_M
    piece = np.where(
        low, hedge[key % np.uint32(len(hedge))], foliage[key % np.uint32(len(foliage))]
    )
    scale = parts.px_per_m.take(piece)
    surfaces.texture.reshape(-1)[pixels] = piece
    surfaces.texel.reshape(2, -1)[:, pixels] = (OBLIQUE @ points) * scale
    shade = 1.0 + TINT_RANGE * (2.0 * unit(mixed(key, 22)) - 1.0)
    surfaces.tint.reshape(3, -1)[:, pixels] = shade
