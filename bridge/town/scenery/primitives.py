"""Triangles of simple shapes, float64 (T, 3, 3) in metres, from which all meshes are built.

Faces are counter-clockwise seen from outside; flat ground shapes face up. The frame of
reference is that of the mesh: x forward, y left, z up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sim2street.bridge.town.scenery.meshes import Floats


def fan(points: npt.ArrayLike) -> Floats:
    """Triangles (N - 2, 3, 3) of a convex polygon (N, 3) in space."""
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
"""Corner numbers (T, 3) of a box's triangles, by whether it has a bottom and a top. Corners
0 to 3 are the lower ones, counter-clockwise from above; 4 to 7 lie above them."""


def box(
    low: Sequence[float], high: Sequence[float], bottom: bool = False, top: bool = True
) -> Floats:
    """An axis-aligned box between its lowest and highest corner (x, y, z).

    By default it has no bottom, which nobody sees of a box that stands on the ground.
    """
    (x0, y0, z0), (x1, y1, z1) = low, high
    corners = np.array(
        [(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0),
         (x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)], np.float64
    )  # fmt: skip
    triangles: Floats = corners[_BOX_FACES[bottom, top]]
    return triangles


def walls(ring: npt.ArrayLike, z0: float, z1: float, closed: bool = True) -> Floats:
    """Vertical faces along a line (N, 2), from z0 to z1; they face to the line's right.

    With `closed`, a wall also joins the last point to the first. Around a counter-clockwise
    outline the walls then face outward.
    """
    line = np.asarray(ring, np.float64)
    if closed:
        line = np.concatenate([line, line[:1]])
    return _strip(_at_height(line, z0), _at_height(line, z1))


def prism(ring: npt.ArrayLike, z0: float, z1: float) -> Floats:
    """A prism with a top and no bottom over a convex counter-clockwise outline (N, 2)."""
    outline = np.asarray(ring, np.float64)
    return np.concatenate([walls(outline, z0, z1), fan(_at_height(outline, z1))])


def loft(rings: Sequence[npt.ArrayLike], cap_start: bool = True, cap_end: bool = True) -> Floats:
    """A surface through a series of closed rings, each (N, 3), with the ends capped.

    Faces look outward where the rings run counter-clockwise seen from beyond the last one.
    Capped ends must be convex.
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
    """A rod between two points with a radius at each end, open at both ends."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    x, y, z = (b - a) / max(math.dist(a, b), 1e-9)
    u = np.array([-y, x, 0.0]) if abs(z) < 0.9 else np.array([0.0, -z, y])
    u /= math.hypot(*u)
    v = np.array([y * u[2] - z * u[1], z * u[0] - x * u[2], x * u[1] - y * u[0]])
    angle = np.arange(sides) * 2 * math.pi / sides + math.pi / sides
    circle = np.cos(angle)[:, None] * u + np.sin(angle)[:, None] * v
    return loft([a + circle * radius_start_m, b + circle * radius_end_m], False, False)


def regular_polygon(radius_m: float, sides: int, phase_rad: float = 0.0) -> Floats:
    """Corners (sides, 2) about the origin, counter-clockwise from the angle `phase_rad`."""
    angle = np.arange(sides) * 2 * math.pi / sides + phase_rad
    return np.stack([np.cos(angle), np.sin(angle)], 1) * radius_m


def both_sides(triangles: Floats) -> Floats:
    """Each triangle twice, so that it is drawn from both sides."""
    return np.concatenate([triangles, triangles[:, ::-1]])


def ribbon(left: npt.ArrayLike, right: npt.ArrayLike, z_m: float) -> Floats:
    """A level strip, facing up, between two lines (N, 2) that run in the same direction."""
    return _strip(_at_height(right, z_m), _at_height(left, z_m))


def polygon(outline: npt.ArrayLike, z_m: float) -> Floats:
    """A level polygon, facing up, from its counter-clockwise outline (N, 2).

    It must be star-shaped about the mean of its corners.
    """
    ring = _at_height(outline, z_m)
    centre = np.broadcast_to(ring.mean(axis=0), ring.shape)
    return np.stack([centre, ring, np.roll(ring, -1, axis=0)], 1)


def _strip(low: Floats, high: Floats) -> Floats:
    """Triangles (2 (N - 1), 3, 3) between two lines (N, 3).

    With `high` above `low`, they face to the right of the lines' direction.
    """
    triangles = np.empty((2, len(low) - 1, 3, 3))
    triangles[:, :, 0] = low[:-1]
    triangles[0, :, 1], triangles[0, :, 2] = low[1:], high[1:]
    triangles[1, :, 1], triangles[1, :, 2] = high[1:], high[:-1]
    return triangles.reshape(-1, 3, 3)


def _at_height(points: npt.ArrayLike, z_m: float) -> Floats:
    """Points (N, 2) as points (N, 3) at one height."""
    flat = np.asarray(points, np.float64)
    raised = np.full((len(flat), 3), z_m, np.float64)
    raised[:, :2] = flat
    return raised
