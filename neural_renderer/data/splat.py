"""Forward warping: which pixels of a photograph a displaced camera would see where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, FloatArray

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PointCloud:
    """Pixels of a photograph as 3D points.

    Attributes:
        points: float32 (N, 3), metres, in the axes of the camera that took the photograph.
        sky: bool (N,), points of the sky, of which only the direction counts.
        slots: int64 (N,), 0 = static, i = part of mover number i.
    """

    points: FloatArray
    sky: npt.NDArray[np.bool_]
    slots: IndexArray


def point_cloud(
    depth_m: FloatArray, slots: ByteArray, camera: tuple[float, float, float, float], finer: int
) -> PointCloud:
    """The points of all pixels, row by row.

    Args:
        depth_m: float32 (H, W), planar z.
        slots: uint8 (H, W), 0 = static, i = mover number i.
        camera: fx, fy, cx, cy in pixels.
        finer: number of points along each side of a pixel.
    """
    height, width = depth_m.shape
    fx, fy, cx, cy = camera
    offsets = (np.arange(finer, dtype=np.float32) + 0.5) / finer - 0.5
    u = (np.arange(width, dtype=np.float32)[:, None] + offsets).ravel()
    v = (np.arange(height, dtype=np.float32)[:, None] + offsets).ravel()
    z = depth_m.repeat(finer, axis=0).repeat(finer, axis=1)
    points = np.stack([(u - cx) / fx * z, ((v - cy) / fy)[:, None] * z, z], axis=-1)
    fine_slots = slots.repeat(finer, axis=0).repeat(finer, axis=1)
    return PointCloud(
        points.reshape(-1, 3).astype(np.float32),
        (z >= SKY_DEPTH_M).ravel(),
        fine_slots.ravel().astype(np.int64),
    )


def splat(
    cloud: PointCloud,
    moves: npt.NDArray[np.float64],
    camera: tuple[float, float, float, float],
    size_px: tuple[int, int],
) -> tuple[IndexArray, FloatArray]:
    """The nearest point at each pixel of another view.

    Args:
        cloud: the points.
        moves: float64 (A + 1, 4, 4), from the photograph's camera to the other camera: index 0 for
            static points, i for mover number i.
        camera: fx, fy, cx, cy of the other view, in pixels.
        size_px: (width, height) of the other view.

    Returns:
        Index of the point, int64 (H, W), -1 where there is none; and its depth in the other view,
        float32 (H, W), sky = 1000, 0 where there is no point.
    """
    width, height = size_px
    x, y, z = _moved(cloud, moves.astype(np.float32))
    fx, fy, cx, cy = camera
    near = z > 0.5
    z = np.maximum(z, np.float32(0.5))
    u = np.rint(x * np.float32(fx) / z + np.float32(cx))
    v = np.rint(y * np.float32(fy) / z + np.float32(cy))
    seen = (u >= 0) & (u < width) & (v >= 0) & (v < height) & near
    candidates = np.flatnonzero(seen)
    # Far points first, so that the nearest point of each pixel is written last.
    order = candidates[np.argsort(-z[candidates], kind="stable")]
    flat = v[order].astype(np.int64) * width + u[order].astype(np.int64)
    index = np.full(height * width, -1, dtype=np.int64)
    index[flat] = order
    depth = np.where(cloud.sky[index], np.float32(SKY_DEPTH_M), z[index]).astype(np.float32)
    depth[index < 0] = 0.0
    return index.reshape(height, width), depth.reshape(height, width)


def _moved(cloud: PointCloud, moves: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """x, y and z of all points in the axes of the other camera."""
    still = moves[0]
    place = np.where(cloud.sky, np.float32(0.0), np.float32(1.0))
    px, py, pz = cloud.points.T
    x, y, z = (
        px * still[k, 0] + py * still[k, 1] + pz * still[k, 2] + place * still[k, 3]
        for k in range(3)
    )
    for slot in range(1, len(moves)):
        mine = np.flatnonzero(cloud.slots == slot)
        own = cloud.points[mine] @ moves[slot, :3, :3].T + moves[slot, :3, 3]
        x[mine], y[mine], z[mine] = own.T
    return x, y, z


def fill_from_nearest(index: IndexArray, usable: npt.NDArray[np.bool_]) -> IndexArray:
    """Give pixels without a point (index -1) the point of the nearest usable pixel.

    index: int64 (H, W). usable: bool (H, W).
    """
    if not usable.any():
        return np.maximum(index, 0)
    rows, columns = ndimage.distance_transform_edt(
        ~usable, return_distances=False, return_indices=True
    )
    return np.where(index >= 0, index, index[rows, columns])
