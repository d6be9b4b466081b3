"""Finds what buildings certainly hide from a camera, so that it need not be drawn.

Rays are marched from the camera over a height map of the buildings (as in a viewshed
analysis). Something is hidden where it stays below the line of sight over the highest roof
passed so far. The result is conservative: a building hides something only from cells that it
fills completely, only up to its eaves, and only where it also does so on the two neighbouring
rays.

There are two grids over the town: buildings are entered in cells of 2 m, and what may be
hidden is looked up in cells of 8 m (4 by 4 small cells).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import Camera, FloatArray
from sim2street.bridge.town.scenery.meshes import Floats, Occluder, Triangles

Corners = npt.NDArray[np.float32]

_BUILDING_CELL_M = 2.0
_MIN_SAMPLES = 18
"""A cell counts as filled by buildings from this number of `Occluder` sample points on; a cell
that lies wholly under a building has about 25."""

_ACTOR_HEIGHT_M = 3.3
"""No actor is higher than this."""

_CELL_SHIFT = 2
_CELL_M = _BUILDING_CELL_M * 2**_CELL_SHIFT
_ALWAYS_VISIBLE_M = 14.0
"""Everything this close to the camera (along x and y) is drawn."""

_RAY_STEP_RAD = math.radians(0.75)
_MARGIN_RAD = math.radians(5.0)
"""Rays are cast this far beyond both edges of the image."""

_STEPS_M = np.concatenate(
    [np.arange(3.0, 120.0, 3.0), np.arange(120.0, 400.0, 6.0), np.arange(400.0, 1000.0, 12.0)]
).astype(np.float32)
"""Distances along a ray at which the height map is sampled; farther things are not drawn."""

_AROUND = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
"""A cell and its neighbours."""

_NO_HEIGHT_M = -1e3
"""Height of a cell with nothing in it."""


@dataclass(frozen=True, slots=True)
class CullingResult:
    """What may be visible from one camera pose.

    Attributes:
        meshes: bool (M,), False where a mesh is certainly hidden.
        actor_cells: bool (I, J), False where what stands in this 8 m cell is certainly hidden.
        origin_m: (2,), corner of cell (0, 0) with the lowest x and y, world frame.
    """

    meshes: npt.NDArray[np.bool_]
    actor_cells: npt.NDArray[np.bool_]
    origin_m: Floats

    def actors_may_be_visible(self, places_m: Floats) -> npt.NDArray[np.bool_]:
        """bool (K,): False where an actor at a place (K, 2) is certainly hidden.

        True for places off the map. An actor may reach into the neighbouring cells.
        """
        cell = np.floor((places_m - self.origin_m) / _CELL_M).astype(np.intp)
        limit = np.array(self.actor_cells.shape) - 1
        inside = ((cell >= 0) & (cell <= limit)).all(axis=1)
        around = np.clip(cell[:, None] + _AROUND, 0, limit)
        visible = self.actor_cells[around[..., 0], around[..., 1]].any(axis=1)
        return np.asarray(visible | ~inside)


class OcclusionCuller:
    """Height maps of a town's buildings and meshes, for finding hidden meshes and actors."""

    def __init__(self, meshes: Sequence[Triangles], occluders: Iterable[Occluder]) -> None:
        """Build the height maps.

        Args:
            meshes: triangles float32 (N, 3, 3) of each mesh in the world frame, N > 0;
                `CullingResult.meshes` keeps their order.
            occluders: what hides other things.
        """
        low, high = _bounds(meshes)
        self._count = len(meshes)
        self._origin = (low[:, :2].min(axis=0) if meshes else np.zeros(2)) - _CELL_M
        size = (high[:, :2].max(axis=0) if meshes else np.zeros(2)) - self._origin
        shape = (size / _CELL_M).astype(int) + 2
        self._mesh_top = np.full(shape, _NO_HEIGHT_M, np.float32)
        cells, meshes_of_cells = self._enter_meshes(low, high)
        # The meshes in cell k are _meshes[_first[k] : _first[k + 1]].
        order = np.argsort(cells, kind="stable")
        self._meshes = meshes_of_cells[order]
        self._first = np.searchsorted(cells[order], np.arange(self._mesh_top.size + 1))
        self._building_top = self._building_heights(occluders, shape * 2**_CELL_SHIFT)

    def cull(self, camera: Camera, pose: FloatArray) -> CullingResult:
        """What `camera` at `pose` (4, 4, camera to world, OpenCV axes) may see."""
        eye = np.asarray(pose, np.float64)[:3, 3]
        angles = _azimuths(camera, np.asarray(pose, np.float64))
        rays = np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
        start = ((eye[:2] - self._origin) / _BUILDING_CELL_M).astype(np.float32)
        steps = _STEPS_M / _BUILDING_CELL_M
        # Cells (rays, steps) along each ray. Places off the map are clipped to its outermost
        # cells, which hold no buildings.
        i, j = (
            np.clip(rays[axis][:, None] * steps + start[axis], 0,
                    self._building_top.shape[axis] - 1)
            .astype(np.int32) for axis in (0, 1)
        )  # fmt: skip
        slope = (self._building_top[i, j] - np.float32(eye[2])) / _STEPS_M
        steepest = np.maximum.accumulate(slope, axis=1)
        blocked = np.full_like(steepest, -np.inf)
        blocked[:, 1:] = steepest[:, :-1]
        blocked[1:-1] = np.minimum(np.minimum(blocked[:-2], blocked[1:-1]), blocked[2:])
        i >>= _CELL_SHIFT
        j >>= _CELL_SHIFT
        mesh_cells, actor_cells = (
            self._visible_cells(i, j, blocked, top - np.float32(eye[2]), eye)
            for top in (self._mesh_top[i, j], np.float32(_ACTOR_HEIGHT_M))
        )
        return CullingResult(self._meshes_in(mesh_cells), actor_cells, self._origin)

    def _meshes_in(self, cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """bool (M,): the meshes that reach into any of the cells (I, J)."""
        chosen = np.flatnonzero(cells)
        begin, count = self._first[chosen], self._first[chosen + 1] - self._first[chosen]
        # Index begin[k], begin[k] + 1, ... begin[k] + count[k] - 1 of every chosen cell.
        index = np.arange(count.sum()) + np.repeat(begin - np.cumsum(count) + count, count)
        meshes = np.zeros(self._count, np.bool_)
        meshes[self._meshes[index]] = True
        return meshes

    def _visible_cells(
        self,
        i: npt.NDArray[np.int32],
        j: npt.NDArray[np.int32],
        blocked: npt.NDArray[np.float32],
        above_eye_m: npt.NDArray[np.float32] | np.float32,
        eye: Floats,
    ) -> npt.NDArray[np.bool_]:
        """Cells, bool (I, J), where something of a given height may be visible.

        Args:
            i, j: cells (rays, steps) along the rays.
            blocked: slope (rays, steps) up to which roofs passed so far block the view.
            above_eye_m: height of what is looked for above the camera.
            eye: (3,), the camera.
        """
        # A cell is 8 m deep. The slope to something in it is steepest at the cell's near edge
        # if it is higher than the camera, and at its far edge if it is lower.
        reach_m = np.where(above_eye_m > 0, np.maximum(_STEPS_M - _CELL_M, 1.0), _STEPS_M + _CELL_M)
        visible = above_eye_m >= blocked * reach_m
        mask = np.zeros(self._mesh_top.shape, np.bool_)
        mask[i[visible], j[visible]] = True
        self._mark_near(mask, eye)
        return mask

    def _mark_near(self, mask: npt.NDArray[np.bool_], eye: Floats) -> None:
        low = ((eye[:2] - _ALWAYS_VISIBLE_M - self._origin) / _CELL_M).astype(int)
        high = ((eye[:2] + _ALWAYS_VISIBLE_M - self._origin) / _CELL_M).astype(int) + 1
        low, high = np.maximum(low, 0), np.maximum(high, 0)
        mask[low[0] : high[0], low[1] : high[1]] = True

    def _enter_meshes(
        self, low: Corners, high: Corners
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Enter the meshes' bounding boxes (M, 3) into `_mesh_top`.

        Returns two arrays (K,), one entry for each cell that a box touches: the cell (as an
        index into the flattened map) and the number of the mesh.
        """
        first = ((low[:, :2] - self._origin) / _CELL_M).astype(int)
        deep, wide = (((high[:, :2] - self._origin) / _CELL_M).astype(int) + 1 - first).T
        mesh = np.repeat(np.arange(self._count), deep * wide)
        # Number the cells of each mesh from 0, row by row.
        inner = np.arange(len(mesh)) - np.repeat(np.cumsum(deep * wide) - deep * wide, deep * wide)
        i = first[mesh, 0] + inner // wide[mesh]
        j = first[mesh, 1] + inner % wide[mesh]
        np.maximum.at(self._mesh_top, (i, j), high[mesh, 2])
        return i * self._mesh_top.shape[1] + j, mesh

    def _building_heights(
        self, occluders: Iterable[Occluder], shape: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float32]:
        """Height, float32 `shape`, up to which each 2 m cell certainly blocks the view."""
        samples = np.zeros(shape, np.int64)
        height = np.full(shape, np.inf)
        for occluder in occluders:
            cells = ((occluder.points_m - self._origin) / _BUILDING_CELL_M).astype(int)
            inside = ((cells >= 0) & (cells < shape)).all(axis=1)
            i, j = cells[inside].T
            np.add.at(samples, (i, j), 1)
            height[i, j] = np.minimum(height[i, j], occluder.height_m)
        height[samples < _MIN_SAMPLES] = _NO_HEIGHT_M
        height[[0, -1]] = height[:, [0, -1]] = _NO_HEIGHT_M
        return height.astype(np.float32)


def _bounds(meshes: Sequence[Triangles]) -> tuple[Corners, Corners]:
    """Lowest and highest coordinates (M, 3) of each mesh; no mesh may be empty."""
    if not meshes:
        return np.empty((0, 3), np.float32), np.empty((0, 3), np.float32)
    corners = np.concatenate(meshes).reshape(-1, 3)
    starts = np.cumsum([0, *(3 * len(mesh) for mesh in meshes[:-1])])
    return np.minimum.reduceat(corners, starts), np.maximum.reduceat(corners, starts)


def _azimuths(camera: Camera, pose: Floats) -> Floats:
    """Azimuths (R,) of the rays: the camera's field of view with a margin, or a full circle.

    It is a full circle where the camera looks steeply up or down or has a very wide view.
    """
    corners = np.array(
        [((x - camera.cx_px) / camera.fx_px, (y - camera.cy_px) / camera.fy_px, 1.0)
         for x in (0, camera.width_px) for y in (0, camera.height_px)]
    ) @ pose[:3, :3].T  # fmt: skip
    forward = pose[:3, 2]
    heading = math.atan2(forward[1], forward[0])
    away = np.arctan2(corners[:, 1], corners[:, 0]) - heading
    half = float(np.abs((away + math.pi) % (2 * math.pi) - math.pi).max()) + _MARGIN_RAD
    if half > 1.5 or np.hypot(*forward[:2]) < 0.7:
        half = math.pi
    return heading + np.arange(-half, half + _RAY_STEP_RAD, _RAY_STEP_RAD)
