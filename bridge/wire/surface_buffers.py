"""The exact texture coordinates of a view (`Surfaces`) as buffers, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim2street.bridge.errors import ProtocolError
from sim2street.bridge.surfaces import MAX_SURFACES, SURFACE_FIELDS, Surfaces, surface_arrays


def surface_buffers(prefix: str, surfaces: Surfaces | None) -> dict[str, np.ndarray]:
    """All arrays of the surfaces by buffer name `PREFIX.surfaces.FIELD`; empty for None."""
    if surfaces is None:
        return {}
    return {f"{prefix}.surfaces.{name}": getattr(surfaces, name) for name in SURFACE_FIELDS}


def take_surfaces(
    arrays: dict[str, np.ndarray], prefix: str, size_px: tuple[int, int]
) -> Surfaces | None:
    """Make the surfaces of a view of (H, W) pixels, and remove their buffers from `arrays`.

    Returns None where there is none of these buffers. Ranges are checked by `View.validate`.

    Raises:
        ProtocolError: some of the buffers are missing, or a dtype or shape is wrong.
    """
    names = {name: f"{prefix}.surfaces.{name}" for name in SURFACE_FIELDS}
    taken: dict[str, Any] = {n: arrays.pop(full) for n, full in names.items() if full in arrays}
    if not taken:
        return None
    count = int(taken["kind"].size) if "kind" in taken else 0
    if count > MAX_SURFACES:
        raise ProtocolError(f"buffer {names['kind']}: at most {MAX_SURFACES}, got {count}")
    for name, (dtype, shape) in surface_arrays(size_px, count).items():
        array = taken.get(name)
        if array is None or array.dtype != dtype or array.shape != shape:
            came = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise ProtocolError(
                f"buffer {names[name]}: expected {np.dtype(dtype).name} {shape}, got {came}; "
                "send all buffers of a view's surfaces or none"
            )
    return Surfaces(**taken)
