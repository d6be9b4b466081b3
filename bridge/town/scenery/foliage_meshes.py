"""Triangles of foliage, from which trees, bushes and hedges are composed.

The shape of a crown is described by a few overlapping spheres. It is drawn as *cards*:
upright sheets that cross in the middle, each cut along the outline of the spheres in its
plane, roughened like leaves. Rough balls inside make it opaque, and loose triangles around it
break up the outline.
"""

from __future__ import annotations

import math

import numpy as np

from sim2street.bridge.town.scenery.meshes import Floats

Sphere = tuple[Floats, float]
"""Centre (3,) and radius in metres."""

_LOWEST_M = 0.05
"""No foliage reaches below this height."""

_G = (1 + math.sqrt(5)) / 2
_CORNERS = np.array(
    [(-1, _G, 0), (1, _G, 0), (-1, -_G, 0), (1, -_G, 0), (0, -1, _G), (0, 1, _G),
     (0, -1, -_G), (0, 1, -_G), (_G, 0, -1), (_G, 0, 1), (-_G, 0, -1), (-_G, 0, 1)]
) / math.hypot(1, _G)  # fmt: skip
_FACES = np.array(
    [(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4),
     (11, 10, 2), (10, 7, 6), (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8),
     (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1)]
)  # fmt: skip
"""An icosahedron of radius 1: corners (12, 3), and the corners of its faces (20, 3)."""


def cards(rng: np.random.Generator, spheres: list[Sphere], count: int, corners: int) -> Floats:
    """`count` crossing upright sheets, each cut along the outline of the spheres.

    Returns:
        Triangles (count * corners, 3, 3), to be drawn from both sides.
    """
    centres = np.array([at for at, _ in spheres])
    radii = np.array([radius for _, radius in spheres])
    middle = np.average(centres, axis=0, weights=radii**2)
    first = rng.uniform(0, math.pi)
    parts = []
    for turn in first + np.arange(count) * math.pi / count:
        axis = np.array([math.cos(turn), math.sin(turn), 0.0])
        flat = np.stack([(centres - middle) @ axis, centres[:, 2] - middle[2]], axis=1)
        rim = _outline(rng, flat, radii, corners)
        ring = middle + rim[:, :1] * axis + rim[:, 1:] * np.array([0.0, 0.0, 1.0])
        ring[:, 2] = np.maximum(ring[:, 2], _LOWEST_M)
        centre = np.broadcast_to(middle, ring.shape)
        parts.append(np.stack([centre, ring, np.roll(ring, -1, axis=0)], axis=1))
    return np.concatenate(parts)


def _outline(rng: np.random.Generator, flat: Floats, radii: Floats, corners: int) -> Floats:
    """Roughened outline (corners, 2), about the origin, of discs at `flat` (S, 2)."""
    half = (np.abs(flat) + radii[:, None]).max(axis=0)
    step = (np.arange(corners) + rng.uniform(-0.4, 0.4, corners)) * 2 * math.pi / corners
    rays = np.stack([np.cos(step), np.sin(step)], axis=1) * half
    rays /= np.hypot(*rays.T)[:, None]
    along = rays @ flat.T
    # Each ray from the origin ends where it leaves the farthest disc that it meets.
    inside = radii**2 - ((flat**2).sum(axis=1) - along**2)
    exits = np.where(inside > 0.0, along + np.sqrt(np.maximum(inside, 0.0)), 0.0)
    reach = np.maximum(exits.max(axis=1), 0.25 * half.min())
    roughness = float(radii.mean())
    lobes = np.sin(step * rng.integers(3, 6) + rng.uniform(0, 6))
    lobes += np.sin(step * rng.integers(6, 10) + rng.uniform(0, 6))
    reach += roughness * (0.10 * lobes + rng.uniform(-0.24, 0.12, corners))
    rim: Floats = rays * np.maximum(reach, 0.1 * half.min())[:, None]
    return rim


def rough_ball(rng: np.random.Generator, centre: Floats, radius_m: float) -> Floats:
    """A slightly flattened ball (20, 3, 3) whose corners vary about the radius."""
    reach = rng.uniform(0.76, 1.1, len(_CORNERS)) * radius_m
    squash = np.array([1.0, 1.0, 0.86])
    turned = _CORNERS @ _turn(rng.uniform(0, 2 * math.pi))
    triangles: Floats = (centre + turned * reach[:, None] * squash)[_FACES]
    triangles[..., 2] = np.maximum(triangles[..., 2], _LOWEST_M)
    return triangles


def leaves(
    rng: np.random.Generator, spheres: list[Sphere], count: int, size_m: tuple[float, float]
) -> Floats:
    """Loose triangles (count, 3, 3), about `size_m` (range) long, near the spheres' surfaces."""
    pick = rng.integers(len(spheres), size=count)
    centres = np.array([spheres[i][0] for i in pick])
    radii = np.array([spheres[i][1] for i in pick])[:, None]
    out = _directions(rng, count)
    at = centres + out * radii * rng.uniform(0.9, 1.12, (count, 1))
    u = np.cross(out, _directions(rng, count))
    u /= np.maximum(np.linalg.norm(u, axis=1, keepdims=True), 1e-6)
    v = np.cross(u, _directions(rng, count))
    v /= np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-6)
    angle = rng.uniform(0, 2 * math.pi, (count, 1)) + np.array([0.0, 2.1, 4.2])
    spoke = np.cos(angle)[..., None] * u[:, None] + np.sin(angle)[..., None] * v[:, None]
    length = rng.uniform(*size_m, (count, 1)) * rng.uniform(0.4, 0.7, (count, 3))
    triangles: Floats = at[:, None] + spoke * length[..., None]
    triangles[..., 2] = np.maximum(triangles[..., 2], _LOWEST_M)
    return triangles


def _directions(rng: np.random.Generator, count: int) -> Floats:
    """Random unit vectors (count, 3), uniform over the sphere."""
    ray: Floats = rng.normal(0, 1, (count, 3))
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    return ray


def _turn(angle_rad: float) -> Floats:
    """Matrix (3, 3) that turns row vectors about z."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
