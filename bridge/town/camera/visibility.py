"""From a visibility buffer to labels, instances and depth, exactly, in numpy.

The inverse depth of a plane is affine in the image (1/z = (n . ray) / d for the plane
n . X = d), so every pixel's depth follows from its triangle's three vertices, free of the
rasteriser's own depth buffer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, Camera, FloatArray, IdArray
from sim2street.bridge.labels import Tag

NEAREST_M = 0.05
_FIRST_CAPACITY = 1 << 20
"""As many triangles as most towns have; untouched pages of zeros cost nothing."""


@dataclass(frozen=True, slots=True)
class Buffers:
    """What one camera sees.

    Attributes:
        labels: uint8 (H, W) tags. depth_m: float32 (H, W), planar z, sky = 1000.
        instances: uint32 (H, W), 0 = none.
    """

    labels: ByteArray
    depth_m: FloatArray
    instances: IdArray


@dataclass(frozen=True, slots=True)
class _Scratch:
    """Working memory for one image size, used again: fresh pages cost more than the sums."""

    index: npt.NDArray[np.intp]
    values: FloatArray

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> _Scratch:
        return cls(np.zeros(shape, np.intp), np.zeros(shape, np.float32))


class TriangleTable:
    """Everything known about every triangle id; id 0 is the sky.

    Ids are handed out once (`add`); what they stand for may be rewritten (`set_instance`).
    `group` is the frame a triangle lives in: 0 = the world, else an actor's slot.
    """

    def __init__(self) -> None:
        self._size = 1
        self._corners = np.zeros((1, 3, 3), np.float32)
        self._tags = np.full(1, int(Tag.SKY), np.uint8)
        self._instances = np.zeros(1, np.uint32)
        self._groups = np.zeros(1, np.int32)
        self._compact = np.zeros(1, np.int32)
        self._scratch: dict[tuple[int, ...], _Scratch] = {}

    def __len__(self) -> int:
        return self._size

    def add(
        self,
        triangles: npt.NDArray[np.float32],
        tags: ByteArray,
        instances: IdArray,
        group: int = 0,
    ) -> int:
        """Register triangles (N, 3, 3); returns the id of the first."""
        first, count = self._size, len(triangles)
        self._reserve(first + count)
        self._corners[first : first + count] = triangles
        self._tags[first : first + count] = tags
        self._instances[first : first + count] = instances
        self._groups[first : first + count] = group
        self._size += count
        return first

    def set_instance(self, first: int, count: int, instance: int) -> None:
        """Give `count` triangles from id `first` another instance id."""
        self._instances[first : first + count] = instance

    def derive(
        self,
        ids: npt.NDArray[np.uint32],
        camera: Camera,
        to_camera: npt.NDArray[np.float64],
    ) -> Buffers:
        """Labels, depth and instances behind a visibility buffer `ids` (H, W).

        `to_camera` float64 (G, 4, 4): for each group, from its frame to the camera's.
        """
        seen = np.zeros(self._size, np.bool_)
        seen[ids] = True
        visible = np.flatnonzero(seen)
        self._compact[visible] = np.arange(len(visible), dtype=np.int32)
        scratch = self._scratch.get(ids.shape)
        if scratch is None:
            scratch = self._scratch[ids.shape] = _Scratch.of(ids.shape)
        index = scratch.index
        index[...] = self._compact.take(ids)
        planes, nearest, farthest = self._planes(visible, to_camera)
        depth_m = _depth(scratch, camera, planes, nearest, farthest)
        tags, instances = self._tags[visible], self._instances[visible]
        return Buffers(tags.take(index, mode="clip"), depth_m, instances.take(index, mode="clip"))

    def _planes(
        self, visible: npt.NDArray[np.intp], to_camera: npt.NDArray[np.float64]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Per visible triangle: n/d (3, V), and the least and greatest z of its corners."""
        corners = self._in_camera(visible, to_camera)
        normals = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        offset = (normals * corners[:, 0]).sum(axis=1)
        edge_on = np.abs(offset) < 1e-9
        offset[edge_on] = 1.0
        planes = normals / offset[:, None]
        z = corners[..., 2]
        nearest = np.maximum(z.min(axis=1), NEAREST_M)
        farthest = np.clip(z.max(axis=1), NEAREST_M, SKY_DEPTH_M)
        planes[edge_on] = 0.0
        planes[edge_on, 2] = 1.0 / farthest[edge_on]
        if len(visible) and visible[0] == 0:
            planes[0], nearest[0], farthest[0] = (0.0, 0.0, 1.0), SKY_DEPTH_M, SKY_DEPTH_M
        return (
            np.ascontiguousarray(planes.T, np.float32),
            nearest.astype(np.float32),
            np.maximum(farthest, nearest).astype(np.float32),
        )

    def _in_camera(
        self, visible: npt.NDArray[np.intp], to_camera: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Corners (V, 3, 3) of the triangles in the camera's frame."""
        groups, corners = self._groups[visible], self._corners[visible].astype(np.float64)
        moved = corners.reshape(-1, 3) @ to_camera[0, :3, :3].T + to_camera[0, :3, 3]
        result = moved.reshape(-1, 3, 3)
        actors = np.flatnonzero(groups)
        if len(actors):
            matrices = to_camera[groups[actors]]
            turned = np.einsum("vij,vkj->vki", matrices[:, :3, :3], corners[actors])
            result[actors] = turned + matrices[:, None, :3, 3]
        return result

    def _reserve(self, size: int) -> None:
        capacity = len(self._tags)
        if size <= capacity:
            return
        extra = max(size, capacity * 2, _FIRST_CAPACITY) - capacity
        for name in ("_corners", "_tags", "_instances", "_groups", "_compact"):
            array = getattr(self, name)
            grown = np.concatenate([array, np.zeros((extra, *array.shape[1:]), array.dtype)])
            setattr(self, name, grown)


def _cross(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cross products (V, 3): np.cross spends longer on its checks than on the products."""
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)


def _depth(
    scratch: _Scratch,
    camera: Camera,
    planes: FloatArray,
    nearest: FloatArray,
    farthest: FloatArray,
) -> FloatArray:
    """float32 (H, W) planar z; kept between the corners' depths, which also bounds what
    rounding may do on a triangle seen edge-on."""
    x = ((np.arange(camera.width_px) - camera.cx_px) / camera.fx_px).astype(np.float32)
    y = ((np.arange(camera.height_px) - camera.cy_px) / camera.fy_px).astype(np.float32)
    index, part = scratch.index, scratch.values
    # The indices are known to be in range: "clip" only spares their check.
    inverse = planes[0].take(index, mode="clip")
    inverse *= x
    inverse += np.multiply(planes[1].take(index, mode="clip", out=part), y[:, None], out=part)
    inverse += planes[2].take(index, mode="clip", out=part)
    # A pixel just outside its triangle may see the plane's far side: at its far end then.
    np.maximum(inverse, np.float32(1.0 / SKY_DEPTH_M), out=inverse)
    np.reciprocal(inverse, out=inverse)
    np.maximum(inverse, nearest.take(index, mode="clip", out=part), out=inverse)
    np.minimum(inverse, farthest.take(index, mode="clip", out=part), out=inverse)
    return inverse
