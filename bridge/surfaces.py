"""Exact texture coordinates of a view's surfaces, from worlds that know them.

A *surface* is one wall, one slope of a roof, one side of a vehicle or one face of a sign. Texture
coordinates (u, v) say where on its surface a pixel is. The town fills this type; worlds that
know no texture coordinates leave `View.surfaces` None, and renderers use the geometry instead.

In all of them u runs to the right and v upwards, seen from outside the surface.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from sim2street.bridge.errors import FrameError
from sim2street.bridge.frame_checks import Array, check_array

MAX_SURFACES = 65535
"""Largest number of surfaces in one view: `Surfaces.index` has 16 bits."""

VEHICLE_MODEL_BITS = 5
"""Lower bits of a vehicle's material, which hold the number of its model; see `VehicleSide`."""


class SurfaceKind(enum.IntEnum):
    """What a surface belongs to."""

    WALL = 1
    ROOF = 2
    VEHICLE = 3
    SIGN = 4
    PROP = 5
    FOLIAGE = 6


class WallMaterial(enum.IntEnum):
    """`Surfaces.material` of walls. The last two have no windows."""

    ANY = 0
    PLASTER = 1
    BRICK = 2
    STONE = 3
    SHOP_FRONT = 4
    OFFICE = 5
    WOOD = 6
    GABLE = 7
    """The triangle under a roof; its v goes on from the wall below."""
    BLIND = 8
    """Chimneys, parapets, garden walls."""


class SignShape(enum.IntEnum):
    """`Surfaces.material` of signs: the shape of the face in its rectangle [0, 1] x [0, 1]."""

    ANY = 0
    DISC = 1
    TRIANGLE = 2
    DIAMOND = 3
    BOARD = 4
    """A traffic sign that is a rectangle."""
    DIRECTIONS = 5
    POSTER = 6
    SHOP = 7


class VehicleSide(enum.IntEnum):
    """Which region of its model's texture sheet a surface of a vehicle shows.

    A sheet has one region per side. A vehicle has one surface for each visible side, whose (u, v)
    are a fraction of that region: of the vehicle's bounding box seen at a right angle (box
    projection). The right side may show the left one mirrored: (1 - u, v).
    """

    LEFT = 1
    """u = 0 at the front bumper, v = 0 on the ground."""
    RIGHT = 2
    """u = 0 at the rear bumper, v = 0 on the ground."""
    FRONT = 3
    """u = 0 at the vehicle's right side, v = 0 on the ground."""
    BACK = 4
    """u = 0 at the vehicle's left side, v = 0 on the ground."""
    TOP = 5
    """u = 0 at the vehicle's left side, v = 0 at the rear bumper."""


def vehicle_material(model: int, side: VehicleSide) -> int:
    """`Surfaces.material` of one side of a vehicle: the model's number (0..31), then the side."""
    return int(side) << VEHICLE_MODEL_BITS | model


def vehicle_model_and_side(material: int) -> tuple[int, VehicleSide]:
    """The number of the model and the side that `vehicle_material` combined."""
    return material & (1 << VEHICLE_MODEL_BITS) - 1, VehicleSide(material >> VEHICLE_MODEL_BITS)


@dataclass(frozen=True, slots=True)
class Surfaces:
    """The surfaces that are visible in one view, and where on them each pixel is.

    Attributes:
        index: uint16 (H, W), 0 for none; i > 0 is the surface in row i - 1 of the arrays (S,).
        uv: float32 (H, W, 2), 0 where `index` is 0. Walls: metres along the wall from its left
            end, and metres above its ground line. Roofs: metres along the eaves from the left
            end, and metres up the slope. Others: in [0, 1] from left to right and bottom to top.
        kind: uint8 (S,), see `SurfaceKind`.
        key: uint32 (S,), chooses the texture. It is constant during an episode, and the same
            for the same place and world seed. The walls of one building share its upper 24 bits,
            the sides of one vehicle the whole key.
        size_m: float32 (S, 2). Walls: length, and height from the ground line to the eaves (to
            the top of gables and blind walls). Others: width and height.
        material: uint8 (S,), 0 for any. See `WallMaterial`, `SignShape`, `vehicle_material`.
    """

    index: npt.NDArray[np.uint16]
    uv: npt.NDArray[np.float32]
    kind: npt.NDArray[np.uint8]
    key: npt.NDArray[np.uint32]
    size_m: npt.NDArray[np.float32]
    material: npt.NDArray[np.uint8]

    def validate(self, size_px: tuple[int, int]) -> None:
        """Raise FrameError where a shape, dtype or range breaks the contract.

        Args:
            size_px: (H, W) of the view.
        """
        count = len(self.kind) if self.kind.ndim else 0
        for name, (dtype, shape) in surface_arrays(size_px, count).items():
            check_array(f"view.surfaces.{name}", getattr(self, name), dtype, shape)
        if count > MAX_SURFACES:
            raise FrameError(f"view.surfaces: at most {MAX_SURFACES} surfaces, got {count}")
        if int(self.index.max()) > count:
            raise FrameError(
                f"view.surfaces.index: must be in 0..{count} (one more than a row of "
                f"surfaces.kind, 0 for none), got {int(self.index.max())}"
            )
        known = [int(kind) for kind in SurfaceKind]
        if not np.isin(self.kind, known).all():
            raise FrameError(
                f"view.surfaces.kind: must be in {known[0]}..{known[-1]}, "
                f"got {np.unique(self.kind).tolist()}; see sim2street.bridge.surfaces.SurfaceKind"
            )
        if not (np.isfinite(self.uv).all() and np.isfinite(self.size_m).all()):
            raise FrameError("view.surfaces: uv and size_m must be finite")
        if count and float(self.size_m.min()) < 0.0:
            raise FrameError("view.surfaces.size_m: must not be negative")


SURFACE_FIELDS = tuple(field.name for field in fields(Surfaces))
"""Names of the arrays of `Surfaces`, in order."""


def surface_arrays(
    size_px: tuple[int, int], count: int
) -> dict[str, tuple[type[np.generic], tuple[int, ...]]]:
    """Dtype and shape of each array of the `Surfaces` of a view of (H, W) pixels."""
    return {
        "index": (np.uint16, size_px),
        "uv": (np.float32, (*size_px, 2)),
        "kind": (np.uint8, (count,)),
        "key": (np.uint32, (count,)),
        "size_m": (np.float32, (count, 2)),
        "material": (np.uint8, (count,)),
    }


def without_pixels(surfaces: Surfaces, pixels: Array) -> Surfaces:
    """Surfaces with `index` and `uv` set to 0 at the given pixels, bool (H, W)."""
    kept = ~pixels
    return Surfaces(
        surfaces.index * kept,
        surfaces.uv * kept[..., None],
        surfaces.kind,
        surfaces.key,
        surfaces.size_m,
        surfaces.material,
    )
