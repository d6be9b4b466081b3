"""Triangle soups and the few solids that everything in the town is made of.

A `Mesh` is a plain bag of triangles with a label tag and an instance id each. Outward
faces are counter-clockwise. Shapes are made in their own frame (x forward, y left, z up,
metres) and placed with `placed`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sim2street.bridge.labels import Tag

Floats = npt.NDArray[np.float64]
Triangles = npt.NDArray[np.float32]


class Layer(enum.IntEnum):
    """Drawing order. Ground layers lie in one plane: a later one covers an earlier one."""

    TERRAIN = 0
    ROAD = 1
    MARKING = 2
    SOLID = 3
    """Closed bodies: tested against depth, outward faces only."""
    SHEET = 4
    """Leaves and fences: tested against depth, seen from both sides."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles float32 (N, 3, 3) in metres, tags uint8 (N,), instances uint32 (N,)."""

    triangles: Triangles
    tags: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.triangles)


@dataclass(frozen=True, slots=True)
class Occluder:
    """Ground (sample points (N, 2) about 0.4 m apart) under something that hides what is
    behind it up to `height_m`."""

    points_m: Floats
    height_m: float


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of scenery: drawn while its distance is in [near_m, far_m).

    Two items at one place, [0, d) fine and [d, inf) coarse, make levels of detail.
    `anchor_m` (x, y) says where it stands.
    """

    mesh: Mesh
    layer: Layer
    anchor_m: tuple[float, float]
    near_m: float = 0.0
    far_m: float = math.inf
    occluder: Occluder | None = None


def mesh(triangles: npt.ArrayLike, tag: Tag, instance: int = 0) -> Mesh:
    """A mesh of one tag and one instance from triangles (N, 3, 3)."""
    soup = np.asarray(triangles, np.float32).reshape(-1, 3, 3)
    count = len(soup)
    return Mesh(soup, np.full(count, int(tag), np.uint8), np.full(count, instance, np.uint32))


def joined(meshes: Iterable[Mesh]) -> Mesh:
    """All triangles of several meshes in one."""
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
    """The mesh scaled, turned about z and moved."""
    cos, sin = math.cos(yaw_rad) * scale, math.sin(yaw_rad) * scale
    turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, scale]], np.float32)
    moved = part.triangles.reshape(-1, 3) @ turn
    moved += np.array([x_m, y_m, z_m], np.float32)
    return Mesh(moved.reshape(-1, 3, 3), part.tags, part.instances)


def with_instance(part: Mesh, instance: int) -> Mesh:
    """The mesh with another instance id."""
    return replace(part, instances=np.full(len(part), instance, np.uint32))


def fan(points: npt.ArrayLike) -> Floats:
    """Triangles (N - 2, 3, 3) of a convex polygon (N, 3)."""
    ring = np.asarray(points, np.float64)
    triangles = np.empty((len(ring) - 2, 3, 3))
    triangles[:, 0], triangles[:, 1], triangles[:, 2] = ring[0], ring[1:-1], ring[2:]
    return triangles


_BOX_WALLS = [
    (0, 1, 5),
    (0, 5, 4),
    (1, 2, 6),
    (1, 6, 5),
    (2, 3, 7),
    (2, 7, 6),
    (3, 0, 4),
    (3, 4, 7),
]
_BOX_TOP, _BOX_BOTTOM = [(4, 5, 6), (4, 6, 7)], [(3, 2, 1), (3, 1, 0)]
_BOX_FACES = {
    (bottom, top): np.array(_BOX_WALLS + _BOX_TOP * top + _BOX_BOTTOM * bottom)
    for bottom in (False, True)
    for top in (False, True)
}
"""Corners of each triangle: 0-3 the lower ones, counter-clockwise, 4-7 those above."""


def box(
    low: Sequence[float], high: Sequence[float], bottom: bool = False, top: bool = True
) -> Floats:
    """Triangles of an upright box between two corners; what stands has no bottom."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    corners = np.array(
        [(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0),
         (x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)], np.float64
    )  # fmt: skip
    triangles: Floats = corners[_BOX_FACES[bottom, top]]
    return triangles


