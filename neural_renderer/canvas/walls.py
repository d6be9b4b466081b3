"""Facades on walls: whole bays and storeys, fitted to each wall.

A facade is composed of pieces: ground-floor bays, upper-floor bays, a cornice, plain wall. A wall
of known length and height gets as many whole bays and storeys as fit, stretched by at most
`MAX_STRETCH`, so that no window is cut by a corner or by the eaves. Where length or height are
not known (0), the pieces repeat in the world's grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.neural_renderer.canvas.atlas import Part
from sim2street.neural_renderer.canvas.hashing import Hashes, mixed, unit
from sim2street.neural_renderer.canvas.parts import AtlasParts, Facades, Ints, Reals, parts_at
from sim2street.neural_renderer.canvas.surface_map import SurfaceMap

MAX_STRETCH = 1.15
GABLE, BLIND = 7, 8
"""Materials (`Surfaces.material`) of walls without windows."""

OTHER_BAY_SHARE = 0.15
"""Share of upper-floor bays that differ from the usual one of their facade."""

COLOUR_VARIATION = 0.06
"""Buildings with the same facade differ in sRGB value by up to this share."""


@dataclass(frozen=True, slots=True)
class Walls:
    """The W walls of a view, one row each.

    Attributes:
        key: uint32 (W,), chooses facade and bays; the upper 24 bits are the building's.
        length_m, height_m: float32 (W,), size up to the eaves; 0 where it is not known.
        material: int32 (W,), see `Surfaces.material`.
    """

    key: Hashes
    length_m: Reals
    height_m: Reals
    material: Ints


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the pieces lie on each wall.

    Attributes:
        facade: int32 (W,), index of the facade.
        bays: int32 (W,), number of bays; 0: plain wall; `ENDLESS` where the length is not known.
        bay_m, ground_m, storey_m, cornice_m: float32 (W,), sizes as stretched.
        storeys: int32 (W,), number of upper floors.
    """

    facade: Ints
    bays: Ints
    bay_m: Reals
    ground_m: Reals
    storey_m: Reals
    cornice_m: Reals
    storeys: Ints


ENDLESS = 1 << 20

COLUMNS = 64
"""After this many bays the choice of pieces repeats; a power of two."""


def place_walls(
    surfaces: SurfaceMap,
    pixels: npt.NDArray[np.integer],
    wall: Ints,
    along_m: Reals,
    up_m: Reals,
    walls: Walls,
    parts: AtlasParts,
    seed: int,
) -> tuple[Reals, Reals]:
    """Fill texture, texel, tint and window of wall pixels.

    Args:
        pixels: integers (P,), indices into the flattened image.
        wall: int32 (P,), row of `walls`.
        along_m, up_m: float32 (P,), from the wall's left end and above its ground line.

    Returns:
        Texels per metre along and up, float32 (P,) each: texel coordinates jump from piece to
        piece, so a pixel's footprint is computed from metres.
    """
    if not len(parts.facades):
        return np.ones_like(along_m), np.ones_like(up_m)
    plan = _layout(walls, parts.facades, seed)
    of, pick = plan.facade.take(wall), parts.facades
    bay_m, ground_m, storey_m = (a.take(wall) for a in (plan.bay_m, plan.ground_m, plan.storey_m))
    bays, storeys = plan.bays.take(wall), plan.storeys.take(wall)
    column = np.floor(along_m / bay_m).astype(np.int32)
    column = np.where(bays < ENDLESS, np.clip(column, 0, np.maximum(bays - 1, 0)), column)
    floor = np.floor((up_m - ground_m) / storey_m).astype(np.int32)
    eaves_m = ground_m + storeys * storey_m
    windowed = (bays > 0) & (up_m >= 0.0) & (up_m < eaves_m)
    on_ground = windowed & (floor < 0)
    upper = windowed & (floor >= 0)
    top = (bays > 0) & (up_m >= eaves_m) & (up_m < eaves_m + plan.cornice_m.take(wall))
    piece = pick.blank.take(of)
    piece = np.where(top, pick.top.take(of), piece)
    ground_piece, upper_piece = _bays(pick, plan.facade, walls.key, seed)
    slot = wall * COLUMNS + (column & (COLUMNS - 1))
    piece = np.where(upper, upper_piece.take(slot), piece)
    piece = np.where(on_ground, ground_piece.take(slot), piece)
    scale = pick.px_per_m.take(of)
    width, height = parts.size_px[:, 0].take(piece), parts.size_px[:, 1].take(piece)
    x = np.where(windowed, (along_m / bay_m - column) * width, along_m * scale)
    storey_share = np.where(on_ground, up_m / ground_m, (up_m - ground_m) / storey_m - floor)
    y = np.where(windowed, (1.0 - storey_share) * height, -up_m * scale)
    y = np.where(top, (1.0 - (up_m - eaves_m) / plan.cornice_m.take(wall)) * height, y)
    surfaces.texture.reshape(-1)[pixels] = piece
    flat = surfaces.texel.reshape(2, -1)
    flat[0, pixels], flat[1, pixels] = x - 0.5, y - 0.5
    shade = 1.0 + COLOUR_VARIATION * (2.0 * unit(mixed(walls.key >> np.uint32(8), seed, 5)) - 1.0)
    surfaces.tint.reshape(3, -1)[:, pixels] = shade.take(wall)
    shown = np.flatnonzero(windowed)
    panes = parts_at(parts, piece[shown], x[shown], y[shown]) == Part.PANE
    surfaces.window.reshape(-1)[pixels[shown]] = panes
    across = pick.px_per_m.take(plan.facade) * pick.bay_m.take(plan.facade) / plan.bay_m
    upward = pick.px_per_m.take(plan.facade) * pick.storey_m.take(plan.facade) / plan.storey_m
    return across.take(wall), upward.take(wall)


