"""Windows of a world's facades, placed by geometry, because labels do not show them.

A wall is planar, so its inverse depth is linear in the image, and the gradient gives the wall's
normal. The windows form a grid in metres along the wall and up, so they stay in place while the
camera moves. The building's instance id chooses the sizes of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.frame import ByteArray, FloatArray, IdArray
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.vehicle_windows import (
    MIN_DEPTH_M,
    place_panes,
    sideways_to,
)

FLOOR_M, SILL_M = 3.0, 0.9
"""Height of a storey, and of a window sill above its floor."""

PITCH_M, WIDTH_M, HEIGHT_M = (2.3, 3.3), (1.0, 1.5), (1.3, 1.7)
"""Ranges over buildings: distance between window centres, width and height of a window."""

MIN_WIDTH_PX = 2.0
"""Narrower windows are left out; in training photographs none so small are found."""

DIRECTIONS = 48
"""Number of wall directions. Rounding the direction keeps noise in the normal from shifting
windows of walls far from the world's origin, and changes distances along the wall by less than
0.3 %."""

GRIDS = 256
"""Number of window grids that buildings choose from."""

MIN_WALL_WIDTH_M = 1.6
"""Walls that appear narrower than this have no windows, such as chimneys and piers."""

MAX_UPWARD_NORMAL = 0.25
"""Surfaces whose unit normal has a larger z component are roofs and have no windows."""

_LOW, _HIGH = np.array([PITCH_M, WIDTH_M, HEIGHT_M], np.float32).T[..., None]
_SIZES_M = _LOW + (_HIGH - _LOW) * np.random.default_rng(3).random((3, GRIDS), np.float32)
"""Pitch, width and height of the windows of each grid, float32 (3, GRIDS)."""


def place_windows(
    labels: ByteArray,
    instances: IdArray | None,
    depth_m: FloatArray,
    camera: Sequence[float],
    pose: FloatArray,
) -> npt.NDArray[np.bool_]:
    """Bool (H, W): windows of facades and panes of vehicles.

    Args:
        labels: uint8 (H, W), tags.
        instances: uint32 (H, W) instance ids, or None.
        depth_m: float32 (H, W), planar z.
        camera: fx, fy, cx, cy in pixels.
        pose: (4, 4), camera (OpenCV axes) to world, z up.
    """
    windows = place_in_walls(labels, instances, depth_m, camera, pose)
    return windows | place_panes(labels, instances, depth_m, camera, pose)


def place_in_walls(
    labels: ByteArray,
    instances: IdArray | None,
    depth_m: FloatArray,
    camera: Sequence[float],
    pose: FloatArray,
) -> npt.NDArray[np.bool_]:
    """Bool (H, W): windows on pixels with the tag BUILDING. Arguments: see `place_windows`."""
    windows = np.zeros(labels.shape, np.bool_)
    found = _walls_in(labels, instances, depth_m, camera, pose)
    if found is not None:
        box, walls = found
        windows[box] = walls.windows()
    return windows


@dataclass(frozen=True, slots=True)
class WallCoordinates:
    """Wall pixels and where on their walls they are.

    Attributes:
        pixels: int64 (P,), indices into the flattened image.
        wall: int64 (P,), the same for all pixels of one building and direction.
        along_m, up_m: float32 (P,), metres along the wall, counted from the world's origin, and
            above the world's zero height.
    """

    pixels: npt.NDArray[np.int64]
    wall: npt.NDArray[np.int64]
    along_m: FloatArray
    up_m: FloatArray


def wall_coordinates(
    labels: ByteArray,
    instances: IdArray | None,
    depth_m: FloatArray,
    camera: Sequence[float],
    pose: FloatArray,
) -> WallCoordinates | None:
    """The walls of a view by its depth; None without any. Arguments: see `place_windows`."""
    found = _walls_in(labels, instances, depth_m, camera, pose)
    if found is None:
        return None
    (rows, columns), walls = found
    pixels, wall, along_m, up_m = walls.coordinates()
    row, column = np.divmod(pixels, columns.stop - columns.start)
    full = (row + rows.start) * labels.shape[1] + column + columns.start
    return WallCoordinates(full, wall, along_m, up_m)


def _walls_in(
    labels: ByteArray,
    instances: IdArray | None,
    depth_m: FloatArray,
    camera: Sequence[float],
    pose: FloatArray,
) -> tuple[tuple[slice, slice], _Walls] | None:
    """The walls of a view and the box of the image that holds them."""
    building = labels == Tag.BUILDING
    rows, columns = np.flatnonzero(building.any(axis=1)), np.flatnonzero(building.any(axis=0))
    if not len(rows):
        return None
    fx, fy, cx, cy = camera
    top, left = int(rows[0]), int(columns[0])
    box = slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 1)
    ids = np.zeros(labels.shape, np.uint32) if instances is None else instances
    rays = (
        ((np.arange(box[1].start, box[1].stop) - cx) / fx).astype(np.float32),
        ((np.arange(box[0].start, box[0].stop) - cy) / fy).astype(np.float32),
    )
    return box, _Walls(building[box], ids[box], depth_m[box], rays, (fx, fy), pose)


class _Walls:
    """The walls inside a box of the image. Their directions are found at half resolution."""

    def __init__(
        self,
        building: npt.NDArray[np.bool_],
        ids: npt.NDArray[np.integer],
        depth_m: FloatArray,
        rays: tuple[FloatArray, FloatArray],
        focal_px: tuple[float, float],
        pose: FloatArray,
    ) -> None:
        self._building, self._depth_m, self._rays = building, depth_m, rays
        self._rotation = pose[:3, :3].astype(np.float32)
        self._position_m = pose[:3, 3].astype(np.float32)
        self._focal_px = focal_px
        self._half = building[::2, ::2]
        self._ids = ids[::2, ::2].astype(np.uint32)

    def windows(self) -> npt.NDArray[np.bool_]:
        """Bool, of the size of the box: True on windows."""
        direction, grid = self._directions_and_grids()
        shape = self._building.shape
        full = direction.repeat(2, 0).repeat(2, 1)[: shape[0], : shape[1]]
        pixels = np.flatnonzero(self._building & (full >= 0))
        rows, columns = np.divmod(pixels, shape[1])
        directions = full.take(pixels)
        grids = grid[rows // 2, columns // 2]
        pitch_m, width_m, height_m = (sizes_m.take(grids) for sizes_m in _SIZES_M)
        along_m, up_m = self._places(pixels, rows, columns, directions)
        across = np.abs(along_m - pitch_m * (np.floor(along_m / pitch_m) + np.float32(0.5)))
        above = up_m - np.float32(FLOOR_M) * np.floor(up_m / np.float32(FLOOR_M)) - SILL_M
        windows = np.zeros(shape, np.bool_)
        windows.ravel()[pixels] = (across < width_m / 2) & (above > 0.0) & (above < height_m)
        # Removes the slivers that remain of windows cut by the eaves.
        return _opened(windows)

    def coordinates(
        self,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray, FloatArray]:
        """Pixels of the box that lie on walls, their wall, and metres along and up."""
        direction, grid = self._directions_and_grids(min_width_px=0.0)
        shape = self._building.shape
        full = direction.repeat(2, 0).repeat(2, 1)[: shape[0], : shape[1]]
        pixels = np.flatnonzero(self._building & (full >= 0))
        rows, columns = np.divmod(pixels, shape[1])
        directions = full.take(pixels)
        along_m, up_m = self._places(pixels, rows, columns, directions)
        return pixels, grid[rows // 2, columns // 2] * DIRECTIONS + directions, along_m, up_m

    def _directions_and_grids(
        self, min_width_px: float = MIN_WIDTH_PX
    ) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]:
        """At half resolution: the wall's direction, 0 .. DIRECTIONS - 1, or -1 where there is no
        wall or its windows would be narrower than `min_width_px`; and the number of its grid."""
        depth_m = np.maximum(self._depth_m[::2, ::2], np.float32(MIN_DEPTH_M))
        inverse = np.where(self._half, np.float32(1.0) / depth_m, np.float32(0.0))
        across, known_across = self._slope(inverse, 1)
        down, known_down = self._slope(inverse, 0)
        chosen = np.flatnonzero(self._half & known_across & known_down)
        rows, columns = np.divmod(chosen, self._half.shape[1])
        x, y = self._rays[0][::2][columns], self._rays[1][::2][rows]
        nx = across.take(chosen) * np.float32(self._focal_px[0])
        ny = down.take(chosen) * np.float32(self._focal_px[1])
        normal = np.stack([nx, ny, inverse.take(chosen) - x * nx - y * ny])
        world = self._rotation @ normal
        length = np.linalg.norm(world, axis=0) + np.float32(1e-12)
        angle = np.arctan2(world[1], world[0])
        directions = np.rint(angle * (DIRECTIONS / (2.0 * np.pi))).astype(np.int64) % DIRECTIONS
        buildings = _hashed(self._ids.take(chosen))
        directions = _main_directions(directions, buildings)
        # Pixels per metre along the wall, foreshortened by the angle of view.
        px_per_m = self._focal_px[0] * inverse.take(chosen) ** 2 / length
        grids = _hashed((buildings * DIRECTIONS + directions).astype(np.uint32))
        broad = self._wall_width_m(depth_m).take(chosen) > MIN_WALL_WIDTH_M
        wide = px_per_m * _SIZES_M[1].take(grids) > min_width_px
        upright = np.abs(world[2]) < MAX_UPWARD_NORMAL * length
        direction = np.full(self._half.shape, -1, np.int16)
        direction.ravel()[chosen] = np.where(wide & upright & broad, directions, -1)
        grid = np.zeros(self._half.shape, np.int64)
        grid.ravel()[chosen] = grids
        return direction, grid

    def _wall_width_m(self, depth_m: FloatArray) -> FloatArray:
        """Width in metres of the uninterrupted building area to both sides of each pixel."""
        left, right = sideways_to(~self._half)
        return (left + right) * depth_m * np.float32(2.0 / self._focal_px[0])

    def _slope(self, inverse: FloatArray, axis: int) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Change of inverse depth per pixel along `axis`, averaged over flat surfaces, and where it
        is known."""
        cut = [[slice(None)] * 2 for _ in range(3)]
        for place, along in zip(cut, (slice(0, -2), slice(1, -1), slice(2, None)), strict=True):
            place[axis] = along
        before, here, after = (tuple(place) for place in cut)
        flat = self._half[before] & self._half[here] & self._half[after]
        flat &= (self._ids[before] == self._ids[here]) & (self._ids[here] == self._ids[after])
        bend = np.abs(inverse[before] + inverse[after] - 2.0 * inverse[here])
        # The constant covers the rounding of depth that was stored as 16-bit inverse depth.
        flat &= bend < 0.004 * inverse[here] + 1.3e-4
        slope, known = np.zeros_like(inverse), np.zeros_like(inverse)
        slope[here] = np.where(flat, (inverse[after] - inverse[before]) / 4.0, 0.0)
        known[here] = flat
        share = ndimage.uniform_filter(known, 5)
        return ndimage.uniform_filter(slope, 5) / np.maximum(share, 1e-6), share > 0.3

    def _places(
        self,
        pixels: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        columns: npt.NDArray[np.int64],
        directions: npt.NDArray[np.int16],
    ) -> tuple[FloatArray, FloatArray]:
        """Position of each pixel in metres along its wall and above the world's zero height."""
        x, y, depth_m = self._rays[0][columns], self._rays[1][rows], self._depth_m.take(pixels)
        angles = np.arange(DIRECTIONS) * (2.0 * np.pi / DIRECTIONS)
        tangents = np.stack([-np.sin(angles), np.cos(angles), np.zeros(DIRECTIONS)]).astype(
            np.float32
        )
        in_camera = (self._rotation.T @ tangents)[:, directions]
        along_m = depth_m * (in_camera[0] * x + in_camera[1] * y + in_camera[2])
        up = self._rotation[2]
        up_m = depth_m * (up[0] * x + up[1] * y + up[2]) + self._position_m[2]
        return along_m + (self._position_m @ tangents)[directions], up_m