def walls(ring: npt.ArrayLike, z0: float, z1: float, closed: bool = True) -> Floats:
    """Vertical faces over a counter-clockwise outline (N, 2), from z0 to z1."""
    line = np.asarray(ring, np.float64)
    if closed:
        line = np.concatenate([line, line[:1]])
    return _strip(_at_height(line, z0), _at_height(line, z1))


def prism(ring: npt.ArrayLike, z0: float, z1: float) -> Floats:
    """An upright prism over a convex counter-clockwise outline (N, 2), without bottom."""
    outline = np.asarray(ring, np.float64)
    return np.concatenate([walls(outline, z0, z1), fan(_at_height(outline, z1))])


def loft(rings: Sequence[npt.ArrayLike], cap_start: bool = True, cap_end: bool = True) -> Floats:
    """A skin over a series of closed rings (each (N, 3), same N), with convex caps.

    Rings run counter-clockwise seen from beyond the last one, so that faces look outward.
    """
    stack = np.array(rings, np.float64)
    low, high = stack[:-1], stack[1:]
    low_next, high_next = (np.concatenate([r[:, 1:], r[:, :1]], axis=1) for r in (low, high))
    skin = np.empty((2, *low.shape[:2], 3, 3))
    skin[:, :, :, 0] = low
    skin[0, :, :, 1], skin[0, :, :, 2] = low_next, high_next
    skin[1, :, :, 1], skin[1, :, :, 2] = high_next, high
    parts = [skin.reshape(-1, 3, 3)]
    if cap_start:
        parts.append(fan(stack[0][::-1]))
    if cap_end:
        parts.append(fan(stack[-1]))
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def tube(
    start: npt.ArrayLike,
    end: npt.ArrayLike,
    radius_start_m: float,
    radius_end_m: float,
    sides: int = 4,
) -> Floats:
    """A tapered rod between two points, without caps."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    x, y, z = (b - a) / max(math.dist(a, b), 1e-9)
    u = np.array([-y, x, 0.0]) if abs(z) < 0.9 else np.array([0.0, -z, y])
    u /= math.hypot(*u)
    v = np.array([y * u[2] - z * u[1], z * u[0] - x * u[2], x * u[1] - y * u[0]])
    angle = np.arange(sides) * 2 * math.pi / sides + math.pi / sides
    circle = np.cos(angle)[:, None] * u + np.sin(angle)[:, None] * v
    return loft([a + circle * radius_start_m, b + circle * radius_end_m], False, False)


def disc_ring(radius_m: float, sides: int, phase_rad: float = 0.0) -> Floats:
    """Corners (N, 2) of a regular polygon, counter-clockwise."""
    angle = np.arange(sides) * 2 * math.pi / sides + phase_rad
    return np.stack([np.cos(angle), np.sin(angle)], 1) * radius_m


def both_sides(triangles: Floats) -> Floats:
    """Every triangle twice, once for each side."""
    return np.concatenate([triangles, triangles[:, ::-1]])


def ribbon(left: npt.ArrayLike, right: npt.ArrayLike, z_m: float) -> Floats:
    """A flat strip between two lines (N, 2) that run alongside, seen from above."""
    return _strip(_at_height(right, z_m), _at_height(left, z_m))


def polygon(outline: npt.ArrayLike, z_m: float) -> Floats:
    """Triangles of a star-shaped polygon (N, 2) around its centroid, seen from above."""
    ring = _at_height(outline, z_m)
    centre = np.broadcast_to(ring.mean(axis=0), ring.shape)
    return np.stack([centre, ring, np.roll(ring, -1, axis=0)], 1)


def _strip(near: Floats, far: Floats) -> Floats:
    """Triangles (2 (N - 1), 3, 3) between two lines (N, 3), outward seen from `near`'s right."""
    triangles = np.empty((2, len(near) - 1, 3, 3))
    triangles[:, :, 0] = near[:-1]
    triangles[0, :, 1], triangles[0, :, 2] = near[1:], far[1:]
    triangles[1, :, 1], triangles[1, :, 2] = far[1:], far[:-1]
    return triangles.reshape(-1, 3, 3)


def _at_height(points: npt.ArrayLike, z_m: float) -> Floats:
    flat = np.asarray(points, np.float64)
    raised = np.full((len(flat), 3), z_m, np.float64)
    raised[:, :2] = flat
    return raised
