"""Meshes of street furniture: lamps, signs, traffic lights, bollards, bins, fences, shelters.

Shapes stand at the origin, metres. Signs and lights face -x, towards traffic that drives
along +x; +y is to the left of that traffic, over the road (traffic drives on the right).
"""

from __future__ import annotations

import math

import numpy as np

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.scenery.meshes import Floats, Mesh, joined, mesh
from sim2street.bridge.town.scenery.primitives import box, loft, prism, regular_polygon, tube


def lamp(rng: np.random.Generator) -> Mesh:
    """A street lamp whose arm reaches over the road, along +y."""
    height, arm = float(rng.uniform(6.0, 9.5)), float(rng.uniform(0.6, 2.0))
    top, out = (0.0, 0.0, height), (0.0, arm, height + 0.35 * arm)
    parts = [
        tube((0, 0, 0), (0, 0, 1.3), 0.09, 0.085, 5),
        tube((0, 0, 1.3), top, 0.062, 0.045, 4),
        tube(top, out, 0.045, 0.04, 4),
        box((-0.14, arm - 0.1, out[2] - 0.1), (0.14, arm + 0.6, out[2] + 0.1), bottom=True),
    ]
    return mesh(np.concatenate(parts), Tag.POLE)


def lantern(rng: np.random.Generator) -> Mesh:
    """A low, old-fashioned street lamp with its head on top of the post."""
    height = float(rng.uniform(4.2, 5.4))
    head = regular_polygon(0.24, 6)
    parts = [
        tube((0, 0, 0), (0, 0, height), 0.075, 0.055, 4),
        tube((0, -0.3, height - 0.5), (0, 0.3, height - 0.5), 0.025, 0.025, 3),
        prism(head, height, height + 0.55),
    ]
    return mesh(np.concatenate(parts), Tag.POLE)


def utility_pole(rng: np.random.Generator) -> Mesh:
    """A telephone or power pole."""
    height = float(rng.uniform(6.5, 9.0))
    parts = [tube((0, 0, 0), (0, 0, height), 0.11, 0.08, 5)]
    if rng.random() < 0.5:
        parts.append(box((-0.05, -0.8, height - 0.5), (0.05, 0.8, height - 0.38), bottom=True))
    return mesh(np.concatenate(parts), Tag.POLE)


def bollard(rng: np.random.Generator) -> Mesh:
    """A bollard, about 1 m high."""
    high = float(rng.uniform(0.85, 1.15))
    return mesh(prism(regular_polygon(0.07, 5), 0.0, high), Tag.POLE)


def post_sign(rng: np.random.Generator) -> Mesh:
    """One or two traffic signs on a post."""
    high = float(rng.uniform(2.5, 3.3))
    parts = [mesh(tube((0, 0, 0), (0, 0, high), 0.04, 0.04, 4), Tag.POLE)]
    z = high
    for _ in range(int(rng.choice([1, 1, 2]))):
        outline = _sign_outline(rng)
        size = float(outline[:, 1].max())
        parts.append(mesh(_panel(outline + np.array([0.0, z - size])), Tag.TRAFFIC_SIGN))
        z -= 2 * size + 0.08
    return joined(parts)


def _sign_outline(rng: np.random.Generator) -> Floats:
    """Outline (N, 2) of a traffic sign of random shape about its middle: y left, z up."""
    size = float(rng.uniform(0.24, 0.36))
    kind = rng.choice(
        ["disc", "triangle", "board", "tall", "diamond"], p=[0.38, 0.2, 0.2, 0.17, 0.05]
    )
    if kind == "disc":
        return regular_polygon(size, 14)
    if kind == "triangle":
        return regular_polygon(size * 1.15, 3, math.pi / 2)
    if kind == "diamond":
        return regular_polygon(size * 1.1, 4)
    wide, high = (size * 1.35, size * 0.8) if kind == "board" else (size * 0.75, size * 1.15)
    return np.array([(-wide, -high), (wide, -high), (wide, high), (-wide, high)])


