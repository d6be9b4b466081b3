"""The atlas cut into the pieces that placement puts side by side: bays, storeys, vehicle views.

Each piece is a texture of its own when mip levels are made, so that a window never shows what lies
next to it on its sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import ByteArray
from sim2street.neural_renderer.canvas.atlas import Atlas, Texture
from sim2street.neural_renderer.canvas.packing import PackedTextures, pack

Ints = npt.NDArray[np.int32]
Reals = npt.NDArray[np.float32]

MATERIALS = ("", "plaster", "brick", "stone", "shop", "concrete", "wood")
"""Names of wall materials by the number that `Surfaces.material` gives them; 0 is any."""

VEHICLE_VIEWS = ("side", "front", "back", "top")


@dataclass(frozen=True)
class Facades:
    """The facades of an atlas as arrays, F of them.

    Attributes:
        material: int32 (F,), index into `MATERIALS`.
        bay_m, storey_m, ground_m, cornice_m: float32 (F,), sizes of the pieces in metres.
        ground, storey: int32 (F, B), pieces of ground-floor and upper-floor bays, repeated up to
            the largest number of bays B.
        ground_count, storey_count: int32 (F,), number of different ones.
        top, blank: int32 (F,), the cornice and the plain wall.
        px_per_m: float32 (F,), texels per metre.
    """

    material: Ints
    bay_m: Reals
    storey_m: Reals
    ground_m: Reals
    cornice_m: Reals
    ground: Ints
    storey: Ints
    ground_count: Ints
    storey_count: Ints
    top: Ints
    blank: Ints
    px_per_m: Reals

    def __len__(self) -> int:
        return len(self.material)


@dataclass(frozen=True)
class AtlasParts:
    """All pieces of an atlas, ready for placement and sampling.

    Attributes:
        packed: the N pieces with their mip levels; a `SurfaceMap` refers to them by index.
        px_per_m: float32 (N,), texels per metre; 0 for pieces that are fitted to their surface.
        size_px: float32 (N, 2), width and height.
        groups: for each group of the atlas, the pieces that are whole textures.
        facades: the facades, and `vehicles`: int32 (V, 4), pieces of each vehicle in the order of
            `VEHICLE_VIEWS`.
        vehicle_models: for each row of `vehicles` the names of the models that its sheet fits.
        sign_shapes: for each piece of the group "sign" the name of its shape, in lower case.
        part_maps: for each piece a map of `atlas.Part`, uint8 (h, w), or None.
    """

    packed: PackedTextures
    px_per_m: Reals
    size_px: Reals
    groups: dict[str, Ints]
    facades: Facades
    vehicles: Ints
    vehicle_models: tuple[tuple[str, ...], ...]
    sign_shapes: tuple[str, ...]
    part_maps: tuple[ByteArray | None, ...]


def parts_at(parts: AtlasParts, piece: Ints, x: Reals, y: Reals) -> ByteArray:
    """The `atlas.Part` at texels of pieces, uint8 (P,); all arrays (P,)."""
    out = np.zeros(len(piece), np.uint8)
    for number in np.unique(piece).tolist():
        part_map = parts.part_maps[number]
        if part_map is None:
            continue
        chosen = np.flatnonzero(piece == number)
        column = np.clip(x[chosen].astype(np.int64), 0, part_map.shape[1] - 1)
        row = np.clip(y[chosen].astype(np.int64), 0, part_map.shape[0] - 1)
        out[chosen] = part_map[row, column]
    return out


class _Pieces:
    """Collects pieces."""

    def __init__(self) -> None:
        self.images: list[ByteArray] = []
        self.wraps: list[tuple[bool, bool]] = []
        self.px_per_m: list[float] = []
        self.part_maps: list[ByteArray | None] = []

    def add(
        self,
        texture: Texture,
        rectangle: Sequence[int] | None,
        wrap: tuple[bool, bool],
        px_per_m: float,
    ) -> int:
        """Add a rectangle [left, top, width, height] of a texture; None: all of it."""
        height, width = texture.image.shape[:2]
        left, top, across, down = rectangle or (0, 0, width, height)
        area = slice(top, top + down), slice(left, left + across)
        self.images.append(texture.image[area])
        self.wraps.append(wrap)
        self.px_per_m.append(px_per_m)
        self.part_maps.append(None if texture.parts is None else texture.parts[area])
        return len(self.images) - 1


def atlas_parts(atlas: Atlas) -> AtlasParts:
    """Cut an atlas into its pieces and pack them."""
    pieces = _Pieces()
    groups: dict[str, list[int]] = {}
    facades: list[tuple[Texture, list[int], list[int], int, int]] = []
    vehicles: list[list[int]] = []
    models: list[tuple[str, ...]] = []
    shapes: list[str] = []
    for texture in atlas.textures:
        meta = texture.meta
        if texture.group == "facade":
            ground, storey = (
                [pieces.add(texture, box, (False, False), 0.0) for box in meta[key]]
                for key in ("ground", "storey")
            )
            top = pieces.add(texture, meta["top"], (True, False), texture.px_per_m)
            blank = pieces.add(texture, meta["blank"], (True, True), texture.px_per_m)
            facades.append((texture, ground, storey, top, blank))
        elif texture.group == "vehicle":
            views = [pieces.add(texture, meta[view], (False, False), 0.0) for view in VEHICLE_VIEWS]
            vehicles.append(views)
            models.append(tuple(str(name) for name in meta.get("models", [])))
        else:
            index = pieces.add(texture, None, texture.wrap, texture.px_per_m)
            groups.setdefault(texture.group, []).append(index)
            if texture.group == "sign":
                shapes.append(str(meta.get("shape", "any")))
    packed = pack(pieces.images, pieces.wraps)
    sizes = [(image.shape[1], image.shape[0]) for image in pieces.images]
    return AtlasParts(
        packed,
        np.array(pieces.px_per_m, np.float32),
        np.array(sizes, np.float32).reshape(-1, 2),
        {group: np.array(indices, np.int32) for group, indices in groups.items()},
        _facade_table(facades),
        np.array(vehicles, np.int32).reshape(-1, len(VEHICLE_VIEWS)),
        tuple(models),
        tuple(shapes),
        tuple(pieces.part_maps),
    )


def _facade_table(facades: Sequence[tuple[Texture, list[int], list[int], int, int]]) -> Facades:
    most = max((max(len(g), len(s)) for _, g, s, _, _ in facades), default=1)

    def repeated(pieces: list[int]) -> list[int]:
        return [pieces[i % len(pieces)] for i in range(most)]

    def metres(key: str) -> Reals:
        return np.array([texture.meta[key] for texture, *_ in facades], np.float32)

    return Facades(
        material=np.array([_material(texture) for texture, *_ in facades], np.int32),
        bay_m=metres("bay_m"),
        storey_m=metres("storey_m"),
        ground_m=metres("ground_m"),
        cornice_m=metres("cornice_m"),
        ground=np.array([repeated(g) for _, g, _, _, _ in facades], np.int32).reshape(-1, most),
        storey=np.array([repeated(s) for _, _, s, _, _ in facades], np.int32).reshape(-1, most),
        ground_count=np.array([len(g) for _, g, _, _, _ in facades], np.int32),
        storey_count=np.array([len(s) for _, _, s, _, _ in facades], np.int32),
        top=np.array([top for *_, top, _ in facades], np.int32),
        blank=np.array([blank for *_, blank in facades], np.int32),
        px_per_m=np.array([texture.px_per_m for texture, *_ in facades], np.float32),
    )


def _material(texture: Texture) -> int:
    """Number of the facade's material; 0 (any) for one that is not in `MATERIALS`."""
    name = str(texture.meta.get("material", ""))
    return next((i for i, known in enumerate(MATERIALS) if known and known in name), 0)
