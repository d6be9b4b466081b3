"""The sky: a panorama far away, turned by the seed."""

from __future__ import annotations

import numpy as np

from sim2street.bridge.frame import ByteArray, FloatArray
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.canvas.hashing import mixed, unit
from sim2street.neural_renderer.canvas.parts import AtlasParts
from sim2street.neural_renderer.canvas.surface_map import SurfaceMap


def place_sky(
    surfaces: SurfaceMap, labels: ByteArray, directions: FloatArray, parts: AtlasParts, seed: int
) -> None:
    """Fill texture and texel of sky pixels.

    A panorama of the atlas is equirectangular: x is the compass direction, y falls from the zenith
    (0) to the horizon (the last row).

    Args:
        directions: float32 (3, H, W), viewing direction of each pixel in the world, any length.
    """
    pixels = np.flatnonzero(labels == Tag.SKY)
    skies = parts.groups.get("sky")
    if skies is None or not len(pixels):
        return
    piece = int(skies[int(mixed(seed, 31)) % len(skies)])
    width, height = parts.size_px[piece]
    x, y, z = directions.reshape(3, -1)[:, pixels]
    turn = np.arctan2(y, x) / (2.0 * np.pi) + float(unit(mixed(seed, 32)))
    elevation = np.arctan2(z, np.hypot(x, y)) / (0.5 * np.pi)
    texel = surfaces.texel.reshape(2, -1)
    texel[0, pixels] = -turn * width
    texel[1, pixels] = np.clip(1.0 - elevation, 0.0, 1.0) * (height - 1.0)
    surfaces.texture.reshape(-1)[pixels] = piece