def _layout(walls: Walls, facades: Facades, seed: int) -> _Layout:
    """Choose a facade for each building, and fit its bays and storeys to each wall."""
    building = mixed(walls.key >> np.uint32(8), seed, 1)
    facade = _choose_facade(walls.material, building, facades)
    bay, ground, storey, cornice = (
        sizes.take(facade)
        for sizes in (facades.bay_m, facades.ground_m, facades.storey_m, facades.cornice_m)
    )
    known = walls.length_m > 0.0
    bays = np.maximum(np.rint(walls.length_m / bay), 1.0)
    stretch = np.where(known, walls.length_m / (bays * bay), 1.0)
    fits = (stretch <= MAX_STRETCH) & (stretch >= 1.0 / MAX_STRETCH)
    blind = (walls.material == GABLE) | (walls.material == BLIND) | ~fits
    bays = np.where(blind, 0, np.where(known, bays, ENDLESS)).astype(np.int32)
    free_m = walls.height_m - ground - cornice
    storeys = np.where(walls.height_m > 0.0, np.maximum(np.rint(free_m / storey), 0.0), 1e3)
    total = ground + storeys * storey + cornice
    rise = np.where(walls.height_m > 0.0, walls.height_m / total, 1.0)
    rise = np.clip(rise, 1.0 / MAX_STRETCH, MAX_STRETCH).astype(np.float32)
    return _Layout(
        facade,
        bays,
        (bay * np.where(fits, stretch, 1.0)).astype(np.float32),
        ground * rise,
        storey * rise,
        cornice * rise,
        storeys.astype(np.int32),
    )


def _choose_facade(material: Ints, building: Hashes, facades: Facades) -> Ints:
    """A facade of the wall's material by the building's hash; any, where none has it."""
    chosen = (building % np.uint32(len(facades))).astype(np.int32)
    for number in np.unique(material):
        fitting = np.flatnonzero(facades.material == number)
        if len(fitting):
            rows = material == number
            chosen[rows] = fitting[building[rows] % np.uint32(len(fitting))]
    return chosen


def _bays(facades: Facades, facade: Ints, key: Hashes, seed: int) -> tuple[Ints, Ints]:
    """Pieces of the ground floor and of the upper floors, int32 (W, COLUMNS) each.

    Upper floors have one kind of bay per building, and another one in some columns.
    """
    column = np.arange(COLUMNS)
    own = mixed(key[:, None], column, seed, 4)
    usual = mixed(key >> np.uint32(8), seed, 3)[:, None]
    ground = mixed(key[:, None], column, seed, 2)
    ground = ground % facades.ground_count[facade][:, None].astype(np.uint32)
    upper = np.where(unit(own) < OTHER_BAY_SHARE, own, usual)
    upper = upper % facades.storey_count[facade][:, None].astype(np.uint32)
    row = facade[:, None]
    return facades.ground[row, ground.astype(np.int64)], facades.storey[row, upper.astype(np.int64)]
