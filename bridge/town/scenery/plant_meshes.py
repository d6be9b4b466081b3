"""Meshes of trees, bushes and hedges.

A fixed library of shapes per kind is made once and shared by all towns. Crowns are built from
spheres (see `foliage_meshes.py`). Sparse and young trees have one clump of foliage per sphere,
with gaps between; bare trees have only branches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.scenery.foliage_meshes import Sphere, cards, leaves, rough_ball
from sim2street.bridge.town.scenery.meshes import Floats, Mesh, joined, mesh
from sim2street.bridge.town.scenery.primitives import loft, tube

_SEED = 20240607
_LEAF_COUNT = {"conifer": 110, "bush": 50, "young": 45}
_DEFAULT_LEAF_COUNT = 90
"""Number of loose leaves at the finest level of detail, by kind."""


@dataclass(frozen=True, slots=True)
class PlantLevel:
    """One level of detail of a plant.

    Attributes:
        solid: closed bodies (trunk, balls of foliage), for `Layer.SOLID`.
        sheets: cards, leaves and twigs, for `Layer.SHEET`.
    """

    solid: Mesh
    sheets: Mesh


@dataclass(frozen=True, slots=True)
class Plant:
    """A tree or bush that stands at the origin, in four levels of detail."""

    fine: PlantLevel
    medium: PlantLevel
    coarse: PlantLevel
    far: PlantLevel


@cache
def plants(kind: str) -> tuple[Plant, ...]:
    """All shapes of a kind: "broad", "tall", "sparse", "bare", "young", "conifer" or "bush"."""
    count = 4 if kind in ("young", "conifer") else 6
    rng = np.random.default_rng([_SEED, *kind.encode()])
    return tuple(_BUILDERS[kind](rng, kind) for _ in range(count))


def _broad(rng: np.random.Generator, kind: str) -> Plant:
    """A tree with a round crown; "tall" ones are narrower, "sparse" ones have gaps."""
    slim = {"broad": 0.38, "tall": 0.25, "sparse": 0.35}[kind] * rng.uniform(0.85, 1.15)
    height = rng.uniform(7.0, 12.0) if kind != "tall" else rng.uniform(10.0, 15.0)
    radius, crown_base = height * slim, height * rng.uniform(0.20, 0.32)
    count = int(rng.integers(6, 9))
    spheres = []
    for index in range(count):
        up = (index + rng.uniform(0.2, 0.8)) / count
        wide = math.sin(math.pi * (0.16 + 0.74 * up))
        angle, out = rng.uniform(0, 2 * math.pi), radius * wide * rng.uniform(0.25, 0.68)
        size = radius * wide * rng.uniform(0.40, 0.62)
        if kind == "sparse":
            size *= 0.74
        at = (
            out * math.cos(angle),
            out * math.sin(angle),
            crown_base + (height - crown_base) * up * 0.93,
        )
        spheres.append((np.array(at), size))
    trunk = rng.uniform(0.022, 0.034) * height
    return _tree(rng, kind, height, crown_base, trunk, spheres)


def _conifer(rng: np.random.Generator, kind: str) -> Plant:
    height = rng.uniform(7.0, 13.0)
    radius = height * rng.uniform(0.16, 0.24)
    spheres = []
    for up in np.linspace(0.08, 0.95, 7):
        size = max(0.25, radius * (1.05 - up) * rng.uniform(0.8, 1.15))
        at = np.array([*rng.normal(0, 0.12 * size, 2), height * up])
        spheres.append((at, size))
    return _tree(rng, kind, height, height * 0.1, 0.02 * height, spheres)


def _young(rng: np.random.Generator, kind: str) -> Plant:
    height = rng.uniform(3.6, 5.5)
    spheres = []
    for _ in range(4):
        at = np.array([*rng.normal(0, 0.35, 2), height * rng.uniform(0.55, 0.85)])
        spheres.append((at, rng.uniform(0.45, 0.85)))
    return _tree(rng, kind, height, height * 0.5, 0.05, spheres)


def _bush(rng: np.random.Generator, kind: str) -> Plant:
    height = rng.uniform(0.9, 2.2)
    spheres = []
    for _ in range(5):
        at = np.array([*rng.normal(0, 0.45 * height, 2), height * rng.uniform(0.25, 0.6)])
        spheres.append((at, height * rng.uniform(0.3, 0.5)))
    return _tree(rng, kind, height, 0.0, 0.0, spheres)


def _bare(rng: np.random.Generator, kind: str) -> Plant:
    """A tree without leaves: a trunk, limbs and twigs."""
    height = rng.uniform(7.0, 12.0)
    crown_base = height * rng.uniform(0.22, 0.35)
    limbs, twigs = _branches(rng, height, crown_base)
    trunk = tube((0, 0, 0), (0, 0, crown_base * 1.05), 0.026 * height, 0.018 * height, 5)
    crown = (np.array([0, 0, height * 0.68]), height * 0.27)
    thin_twigs = leaves(rng, [crown], 40, (0.15, 0.5))
    fine = _level([trunk, *limbs], [*twigs, thin_twigs])
    medium = _level([trunk, *limbs], twigs[::2])
    coarse = _level([trunk, *limbs[::2]], twigs[::5])
    return Plant(fine, medium, coarse, _level([trunk, *limbs[::3]], []))


def _branches(
    rng: np.random.Generator, height_m: float, crown_base_m: float
) -> tuple[list[Floats], list[Floats]]:
    """Limbs from the trunk outwards, and nine twigs on each."""
    limbs, twigs = [], []
    for _ in range(int(rng.integers(6, 9))):
        start = np.array([0.0, 0.0, crown_base_m * rng.uniform(0.8, 1.3)])
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
    crown_base_m: float,
    trunk_m: float,
    spheres: list[Sphere],
) -> Plant:
    """A plant with a crown of `spheres`; `trunk_m` is the trunk's radius, 0 for none."""
    trunks = [np.empty((0, 3, 3))] * 3
    if trunk_m > 0.0:
        top = np.array(
            [*rng.normal(0, 0.02 * height_m, 2), crown_base_m + 0.35 * (height_m - crown_base_m)]
        )
        trunks = [tube((0, 0, 0), top, trunk_m, trunk_m * 0.5, n) for n in (6, 4, 3)]
    open_crown = kind in ("sparse", "young")
    clumps = [[sphere] for sphere in spheres] if open_crown else [spheres]
    core = [rough_ball(rng, at, size * 0.86) for at, size in spheres[:: 2 if open_crown else 1]]
    limbs = [_limb(at, crown_base_m, trunk_m) for at, _ in spheres] if open_crown else []
    # By level: what gets cards of its own, then (cards, corners) for open and closed crowns.
    fine, medium, coarse, far = (
        [cards(rng, clump, *(if_open if open_crown else if_closed)) for clump in parts]
        for parts, if_open, if_closed in (
            (clumps, (2, 20), (4, 60)), (clumps, (2, 12), (3, 36)),
            ([spheres], (2, 22), (2, 22)), ([spheres], (2, 11), (2, 11)),
        )
    )  # fmt: skip
    fine.append(leaves(rng, spheres, _LEAF_COUNT.get(kind, _DEFAULT_LEAF_COUNT), (0.12, 0.36)))
    return Plant(
        _level([trunks[0], *core, *limbs], fine),
        _level([trunks[1], *limbs[::2]], medium),
        _level([trunks[2]], coarse),
        _level([], far),
    )


