"""Textures on what is neither ground, wall, plant nor sky: roofs, vehicles, signs, people."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import ByteArray, FloatArray, IdArray
from sim2street.bridge.labels import Tag
from sim2street.bridge.surfaces import (
    VEHICLE_MODEL_BITS,
    SignShape,
    SurfaceKind,
    Surfaces,
    VehicleSide,
)
from sim2street.bridge.town.actor_models import VEHICLE_MODELS
from sim2street.neural_renderer.canvas.atlas import Part
from sim2street.neural_renderer.canvas.hashing import mixed, unit
from sim2street.neural_renderer.canvas.parts import AtlasParts, Ints, parts_at
from sim2street.neural_renderer.canvas.surface_map import SurfaceMap

VIEW_OF_SIDE = {
    VehicleSide.LEFT: 0,
    VehicleSide.RIGHT: 0,
    VehicleSide.FRONT: 1,
    VehicleSide.BACK: 2,
    VehicleSide.TOP: 3,
}
"""Column of `AtlasParts.vehicles` for each side; the right side is the left one mirrored."""

PAINTS_SRGB = np.array(
    [(0.88, 0.88, 0.88), (0.67, 0.68, 0.70), (0.46, 0.47, 0.48), (0.20, 0.20, 0.22),
     (0.26, 0.33, 0.50), (0.58, 0.20, 0.20), (0.32, 0.41, 0.35), (0.73, 0.70, 0.63),
     (0.17, 0.26, 0.38)],
    np.float32,
)  # fmt: skip
"""Common colours of cars, about as often as on streets: white, silver, grey, black, ..."""

SHEET_PAINT = 0.8
"""sRGB value of the paint on the sheets of the atlas, which are of light cars."""

CLOTH_SRGB = np.array(
    [(0.17, 0.17, 0.19), (0.26, 0.30, 0.41), (0.48, 0.48, 0.49), (0.62, 0.35, 0.32),
     (0.38, 0.41, 0.33), (0.70, 0.68, 0.66), (0.32, 0.38, 0.53), (0.53, 0.45, 0.35),
     (0.73, 0.63, 0.38), (0.35, 0.48, 0.48)],
    np.float32,
)  # fmt: skip
SKIN_SRGB = np.array(
    [(0.80, 0.64, 0.55), (0.70, 0.53, 0.43), (0.53, 0.40, 0.32), (0.35, 0.26, 0.20)], np.float32
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
    """The views of a vehicle on its sides; its model and key choose the sheet and the paint.

    A model of which the atlas has no sheet keeps its pixels free.
    """
    pixels = _pixels_of(exact, rows, SurfaceKind.VEHICLE)
    if not len(parts.vehicles) or not len(pixels):
        return
    row = rows.reshape(-1)[pixels]
    material = exact.material.astype(np.int64)
    side = material >> VEHICLE_MODEL_BITS
    view = np.array([VIEW_OF_SIDE.get(VehicleSide(s), 0) if s else 0 for s in side.tolist()])
    sheets = _sheet_of_surface(exact, parts, seed)
    pixels = pixels[sheets[row] >= 0]
    row = rows.reshape(-1)[pixels]
    piece = parts.vehicles[np.maximum(sheets, 0), view][row]
    u, v = exact.uv.reshape(-1, 2)[pixels].T
    u = np.where(side[row] == VehicleSide.RIGHT, 1.0 - u, u)
    width, height = parts.size_px[piece].T
    surfaces.texture.reshape(-1)[pixels] = piece
    texel = surfaces.texel.reshape(2, -1)
    x, y = u * width, (1.0 - v) * height
    texel[0, pixels], texel[1, pixels] = x - 0.5, y - 0.5
    shown = parts_at(parts, piece, x, y)
    surfaces.window.reshape(-1)[pixels] = shown == Part.PANE
    paint = vehicle_paint(exact.key, seed)[row] * np.float32(1.0 / SHEET_PAINT)
    painted = (shown == Part.PAINT)[:, None]
    surfaces.tint.reshape(3, -1)[:, pixels] = np.where(painted, paint, np.float32(1.0)).T


def _sheet_of_surface(exact: Surfaces, parts: AtlasParts, seed: int) -> npt.NDArray[np.int64]:
    """Row of `AtlasParts.vehicles` for each surface, int64 (S,); -1 without a sheet."""
    number = exact.material.astype(np.int64) & ((1 << VEHICLE_MODEL_BITS) - 1)
    chance = mixed(exact.key, seed, 51)
    sheets = np.full(len(number), -1, np.int64)
    for model in np.unique(number[exact.kind == SurfaceKind.VEHICLE]).tolist():
        name = VEHICLE_MODELS[model].name if model < len(VEHICLE_MODELS) else ""
        fits = [i for i, names in enumerate(parts.vehicle_models) if not names or name in names]
        if fits:
            rows = number == model
            sheets[rows] = np.array(fits)[chance[rows] % np.uint32(len(fits))]
    return sheets


def place_signs(
    surfaces: SurfaceMap, exact: Surfaces, rows: Ints, parts: AtlasParts, seed: int
) -> None:
    """Faces of signs, by their shape; a shape of which the atlas has no face stays free."""
    faces = parts.groups.get("sign")
    pixels = _pixels_of(exact, rows, SurfaceKind.SIGN)
    if faces is None or not len(pixels):
        return
    face_of = _face_of_surface(exact, parts, faces, seed)
    pixels = pixels[face_of[rows.reshape(-1)[pixels]] >= 0]
    row = rows.reshape(-1)[pixels]
    piece = face_of[row]
    u, v = exact.uv.reshape(-1, 2)[pixels].T
    width, height = parts.size_px[piece].T
    surfaces.texture.reshape(-1)[pixels] = piece
    texel = surfaces.texel.reshape(2, -1)
    texel[0, pixels], texel[1, pixels] = u * width - 0.5, (1.0 - v) * height - 0.5


def _face_of_surface(
    exact: Surfaces, parts: AtlasParts, faces: Ints, seed: int
) -> npt.NDArray[np.int64]:
    """Piece of the face of each surface, int64 (S,); -1 where no face has the shape."""
    chance = mixed(exact.key, seed, 61)
    pieces = np.full(len(exact.key), -1, np.int64)
    for shape in np.unique(exact.material[exact.kind == SurfaceKind.SIGN]).tolist():
        name = SignShape(shape).name.lower() if shape in set(SignShape) else "any"
        fits = faces[[i for i, own in enumerate(parts.sign_shapes) if name in ("any", own)]]
        if len(fits):
            rows = exact.material == shape
            pieces[rows] = fits[chance[rows] % np.uint32(len(fits))]
    return pieces


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
        (CLOTH_SRGB[trousers % np.uint32(len(CLOTH_SRGB))][number] * np.float32(0.85)),
        CLOTH_SRGB[jacket % np.uint32(len(CLOTH_SRGB))][number],
    )
    colour = np.where(
        (share > HEAD_SHARE)[:, None],
        SKIN_SRGB[skin % np.uint32(len(SKIN_SRGB))][number],
        colour,
    )
    piece = cloth[jacket % np.uint32(len(cloth))][number]
    scale = parts.px_per_m.take(piece)
    surfaces.texture.reshape(-1)[pixels] = piece
    texel = surfaces.texel.reshape(2, -1)
    texel[0, pixels], texel[1, pixels] = (xyz[0] + xyz[1]) * scale, -xyz[2] * scale
    # The cloth of the atlas is middle grey.
    surfaces.tint.reshape(3, -1)[:, pixels] = 2.0 * colour.T


def vehicle_paint(keys: npt.NDArray[np.integer], seed: int) -> npt.NDArray[np.float32]:
    """sRGB paint of vehicles in [0, 1], float32 (N, 3), by their keys."""
    chosen: npt.NDArray[np.float32] = PAINTS_SRGB[
        (unit(mixed(keys, seed, 52)) ** 1.3 * len(PAINTS_SRGB)).astype(np.int64)
    ]
    return chosen


def _pixels_of(exact: Surfaces, rows: Ints, kind: SurfaceKind) -> npt.NDArray[np.int64]:
    """Indices of the pixels whose surface is of a kind, int64 (P,)."""
    is_kind = np.append(exact.kind == kind, False)  # row -1 is none
    return np.flatnonzero(is_kind[rows.reshape(-1)])
