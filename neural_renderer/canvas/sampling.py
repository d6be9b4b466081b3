"""Looks the textures of a `SurfaceMap` up: mip-mapped, with more samples along steep surfaces.

A pixel covers a parallelogram of texels (`SurfaceMap.jacobian`). A mip level that fits its long
axis would turn roads and grazing walls grey, one that fits its short axis would flicker. So the
level fits the short axis, as far as `TAPS` samples along the long axis can cover it, and their
mean is taken (Heckbert 1989; anisotropic filtering on GPUs does the same). Several samples from
the nearest level look as smooth as a blend of two levels, at half the cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import ByteArray, FloatArray
from sim2street.neural_renderer.canvas.packing import MAX_LEVELS, PackedTextures
from sim2street.neural_renderer.canvas.surface_map import NO_TEXTURE, SurfaceMap

TAPS = 4
"""Samples along the long axis of a pixel's footprint, all from the nearest mip level."""


@dataclass(frozen=True, slots=True)
class CanvasImage:
    """The canvas of one view.

    Attributes:
        rgb: float32 (H, W, 3) in [0, 1], sRGB; 0 where there is no canvas.
        coverage: float32 (H, W) in [0, 1], opacity of the texture; 0 where there is no canvas.
        level: float32 (H, W), mip level, for debugging; 0 is full size.
    """

    rgb: FloatArray
    coverage: FloatArray
    level: FloatArray


def sample(surfaces: SurfaceMap, textures: PackedTextures) -> CanvasImage:
    """Sample all pixels of a view. The same map gives the same bits."""
    shape = surfaces.texture.shape
    if not len(textures):
        empty = np.zeros(shape, np.float32)
        return CanvasImage(np.zeros((*shape, 3), np.float32), empty, empty)
    texture = np.maximum(surfaces.texture, 0)
    level, step = _footprint(surfaces.jacobian)
    np.minimum(level, (textures.levels - 1).astype(np.float32).take(texture), out=level)
    entry = texture * MAX_LEVELS + np.rint(level).astype(np.int32)
    total = _level_mean(surfaces.texel, step, texture, entry, textures)
    total[surfaces.texture == NO_TEXTURE] = 0.0
    return _finished(total, surfaces.tint, level)


def _footprint(jacobian: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mip level, float32 (H, W), and the step between samples in texels, float32 (2, H, W)."""
    right = cv2.magnitude(jacobian[0], jacobian[1])
    below = cv2.magnitude(jacobian[2], jacobian[3])
    long_side, short_side = np.maximum(right, below), np.minimum(right, below)
    width = np.maximum(short_side, long_side * np.float32(1.0 / TAPS))
    level = np.log2(np.maximum(width, np.float32(1.0), out=width), out=width)
    step = np.where(right >= below, jacobian[:2], jacobian[2:])
    step *= np.float32(1.0 / TAPS)
    return level, step


def _level_mean(
    texel: FloatArray,
    step: FloatArray,
    texture: npt.NDArray[np.int32],
    entry: npt.NDArray[np.int32],
    textures: PackedTextures,
) -> FloatArray:
    """Mean of the samples from one mip level per pixel: float32 (H, W, 4), premultiplied.

    Samples lie at most 1.5 texels of their level from the middle one, for a step is at most one
    such texel. The gutter is wider, so only the middle is brought into the texture.
    """
    starts, moves = [], []
    for axis in (0, 1):
        size = textures.size[..., axis].ravel().take(entry)
        scale = size * textures.inverse_size[:, axis].take(texture)
        # Texel centres are integers, so the image's border lies at -0.5.
        place = (texel[axis] + np.float32(0.5)) * scale
        whole = np.floor(place * np.reciprocal(size))
        whole *= size * textures.repeats[:, axis].take(texture)
        place -= whole
        np.clip(place, np.float32(0.0), size, out=place)
        place += textures.origin[..., axis].ravel().take(entry)
        place -= np.float32(0.5)
        move = step[axis] * scale
        # Larger only where the smallest level is still too large: one colour anyway.
        np.clip(move, np.float32(-1.0), np.float32(1.0), out=move)
        starts.append(place - move * np.float32((TAPS - 1) / 2.0))
        moves.append(move)
    total = np.zeros((*texture.shape, 4), np.float32)
    for _ in range(TAPS):
        cv2.accumulate(cv2.remap(textures.image, starts[0], starts[1], cv2.INTER_LINEAR), total)
        starts[0] += moves[0]
        starts[1] += moves[1]
    total *= np.float32(1.0 / TAPS)
    return total


def _finished(total: FloatArray, tint: FloatArray, level: FloatArray) -> CanvasImage:
    """Straight colour, tinted, and coverage."""
    coverage = total[..., 3] * np.float32(1.0 / 255.0)
    weight = np.reciprocal(np.maximum(total[..., 3], np.float32(1e-3)))
    rgb = np.empty((*level.shape, 3), np.float32)
    for channel in range(3):
        np.multiply(total[..., channel], tint[channel] * weight, out=rgb[..., channel])
    np.minimum(rgb, np.float32(1.0), out=rgb)
    return CanvasImage(rgb, coverage, level)


def to_uint8(rgb: FloatArray) -> ByteArray:
    """float32 in [0, 1] to uint8."""
    out: ByteArray = np.rint(rgb * 255.0).astype(np.uint8)
    return out