def _level(solid: list[Floats], sheets: list[Floats]) -> PlantLevel:
    none = np.empty((0, 3, 3))
    return PlantLevel(*(_vegetation(np.concatenate([none, *parts])) for parts in (solid, sheets)))


def _limb(end: Floats, crown_base_m: float, trunk_m: float) -> Floats:
    """A branch from the trunk to the centre of a sphere."""
    low = np.array([0.0, 0.0, max(crown_base_m * 0.9, end[2] * 0.6)])
    return tube(low, end, trunk_m * 0.4, trunk_m * 0.2, 3)


def _vegetation(triangles: Floats) -> Mesh:
    return mesh(triangles, Tag.VEGETATION)


def hedge(
    rng: np.random.Generator, width_m: float, depth_m: float, height_m: float
) -> tuple[Mesh, Mesh]:
    """A hedge over x from 0 to `width_m` and y from 0 to `depth_m`, with an uneven surface.

    Returns:
        Its fine and its coarse level of detail, both for `Layer.SHEET`.
    """
    count = 3 * max(2, int(width_m / 1.35)) + 1
    spots = np.linspace(0.0, width_m, count)
    swell = 0.5 + 0.5 * np.sin(spots * rng.uniform(1.1, 2.4) + rng.uniform(0, 6))
    tops = height_m * (0.86 + 0.12 * swell + rng.uniform(-0.06, 0.06, count))
    tops[[0, -1]] *= rng.uniform(0.55, 0.85, 2)
    front, back, ridge = rng.normal(0, 0.05, (3, count))
    y = [
        front + 0.06,
        front - 0.06,
        front + 0.04,
        depth_m / 2 + ridge,
        depth_m + back,
        depth_m + back,
    ]
    z = [0.0 * tops, 0.5 * tops, 0.85 * tops, tops, 0.8 * tops, 0.0 * tops]
    rings = np.stack([np.tile(spots, (6, 1)), y, z], axis=2).transpose(1, 0, 2)
    spheres = [(np.array([x, depth_m / 2, high - depth_m * 0.35]), depth_m * 0.36)
             for x, high in zip(spots, tops, strict=True)]  # fmt: skip
    loose = leaves(rng, spheres, 3 * count, (0.12, 0.34))
    fine = joined([_vegetation(loft(list(rings))), _vegetation(loose)])
    return fine, _vegetation(loft(list(rings[::3])))
