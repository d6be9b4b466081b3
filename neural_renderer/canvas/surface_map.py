"""What placement tells sampling: for every pixel a texture, a place on it, and its footprint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import FloatArray

IntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

NO_TEXTURE = -1


@dataclass(frozen=True, slots=True)
class SurfaceMap:
    """Texture and texture coordinates of every pixel of a view.

    Attributes:
        texture: int32 (H, W), index into the atlas; `NO_TEXTURE` where there is no canvas.
        texel: float32 (2, H, W), x and y in texels of the texture at its full size; (0, 0) is the
            centre of the first texel. May lie outside a texture that repeats.
        jacobian: float32 (4, H, W), change of the texel coordinates from one pixel to the next:
            dx and dy to the pixel on the right, dx and dy to the pixel below.
        tint: float32 (3, H, W), factor on the sRGB value of each channel.
        window: bool (H, W), panes of facades and vehicles.
    """

    texture: IntArray
    texel: FloatArray
    jacobian: FloatArray
    tint: FloatArray
    window: BoolArray

    @classmethod
    def empty(cls, height_px: int, width_px: int) -> SurfaceMap:
        """A map without any texture, to be filled by placement."""
        shape = (height_px, width_px)
        return cls(
            np.full(shape, NO_TEXTURE, np.int32),
            np.zeros((2, *shape), np.float32),
            np.zeros((4, *shape), np.float32),
            np.ones((3, *shape), np.float32),
            np.zeros(shape, np.bool_),
        )


def jacobian(coordinates: FloatArray, surface: npt.NDArray[np.integer]) -> FloatArray:
    """Change of coordinates from pixel to pixel, by differences inside each surface.

    Args:
        coordinates: float32 (2, H, W).
        surface: (H, W), equal where neighbours lie on one continuous surface.

    Returns:
        float32 (4, H, W), in the order of `SurfaceMap.jacobian`. Zero where a pixel has no
        neighbour on its surface.
    """
    out = np.zeros((4, *surface.shape), np.float32)
    for axis, (to_x, to_y) in ((1, (0, 1)), (0, (2, 3))):
        here, there = _neighbours(surface.ndim, axis)
        same = surface[there] == surface[here]
        for k, target in enumerate((to_x, to_y)):
            step = np.where(same, coordinates[k][there] - coordinates[k][here], np.float32(0.0))
            out[target][there] = step  # towards the previous pixel, where there is no next one
            np.copyto(out[target][here], step, where=same)
    return out


def _neighbours(dims: int, axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index of all pixels that have a next one along `axis`, and of these next ones."""
    here, there = [slice(None)] * dims, [slice(None)] * dims
    here[axis], there[axis] = slice(0, -1), slice(1, None)
    return tuple(here), tuple(there)
