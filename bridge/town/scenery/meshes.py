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


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles with a tag and an instance id each.

    Attributes:
        triangles: float32 (N, 3, 3), three corners (x, y, z) each, metres.
        tags: uint8 (N,), see `labels.Tag`.
        instances: uint32 (N,), 0 for none.
    """

    triangles: Triangles
    tags: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint32]

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
    )


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
    return Mesh(moved.reshape(-1, 3, 3), part.tags, part.instances)


def with_instance(part: Mesh, instance: int) -> Mesh:
    """A mesh whose triangles all have this instance id."""
    return replace(part, instances=np.full(len(part), instance, np.uint32))
