"""Textures on ground: world coordinates, so that they stay in place while the camera drives."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import ByteArray, FloatArray
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.canvas.hashing import mixed, unit
from sim2street.neural_renderer.canvas.parts import AtlasParts, Reals
from sim2street.neural_renderer.canvas.surface_map import SurfaceMap

GROUND_GROUPS: dict[Tag, tuple[str, ...]] = {
    Tag.ROAD: ("asphalt",),
    Tag.ROAD_LINES: ("asphalt",),
    Tag.SIDEWALK: ("paving",),
    Tag.TERRAIN: ("grass",),
    Tag.GROUND: ("gravel", "soil", "paving"),
    Tag.RAIL_TRACK: ("gravel",),
}
"""Groups of the atlas for each tag of ground; the first one that the atlas has is used."""

PATCH_M = 5.0
PATCH_CONTRAST = 0.11
"""Ground varies in sRGB value by up to this share over patches of this size, which hides that its
texture repeats."""

NOISE_CELLS, NOISE_TEXELS = 24, 8
"""The noise of the patches repeats after this many patches; texels per patch in its table."""

PAINT_FACTOR = 1.55
"""sRGB value of road paint over that of the asphalt below it."""


def place_ground(
    surfaces: SurfaceMap, labels: ByteArray, points_m: FloatArray, parts: AtlasParts, seed: int
) -> None:
    """Fill texture, texel and tint of ground pixels.

    Args:
        points_m: float32 (3, H, W), the surface point of each pixel in the world.
    """
    for tag, groups in GROUND_GROUPS.items():
        pixels = np.flatnonzero(labels == tag)
        pieces = next((parts.groups[g] for g in groups if g in parts.groups), None)
        if pieces is None or not len(pixels):
            continue
        kind = Tag.ROAD if tag == Tag.ROAD_LINES else tag
        piece = int(pieces[int(mixed(seed, int(kind), 11)) % len(pieces)])
        scale = parts.px_per_m[piece]
        xy = points_m[:2].reshape(2, -1)[:, pixels]
        surfaces.texture.reshape(-1)[pixels] = piece
        texel = surfaces.texel.reshape(2, -1)
        texel[0, pixels], texel[1, pixels] = xy[0] * scale, -xy[1] * scale
        tint = 1.0 + PATCH_CONTRAST * patches(xy, seed)
        if tag == Tag.ROAD_LINES:
            tint = tint * np.float32(PAINT_FACTOR)
        surfaces.tint.reshape(3, -1)[:, pixels] = tint


def patches(xy_m: Reals, seed: int) -> npt.NDArray[np.float32]:
    """Smooth noise in [-1, 1] at points on the ground, float32 (2, P) in metres: float32 (P,)."""
    shift = unit(mixed(np.arange(2), seed, 12))[:, None] * np.float32(NOISE_CELLS)
    cells = xy_m * np.float32(1.0 / PATCH_M) + shift
    cells -= np.floor(cells * np.float32(1.0 / NOISE_CELLS)) * np.float32(NOISE_CELLS)
    # A map of many rows is shared among threads.
    rows = -(-cells.shape[1] // 512)
    grid = np.zeros((2, rows * 512), np.float32)
    grid[:, : cells.shape[1]] = cells * np.float32(NOISE_TEXELS)
    x, y = grid.reshape(2, rows, 512)
    noise = cv2.remap(_noise(), x, y, cv2.INTER_LINEAR).reshape(-1)[: cells.shape[1]]
    return noise.astype(np.float32, copy=False)


@functools.cache
def _noise() -> Reals:
    """Smooth noise that repeats after `NOISE_CELLS` patches, with one texel more on each side."""
    rng = np.random.default_rng(17)
    total = np.zeros((NOISE_CELLS * NOISE_TEXELS,) * 2, np.float32)
    for cells, weight in ((NOISE_CELLS, 0.65), (3 * NOISE_CELLS, 0.35)):
        values = np.pad(rng.random((cells, cells), np.float32), 2, mode="wrap")
        size = total.shape[0] * (cells + 4) // cells
        large = cv2.resize(values, (size, size), interpolation=cv2.INTER_CUBIC)
        margin = (size - total.shape[0]) // 2
        total += np.float32(weight) * (2.0 * large[margin:-margin, margin:-margin] - 1.0)
    return np.pad(total, (0, 1), mode="wrap")
