"""Leaves on vegetation: projected along the axis of the world that a surface faces.

One projection for all surfaces would draw leaves out to streaks on those that lie along it. Crowns
are clusters of facets, and each facet takes one of three.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import ByteArray, FloatArray, IdArray
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.canvas.hashing import mixed, unit
from sim2street.neural_renderer.canvas.parts import AtlasParts, Ints
from sim2street.neural_renderer.canvas.surface_map import SurfaceMap

PLANES = np.array(
    [
        [[0.28, 0.96, 0.0], [0.0, 0.26, 0.97]],
        [[0.96, 0.28, 0.0], [0.26, 0.0, 0.97]],
        [[0.80, 0.60, 0.0], [-0.60, 0.80, 0.0]],
    ],
    np.float32,
)
"""Texture x and y of a point in the world, for surfaces that face along x, along y and up.

They are a little oblique, so that leaves do not stand in rows."""

HEDGE_TOP_M = 2.2
"""Vegetation below this height takes hedge textures."""

FIRST_FACET = 32
"""Surface numbers of facets begin here, after those of the label tags."""

SQUARE_M = 25.0
"""Side of the squares of the ground in which plants without instance ids look alike."""

TINT_RANGE = 0.12
"""Plants differ in sRGB value by up to this share."""


def place_plants(
    surfaces: SurfaceMap,
    labels: ByteArray,
    instances: IdArray | None,
    points_m: FloatArray,
    parts: AtlasParts,
    seed: int,
    surface: Ints,
) -> None:
    """Fill texture, texel and tint of vegetation pixels; points_m as in `place_ground`.

    surface: int32 (H, W), equal on continuous surfaces. Facets get a number by their projection,
    because texel coordinates jump from one to the other.
    """
    pixels = np.flatnonzero(labels == Tag.VEGETATION)
    foliage = parts.groups.get("foliage")
    if foliage is None or not len(pixels):
        return
    hedge = parts.groups.get("hedge", foliage)
    points = points_m.reshape(3, -1)[:, pixels]
    # Plants without ids of their own: squares so large that few of them cut a crown in two.
    plant = np.floor(points[:2] / SQUARE_M).astype(np.int64)
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
    axis = facing(points_m, pixels)
    surface.reshape(-1)[pixels] = FIRST_FACET + axis
    texel = np.empty((2, len(pixels)), np.float32)
    for number, plane in enumerate(PLANES):
        chosen = axis == number
        texel[:, chosen] = plane @ points[:, chosen]
    surfaces.texel.reshape(2, -1)[:, pixels] = texel * scale
    shade = 1.0 + TINT_RANGE * (2.0 * unit(mixed(key, 22)) - 1.0)
    surfaces.tint.reshape(3, -1)[:, pixels] = shade


def facing(points_m: FloatArray, pixels: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Axis of the world that the surface at each of P pixels faces most: 0, 1 or 2, (P,).

    Args:
        points_m: float32 (3, H, W), surface points in the world.
        pixels: (P,), indices into the flattened image.
    """
    height, width = points_m.shape[1:]
    row, column = np.divmod(pixels, width)
    flat = points_m.reshape(3, -1)
    right = row * width + np.minimum(column + 1, width - 1)
    left = row * width + np.maximum(column - 1, 0)
    below = np.minimum(row + 1, height - 1) * width + column
    above = np.maximum(row - 1, 0) * width + column
    x, y, z = flat[:, right] - flat[:, left]
    u, v, w = flat[:, below] - flat[:, above]
    normal = np.abs(np.stack([y * w - z * v, z * u - x * w, x * v - y * u]))
    axis: npt.NDArray[np.intp] = normal.argmax(axis=0)
    return axis
