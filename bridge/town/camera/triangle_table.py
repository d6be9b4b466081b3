"""Turns a visibility buffer (see `rasteriser.py`) into labels, depth and instance ids.

Labels and instance ids are looked up by triangle id. Depth is computed from the triangle's
corners, not read from the rasteriser's depth buffer: a triangle lies in a plane n . X = d,
where X is a point in the camera's frame. On the ray X = z * r through a pixel, with
r = ((x - cx) / fx, (y - cy) / fy, 1), follows 1 / z = (n . r) / d, which is affine in x and y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, Camera, FloatArray, IdArray
from sim2street.bridge.labels import Tag
from sim2street.bridge.surfaces import Surfaces
from sim2street.bridge.town.camera.leaf_cutting import cut_leaves
from sim2street.bridge.town.camera.surface_table import SurfaceTable
from sim2street.bridge.town.scenery.meshes import MeshSurfaces

NEAREST_M = 0.05
"""Lower bound on every depth."""

_FIRST_CAPACITY = 1 << 20
"""Enough triangles for most towns. The system maps pages of zeros only when they are used."""


@dataclass(frozen=True, slots=True)
class CameraImages:
    """What one camera sees, by pixel.

    Attributes:
        labels: uint8 (H, W), tags (see `labels.Tag`).
        depth_m: float32 (H, W), distance along the optical axis; `SKY_DEPTH_M` for the sky.
        instances: uint32 (H, W), 0 for none.
        surfaces: texture coordinates; None for tables without.
    """

    labels: ByteArray
    depth_m: FloatArray
    instances: IdArray
    surfaces: Surfaces | None = None


@dataclass(frozen=True, slots=True)
class _Scratch:
    """Arrays for intermediate results of one image size.

    They are reused because allocating them for each image takes longer than the arithmetic.
    """

    row: npt.NDArray[np.intp]
    values: FloatArray

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> _Scratch:
        return cls(np.zeros(shape, np.intp), np.zeros(shape, np.float32))


class TriangleTable:
    """Corners, tag and instance id of every triangle; the row number is the triangle id.

    Row 0 is the sky. Rows are only ever added; their instance ids may change.

    Each triangle is given in a frame of reference, a number that indexes the poses passed to
    `images`: 0 is the scenery's frame (the world), the others belong to actors' bodies.
    """

    def __init__(self, surfaces: bool = False) -> None:
        """With `surfaces`, the table also looks up texture coordinates."""
        self._surfaces = SurfaceTable() if surfaces else None
        self._size = 1
        self._corners = np.zeros((1, 3, 3), np.float32)
        self._tags = np.full(1, int(Tag.SKY), np.uint8)
        self._instances = np.zeros(1, np.uint32)
        self._frames = np.zeros(1, np.int32)
        self._visible_row = np.zeros(1, np.int32)
        self._scratch: dict[tuple[int, ...], _Scratch] = {}

    def __len__(self) -> int:
        return self._size

    def add(
        self,
        triangles: npt.NDArray[np.float32],
        tags: ByteArray,
        instances: IdArray,
        frame: int = 0,
        surfaces: MeshSurfaces | None = None,
    ) -> int:
        """Add triangles and return the id of the first; the others count up from it.

        Args:
            triangles: float32 (N, 3, 3), corners in metres in `frame`.
            tags: uint8 (N,).
            instances: uint32 (N,).
            frame: number of their frame of reference; 0 is the world.
            surfaces: their texture coordinates; ignored by tables without.
        """
        first, count = self._size, len(triangles)
        self._reserve(first + count)
        self._corners[first : first + count] = triangles
        self._tags[first : first + count] = tags
        self._instances[first : first + count] = instances
        self._frames[first : first + count] = frame
        self._size += count
        if self._surfaces is not None:
            self._surfaces.add(first, count, surfaces)
        return first

    def set_instance(self, first: int, count: int, instance: int) -> None:
        """Change the instance id of the triangles `first` to `first + count - 1`."""
        self._instances[first : first + count] = instance

    def set_surface_key(self, first: int, count: int, key: int) -> None:
        """Change the key of the surfaces of the triangles `first` to `first + count - 1`."""
        if self._surfaces is not None:
            self._surfaces.set_key(first, count, key)

    def images(
        self,
        ids: npt.NDArray[np.uint32],
        camera: Camera,
        frames_to_camera: npt.NDArray[np.float64],
    ) -> CameraImages:
        """Look up what a visibility buffer shows.

        Args:
            ids: uint32 (H, W), the visibility buffer.
            camera: its intrinsics.
            frames_to_camera: float64 (F, 4, 4), poses of all frames of reference in the
                camera's frame (OpenCV axes).
        """
        seen = np.zeros(self._size, np.bool_)
        seen[ids] = True
        visible = np.flatnonzero(seen)
        # Work on the few thousand visible triangles: `row` (H, W) indexes `visible`.
        self._visible_row[visible] = np.arange(len(visible), dtype=np.int32)
        scratch = self._scratch.get(ids.shape)
        if scratch is None:
            scratch = self._scratch[ids.shape] = _Scratch.of(ids.shape)
        row = scratch.row
        row[...] = self._visible_row.take(ids)
        planes, nearest_m, farthest_m = self._planes(visible, frames_to_camera)
        tags, instances = self._tags[visible], self._instances[visible]
        cut_leaves(row, tags, planes, camera, np.linalg.inv(frames_to_camera[0]))
        depth_m = _depth_m(scratch, camera, planes, nearest_m, farthest_m)
        surfaces = None
        if self._surfaces is not None:
            surfaces = self._surfaces.surfaces(
                visible, row, camera, lambda some: self._in_camera(some, frames_to_camera)
            )
        return CameraImages(
            tags.take(row, mode="clip"), depth_m, instances.take(row, mode="clip"), surfaces
        )

    def _planes(
        self, visible: npt.NDArray[np.intp], frames_to_camera: npt.NDArray[np.float64]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Plane n / d, float32 (3, V), and lowest and highest z (V,) of the visible triangles."""
        corners = self._in_camera(visible, frames_to_camera)
        normals = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        offset = (normals * corners[:, 0]).sum(axis=1)
        edge_on = np.abs(offset) < 1e-9
        offset[edge_on] = 1.0
        planes = normals / offset[:, None]
        z = corners[..., 2]
        nearest = np.maximum(z.min(axis=1), NEAREST_M)
        farthest = np.clip(z.max(axis=1), NEAREST_M, SKY_DEPTH_M)
        # The plane goes through the camera (d = 0): give all its pixels one depth.
        planes[edge_on] = 0.0
        planes[edge_on, 2] = 1.0 / farthest[edge_on]
        if len(visible) and visible[0] == 0:  # the sky
            planes[0], nearest[0], farthest[0] = (0.0, 0.0, 1.0), SKY_DEPTH_M, SKY_DEPTH_M
        return (
            np.ascontiguousarray(planes.T, np.float32),
            nearest.astype(np.float32),
            np.maximum(farthest, nearest).astype(np.float32),
        )

    def _in_camera(
        self, visible: npt.NDArray[np.intp], frames_to_camera: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Corners (V, 3, 3) of the triangles in the camera's frame."""
        frames, corners = self._frames[visible], self._corners[visible].astype(np.float64)
        world = frames_to_camera[0]
        result: npt.NDArray[np.float64]
        result = (corners.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3]).reshape(-1, 3, 3)
        actors = np.flatnonzero(frames)
        if len(actors):
            matrices = frames_to_camera[frames[actors]]
            turned = np.einsum("vij,vkj->vki", matrices[:, :3, :3], corners[actors])
            result[actors] = turned + matrices[:, None, :3, 3]
        return result

    def _reserve(self, size: int) -> None:
        """Grow all arrays to at least `size` rows."""
        capacity = len(self._tags)
        if size <= capacity:
            return
        extra = max(size, capacity * 2, _FIRST_CAPACITY) - capacity
        for name in ("_corners", "_tags", "_instances", "_frames", "_visible_row"):
            array = getattr(self, name)
            grown = np.concatenate([array, np.zeros((extra, *array.shape[1:]), array.dtype)])
            setattr(self, name, grown)


