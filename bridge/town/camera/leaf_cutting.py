"""Cuts the outlines of foliage along leaves, as an alpha texture would.

Foliage is drawn as polygons, whose outlines are straight over many pixels; in photographs they
are rough down to single pixels. Pixels of foliage up to `_REACH_PX` from its outline are
transparent where a noise is low: they show the triangle next to them instead, if it lies behind.
The noise is fixed to the world, on a grid about as fine as the pixels, so it moves with the plant.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, Camera, FloatArray
from sim2street.bridge.labels import Tag

Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]

_REACH_PX = 3
_TRANSPARENT = (0.5, 0.6, 0.6)
_HOLE = 0.12
"""Probability that foliage is transparent at 1, 2 and 3 pixels from its outline if it is at the
pixel before, and if it is not. Chosen by `test_town_looks_foliage.py`'s measures."""

_THIN_PX = 5

_DEEPEST_M = 0.4
"""Foliage is cut no deeper than this, measured at right angles to the line of sight."""

_GROUND = (Tag.ROAD, Tag.ROAD_LINES, Tag.SIDEWALK, Tag.TERRAIN)
"""What lies below foliage is not shown through it: a hedge stands on a straight line."""

_CELL_PX = 1.6
"""Size of the noise's grid cells in pixels, before it is rounded to a power of two in metres."""


def cut_leaves(
    row: Indices, tags: ByteArray, planes: FloatArray, camera: Camera, to_world: Floats
) -> None:
    """Make foliage transparent near its outlines, by changing `row` in place.

    Args:
        row: (H, W), the visible triangle that each pixel shows.
        tags: uint8 (V,), of the visible triangles.
        planes: float32 (3, V), of the visible triangles: 1 / z for x, y and 1 of a ray (x, y, 1).
        camera: its intrinsics.
        to_world: float64 (4, 4), pose of the camera.
    """
    foliage = (tags == Tag.VEGETATION).take(row, mode="clip")
    lines = np.flatnonzero(foliage.any(axis=1))
    if not len(lines):
        return
    top = max(0, int(lines[0]) - _REACH_PX)  # only these lines of the image matter
    part = slice(top, int(lines[-1]) + _REACH_PX + 1)
    pixels, behind, distance_px = _rims(foliage[part])
    flat = row[part].reshape(-1)
    y, x = np.divmod(pixels, camera.width_px)
    rays = np.stack([(x - camera.cx_px) / camera.fx_px, (y + top - camera.cy_px) / camera.fy_px])
    leaf_z, behind_z = (_depth(planes.take(flat.take(at), axis=1), rays) for at in (pixels, behind))
    pixel_m = leaf_z / camera.fx_px
    noise = _noise(rays, leaf_z, _CELL_PX * pixel_m, to_world)
    cut = noise < np.array(_TRANSPARENT)[distance_px - 1]
    cut &= (behind_z > leaf_z) & (distance_px * pixel_m < _DEEPEST_M)
    cut &= ~np.isin(tags, _GROUND).take(flat.take(behind))
    gone = np.zeros(flat.shape, np.bool_)
    gone[pixels[cut & (distance_px == 1)]] = True
    for distance in range(2, _REACH_PX + 1):
        here = distance_px == distance
        before = pixels[here] + (behind[here] - pixels[here]) // distance
        cut[here] &= gone[before] | (noise[here] < _HOLE)
        gone[pixels[here]] = cut[here]
    flat[pixels[cut]] = flat[behind[cut]]


def _rims(foliage: npt.NDArray[np.bool_]) -> tuple[Indices, Indices, Indices]:
    """Pixels (K,) of foliage near its outlines, the nearest other pixel, and its distance (K,).

    Trunks, twigs and whatever else is at most `_THIN_PX` wide are left out.
    Pixels are indices into the flattened image (H, W); distances are whole pixels along an axis.
    """
    height, width = foliage.shape
    undecided = foliage.copy()
    found: list[tuple[Indices, int, int]] = []
    for distance in range(1, _REACH_PX + 1):
        for down, right in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            dy, dx = down * distance, right * distance
            here = (slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx)))
            there = (slice(max(0, dy), height + min(0, dy)), slice(max(0, dx), width + min(0, dx)))
            rim = np.zeros_like(foliage)
            np.greater(undecided[here], foliage[there], out=rim[here])
            undecided ^= rim
            at, step = np.flatnonzero(rim), down * width + right
            inward = foliage.reshape(-1).take(at - _THIN_PX * step, mode="clip")
            found.append((at[inward], distance * step, distance))
    pixels = np.concatenate([at for at, _, _ in found])
    behind = np.concatenate([at + offset for at, offset, _ in found])
    distance_px = np.concatenate([np.full(len(at), distance) for at, _, distance in found])
    return pixels, behind, distance_px


def _depth(planes: FloatArray, rays: Floats) -> Floats:
    """Planar z (K,) at which rays (2, K) meet planes (3, K)."""
    inverse: Floats = planes[0] * rays[0] + planes[1] * rays[1] + planes[2]
    return 1.0 / np.maximum(inverse, 1.0 / SKY_DEPTH_M)


def _noise(rays: Floats, z: Floats, cell_m: Floats, to_world: Floats) -> Floats:
    """A random number in [0, 1) for the grid cell of the world that each point lies in."""
    points = np.concatenate([rays * z, z[None]])
    points = to_world[:3, :3] @ points + to_world[:3, 3:]
    level = np.ceil(np.log2(cell_m))
    i, j, k = np.floor(points / np.exp2(level)).astype(np.int64).astype(np.uint32)
    value = i * np.uint32(0x9E3779B1) ^ j * np.uint32(0x85EBCA77) ^ k * np.uint32(0xC2B2AE3D)
    value = (value ^ value >> np.uint32(15)) * np.uint32(0x2C1B3C6D)
    value = (value ^ value >> np.uint32(12)) * np.uint32(0x297A2D39)
    mixed: Floats = (value ^ value >> np.uint32(15)) / 2.0**32
    return mixed
