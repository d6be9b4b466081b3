"""The data types of scenery: meshes, drawing layers, and items with a place in the town.

A mesh is a list of separate triangles, each with a label tag and an instance id. Its frame of
reference is x forward, y left, z up, in metres; `placed` moves it into the world. Outward
faces are counter-clockwise. `primitives.py` makes the triangles of simple shapes.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sim2street.bridge.labels import Tag

Floats = npt.NDArray[np.float64]
Triangles = npt.NDArray[np.float32]


class Layer(enum.IntEnum):
    """How a mesh is drawn.

    The first three layers lie flat on the ground (z = 0). They are drawn first, in this order
    and without a depth test, so that a later layer covers an earlier one.
    """

    TERRAIN = 0
    ROAD = 1
    MARKING = 2
    SOLID = 3
    """Closed bodies, with a depth test; only front faces are drawn."""
    SHEET = 4
    """Leaves and fences, with a depth test; drawn from both sides."""


SURFACE_ROW = np.dtype(
    [
        ("kind", np.uint8),
        ("material", np.uint8),
        ("key", np.uint32),
        ("size_m", np.float32, 2),
        ("uv_low", np.float32, 2),
        ("uv_high", np.float32, 2),
    ]
)
"""One surface: the columns of `bridge.surfaces.Surfaces`, and the range of its (u, v)."""

NO_SURFACE = -1


@dataclass(frozen=True, slots=True)
class MeshSurfaces:
    """Texture coordinates of a mesh's triangles; see `bridge.surfaces.Surfaces`.

    Attributes:
        rows: `SURFACE_ROW` (S,), the surfaces.
        row: int32 (N,), the surface that each triangle lies on, or `NO_SURFACE`.
        uv: float32 (N, 3, 2), (u, v) at its corners.
    """

    rows: npt.NDArray[np.void]
    row: npt.NDArray[np.int32]
    uv: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles with a tag and an instance id each.

    Attributes:
        triangles: float32 (N, 3, 3), three corners (x, y, z) each, metres.
        tags: uint8 (N,), see `labels.Tag`.
        instances: uint32 (N,), 0 for none.
        surfaces: texture coordinates, where the mesh has some.
    """

    triangles: Triangles
    tags: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint32]
    surfaces: MeshSurfaces | None = None

    def __len__(self) -> int:
        return len(self.triangles)


@dataclass(frozen=True, slots=True)
class Occluder:
    """A building as seen by occlusion culling: it hides what is behind it.

    Attributes:
        points_m: float64 (N, 2), x and y of points about 0.4 m apart all over its footprint.
        height_m: it is opaque from the ground up to here.
    """

    points_m: Floats
    height_m: float


@dataclass(frozen=True, slots=True)
class SceneryItem:
    """A piece of scenery, drawn where its distance from the camera lies in [near_m, far_m).

    Levels of detail are several items at one place whose ranges follow each other.

    Attributes:
        mesh: in the world frame.
        layer: how it is drawn.
        anchor_m: (x, y) of the place from which its distance is measured.
        near_m, far_m: range of distances.
        occluder: set where the item hides what is behind it.
    """

    mesh: Mesh
    layer: Layer
    anchor_m: tuple[float, float]
    near_m: float = 0.0
    far_m: float = math.inf
    occluder: Occluder | None = None


def mesh(triangles: npt.ArrayLike, tag: Tag, instance: int = 0) -> Mesh:
    """A mesh with one tag and one instance id, from triangles (N, 3, 3)."""
    corners = np.asarray(triangles, np.float32).reshape(-1, 3, 3)
    count = len(corners)
    return Mesh(corners, np.full(count, int(tag), np.uint8), np.full(count, instance, np.uint32))


def joined(meshes: Iterable[Mesh]) -> Mesh:
    """One mesh with the triangles of several, in order."""
    parts = list(meshes)
    if not parts:
        return mesh(np.empty((0, 3, 3)), Tag.UNKNOWN)
    return Mesh(
        np.concatenate([part.triangles for part in parts]),
        np.concatenate([part.tags for part in parts]),
        np.concatenate([part.instances for part in parts]),
        _joined_surfaces(parts),
    )


def _joined_surfaces(parts: list[Mesh]) -> MeshSurfaces | None:
    """The surfaces of several meshes, in order; None where no mesh has any."""
    known = [part.surfaces for part in parts if part.surfaces is not None]
    if not known:
        return None
    firsts = iter(np.cumsum([0, *(len(surfaces.rows) for surfaces in known)]).tolist())
    rows, uvs = [], []
    for part in parts:
        if part.surfaces is None:
            rows.append(np.full(len(part), NO_SURFACE, np.int32))
            uvs.append(np.zeros((len(part), 3, 2), np.float32))
            continue
        row, first = part.surfaces.row, np.int32(next(firsts))
        rows.append(np.where(row == NO_SURFACE, row, row + first))
        uvs.append(part.surfaces.uv)
    table = np.concatenate([surfaces.rows for surfaces in known])
    return MeshSurfaces(table, np.concatenate(rows), np.concatenate(uvs))


def placed(
    part: Mesh,
    x_m: float = 0.0,
    y_m: float = 0.0,
    z_m: float = 0.0,
    yaw_rad: float = 0.0,
    scale: float = 1.0,
) -> Mesh:
    """A mesh scaled, turned about the z axis (counter-clockwise) and moved, in this order."""
    cos, sin = math.cos(yaw_rad) * scale, math.sin(yaw_rad) * scale
    turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, scale]], np.float32)
    moved = part.triangles.reshape(-1, 3) @ turn
    moved += np.array([x_m, y_m, z_m], np.float32)
    return Mesh(moved.reshape(-1, 3, 3), part.tags, part.instances, part.surfaces)


def with_instance(part: Mesh, instance: int) -> Mesh:
    """A mesh whose triangles all have this instance id."""
    return replace(part, instances=np.full(len(part), instance, np.uint32))


def with_key(part: Mesh, key: int) -> Mesh:
    """A mesh whose surfaces all have this key."""
    if part.surfaces is None:
        return part
    rows = part.surfaces.rows.copy()
    rows["key"] = key
    return replace(part, surfaces=replace(part.surfaces, rows=rows))