def _cross(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cross products (V, 3); faster than `np.cross`, whose checks dominate at this size."""
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)


def _depth_m(
    scratch: _Scratch,
    camera: Camera,
    planes: FloatArray,
    nearest_m: FloatArray,
    farthest_m: FloatArray,
) -> FloatArray:
    """Planar z, float32 (H, W), clipped to the range of the triangle's corners.

    The clipping also bounds rounding errors on triangles seen edge-on.
    """
    x = ((np.arange(camera.width_px) - camera.cx_px) / camera.fx_px).astype(np.float32)
    y = ((np.arange(camera.height_px) - camera.cy_px) / camera.fy_px).astype(np.float32)
    row, values = scratch.row, scratch.values
    # All indices are in range; mode="clip" only avoids the check and a temporary array.
    depth_m: FloatArray = planes[0].take(row, mode="clip")  # 1 / z until the reciprocal below
    depth_m *= x
    depth_m += np.multiply(planes[1].take(row, mode="clip", out=values), y[:, None], out=values)
    depth_m += planes[2].take(row, mode="clip", out=values)
    # The centre of a pixel on the outline may lie just outside its triangle, even beyond the
    # plane's horizon, where 1 / z is not positive.
    np.maximum(depth_m, np.float32(1.0 / SKY_DEPTH_M), out=depth_m)
    np.reciprocal(depth_m, out=depth_m)
    np.maximum(depth_m, nearest_m.take(row, mode="clip", out=values), out=depth_m)
    np.minimum(depth_m, farthest_m.take(row, mode="clip", out=values), out=depth_m)
    return depth_m
