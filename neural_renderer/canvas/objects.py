"""Textures on what is neither ground, wall, plant nor sky: roofs, vehicles, signs, people."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import ByteArray, FloatArray, IdArray
from sim2street.bridge.labels import Tag
from sim2street.bridge.surfaces import VEHICLE_MODEL_BITS, SurfaceKind, Surfaces, VehicleSide
from sim2street.neural_renderer.canvas.hashing import mixed, unit
from sim2street.neural_renderer.canvas.parts import AtlasParts, Ints
from sim2street.neural_renderer.canvas.surface_map import SurfaceMap

VIEW_OF_SIDE = {
    VehicleSide.LEFT: 0,
    VehicleSide.RIGHT: 0,
    VehicleSide.FRONT: 1,
    VehicleSide.BACK: 2,
    VehicleSide.TOP: 3,
}
"""Column of `AtlasParts.vehicles` for each side; the right side is the left one mirrored."""

PAINTS_LINEAR = np.array(
    [(0.75, 0.75, 0.76), (0.42, 0.43, 0.45), (0.18, 0.19, 0.2), (0.03, 0.03, 0.035),
     (0.05, 0.09, 0.22), (0.3, 0.03, 0.03), (0.08, 0.14, 0.1), (0.5, 0.45, 0.36),
     (0.02, 0.05, 0.12)],
    np.float32,
)  # fmt: skip
"""Common colours of cars, linear, about as often as on streets: white, silver, grey, black, ..."""

CLOTH_LINEAR = np.array(
    [(0.02, 0.02, 0.025), (0.05, 0.07, 0.14), (0.2, 0.2, 0.21), (0.35, 0.1, 0.08),
     (0.12, 0.14, 0.09), (0.45, 0.43, 0.4), (0.08, 0.12, 0.25), (0.25, 0.17, 0.1),
     (0.5, 0.36, 0.12), (0.1, 0.2, 0.2)],
    np.float32,
)  # fmt: skip
SKIN_LINEAR = np.array(
    [(0.62, 0.38, 0.27), (0.45, 0.25, 0.16), (0.25, 0.13, 0.08), (0.1, 0.05, 0.03)], np.float32
)
TROUSERS_SHARE, HEAD_SHARE = 0.5, 0.87
"""Heights, as shares of a person's, where the trousers end and the head begins."""


def place_roofs(
    surfaces: SurfaceMap, exact: Surfaces, rows: Ints, parts: AtlasParts, seed: int
) -> None:
    """Tiles on roofs: u along the eaves, v up the slope.

    Args:
        rows: int32 (H, W), row of `exact` at each pixel, -1 for none.
    """
    tiles = parts.groups.get("roof")
    pixels = _pixels_of(exact, rows, SurfaceKind.ROOF)
    if tiles is None or not len(pixels):
        return
    row = rows.reshape(-1)[pixels]
    building = exact.key[row] >> np.uint32(8)
    piece = tiles[mixed(building, seed, 41) % np.uint32(len(tiles))]
    scale = parts.px_per_m.take(piece)
    uv = exact.uv.reshape(-1, 2)[pixels]
    surfaces.texture.reshape(-1)[pixels] = piece
    texel = surfaces.texel.reshape(2, -1)
    texel[0, pixels], texel[1, pixels] = uv[:, 0] * scale, -uv[:, 1] * scale


def place_vehicles(
    surfaces: SurfaceMap, exact: Surfaces, rows: Ints, parts: AtlasParts, seed: int
) -> None:
    """The views of a vehicle on its sides; which vehicle, its model and key choose."""
    pixels = _pixels_of(exact, rows, SurfaceKind.VEHICLE)
    if not len(parts.vehicles) or not len(pixels):
        return
    row = rows.reshape(-1)[pixels]
    material = exact.material.astype(np.int64)
    side = material >> VEHICLE_MODEL_BITS
    view = np.array([VIEW_OF_SIDE.get(VehicleSide(s), 0) if s else 0 for s in side.tolist()])
    sheet = mixed(exact.key, seed, 51) % np.uint32(len(parts.vehicles))
    piece = parts.vehicles[sheet.astype(np.int64), view][row]
    u, v = exact.uv.reshape(-1, 2)[pixels].T
    u = np.where(side[row] == VehicleSide.RIGHT, 1.0 - u, u)
    width, height = parts.size_px[piece].T
    surfaces.texture.reshape(-1)[pixels] = piece
    texel = surfaces.texel.reshape(2, -1)
    texel[0, pixels], texel[1, pixels] = u * width - 0.5, (1.0 - v) * height - 0.5


