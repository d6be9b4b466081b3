"""Depth guessed from labels alone: a ground plane and objects that stand on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, Camera, FloatArray
from sim2street.bridge.labels import Tag

BoolArray = npt.NDArray[np.bool_]

FAR_M = 250.0
"""Upper bound on the guessed depth of everything but the sky."""

USUAL_FOV_DEG, USUAL_HEIGHT_M = 58.0, 1.4
"""Horizontal field of view and height above ground, where the camera is not known."""

GROUND = (
    Tag.ROAD, Tag.SIDEWALK, Tag.TERRAIN, Tag.ROAD_LINES, Tag.GROUND, Tag.WATER, Tag.RAIL_TRACK,
)  # fmt: skip
LONG = (Tag.BUILDING, Tag.WALL, Tag.FENCE, Tag.VEGETATION, Tag.GUARD_RAIL, Tag.BRIDGE)
"""Upright surfaces that run along a street: their depth changes from column to column."""

_KIND = np.zeros(256, dtype=np.uint8)  # tags that stand on the ground together
_KIND[[Tag.POLE, Tag.TRAFFIC_SIGN, Tag.TRAFFIC_LIGHT]] = 1
_KIND[[Tag.RIDER, Tag.BICYCLE, Tag.MOTORCYCLE]] = 2


@dataclass(frozen=True, slots=True)
class GroundCamera:
    """A level camera over flat ground.

    Attributes:
        focal_px: focal length in pixels.
        horizon_px: row of the horizon.
        height_m: height of the camera above the ground.
    """

    focal_px: float
    horizon_px: float
    height_m: float

    @classmethod
    def of_picture(
        cls, size_px: tuple[int, int], fov_deg: float, horizon: float, height_m: float
    ) -> GroundCamera:
        """From (width, height), the horizontal field of view, and the horizon as a share of the
        image's height from the top."""
        camera = Camera.from_fov(*size_px, fov_deg)
        return cls(camera.fx_px, horizon * size_px[1], height_m)


def pseudo_depth(tags: ByteArray, camera: GroundCamera) -> FloatArray:
    """Guessed depth of a label map: float32 (H, W), planar z in metres.

    Ground pixels lie on the ground plane. A compact object (a car, a person, a pole with its
    signs) has the depth of the ground below its lowest pixels. A long surface (facades, hedges)
    has such a depth per column, smoothed in inverse depth, which is linear along a flat wall.
    Objects that do not touch the ground take the depth of what is below them. The sky is at
    1000 m.

    Args:
        tags: uint8 (H, W).
    """
    height, width = tags.shape
    plane = _plane_depth(height, camera)
    sky = tags == Tag.SKY
    ground = np.isin(tags, GROUND)
    inverse = np.zeros((height, width), dtype=np.float32)
    inverse[ground] = np.broadcast_to(1.0 / plane[:, None], tags.shape)[ground]
    known = ground | sky
    for mask, box, long in _upright_components(tags, known):
        feet = _feet(mask, box, ground, plane)
        if np.isnan(feet).all():
            continue  # does not touch the ground: filled from below afterwards
        values = _along_columns(feet) if long or _is_row(feet) else np.nanmax(feet)
        part = inverse[box]
        part[mask] = np.broadcast_to(values, mask.shape)[mask]
        known[box] |= mask
    inverse = _fill_from_below(inverse, known, 1.0 / plane)
    depth = 1.0 / np.maximum(inverse, 1.0 / FAR_M)
    depth[sky] = SKY_DEPTH_M
    return depth.astype(np.float32)


def estimate_horizon(tags: ByteArray) -> float | None:
    """The horizon's row as a share of the image's height, from how far up the road reaches.

    None where there is too little road to tell.
    """
    height, width = tags.shape
    marks, count = ndimage.label(np.isin(tags, (Tag.ROAD, Tag.ROAD_LINES)))
    if not count:
        return None
    sizes = np.bincount(marks.ravel())
    road = marks == 1 + int(np.argmax(sizes[1:]))
    enough = np.flatnonzero(road.sum(axis=1) >= 0.015 * width)
    if len(enough) < 0.1 * height:
        return None
    # Visible road ends some 80 m away, about 1.5 % of the height below the horizon.
    return float(enough[0] / height - 0.015)


def _plane_depth(height: int, camera: GroundCamera) -> FloatArray:
    rows = np.arange(height, dtype=np.float32)
    below = np.maximum(rows - camera.horizon_px, 1e-3)
    depth_m: FloatArray = np.minimum(camera.focal_px * camera.height_m / below, FAR_M)
    return depth_m.astype(np.float32)


def _upright_components(
    tags: ByteArray, known: BoolArray
) -> list[tuple[BoolArray, tuple[slice, slice], bool]]:
    """Connected components of upright tags: mask, bounding box, whether its tag is in `LONG`."""
    kinds = np.where(_KIND[tags] > 0, 100 + _KIND[tags], tags)
    kinds[known | (tags == Tag.UNKNOWN)] = 0
    found = []
    for kind in np.unique(kinds):
        if kind == 0:
            continue
        marks, _ = ndimage.label(kinds == kind, structure=np.ones((3, 3)))
        for index, box in enumerate(ndimage.find_objects(marks), start=1):
            found.append((marks[box] == index, box, int(kind) in LONG))
    return found


def _feet(
    mask: BoolArray, box: tuple[slice, slice], ground: BoolArray, plane: FloatArray
) -> FloatArray:
    """Inverse depth of the ground below each column of a component; NaN where none is below."""
    height = mask.shape[0]
    bottom = height - 1 - np.argmax(mask[::-1], axis=0) + box[0].start
    columns = np.arange(box[1].start, box[1].stop)
    under = np.minimum(bottom + 1, len(plane) - 1)
    on_ground = ground[under, columns] | (bottom == len(plane) - 1)
    return np.where(on_ground, 1.0 / plane[bottom], np.nan).astype(np.float32)


def _is_row(feet: FloatArray) -> bool:
    """Whether a component is a row of objects (parked cars) rather than one object."""
    near, far = np.nanquantile(feet, (0.9, 0.1))
    return bool(len(feet) > 12 and near > 1.8 * far)


def _along_columns(feet: FloatArray) -> FloatArray:
    """Per-column values of a long surface: gaps interpolated, outliers smoothed out."""
    known = np.flatnonzero(~np.isnan(feet))
    filled = np.interp(np.arange(len(feet)), known, feet[known])
    window = min(21, len(feet) | 1)
    smooth = ndimage.median_filter(filled, size=window, mode="nearest")
    even: FloatArray = ndimage.uniform_filter1d(smooth, window, mode="nearest").astype(np.float32)
    return even


def _fill_from_below(inverse: FloatArray, known: BoolArray, plane: FloatArray) -> FloatArray:
    """Give unknown pixels the value of the nearest known pixel below them in their column.

    Where there is none (the ego's bonnet, a dashboard) they take that of the ground, `plane`.
    """
    height, width = inverse.shape
    rows = np.where(known, np.arange(height)[:, None], height)
    nearest = np.minimum.accumulate(rows[::-1], axis=0)[::-1]
    below = inverse[np.minimum(nearest, height - 1), np.arange(width)]
    filled: FloatArray = np.where(nearest < height, below, plane[:, None]).astype(np.float32)
    return filled
