"""Texture coordinates on plane faces, for walls, roofs and signs; see `bridge.surfaces`.

Nothing here draws from a random generator, so that a town looks the same with and without
texture coordinates.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sim2street.bridge.town.scenery.meshes import SURFACE_ROW, Floats, MeshSurfaces

Indices = npt.NDArray[np.intp]

_VERTICAL = 0.05
"""Faces whose unit normal has at most this |z| are walls; with at most this |xy|, level."""

_NORMAL_STEPS, _NORMAL_SHIFT = 64.0, 0.371
"""Triangles of one group whose normals agree to 1/64 form one face. The shift keeps the bounds
between steps away from values such as 0 and 1, which axis-aligned faces have."""

_UPPER_24_BITS = 0xFFFFFF00


def mixed(*numbers: int) -> int:
    """A 32-bit hash of whole numbers (MurmurHash3 without its length)."""
    value = 0x9747B28C
    for number in numbers:
        k = (number & 0xFFFFFFFF) * 0xCC9E2D51 & 0xFFFFFFFF
        k = (k << 15 | k >> 17) * 0x1B873593 & 0xFFFFFFFF
        value ^= k
        value = ((value << 13 | value >> 19) * 5 + 0xE6546B64) & 0xFFFFFFFF
    value = (value ^ value >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    value = (value ^ value >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return value ^ value >> 16


def place_key(seed: int, x_m: float, y_m: float) -> int:
    """A key for what stands at a place (to a centimetre) in the town of this seed."""
    return mixed(seed, round(100 * x_m), round(100 * y_m))


class PlaneFaces:
    """Triangles grouped into plane faces, with (u, v) in metres on each.

    Attributes:
        face: intp (T,), the face of each triangle.
        first: intp (F,), the first triangle of each face.
        normals: float64 (F, 3), outward unit vectors.
        is_wall: bool (F,), whether a face is vertical.
        uv: float64 (T, 3, 2). u: metres from the face's left end, seen from outside. v: of walls,
            z in metres; of slopes, metres from the lowest point up the slope.
        low, high: float64 (F, 2), range of (u, v).
    """

    def __init__(self, triangles: Floats, group: npt.NDArray[np.integer]) -> None:
        """Triangles (T, 3, 3) of equal `group` (T,) and equal normal form a face."""
        normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        x, y, z = np.floor(normals * _NORMAL_STEPS + _NORMAL_SHIFT).astype(np.int64).T + 128
        label = ((group.astype(np.int64) * 256 + x) * 256 + y) * 256 + z
        _, self.first, face = np.unique(label, return_index=True, return_inverse=True)
        self.face: Indices = face.reshape(-1)
        self.normals = normals[self.first]
        self.is_wall = np.abs(self.normals[:, 2]) <= _VERTICAL
        self.uv = np.einsum("tck,tak->tca", triangles, self._axes()[self.face])
        order = np.argsort(self.face, kind="stable")
        starts = np.searchsorted(self.face[order], np.arange(len(self.first)))
        self.low = np.minimum.reduceat(self.uv.min(axis=1)[order], starts)
        self.high = np.maximum.reduceat(self.uv.max(axis=1)[order], starts)
        origin = self.low.copy()
        origin[self.is_wall, 1] = 0.0
        self.move(-origin)

    def move(self, offset: Floats) -> None:
        """Add an offset (F, 2) to the (u, v) of each face."""
        self.uv += offset[self.face][:, None]
        self.low = self.low + offset
        self.high = self.high + offset

    def surfaces(self, kind: npt.ArrayLike, material: npt.ArrayLike, key: int) -> MeshSurfaces:
        """One surface per face, with these columns (F,); their keys share the upper 24 bits.

        Walls get their top above the ground line as their height, also where they begin higher.
        """
        count = len(self.first)
        rows = np.zeros(count, SURFACE_ROW)
        rows["kind"], rows["material"] = kind, material
        rows["key"] = (key & _UPPER_24_BITS) + np.arange(count) % 256
        rows["size_m"] = self.high
        rows["uv_low"], rows["uv_high"] = self.low, self.high
        return MeshSurfaces(rows, self.face.astype(np.int32), self.uv.astype(np.float32))

    def _axes(self) -> Floats:
        """Directions (F, 2, 3) in which u and v grow."""
        across = np.stack([-self.normals[:, 1], self.normals[:, 0]], axis=1)
        across[np.hypot(*across.T) <= _VERTICAL] = (1.0, 0.0)
        right = np.zeros_like(self.normals)
        right[:, :2] = across / np.hypot(*across.T)[:, None]
        up = np.cross(self.normals, right)
        up[self.is_wall] = (0.0, 0.0, 1.0)
        return np.stack([right, up], axis=1)
