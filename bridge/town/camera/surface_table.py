"""Texture coordinates of the triangles that a visibility buffer shows (see `bridge.surfaces`).

On a triangle with the corners X0, X1, X2 in the camera's frame and u0, u1, u2 there, u is an affine
function of the point. The point on the ray X = z * r through a pixel therefore has

    u = (a . r) / (n . r)  with  n = X1 x X2 + X2 x X0 + X0 x X1
                           and   a = u0 X1 x X2 + u1 X2 x X0 + u2 X0 x X1,

where both products are affine in the pixel's x and y. The arithmetic is in float64, because walls
seen at a grazing angle cancel most digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import SKY_DEPTH_M, Camera
from sim2street.bridge.surfaces import MAX_SURFACES, Surfaces
from sim2street.bridge.town.scenery.meshes import NO_SURFACE, SURFACE_ROW, Floats, MeshSurfaces

Indices = npt.NDArray[np.intp]


class SurfaceTable:
    """The surface of every triangle and (u, v) at its corners; triangles are known by id."""

    def __init__(self) -> None:
        self._row: npt.NDArray[np.int32] = np.full(1, NO_SURFACE, np.int32)
        self._uv: npt.NDArray[np.float32] = np.zeros((1, 3, 2), np.float32)
        self._rows: npt.NDArray[np.void] = np.zeros(0, SURFACE_ROW)
        self._row_count = 0
        self._rays: dict[Camera, tuple[Floats, Floats]] = {}

    def add(self, first_id: int, count: int, surfaces: MeshSurfaces | None) -> None:
        """Add the surfaces of the triangles from `first_id` on; None: they have no surface."""
        end = first_id + count
        self._row = _grown(self._row, end, NO_SURFACE)
        if surfaces is None:
            return
        self._uv = _grown(self._uv, end, 0)
        first_row = self._row_count
        self._row_count += len(surfaces.rows)
        self._rows = _grown(self._rows, self._row_count, 0)
        self._rows[first_row : self._row_count] = surfaces.rows
        here = surfaces.row
        self._row[first_id:end] = np.where(here == NO_SURFACE, here, here + np.int32(first_row))
        self._uv[first_id:end] = surfaces.uv

    def set_key(self, first_id: int, count: int, key: int) -> None:
        """Change the key of all surfaces of these triangles."""
        rows = self._row[first_id : first_id + count]
        self._rows["key"][np.unique(rows[rows != NO_SURFACE])] = key

    def surfaces(
        self,
        visible: Indices,
        row: Indices,
        camera: Camera,
        corners_of: Callable[[Indices], Floats],
    ) -> Surfaces:
        """The surfaces of an image.

        Args:
            visible: (V,), ids of the visible triangles.
            row: (H, W), the element of `visible` that each pixel shows.
            camera: its intrinsics.
            corners_of: gives the corners (N, 3, 3) of triangles (N,), in the camera's frame.
        """
        shown = np.flatnonzero(self._row[visible] != NO_SURFACE)
        used, number = np.unique(self._row[visible[shown]], return_inverse=True)
        number = number.reshape(-1)
        table = self._rows[used]
        # The order of rows does not depend on when a mesh was added.
        order = np.lexsort((used, table["material"], table["kind"], table["key"]))[:MAX_SURFACES]
        place = np.zeros(len(used), np.uint16)
        place[order] = np.arange(1, len(order) + 1)
        of_visible, position = np.zeros(len(visible), np.uint16), np.zeros(len(visible), np.intp)
        of_visible[shown], position[shown] = place[number], np.arange(len(shown))
        index = of_visible.take(row, mode="clip")
        pixels = np.flatnonzero(index)
        which = position.take(row.reshape(-1).take(pixels))
        uv = np.zeros((row.size, 2), np.float32)
        if len(pixels):
            triangles = visible[shown]
            planes = _planes(corners_of(triangles), self._uv[triangles].astype(np.float64))
            low, high = table["uv_low"].T[:, number], table["uv_high"].T[:, number]
            x, y = (axis.take(pixels) for axis in self._ray_grid(camera))
            inverse_z = np.maximum(_on_rays(planes[0], which, x, y), 1.0 / SKY_DEPTH_M)
            for axis in (0, 1):
                value = _on_rays(planes[axis + 1], which, x, y)
                value /= inverse_z
                # Pixels on an outline may lie just outside their triangle.
                np.clip(value, low[axis].take(which), high[axis].take(which), out=value)
                uv[pixels, axis] = value
        chosen = table[order]
        return Surfaces(
            index,
            uv.reshape(*row.shape, 2),
            *(np.ascontiguousarray(chosen[name]) for name in ("kind", "key", "size_m", "material")),
        )

    def _ray_grid(self, camera: Camera) -> tuple[Floats, Floats]:
        """x and y (H * W,) of the rays (x, y, 1) through all pixels."""
        if camera not in self._rays:
            x = (np.arange(camera.width_px) - camera.cx_px) / camera.fx_px
            y = (np.arange(camera.height_px) - camera.cy_px) / camera.fy_px
            self._rays[camera] = np.tile(x, len(y)), np.repeat(y, len(x))
        return self._rays[camera]


def _planes(corners: Floats, uv: Floats) -> Floats:
    """Coefficients (3, 3, N): of 1 / z, u / z and v / z, each for x, y and 1 of a ray (x, y, 1).

    Args:
        corners: (N, 3, 3), in the camera's frame.
        uv: (N, 3, 2), (u, v) at the corners.
    """
    parts = np.cross(corners[:, [1, 2, 0]], corners[:, [2, 0, 1]])  # (N, corner, 3)
    values = np.concatenate([np.ones((len(uv), 3, 1)), uv], axis=2)
    planes: Floats = np.einsum("ncq,nca->qan", values, parts)
    offset = (parts[:, 0] * corners[:, 0]).sum(axis=1)
    edge_on = np.abs(offset) < 1e-9
    offset[edge_on] = 1.0
    planes /= offset
    # The plane goes through the camera: give all its pixels the mean of the corners.
    planes[:, :, edge_on] = 0.0
    planes[:, 2, edge_on] = values.mean(axis=1)[edge_on].T
    return planes


def _on_rays(plane: Floats, which: Indices, x: Floats, y: Floats) -> Floats:
    """The value of plane `which` (K,) of (3, N) on each ray (K,)."""
    value: Floats = plane[0].take(which)
    value *= x
    value += plane[1].take(which) * y
    value += plane[2].take(which)
    return value


def _grown(array: npt.NDArray[Any], size: int, fill: int) -> npt.NDArray[Any]:
    """The array with at least `size` rows: itself, or a copy with room for more."""
    if len(array) >= size:
        return array
    grown = np.full((max(size, 2 * len(array)), *array.shape[1:]), fill, array.dtype)
    grown[: len(array)] = array
    return grown
