"""Which parts of a town can be seen from a place, so that the rest is not drawn.

Streets are corridors: of a hundred thousand triangles before a camera a few thousand are
seen. Rays are marched over a height map of the buildings; where something is lower than
the roofs passed so far, it is hidden. Doubt is settled in favour of drawing: buildings
count only where they fill a cell, up to their eaves, and on neighbouring rays too.
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

_SOLID_CELL_M = 2.0
_FULL = 18
"""Of the 25 or so sample points in a cell that lies wholly under a building."""

_ACTOR_M = 3.3
"""No actor is higher than this."""

_CELLS_SHIFT = 2
_CELL_M = _SOLID_CELL_M * 2**_CELLS_SHIFT
_NEAR_M = 14.0
_RAY_RAD = math.radians(0.75)
_MARGIN_RAD = math.radians(5.0)
_STEPS_M = np.concatenate(
    [np.arange(3.0, 120.0, 3.0), np.arange(120.0, 400.0, 6.0), np.arange(400.0, 1000.0, 12.0)]
).astype(np.float32)
_NOTHING = -1e3


@dataclass(frozen=True, slots=True)
class Sight:
    """What can be seen from one place.

    Attributes:
        parts: bool (parts,), False where a part is certainly hidden.
        cells: bool (I, J), False where no actor in a cell of the map could be seen.
        origin_m: (2,), corner of the map.
    """

    parts: npt.NDArray[np.bool_]
    cells: npt.NDArray[np.bool_]
    origin_m: Floats

    def shows(self, x_m: float, y_m: float) -> bool:
        """Whether an actor at this place may be seen. Beyond the map everything may."""
        i, j = (int((v - o) // _CELL_M) for v, o in zip((x_m, y_m), self.origin_m, strict=True))
        inside = 0 <= i < self.cells.shape[0] and 0 <= j < self.cells.shape[1]
        return not inside or bool(self.cells[i, j])


class Viewshed:
    """The height maps of a town, and what can be seen over them."""

    def __init__(self, parts: Sequence[Triangles], occluders: Iterable[Occluder]) -> None:
        """`parts`: the triangles of everything that is asked about, in order."""
        low, high = _bounds(parts)
        self._count = len(parts)
        self._origin = (low[:, :2].min(axis=0) if parts else np.zeros(2)) - _CELL_M
        size = (high[:, :2].max(axis=0) if parts else np.zeros(2)) - self._origin
        shape = (size / _CELL_M).astype(int) + 2
        self._top = np.full(shape, _NOTHING, np.float32)
        self._cells, self._owners = self._occupy(low, high)
        self._solid = self._raise(occluders, shape * 2**_CELLS_SHIFT)

    def look(self, camera: Camera, pose: FloatArray) -> Sight:
        """What is not certainly hidden behind buildings."""
        eye = np.asarray(pose, np.float64)[:3, 3]
        angles = _azimuths(camera, np.asarray(pose, np.float64))
        rays = np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
        start = ((eye[:2] - self._origin) / _SOLID_CELL_M).astype(np.float32)
        steps = _STEPS_M / _SOLID_CELL_M
        # The outermost cells are empty: what lies outside the maps is clipped to them.
        i, j = (
            np.clip(rays[axis][:, None] * steps + start[axis], 0, self._solid.shape[axis] - 1)
            .astype(np.int32) for axis in (0, 1)
        )  # fmt: skip
        slope = (self._solid[i, j] - np.float32(eye[2])) / _STEPS_M
        horizon = np.maximum.accumulate(slope, axis=1)
        passed = np.full_like(horizon, -np.inf)
        passed[:, 1:] = horizon[:, :-1]
        passed[1:-1] = np.minimum(np.minimum(passed[:-2], passed[1:-1]), passed[2:])
        i >>= _CELLS_SHIFT
        j >>= _CELLS_SHIFT
        parts, actors = (
            self._seen(i, j, passed, top - np.float32(eye[2]), eye)
            for top in (self._top[i, j], np.float32(_ACTOR_M))
        )
        result = np.zeros(self._count, np.bool_)
        result[self._owners[parts.ravel()[self._cells]]] = True
        return Sight(result, _widened(actors), self._origin)

    def _seen(
        self,
        i: npt.NDArray[np.int32],
        j: npt.NDArray[np.int32],
        passed: npt.NDArray[np.float32],
        above: npt.NDArray[np.float32] | np.float32,
        eye: Floats,
    ) -> npt.NDArray[np.bool_]:
        """Cells where what reaches `above` eye level rises over the roofs passed so far."""
        # A cell is some metres deep: its far edge decides below eye level, its near above.
        reach = np.where(above > 0, np.maximum(_STEPS_M - _CELL_M, 1.0), _STEPS_M + _CELL_M)
        seen = above >= passed * reach
        mask = np.zeros(self._top.shape, np.bool_)
        mask[i[seen], j[seen]] = True
        self._mark_near(mask, eye)
        return mask

    def _mark_near(self, mask: npt.NDArray[np.bool_], eye: Floats) -> None:
        low = ((eye[:2] - _NEAR_M - self._origin) / _CELL_M).astype(int)
        high = ((eye[:2] + _NEAR_M - self._origin) / _CELL_M).astype(int) + 1
        low, high = np.maximum(low, 0), np.maximum(high, 0)
        mask[low[0] : high[0], low[1] : high[1]] = True

    def _occupy(
        self, low: Corners, high: Corners
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Pairs of cell and part, for every cell a part's box touches; fills `_top`."""
        first = ((low[:, :2] - self._origin) / _CELL_M).astype(int)
        deep, wide = (((high[:, :2] - self._origin) / _CELL_M).astype(int) + 1 - first).T
        owners = np.repeat(np.arange(self._count), deep * wide)
        # Count the cells of each part from 0, row by row.
        inner = np.arange(len(owners)) - np.repeat(
            np.cumsum(deep * wide) - deep * wide, deep * wide
        )
        i = first[owners, 0] + inner // wide[owners]
        j = first[owners, 1] + inner % wide[owners]
        np.maximum.at(self._top, (i, j), high[owners, 2])
        return i * self._top.shape[1] + j, owners

    def _raise(self, occluders: Iterable[Occluder], shape: npt.NDArray[np.intp]) -> Floats:
        """Height of what surely blocks the view, by cell of two metres."""
        filled = np.zeros(shape, np.int64)
        height = np.full(shape, np.inf)
        for occluder in occluders:
            cells = ((occluder.points_m - self._origin) / _SOLID_CELL_M).astype(int)
            inside = ((cells >= 0) & (cells < shape)).all(axis=1)
            i, j = cells[inside].T
            np.add.at(filled, (i, j), 1)
            height[i, j] = np.minimum(height[i, j], occluder.height_m)
        height[filled < _FULL] = _NOTHING
        height[[0, -1]] = height[:, [0, -1]] = _NOTHING
        return height.astype(np.float32)


def _widened(cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The cells and those that touch them: actors are longer than a cell's half."""
    wide = cells.copy()
    wide[1:] |= cells[:-1]
    wide[:-1] |= cells[1:]
    across = wide.copy()
    wide[:, 1:] |= across[:, :-1]
    wide[:, :-1] |= across[:, 1:]
    return wide


def _bounds(parts: Sequence[Triangles]) -> tuple[Corners, Corners]:
    """Lowest and highest coordinates (parts, 3) of each part's corners; none is empty."""
    if not parts:
        return np.empty((0, 3), np.float32), np.empty((0, 3), np.float32)
    corners = np.concatenate(parts).reshape(-1, 3)
    starts = np.cumsum([0, *(3 * len(part) for part in parts[:-1])])
    return np.minimum.reduceat(corners, starts), np.maximum.reduceat(corners, starts)


def _azimuths(camera: Camera, pose: Floats) -> Floats:
    """Directions (R,) of the rays to march: the camera's fan and a margin, or all round."""
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
    return heading + np.arange(-half, half + _RAY_RAD, _RAY_RAD)