def _panel(outline: Floats, x_m: float = -0.06, thick_m: float = 0.04) -> Floats:
    """A plate with its back at `x_m`, from its outline (N, 2) in y and z."""
    faces = [
        np.concatenate([np.full((len(outline), 1), x), outline], axis=1)
        for x in (x_m - thick_m, x_m)
    ]
    return loft(faces)


def board_sign(rng: np.random.Generator) -> Mesh:
    """A direction sign on two posts."""
    wide, high = float(rng.uniform(0.6, 1.15)), float(rng.uniform(0.4, 0.8))
    low = float(rng.uniform(1.5, 2.3))
    posts = [tube((0, y, 0), (0, y, low + 2 * high), 0.05, 0.05, 4)
             for y in (-wide * 0.75, wide * 0.75)]  # fmt: skip
    outline = np.array([(-wide, low), (wide, low), (wide, low + 2 * high), (-wide, low + 2 * high)])
    return joined([mesh(np.concatenate(posts), Tag.POLE), mesh(_panel(outline), Tag.TRAFFIC_SIGN)])


def advertising_pillar(rng: np.random.Generator) -> Mesh:
    """A free-standing advertising board."""
    wide, high = float(rng.uniform(0.45, 0.75)), float(rng.uniform(2.2, 3.4))
    outline = np.array([(-wide, 0.3), (wide, 0.3), (wide, high), (-wide, high)])
    foot = box((-0.15, -wide * 0.8, 0.0), (0.1, wide * 0.8, 0.3))
    return joined([mesh(foot, Tag.POLE), mesh(_panel(outline, 0.08, 0.2), Tag.TRAFFIC_SIGN)])


def projecting_sign(rng: np.random.Generator) -> Mesh:
    """A shop sign that projects from a facade along -y, at a right angle to it."""
    wide, high = float(rng.uniform(0.35, 0.8)), float(rng.uniform(0.35, 0.95))
    low = float(rng.uniform(2.6, 4.2))
    panel = box((-0.06, -0.25 - wide, low), (0.06, -0.2, low + high), bottom=True)
    bracket = box((-0.03, -0.25 - wide, low + high), (0.03, 0.05, low + high + 0.06), bottom=True)
    return joined([mesh(panel, Tag.TRAFFIC_SIGN), mesh(bracket, Tag.POLE)])


def fascia_sign(rng: np.random.Generator, wide_m: float) -> Mesh:
    """A shop sign flat on a facade, along x from 0 to `wide_m`."""
    high, low = float(rng.uniform(0.45, 0.8)), float(rng.uniform(2.6, 3.3))
    panel = box((0.0, -0.16, low), (wide_m, 0.0, low + high), bottom=True)
    return mesh(panel, Tag.TRAFFIC_SIGN)


def traffic_light(rng: np.random.Generator) -> Mesh:
    """A traffic light with a backing board, on a post."""
    low = float(rng.uniform(2.1, 2.5))
    post = tube((0, 0, 0), (0, 0, low + 1.3), 0.06, 0.06, 4)
    wide = float(rng.choice([0.17, 0.30, 0.34]))
    board = np.array([(-wide, low), (wide, low), (wide, low + 1.25), (-wide, low + 1.25)])
    head = box((-0.30, -0.16, low + 0.08), (-0.06, 0.16, low + 1.1), bottom=True)
    hoods = [box((-0.45, -0.13, z), (-0.30, 0.13, z + 0.16), bottom=True)
             for z in (low + 0.2, low + 0.52, low + 0.84)]  # fmt: skip
    light = np.concatenate([_panel(board), head, *hoods])
    return joined([mesh(post, Tag.POLE), mesh(light, Tag.TRAFFIC_LIGHT)])


def small_furniture(rng: np.random.Generator) -> Mesh:
    """A litter bin, letter box, street cabinet or bench, at random."""
    kind = int(rng.integers(4))
    if kind == 0:
        shape = prism(regular_polygon(0.27, 7), 0.0, 1.0)
    elif kind == 1:
        shape = np.concatenate(
            [prism(regular_polygon(0.24, 8), 0.0, 1.5), prism(regular_polygon(0.28, 8), 1.5, 1.62)]
        )
    elif kind == 2:
        shape = box((-0.2, -0.45, 0.0), (0.2, 0.45, float(rng.uniform(0.9, 1.4))))
    else:
        legs = [box((-0.2, y - 0.04, 0.0), (0.2, y + 0.04, 0.42)) for y in (-0.6, 0.6)]
        seat = [
            box((-0.22, -0.75, 0.42), (0.22, 0.75, 0.48)),
            box((0.16, -0.75, 0.5), (0.22, 0.75, 0.85)),
        ]
        shape = np.concatenate([*legs, *seat])
    return mesh(shape, Tag.STATIC)


