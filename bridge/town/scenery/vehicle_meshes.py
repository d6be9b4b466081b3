"""Meshes of cars, trucks and buses: side profiles given width, plus wheels and mirrors.

A profile is the outline of a vehicle's side as points (x, z), where x is in units of half the
length (1 at the front) and z in units of the height. It runs from the front bumper over the
top to the rear bumper. The body up to the windows and the cabin above have separate profiles,
because the cabin is narrower at the roof.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.actor_models import ActorModel
from sim2street.bridge.town.scenery.meshes import Floats, Mesh, mesh
from sim2street.bridge.town.scenery.primitives import box, loft, regular_polygon, walls

Profile = tuple[tuple[float, float], ...]
"""Points (x, z) of the outline of a vehicle's side, in the units described above."""

_WAIST = 0.62
"""Height of the lower edge of the windows, over the vehicle's height."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """Shape of one model.

    Attributes:
        body, cabin: profiles of the lower and the upper part.
        roof: width of the roof relative to the body.
        wheels: x of each axle, over half the length.
        wheel_m: radius of the wheels.
        mirror: x of the mirrors, over half the length.
    """

    body: Profile
    cabin: Profile
    roof: float = 0.76
    wheels: tuple[float, ...] = (0.63, -0.62)
    wheel_m: float = 0.31
    mirror: float = 0.30


_NOSE: Profile = ((0.955, 0.15), (0.995, 0.24), (1.0, 0.36), (0.975, 0.47), (0.90, 0.53))
_TAIL: Profile = ((-0.985, 0.60), (-1.0, 0.40), (-0.985, 0.24), (-0.95, 0.16))
_HIGH_NOSE: Profile = ((0.955, 0.17), (1.0, 0.28), (1.0, 0.42), (0.965, 0.54), (0.90, 0.58))

_SHAPES: dict[str, _Shape] = {
    "city_car": _Shape(
        ((0.955, 0.14), (1.0, 0.28), (0.985, 0.44), (0.90, 0.52), (0.56, 0.61), (-0.93, 0.64),
         *_TAIL),
        ((0.60, 0.60), (0.17, 0.94), (0.02, 0.99), (-0.45, 1.0), (-0.76, 0.95), (-0.95, 0.63)),
        0.78, (0.68, -0.68), 0.28, 0.40,
    ),
    "hatchback": _Shape(
        (*_NOSE, (0.46, 0.62), (-0.92, 0.66), *_TAIL),
        ((0.50, 0.61), (0.10, 0.95), (-0.05, 0.99), (-0.40, 1.0), (-0.72, 0.94), (-0.94, 0.65)),
    ),
    "compact": _Shape(
        (*_NOSE, (0.48, 0.63), (-0.90, 0.67), *_TAIL),
        ((0.53, 0.61), (0.08, 0.96), (-0.15, 1.0), (-0.45, 0.98), (-0.70, 0.90), (-0.93, 0.66)),
        0.74,
    ),
    "sedan": _Shape(
        (*_NOSE, (0.40, 0.63), (-0.62, 0.68), (-0.93, 0.66), *_TAIL),
        ((0.44, 0.62), (0.06, 0.95), (-0.08, 0.99), (-0.30, 1.0), (-0.45, 0.95), (-0.74, 0.67)),
    ),
    "limousine": _Shape(
        (*_NOSE, (0.36, 0.62), (-0.60, 0.67), (-0.94, 0.65), *_TAIL),
        ((0.40, 0.61), (0.04, 0.96), (-0.10, 1.0), (-0.32, 0.99), (-0.48, 0.93), (-0.72, 0.66)),
        0.74,
    ),
    "estate": _Shape(
        (*_NOSE, (0.42, 0.62), (-0.94, 0.65), *_TAIL),
        ((0.46, 0.61), (0.08, 0.95), (-0.06, 0.99), (-0.50, 1.0), (-0.84, 0.95), (-0.97, 0.64)),
    ),
    "suv": _Shape(
        (*_HIGH_NOSE, (0.46, 0.64), (-0.95, 0.66), *_TAIL),
        ((0.49, 0.63), (0.18, 0.94), (0.05, 0.99), (-0.60, 1.0), (-0.84, 0.96), (-0.97, 0.65)),
        0.80, (0.62, -0.62), 0.36, 0.34,
    ),
    "minivan": _Shape(
        ((0.955, 0.14), (1.0, 0.28), (0.985, 0.42), (0.90, 0.50), (0.62, 0.57), (-0.96, 0.62),
         *_TAIL),
        ((0.66, 0.56), (0.24, 0.93), (0.08, 0.98), (-0.55, 1.0), (-0.88, 0.96), (-0.98, 0.61)),
        0.80, (0.65, -0.62), 0.32, 0.42,
    ),
    "van": _Shape(
        ((0.96, 0.12), (1.0, 0.22), (0.985, 0.36), (0.90, 0.44), (0.72, 0.50), (-0.99, 0.50),
         (-1.0, 0.16), (-0.96, 0.12)),
        ((0.75, 0.49), (0.50, 0.88), (0.40, 0.96), (0.25, 1.0), (-0.95, 0.99), (-0.99, 0.94),
         (-1.0, 0.49)),
        0.90, (0.66, -0.60), 0.34, 0.55,
    ),
    "pickup": _Shape(
        (*_HIGH_NOSE, (0.44, 0.62), (-0.98, 0.60), (-1.0, 0.42), (-0.99, 0.28), (-0.95, 0.2)),
        ((0.46, 0.61), (0.16, 0.95), (0.02, 1.0), (-0.12, 0.97), (-0.26, 0.61)),
        0.80, (0.64, -0.60), 0.37, 0.34,
    ),
    "bus": _Shape(
        ((0.985, 0.11), (1.0, 0.2), (0.998, 0.42), (-1.0, 0.42), (-1.0, 0.14), (-0.985, 0.11)),
        ((0.998, 0.42), (0.985, 0.86), (0.95, 0.98), (0.88, 1.0), (-0.95, 1.0), (-0.99, 0.95),
         (-1.0, 0.42)),
        0.94, (0.55, -0.48), 0.48, 0.99,
    ),
}  # fmt: skip

_CAB = _Shape(
    ((0.985, 0.13), (1.0, 0.22), (0.995, 0.42), (0.46, 0.42), (0.46, 0.13)),
    ((0.995, 0.42), (0.93, 0.78), (0.85, 0.84), (0.52, 0.86), (0.46, 0.42)),
    0.90, (0.74, -0.52, -0.66), 0.48, 0.92,
)  # fmt: skip


def far_vehicle_mesh(model: ActorModel) -> Mesh:
    """A car, truck or bus at the coarsest level: fewer corners, one box per axle for wheels."""
    if model.tag == Tag.TRUCK:
        return vehicle_mesh(model, fine=False)
    shape, (half_length, half_width, _) = _SHAPES[model.name], model.extent_m
    parts = [_skin(_thinned(p), model.extent_m, shape.roof) for p in (shape.body, shape.cabin)]
    for axle in shape.wheels:
        x, reach = axle * half_length, shape.wheel_m * 0.8
        ring = [(x - reach, -half_width * 0.9), (x + reach, -half_width * 0.9),
                (x + reach, half_width * 0.9), (x - reach, half_width * 0.9)]  # fmt: skip
        parts.append(walls(ring, 0.0, shape.wheel_m))
    return mesh(np.concatenate(parts), Tag(model.tag))


def _thinned(profile: Profile) -> Profile:
    """About half of a profile's points, including both ends."""
    count = max(4, (len(profile) + 1) // 2)
    return tuple(profile[round(k * (len(profile) - 1) / (count - 1))] for k in range(count))


def vehicle_mesh(model: ActorModel, fine: bool) -> Mesh:
    """A car, truck or bus in its body frame; `fine` has round wheels and mirrors."""
    if model.tag == Tag.TRUCK:
        triangles = _truck(model, fine)
    else:
        triangles = _car(_SHAPES[model.name], model.extent_m, fine)
    return mesh(triangles, Tag(model.tag))


def _car(shape: _Shape, extent_m: tuple[float, float, float], fine: bool) -> Floats:
    parts = [_skin(shape.body, extent_m, shape.roof), _skin(shape.cabin, extent_m, shape.roof)]
    parts += _wheels(shape, extent_m, fine)
    if fine:
        parts += _mirrors(shape, extent_m)
    return np.concatenate(parts)


def _skin(profile: Profile, extent_m: tuple[float, float, float], roof: float) -> Floats:
    """A closed surface over a profile, narrower towards the roof, the sills and the ends."""
    half_length, half_width, half_height = extent_m
    outline = np.array(profile)
    width = np.array([_half_width(x, z, roof) for x, z in profile]) * half_width
    x, z = outline[:, 0] * half_length, outline[:, 1] * 2 * half_height
    left = np.stack([x, width, z], axis=1)
    right = np.stack([x, -width, z], axis=1)
    return loft([left, right])


def _half_width(x: float, z: float, roof: float) -> float:
    """Relative half width of a vehicle at a point of its profile."""
    if z > _WAIST:
        across = 1.0 - (1.0 - roof) * (z - _WAIST) / (1.0 - _WAIST)
    else:
        across = 0.94 + 0.06 * min(1.0, z / 0.4)
    end = max(0.0, abs(x) - 0.82) / 0.18
    return across * (1.0 - 0.13 * end * end)


def _wheels(shape: _Shape, extent_m: tuple[float, float, float], fine: bool) -> list[Floats]:
    """All wheels: round if `fine`, else the four walls of a box."""
    half_length, half_width, _ = extent_m
    radius, tyre = shape.wheel_m, 0.22
    parts = []
    for axle in shape.wheels:
        x = axle * half_length
        for side in (-1.0, 1.0):
            outer, inner = side * half_width * 0.975, side * (half_width * 0.975 - tyre)
            right, left = sorted((inner, outer))
            if fine:
                parts.append(_wheel((x, radius), radius, (right, left), 10))
            else:
                rear, front = x - radius * 0.85, x + radius * 0.85
                outline = [(rear, right), (front, right), (front, left), (rear, left)]
                parts.append(walls(outline, 0.0, radius))
    return parts


def _wheel(
    centre: tuple[float, float], radius_m: float, y_m: Sequence[float], sides: int
) -> Floats:
    """A wheel about (x, z) between two values of y, right and left, as a closed prism."""
    ring = regular_polygon(radius_m, sides, math.pi / sides)
    x, z = centre[0] + ring[:, 0], centre[1] + ring[:, 1]
    faces = [np.stack([x, np.full(sides, y), z], axis=1) for y in y_m]
    return loft([faces[1], faces[0]])


def _mirrors(shape: _Shape, extent_m: tuple[float, float, float]) -> list[Floats]:
    """Two mirrors; high vehicles have taller ones."""
    half_length, half_width, half_height = extent_m
    x, z = shape.mirror * half_length, (0.62 if half_height < 1.0 else 0.56) * 2 * half_height
    tall = 0.16 if half_height < 1.0 else 0.40
    parts = []
    for side in (-1.0, 1.0):
        low, high = sorted((side * half_width * 0.95, side * (half_width + 0.14)))
        parts.append(box((x - 0.05, low, z), (x + 0.08, high, z + tall), bottom=True))
    return parts


def _truck(model: ActorModel, fine: bool) -> Floats:
    """A driver's cab and chassis with a box, or with a flat bed and a load."""
    half_length, half_width, half_height = model.extent_m
    height = 2 * half_height
    parts = [_car(_CAB, model.extent_m, fine)]
    rear, front = -half_length, 0.40 * half_length
    parts.append(
        box((rear, -0.35 * half_width, 0.55), (0.5 * half_length, 0.35 * half_width, 0.95), True)
    )
    if model.name == "box_truck":
        parts.append(box((rear, -half_width, 0.95), (front, half_width, height), True))
    else:
        parts.append(box((rear, -half_width, 1.0), (front, half_width, 1.15), True))
        parts.append(box((front - 0.1, -half_width, 1.15), (front, half_width, height * 0.8)))
        parts.append(_load(rear + 0.3, front - 0.6, half_width * 0.9, 1.15, height))
    return np.concatenate(parts)


def _load(x0: float, x1: float, half_width_m: float, z0: float, z1: float) -> Floats:
    """A load of uneven height under a tarpaulin."""
    xs = np.linspace(x0, x1, 5)
    tops = z0 + (z1 - z0) * np.array([0.55, 0.95, 0.7, 1.0, 0.4])
    rings = []
    for x, top in zip(xs, tops, strict=True):
        half = half_width_m
        yz = [
            (-half, z0),
            (half, z0),
            (half * 0.85, top * 0.9),
            (0.0, top),
            (-half * 0.8, top * 0.88),
        ]
        rings.append(np.array([(x, y, z) for y, z in yz]))
    return loft(rings)


def two_wheeler_wheel(x_m: float, radius_m: float, width_m: float, sides: int) -> Floats:
    """A wheel in the plane y = 0 that stands on the ground, its hub at `x_m`."""
    return _wheel((x_m, radius_m), radius_m, (-width_m / 2, width_m / 2), sides)
