"""Trees with irregular crowns, bushes and hedges: a library of shapes, made once.

A crown is a heap of dented balls with loose sprigs about them, so that its outline is
ragged and the sky shows through; bare trees are branches alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from bridge.labels import Tag
from bridge.town.meshes import Floats, Mesh, both_sides, joined, loft, mesh, tube

_SEED = 20240607


@dataclass(frozen=True, slots=True)
class Foliage:
    """One level of detail: closed bodies (trunk, balls) and loose sheets (sprigs, twigs)."""

    closed: Mesh
    loose: Mesh


@dataclass(frozen=True, slots=True)
class Plant:
    """A tree or bush standing at the origin, from fine to coarse."""

    fine: Foliage
    medium: Foliage
    coarse: Foliage


@cache
def plants(kind: str) -> tuple[Plant, ...]:
    """The shapes of a kind: broad, tall, sparse, bare, young, conifer or bush."""
    count = 4 if kind in ("young", "conifer") else 6
    rng = np.random.default_rng([_SEED, *kind.encode()])
    return tuple(_BUILDERS[kind](rng, kind) for _ in range(count))


def _broad(rng: np.random.Generator, kind: str) -> Plant:
    """A full crown on a short trunk; `tall` ones are narrower, `sparse` ones see-through."""
    slim = {"broad": 0.40, "tall": 0.26, "sparse": 0.36}[kind] * rng.uniform(0.85, 1.15)
    height = rng.uniform(7.0, 12.0) if kind != "tall" else rng.uniform(10.0, 15.0)
    radius, clear = height * slim, height * rng.uniform(0.20, 0.32)
    count = int(rng.integers(6, 9))
    blobs = []
    for index in range(count):
        up = (index + rng.uniform(0.2, 0.8)) / count
        wide = math.sin(math.pi * (0.16 + 0.74 * up))
        angle, out = rng.uniform(0, 2 * math.pi), radius * wide * rng.uniform(0.25, 0.68)
        size = radius * wide * rng.uniform(0.42, 0.66)
        if kind == "sparse":
            size *= 0.74
        at = (out * math.cos(angle), out * math.sin(angle), clear + (height - clear) * up * 0.93)
        blobs.append((np.array(at), size))
    trunk = rng.uniform(0.022, 0.034) * height
    return _tree(rng, kind, height, clear, trunk, blobs)


def _conifer(rng: np.random.Generator, kind: str) -> Plant:
    height = rng.uniform(7.0, 13.0)
    radius = height * rng.uniform(0.16, 0.24)
    blobs = []
    for up in np.linspace(0.08, 0.95, 7):
        size = max(0.25, radius * (1.05 - up) * rng.uniform(0.8, 1.15))
        at = np.array([*rng.normal(0, 0.12 * size, 2), height * up])
        blobs.append((at, size))
    return _tree(rng, kind, height, height * 0.1, 0.02 * height, blobs)


def _young(rng: np.random.Generator, kind: str) -> Plant:
    height = rng.uniform(3.6, 5.5)
    blobs = []
    for _ in range(4):
        at = np.array([*rng.normal(0, 0.35, 2), height * rng.uniform(0.55, 0.85)])
        blobs.append((at, rng.uniform(0.45, 0.85)))
    return _tree(rng, kind, height, height * 0.5, 0.05, blobs)


def _bush(rng: np.random.Generator, kind: str) -> Plant:
    height = rng.uniform(0.9, 2.2)
    blobs = []
    for _ in range(5):
        at = np.array([*rng.normal(0, 0.45 * height, 2), height * rng.uniform(0.25, 0.6)])
        blobs.append((at, height * rng.uniform(0.3, 0.5)))
    return _tree(rng, kind, height, 0.0, 0.0, blobs)


def _bare(rng: np.random.Generator, kind: str) -> Plant:
    """A winter tree: forked branches and twigs."""
    height = rng.uniform(7.0, 12.0)
    clear = height * rng.uniform(0.22, 0.35)
    limbs, twigs = _branches(rng, height, clear)
    trunk = tube((0, 0, 0), (0, 0, clear * 1.05), 0.026 * height, 0.018 * height, 5)
    leaves = _sprigs(rng, [(np.array([0, 0, height * 0.68]), height * 0.27)], 30, 0.16)
    fine = _foliage([trunk, *limbs], [*twigs, leaves])
    medium = _foliage([trunk, *limbs], twigs[::2])
    coarse = _foliage([trunk, *limbs[::2]], twigs[::5])
    return Plant(fine, medium, coarse)


def _branches(
    rng: np.random.Generator, height_m: float, clear_m: float
) -> tuple[list[Floats], list[Floats]]:
    limbs, twigs = [], []
    for _ in range(int(rng.integers(6, 9))):
        start = np.array([0.0, 0.0, clear_m * rng.uniform(0.8, 1.3)])
        heading, rise = rng.uniform(0, 2 * math.pi), rng.uniform(0.55, 1.3)
        out = np.array([math.cos(heading), math.sin(heading), 0.0]) * math.cos(rise)
        end = start + (out + np.array([0, 0, math.sin(rise)])) * height_m * rng.uniform(0.35, 0.6)
        end[2] = min(end[2], height_m)
        limbs.append(tube(start, end, 0.011 * height_m, 0.004 * height_m, 3))
        for _ in range(9):
            fork = start + (end - start) * rng.uniform(0.3, 1.0)
            tip = fork + rng.normal(0, 1, 3) * height_m * 0.09 + [0, 0, height_m * 0.07]
            side = np.cross(tip - fork, rng.normal(0, 1, 3))
            side *= 0.0045 * height_m / max(float(np.linalg.norm(side)), 1e-9)
            twigs.append(np.array([[fork - side, fork + side, tip]]))
    return limbs, twigs


_BUILDERS = {
    "broad": _broad,
    "tall": _broad,
    "sparse": _broad,
    "bare": _bare,
    "young": _young,
    "conifer": _conifer,
    "bush": _bush,
}

Blob = tuple[Floats, float]

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


def _tree(
    rng: np.random.Generator,
    kind: str,
    height_m: float,
    clear_m: float,
    trunk_m: float,
    blobs: list[Blob],
) -> Plant:
    trunks = [np.empty((0, 3, 3))] * 3
    if trunk_m > 0.0:
        top = np.array([*rng.normal(0, 0.02 * height_m, 2), clear_m + 0.35 * (height_m - clear_m)])
        trunks = [tube((0, 0, 0), top, trunk_m, trunk_m * 0.5, n) for n in (6, 4, 3)]
    loose = {"sparse": 1.8, "conifer": 1.2, "bush": 0.6, "young": 0.7}.get(kind, 1.0)
    fine = [trunks[0], *(_ball(rng, at, size) for at, size in blobs)]
    if kind in ("sparse", "young"):
        fine += [_limb(at, clear_m, trunk_m) for at, _ in blobs]
    leaves = [_sprigs(rng, blobs, int(n * loose), s) for n, s in ((110, 0.09), (50, 0.16))]
    medium = [trunks[1], *(_ball(rng, at, size * 1.1) for at, size in blobs[::2])]
    clumps = [_sprigs(rng, blobs, int(36 * loose), 0.26)]
    coarse = _foliage([trunks[2], _lump(rng, blobs)], [])
    return Plant(_foliage(fine, leaves), _foliage(medium, clumps), coarse)


def _foliage(closed: list[Floats], loose: list[Floats]) -> Foliage:
    none = np.empty((0, 3, 3))
    return Foliage(*(_leafy(np.concatenate([none, *parts])) for parts in (closed, loose)))


def _limb(end: Floats, clear_m: float, trunk_m: float) -> Floats:
    """A branch from the trunk to the middle of a blob."""
    low = np.array([0.0, 0.0, max(clear_m * 0.9, end[2] * 0.6)])
    return tube(low, end, trunk_m * 0.4, trunk_m * 0.2, 3)


def _lump(rng: np.random.Generator, blobs: list[Blob]) -> Floats:
    """The crown from afar: one dented ball that reaches as far as the heap does."""
    middle = np.mean([at for at, _ in blobs], axis=0)
    rays = _CORNERS @ _turn(rng.uniform(0, 2 * math.pi))
    reach = [max(float((at - middle) @ ray) + size * 0.9 for at, size in blobs) for ray in rays]
    dents = np.maximum(reach, 0.2) * rng.uniform(0.9, 1.15, len(rays))
    triangles: Floats = (middle + rays * dents[:, None])[_FACES]
    return triangles


def _leafy(triangles: Floats) -> Mesh:
    return mesh(triangles, Tag.VEGETATION)


def _ball(rng: np.random.Generator, centre: Floats, radius_m: float) -> Floats:
    """A dented ball: every corner nearer or farther than the radius."""
    reach = rng.uniform(0.76, 1.22, len(_CORNERS)) * radius_m
    squash = np.array([1.0, 1.0, 0.86])
    turned = _CORNERS @ _turn(rng.uniform(0, 2 * math.pi))
    triangles: Floats = (centre + turned * reach[:, None] * squash)[_FACES]
    return triangles


def _sprigs(rng: np.random.Generator, blobs: list[Blob], count: int, size: float) -> Floats:
    """Loose leafy triangles on the surface of the blobs; `size` relative to the radius."""
    pick = rng.integers(len(blobs), size=count)
    centres = np.array([blobs[i][0] for i in pick])
    radii = np.array([blobs[i][1] for i in pick])[:, None]
    out = _directions(rng, count)
    at = centres + out * radii * rng.uniform(0.84, 1.08, (count, 1))
    u = np.cross(out, _directions(rng, count))
    u /= np.maximum(np.linalg.norm(u, axis=1, keepdims=True), 1e-6)
    v = np.cross(u, _directions(rng, count))
    v /= np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-6)
    angle = rng.uniform(0, 2 * math.pi, (count, 1)) + np.array([0.0, 2.1, 4.2])
    spoke = np.cos(angle)[..., None] * u[:, None] + np.sin(angle)[..., None] * v[:, None]
    length = radii * size * 2.0 * rng.uniform(0.6, 1.3, (count, 3))
    triangles: Floats = at[:, None] + spoke * length[..., None]
    triangles[..., 2] = np.maximum(triangles[..., 2], 0.05)
    return triangles


def _directions(rng: np.random.Generator, count: int) -> Floats:
    """Unit vectors (count, 3), evenly spread."""
    ray: Floats = rng.normal(0, 1, (count, 3))
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    return ray


def _turn(angle_rad: float) -> Floats:
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])


def hedge(rng: np.random.Generator, width_m: float, deep_m: float, height_m: float) -> Mesh:
    """A hedge along x from 0 to `width_m`, y from 0 to `deep_m`, uneven on top."""
    count = max(2, int(width_m / 1.3) + 1)
    spots = np.linspace(0.0, width_m, count)
    rings = []
    for x in spots:
        low, high = rng.normal(0, 0.06, 2), height_m * rng.uniform(0.84, 1.1)
        back = deep_m + low[1]
        rings.append(
            np.array([(x, low[0], 0.0), (x, low[0] - 0.05, high * 0.8), (x, deep_m / 2, high),
                      (x, back, high * 0.8), (x, back, 0.0)])
        )  # fmt: skip
    blobs = [(np.array([x, deep_m / 2, height_m * 0.7]), height_m * 0.3) for x in spots[1:]]
    return joined([_leafy(loft(rings)), _leafy(both_sides(_sprigs(rng, blobs, 2 * count, 0.3)))])