def _hashed(numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Multiplicative hash (Knuth) of any numbers to 0 .. GRIDS - 1."""
    return ((numbers * np.uint32(2654435761)) >> np.uint32(24)).astype(np.int64)


def _main_directions(
    directions: npt.NDArray[np.int64], buildings: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Each direction replaced by the nearest main direction of its building.

    Main directions are peaks of the building's histogram. Near a corner the measured direction
    is a mean of both walls', and belongs to neither.
    """
    counts = np.bincount(buildings * DIRECTIONS + directions, minlength=GRIDS * DIRECTIONS).reshape(
        GRIDS, DIRECTIONS
    )
    used = np.flatnonzero(counts.any(axis=1))
    counts = counts[used]
    around = np.stack([np.roll(counts, offset, axis=1) for offset in range(-3, 4)]).max(axis=0)
    main = (counts == around) & (counts >= 0.15 * counts.max(axis=1, keepdims=True)) & (counts > 0)
    nearest = np.zeros((GRIDS, DIRECTIONS), np.int64)
    row, peak = np.nonzero(main)
    for offset in sorted(range(-DIRECTIONS // 2, DIRECTIONS // 2), key=abs, reverse=True):
        nearest[used[row], (peak - offset) % DIRECTIONS] = offset
    return (directions + nearest[buildings, directions]) % DIRECTIONS


def _opened(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Morphological opening with a rectangle 3 high and 2 wide."""
    height, width = mask.shape
    offsets = [(dy, dx) for dy in range(3) for dx in range(2)]
    fits = np.ones((max(height - 2, 0), max(width - 1, 0)), np.bool_)
    for dy, dx in offsets:
        fits &= mask[dy : dy + fits.shape[0], dx : dx + fits.shape[1]]
    opened = np.zeros_like(mask)
    for dy, dx in offsets:
        opened[dy : dy + fits.shape[0], dx : dx + fits.shape[1]] |= fits
    return opened
