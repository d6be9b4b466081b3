"""Trees with irregular crowns, bushes and hedges: a library of shapes, made once.

A crown is a heap of blobs seen by its ragged outline (crowns.py); open ones are clumps that
the sky shows between; bare trees are branches alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.scenery.crowns import Blob, ball, cards, sprigs
from sim2street.bridge.town.scenery.meshes import Floats, Mesh, joined, loft, mesh, tube

_SEED = 20240607
_SPRIGS = {"conifer": 110, "bush": 50, "young": 45}
"""Loose leaves of a crown seen from near, by kind."""


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
    far: Foliage


@cache
def plants(kind: str) -> tuple[Plant, ...]:
    """The shapes of a kind: broad, tall, sparse, bare, young, conifer or bush."""
    count = 4 if kind in ("young", "conifer") else 6
    rng = np.random.default_rng([_SEED, *kind.encode()])
    return tuple(_BUILDERS[kind](rng, kind) for _ in range(count))


def _broad(rng: np.random.Generator, kind: str) -> Plant:
    """A full crown on a short trunk; `tall` ones are narrower, `sparse` ones see-through."""
    slim = {"broad": 0.38, "tall": 0.25, "sparse": 0.35}[kind] * rng.uniform(0.85, 1.15)
    height = rng.uniform(7.0, 12.0) if kind != "tall" else rng.uniform(10.0, 15.0)
    radius, clear = height * slim, height * rng.uniform(0.20, 0.32)
    count = int(rng.integers(6, 9))
    blobs = []
    for index in range(count):
        up = (index + rng.uniform(0.2, 0.8)) / count
        wide = math.sin(math.pi * (0.16 + 0.74 * up))
        angle, out = rng.uniform(0, 2 * math.pi), radius * wide * rng.uniform(0.25, 0.68)
        size = radius * wide * rng.uniform(0.40, 0.62)
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
    leaves = sprigs(rng, [(np.array([0, 0, height * 0.68]), height * 0.27)], 40, (0.15, 0.5))
    fine = _foliage([trunk, *limbs], [*twigs, leaves])
    medium = _foliage([trunk, *limbs], twigs[::2])
    coarse = _foliage([trunk, *limbs[::2]], twigs[::5])
    return Plant(fine, medium, coarse, _foliage([trunk, *limbs[::3]], []))


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
    open_crown = kind in ("sparse", "young")
    heaps = [[blob] for blob in blobs] if open_crown else [blobs]
    core = [ball(rng, at, size * 0.86) for at, size in blobs[:: 2 if open_crown else 1]]
    limbs = [_limb(at, clear_m, trunk_m) for at, _ in blobs] if open_crown else []
    fine, medium, coarse, far = (
        [cards(rng, heap, *(one if open_crown else whole)) for heap in some]
        for some, one, whole in (
            (heaps, (2, 20), (4, 60)), (heaps, (2, 12), (3, 36)), ([blobs], (2, 22), (2, 22)),
            ([blobs], (2, 11), (2, 11)),
        )
    )  # fmt: skip
    fine.append(sprigs(rng, blobs, _SPRIGS.get(kind, 90), (0.12, 0.36)))
    return Plant(
        _foliage([trunks[0], *core, *limbs], fine),
        _foliage([trunks[1], *limbs[::2]], medium),
        _foliage([trunks[2]], coarse),
        _foliage([], far),
    )


def _foliage(closed: list[Floats], loose: list[Floats]) -> Foliage:
    none = np.empty((0, 3, 3))
    return Foliage(*(_leafy(np.concatenate([none, *parts])) for parts in (closed, loose)))


def _limb(end: Floats, clear_m: float, trunk_m: float) -> Floats:
    """A branch from the trunk to the middle of a blob."""
    low = np.array([0.0, 0.0, max(clear_m * 0.9, end[2] * 0.6)])
    return tube(low, end, trunk_m * 0.4, trunk_m * 0.2, 3)


def _leafy(triangles: Floats) -> Mesh:
    return mesh(triangles, Tag.VEGETATION)


def hedge(
    rng: np.random.Generator, width_m: float, deep_m: float, height_m: float
) -> tuple[Mesh, Mesh]:
    """A hedge along x from 0 to `width_m`, y from 0 to `deep_m`: fine and coarse.

    It bulges, and it is ragged on top.
    """
    count = 3 * max(2, int(width_m / 1.35)) + 1
    spots = np.linspace(0.0, width_m, count)
    swell = 0.5 + 0.5 * np.sin(spots * rng.uniform(1.1, 2.4) + rng.uniform(0, 6))
    tops = height_m * (0.86 + 0.12 * swell + rng.uniform(-0.06, 0.06, count))
    tops[[0, -1]] *= rng.uniform(0.55, 0.85, 2)
    front, back, ridge = rng.normal(0, 0.05, (3, count))
    y = [front + 0.06, front - 0.06, front + 0.04, deep_m / 2 + ridge, deep_m + back, deep_m + back]
    z = [0.0 * tops, 0.5 * tops, 0.85 * tops, tops, 0.8 * tops, 0.0 * tops]
    rings = np.stack([np.tile(spots, (6, 1)), y, z], axis=2).transpose(1, 0, 2)
    blobs = [(np.array([x, deep_m / 2, high - deep_m * 0.35]), deep_m * 0.36)
             for x, high in zip(spots, tops, strict=True)]  # fmt: skip
    leaves = sprigs(rng, blobs, 3 * count, (0.12, 0.34))
    return joined([_leafy(loft(list(rings))), _leafy(leaves)]), _leafy(loft(list(rings[::3])))
