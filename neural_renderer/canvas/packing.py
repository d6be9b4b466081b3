"""Textures and their mip levels packed into one image, so that one look-up serves all pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import ByteArray
from sim2street.configs import ConfigError

GUTTER_PX = 4
"""Texels around each packed level: the opposite side of a texture that repeats, else the border
repeated, so that bilinear look-ups need no special cases."""

MAX_SIDE_PX = 16384
MAX_LEVELS = 9
"""Entries per texture in the tables; those beyond its last mip level repeat it."""

Sizes = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PackedTextures:
    """One image with every mip level of every texture.

    Attributes:
        image: uint8 (H, W, 4), sRGB and alpha; colour is premultiplied by alpha.
        origin: float32 (N, L, 2), x and y of the first texel of a level.
        size: float32 (N, L, 2), width and height of a level. Levels beyond a texture's last one
            repeat it.
        levels: int32 (N,), number of levels of each texture.
        repeats: float32 (N, 2), 1 where a texture repeats in x, in y, else 0.
    """

    image: ByteArray
    origin: Sizes
    size: Sizes
    levels: npt.NDArray[np.int32]
    repeats: Sizes

    def __len__(self) -> int:
        return len(self.levels)

    @property
    def inverse_size(self) -> Sizes:
        """float32 (N, 2), one over the full width and height."""
        return np.reciprocal(self.size[:, 0])


def pack(images: Sequence[ByteArray], wraps: Sequence[tuple[bool, bool]]) -> PackedTextures:
    """Pack textures, uint8 (h, w, 4) with straight alpha, tallest first, in rows.

    Raises:
        ConfigError: a texture is empty, or all of them do not fit into one image.
    """
    pyramids = [mip_levels(image) for image in images]
    tiles = [
        (_with_gutter(level, wrap), index, number)
        for index, (levels, wrap) in enumerate(zip(pyramids, wraps, strict=True))
        for number, level in enumerate(levels)
    ]
    width_px = _row_width(tiles)
    placed, height_px = _rows([tile.shape[:2] for tile, _, _ in tiles], width_px)
    if height_px > MAX_SIDE_PX:
        raise ConfigError(f"the textures need {height_px} rows of {width_px} texels: use fewer")
    image = np.zeros((max(height_px, 1), width_px, 4), np.uint8)
    origin = np.zeros((len(images), MAX_LEVELS, 2), np.float32)
    size = np.ones((len(images), MAX_LEVELS, 2), np.float32)
    for (tile, index, number), (y, x) in zip(tiles, placed, strict=True):
        image[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
        level = pyramids[index][number]
        # The last level stands for all smaller ones.
        origin[index, number:] = (x + GUTTER_PX, y + GUTTER_PX)
        size[index, number:] = (level.shape[1], level.shape[0])
    levels = np.array([len(levels) for levels in pyramids], np.int32)
    repeats = np.array(wraps, np.float32).reshape(-1, 2)
    return PackedTextures(image, origin, size, levels, repeats)


def mip_levels(image: ByteArray) -> list[ByteArray]:
    """The texture with premultiplied alpha at full size, half, a quarter, ... of its size.

    Halving averages light (linear colour), so that a distant pattern keeps its brightness.
    """
    if image.ndim != 3 or image.shape[2] != 4 or not image.size:
        raise ConfigError(f"a texture must be uint8 (h, w, 4) and not empty, got {image.shape}")
    linear = _to_linear(image)
    levels = [_to_srgb(linear)]
    while max(linear.shape[:2]) > 1 and len(levels) < MAX_LEVELS:
        linear = _halved(linear)
        levels.append(_to_srgb(linear))
    return levels


def _to_linear(image: ByteArray) -> npt.NDArray[np.float32]:
    """Linear colour times alpha, and alpha, float32 (h, w, 4) in [0, 1]."""
    straight = image.astype(np.float32) / 255.0
    rgb, alpha = straight[..., :3] ** 2.2, straight[..., 3:]
    return np.concatenate([rgb * alpha, alpha], axis=2)


def _to_srgb(linear: npt.NDArray[np.float32]) -> ByteArray:
    """sRGB colour times alpha, and alpha, uint8."""
    alpha = linear[..., 3:]
    straight = np.divide(
        linear[..., :3], alpha, out=np.zeros_like(linear[..., :3]), where=alpha > 0
    )
    rgb = np.clip(straight, 0.0, 1.0) ** (1.0 / 2.2) * alpha
    return np.rint(np.concatenate([rgb, alpha], axis=2) * 255.0).astype(np.uint8)


def _halved(linear: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means of 2x2 texels; an odd last row or column joins its neighbour."""
    for axis in (0, 1):
        n = linear.shape[axis]
        if n == 1:
            continue
        edges = np.linspace(0, n, n // 2 + 1).astype(int)
        sums = np.add.reduceat(linear, edges[:-1], axis=axis)
        counts = np.diff(edges).astype(np.float32)
        counts = counts.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        linear = (sums / counts).astype(np.float32)
    return linear


def _with_gutter(level: ByteArray, wrap: tuple[bool, bool]) -> ByteArray:
    g = GUTTER_PX
    across, down = ("wrap" if repeats else "edge" for repeats in wrap)
    wide = np.pad(level, ((0, 0), (g, g), (0, 0)), mode=across)  # type: ignore[call-overload]
    tall: ByteArray = np.pad(wide, ((g, g), (0, 0), (0, 0)), mode=down)  # type: ignore[call-overload]
    return tall


def _row_width(tiles: Sequence[tuple[ByteArray, int, int]]) -> int:
    """Width of the packed image: about square, and wide enough for the widest level."""
    area = sum(tile.shape[0] * tile.shape[1] for tile, _, _ in tiles)
    widest = max((tile.shape[1] for tile, _, _ in tiles), default=1)
    return int(min(max(widest, 1.02 * area**0.5), MAX_SIDE_PX))


def _rows(sizes: Sequence[tuple[int, int]], width_px: int) -> tuple[list[tuple[int, int]], int]:
    """(y, x) of each tile, packed in rows by falling height, and the total height."""
    places: list[tuple[int, int]] = [(0, 0)] * len(sizes)
    x = y = row_height = 0
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i][0]):
        height, width = sizes[index]
        if x + width > width_px:
            x, y, row_height = 0, y + row_height, 0
        places[index] = (y, x)
        x, row_height = x + width, max(row_height, height)
    return places, y + row_height