def place_signs(
    surfaces: SurfaceMap, exact: Surfaces, rows: Ints, parts: AtlasParts, seed: int
) -> None:
    """Faces of traffic signs."""
    faces = parts.groups.get("sign")
    pixels = _pixels_of(exact, rows, SurfaceKind.SIGN)
    if faces is None or not len(pixels):
        return
    row = rows.reshape(-1)[pixels]
    piece = faces[mixed(exact.key, seed, 61)[row] % np.uint32(len(faces))]
    u, v = exact.uv.reshape(-1, 2)[pixels].T
    width, height = parts.size_px[piece].T
    surfaces.texture.reshape(-1)[pixels] = piece
    texel = surfaces.texel.reshape(2, -1)
    texel[0, pixels], texel[1, pixels] = u * width - 0.5, (1.0 - v) * height - 0.5


def place_people(
    surfaces: SurfaceMap,
    labels: ByteArray,
    instances: IdArray | None,
    points_m: FloatArray,
    parts: AtlasParts,
    seed: int,
) -> None:
    """Clothes and skin by height and instance; there are no photographs of people."""
    person = (labels == Tag.PEDESTRIAN) | (labels == Tag.RIDER)
    pixels = np.flatnonzero(person)
    cloth = parts.groups.get("person_cloth")
    if cloth is None or instances is None or not len(pixels):
        return
    ids, number = np.unique(instances.reshape(-1)[pixels], return_inverse=True)
    xyz = points_m.reshape(3, -1)[:, pixels]
    height_m = xyz[2]
    low, high = np.full(len(ids), np.inf), np.full(len(ids), -np.inf)
    np.minimum.at(low, number, height_m)
    np.maximum.at(high, number, height_m)
    # A person whose feet or head are hidden is still about 1.7 m tall.
    share = (height_m - low[number]) / np.maximum(high - low, 1.4)[number]
    jacket, trousers, skin = (mixed(ids.astype(np.int64), seed, 70 + k) for k in range(3))
    colour = np.where(
        (share < TROUSERS_SHARE)[:, None],
        CLOTH_LINEAR[trousers % np.uint32(len(CLOTH_LINEAR))][number] * np.float32(0.7),
        CLOTH_LINEAR[jacket % np.uint32(len(CLOTH_LINEAR))][number],
    )
    colour = np.where(
        (share > HEAD_SHARE)[:, None],
        SKIN_LINEAR[skin % np.uint32(len(SKIN_LINEAR))][number],
        colour,
    )
    piece = cloth[jacket % np.uint32(len(cloth))][number]
    scale = parts.px_per_m.take(piece)
    surfaces.texture.reshape(-1)[pixels] = piece
    texel = surfaces.texel.reshape(2, -1)
    texel[0, pixels], texel[1, pixels] = (xyz[0] + xyz[1]) * scale, -xyz[2] * scale
    surfaces.tint.reshape(3, -1)[:, pixels] = 2.0 * colour.T


def vehicle_paint(keys: npt.NDArray[np.integer], seed: int) -> npt.NDArray[np.float32]:
    """Linear paint of vehicles, float32 (N, 3), by their keys."""
    chosen: npt.NDArray[np.float32] = PAINTS_LINEAR[
        (unit(mixed(keys, seed, 52)) ** 1.3 * len(PAINTS_LINEAR)).astype(np.int64)
    ]
    return chosen


def _pixels_of(exact: Surfaces, rows: Ints, kind: SurfaceKind) -> npt.NDArray[np.int64]:
    """Indices of the pixels whose surface is of a kind, int64 (P,)."""
    is_kind = np.append(exact.kind == kind, False)  # row -1 is none
    return np.flatnonzero(is_kind[rows.reshape(-1)])
