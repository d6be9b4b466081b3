"""Foliage: the pieces that crowns, bushes and hedges are heaped up from.

Leaves cannot be drawn one by one, and a ball of twenty faces has the outline of a stone.
What a camera sees of a crown is its outline, so a crown is a few upright *cards* that cross
in its middle, each cut along the ragged outline that the heap of blobs has from there, with
dented balls inside and loose sprigs about it.
"""

from __future__ import annotations

import math

import numpy as np

from sim2street.bridge.town.scenery.meshes import Floats

Blob = tuple[Floats, float]
"""Middle (3,) and radius of a round part of a crown, metres."""

_LOWEST_M = 0.05
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
"""An icosahedron of radius 1: corners (12, 3) and faces (20, 3)."""


def cards(rng: np.random.Generator, blobs: list[Blob], count: int, corners: int) -> Floats:
    """`count` upright sheets through a heap of blobs, each cut to its ragged outline.

    Returns:
        Triangles (count * corners, 3, 3), to be seen from both sides.
    """
    centres = np.array([at for at, _ in blobs])
    radii = np.array([radius for _, radius in blobs])
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
    """Rim (corners, 2) of discs at `flat` (B, 2) about the origin, with leaves to it."""
    half = (np.abs(flat) + radii[:, None]).max(axis=0)
    step = (np.arange(corners) + rng.uniform(-0.4, 0.4, corners)) * 2 * math.pi / corners
    rays = np.stack([np.cos(step), np.sin(step)], axis=1) * half
    rays /= np.hypot(*rays.T)[:, None]
    along = rays @ flat.T
    inside = radii**2 - ((flat**2).sum(axis=1) - along**2)
    exits = np.where(inside > 0.0, along + np.sqrt(np.maximum(inside, 0.0)), 0.0)
    reach = np.maximum(exits.max(axis=1), 0.25 * half.min())
    leaf = float(radii.mean())
    lobes = np.sin(step * rng.integers(3, 6) + rng.uniform(0, 6))
    lobes += np.sin(step * rng.integers(6, 10) + rng.uniform(0, 6))
    reach += leaf * (0.10 * lobes + rng.uniform(-0.24, 0.12, corners))
    rim: Floats = rays * np.maximum(reach, 0.1 * half.min())[:, None]
    return rim


def ball(rng: np.random.Generator, centre: Floats, radius_m: float) -> Floats:
    """A dented ball, triangles (20, 3, 3): every corner nearer or farther than the radius."""
    reach = rng.uniform(0.76, 1.1, len(_CORNERS)) * radius_m
    squash = np.array([1.0, 1.0, 0.86])
    turned = _CORNERS @ _turn(rng.uniform(0, 2 * math.pi))
    triangles: Floats = (centre + turned * reach[:, None] * squash)[_FACES]
    triangles[..., 2] = np.maximum(triangles[..., 2], _LOWEST_M)
    return triangles


def sprigs(
    rng: np.random.Generator, blobs: list[Blob], count: int, size_m: tuple[float, float]
) -> Floats:
    """Loose leafy triangles (count, 3, 3) on the surface of the blobs, `size_m` across."""
    pick = rng.integers(len(blobs), size=count)
    centres = np.array([blobs[i][0] for i in pick])
    radii = np.array([blobs[i][1] for i in pick])[:, None]
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
    """Unit vectors (count, 3), evenly spread."""
    ray: Floats = rng.normal(0, 1, (count, 3))
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    return ray


def _turn(angle_rad: float) -> Floats:
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