def bus_stop() -> Mesh:
    """A bus shelter open towards -y, and the stop's sign on a pole."""
    roof = box((-2.0, -0.7, 2.35), (2.0, 0.75, 2.5), bottom=True)
    back = box((-1.9, 0.62, 0.35), (1.9, 0.68, 2.2), bottom=True)
    sides = [box((x - 0.03, 0.0, 0.2), (x + 0.03, 0.65, 2.2), bottom=True) for x in (-1.9, 1.9)]
    posts = [
        tube((x, y, 0), (x, y, 2.35), 0.05, 0.05, 4) for x in (-1.9, 1.9) for y in (-0.6, 0.65)
    ]
    flag = box((-2.9, -0.55, 2.3), (-2.86, -0.1, 2.9), bottom=True)
    pole = tube((-2.88, -0.6, 0), (-2.88, -0.6, 3.0), 0.045, 0.045, 4)
    return joined(
        [mesh(np.concatenate([roof, back, *sides]), Tag.BUILDING),
         mesh(np.concatenate([*posts, pole]), Tag.POLE), mesh(flag, Tag.TRAFFIC_SIGN)]
    )  # fmt: skip


def railing(length_m: float, high_m: float, pickets: bool) -> Mesh:
    """A fence along x: posts with three rails, or a picket fence.

    A picket fence is one sheet without holes, as it is usually labelled in photographs.
    """
    if pickets:
        sheet = _upright(np.array([0.0]), length_m, 0.12, high_m)
        posts = _upright(np.arange(0.0, length_m + 0.01, 2.4) - 0.04, 0.08, 0.0, high_m + 0.12)
        return mesh(np.concatenate([sheet, posts]), Tag.FENCE)
    posts = _upright(np.arange(0.0, length_m + 0.01, 1.8) - 0.05, 0.10, 0.0, high_m)
    rails = [_upright(np.array([0.0]), length_m, z - 0.04, z + 0.04)
             for z in (high_m * 0.4, high_m * 0.7, high_m - 0.06)]  # fmt: skip
    return mesh(np.concatenate([posts, *rails]), Tag.FENCE)


def _upright(x_m: Floats, wide_m: float, z0: float, z1: float) -> Floats:
    """Rectangles in the plane y = 0 that start at each of `x_m`, from z0 to z1."""
    a = np.stack([x_m, np.zeros_like(x_m), np.full_like(x_m, z0)], axis=1)
    b, up = a + np.array([wide_m, 0.0, 0.0]), np.array([0.0, 0.0, z1 - z0])
    c, d = b + up, a + up
    return np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])


def panel_fence(rng: np.random.Generator, length_m: float, high_m: float) -> Mesh:
    """An opaque wooden fence along x, made of panels."""
    parts = []
    for x in np.arange(0.0, length_m - 0.2, 1.85):
        end, top = min(x + 1.85, length_m), high_m + float(rng.normal(0, 0.04))
        parts.append(box((x, -0.03, 0.0), (end, 0.03, top)))
        parts.append(box((x - 0.06, -0.06, 0.0), (x + 0.06, 0.06, top + 0.08)))
    return mesh(np.concatenate(parts), Tag.FENCE)


def garden_wall(length_m: float, high_m: float) -> Mesh:
    """A wall along x with a pillar at each end."""
    parts = [box((0.0, -0.12, 0.0), (length_m, 0.12, high_m))]
    for x in (0.0, length_m - 0.4):
        parts.append(box((x, -0.2, 0.0), (x + 0.4, 0.2, high_m + 0.25)))
    return mesh(np.concatenate(parts), Tag.WALL)
