"""People, on foot and on two wheels: limbs, trunk and head, in a pose they keep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bridge.labels import Tag
from bridge.town.meshes import Floats, Mesh, box, joined, loft, mesh, tube
from bridge.town.models import VEHICLE_MODELS, ActorModel
from bridge.town.vehicle_meshes import two_wheeler_wheel

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class _Stance:
    """How somebody on foot holds themselves.

    Attributes:
        stride: how far a foot is before the hips, over the height.
        build: width over the usual width. coat: it hangs down to this share of the height
            (0: none). pack: a rucksack.
    """

    stride: float = 0.16
    build: float = 1.0
    coat: float = 0.0
    pack: bool = False
    bag: bool = False


_STANCES: dict[str, _Stance] = {
    "man_walking": _Stance(0.155, 1.05),
    "man_striding": _Stance(0.19, 1.1, bag=True),
    "woman_walking": _Stance(0.15, 0.9, bag=True),
    "woman_coat": _Stance(0.12, 0.95, coat=0.30),
    "person_backpack": _Stance(0.17, 1.0, pack=True),
    "person_standing": _Stance(0.02, 1.0, coat=0.40),
    "child": _Stance(0.17, 1.05),
}


def pedestrian_mesh(model: ActorModel, fine: bool) -> Mesh:
    """A person on foot in the body frame (x forward)."""
    stance, height = _STANCES[model.name], 2 * model.extent_m[2]
    hips = (0.0, 0.0, 0.52 * height)
    parts = _trunk(hips, 0.0, height, stance.build, fine)
    sides = 5 if fine else 3
    for side in (-1.0, 1.0):
        swing = side * stance.stride * height
        hip = (0.0, side * 0.05 * height, hips[2])
        knee = (swing * 0.55 + 0.02 * height, side * 0.052 * height, 0.28 * height)
        foot = (swing, side * 0.055 * height, 0.045 * height)
        parts += _leg(hip, knee, foot, height, stance.build, sides)
        shoulder = (0.0, side * 0.115 * height * stance.build, 0.80 * height)
        elbow = (-swing * 0.25, side * 0.15 * height * stance.build, 0.62 * height)
        hand = (-swing * 0.7 + 0.05 * height, side * 0.145 * height, 0.48 * height)
        parts += _arm(shoulder, elbow, hand, height, sides)
    if stance.coat:
        low, high = (_ellipse((0, 0, z * height), 0.085 * height, 0.125 * height * stance.build, 6)
                     for z in (stance.coat, 0.6))  # fmt: skip
        parts.append(loft([low, high]))
    if stance.pack:
        parts.append(box((-0.24, -0.15, 0.58 * height), (-0.07, 0.15, 0.84 * height), True))
    if stance.bag:
        y = 0.14 * height
        parts.append(box((-0.14, y, 0.28 * height), (0.16, y + 0.09, 0.46 * height), True))
    return mesh(np.concatenate(parts), Tag.PEDESTRIAN)


def two_wheeler_mesh(model: ActorModel, fine: bool) -> Mesh:
    """A bicycle or motorcycle with its rider: two tags in one actor."""
    vehicle, rider = _TWO_WHEELERS[model.name](model, fine)
    return joined(
        [mesh(np.concatenate(vehicle), Tag(model.tag)), mesh(np.concatenate(rider), Tag.RIDER)]
    )


def parked_bicycle() -> Mesh:
    """A bicycle left standing, without a rider."""
    model = next(model for model in VEHICLE_MODELS if model.name == "bicycle")
    return mesh(np.concatenate(_bicycle(model, False)[0]), Tag.BICYCLE)


def _bicycle(model: ActorModel, fine: bool) -> tuple[list[Floats], list[Floats]]:
    half_length, _, half_height = model.extent_m
    top = 2 * half_height
    upright = model.name == "city_bicycle"
    radius = 0.335
    front, rear = half_length - radius, -half_length + radius
    crank = (rear + 0.45, 0.0, 0.29)
    saddle = (rear + 0.30, 0.0, 0.92)
    head = (front - 0.13, 0.0, 0.88)
    bar = (front - 0.22, 0.0, 1.08 if upright else 1.0)
    sides = 4 if fine else 3
    rods = [(crank, saddle), (crank, head), (saddle, head), (crank, (rear, 0.0, radius)),
            (saddle, (rear, 0.0, radius)), (head, (front, 0.0, radius)), (head, bar)]  # fmt: skip
    vehicle = [tube(a, b, 0.028, 0.028, sides) for a, b in rods]
    vehicle += [two_wheeler_wheel(x, radius, 0.05, 14 if fine else 8) for x in (front, rear)]
    vehicle.append(tube((bar[0], -0.29, bar[2]), (bar[0], 0.29, bar[2]), 0.025, 0.025, sides))
    vehicle.append(
        box((saddle[0] - 0.14, -0.08, 0.92), (saddle[0] + 0.12, 0.08, 0.98), bottom=True)
    )
    lean = 0.30 if upright else 0.62
    rider = _rider((saddle[0], 0.0, 0.99), lean, bar, (crank[0], 0.29), top, fine)
    return vehicle, rider


def _motorcycle(model: ActorModel, fine: bool) -> tuple[list[Floats], list[Floats]]:
    half_length, _, half_height = model.extent_m
    top = 2 * half_height
    scooter = model.name == "scooter"
    radius = 0.24 if scooter else 0.31
    front, rear = half_length - radius, -half_length + radius
    bar = (front - 0.30, 0.0, 1.05)
    vehicle = [two_wheeler_wheel(x, radius, 0.15, 12 if fine else 8) for x in (front, rear)]
    body = [(rear - 0.25, 0.62, 0.80, 0.10), (rear + 0.15, 0.35, 0.84, 0.18),
            (0.05, 0.22 if scooter else 0.28, 0.55 if scooter else 0.86, 0.20),
            (front - 0.42, 0.22, 0.98, 0.20), (front - 0.16, 0.55, 0.92, 0.12)]  # fmt: skip
    rings = [
        np.array([(x, -w, low), (x, w, low), (x, w * 0.7, high), (x, -w * 0.7, high)])
        for x, low, high, w in body
    ]
    vehicle.append(loft(rings))
    vehicle.append(tube((front, 0.0, radius), (front - 0.24, 0.0, 1.05), 0.07, 0.06, 4))
    vehicle.append(tube((bar[0], -0.36, 1.05), (bar[0], 0.36, 1.05), 0.03, 0.03, 4))
    rider = _rider((rear + 0.38, 0.0, 0.84), 0.22, bar, (0.12, 0.30), top, fine, apart_m=0.2)
    return vehicle, rider


def _rider(
    hips: Point,
    lean_rad: float,
    bar: Point,
    pedal: tuple[float, float],
    top_m: float,
    fine: bool,
    apart_m: float = 0.1,
) -> list[Floats]:
    """Somebody sitting: trunk leaning forward, hands on the bar, feet on the pedals."""
    height = (top_m - hips[2]) / (0.48 * math.cos(lean_rad) * 0.97 + 0.015)
    parts = _trunk(hips, lean_rad, height, 1.0, fine)
    sides = 5 if fine else 3
    reach = 0.28 * height
    x = hips[0] + reach * math.sin(lean_rad)
    z = hips[2] + reach * math.cos(lean_rad)
    for side in (-1.0, 1.0):
        foot = (pedal[0] + 0.13 * side + 0.03, side * apart_m, pedal[1] + 0.12 * side * 0.7)
        knee = (
            (hips[0] + foot[0]) / 2 + 0.22,
            side * (apart_m + 0.04),
            (hips[2] + foot[2]) / 2 + 0.10,
        )
        hip = (hips[0], side * 0.09, hips[2])
        parts += _leg(hip, knee, foot, height, 1.0, sides)
        shoulder = (x, side * 0.115 * height, z)
        hand = (bar[0], side * 0.26, bar[2] + 0.02)
        elbow = ((x + hand[0]) / 2 - 0.04, side * 0.29, (z + hand[2]) / 2 - 0.06)
        parts += _arm(shoulder, elbow, hand, height, sides)
    return parts


_TWO_WHEELERS = {
    "bicycle": _bicycle,
    "city_bicycle": _bicycle,
    "motorcycle": _motorcycle,
    "scooter": _motorcycle,
}


def _trunk(hips: Point, lean_rad: float, height_m: float, build: float, fine: bool) -> list[Floats]:
    """Trunk, neck and head from the hips up, leaning forward."""
    sides = 7 if fine else 4
    sections = [(0.0, 0.072, 0.098), (0.10, 0.062, 0.085), (0.22, 0.075, 0.110),
                (0.295, 0.060, 0.120), (0.325, 0.030, 0.045), (0.35, 0.028, 0.03)]  # fmt: skip
    rings = []
    for up, deep, wide in sections:
        centre = _along(hips, lean_rad, up * height_m)
        rings.append(_ellipse(centre, deep * height_m * build, wide * height_m * build, sides))
    head = _along(hips, lean_rad * 0.8, 0.412 * height_m)
    return [loft(rings), _ball(head, 0.056 * height_m, 0.068 * height_m, sides)]


def _along(start: Point, lean_rad: float, distance_m: float) -> Point:
    x = start[0] + math.sin(lean_rad) * distance_m
    return (x, start[1], start[2] + math.cos(lean_rad) * distance_m)


def _leg(
    hip: Point, knee: Point, foot: Point, height_m: float, build: float, sides: int
) -> list[Floats]:
    thigh, calf, ankle = (r * height_m * build for r in (0.050, 0.034, 0.024))
    toe = (foot[0] + 0.09 * height_m, foot[1], max(0.02, foot[2] - 0.02 * height_m))
    heel = (foot[0] - 0.03 * height_m, foot[1], foot[2])
    return [
        tube(hip, knee, thigh, calf, sides),
        tube(knee, foot, calf * 1.05, ankle, sides),
        tube(heel, toe, 0.026 * height_m, 0.018 * height_m, sides),
    ]


def _arm(shoulder: Point, elbow: Point, hand: Point, height_m: float, sides: int) -> list[Floats]:
    upper, wrist = 0.030 * height_m, 0.018 * height_m
    return [
        tube(shoulder, elbow, upper, upper * 0.8, sides),
        tube(elbow, hand, upper * 0.8, wrist, sides),
    ]


def _ellipse(centre: Point, deep_m: float, wide_m: float, sides: int) -> Floats:
    """A level ring (sides, 3), counter-clockwise from above."""
    angle = np.arange(sides) * 2 * math.pi / sides
    x, y = centre[0] + deep_m * np.cos(angle), centre[1] + wide_m * np.sin(angle)
    return np.stack([x, y, np.full(sides, centre[2])], axis=1)


def _ball(centre: Point, radius_m: float, half_height_m: float, sides: int) -> Floats:
    rings = []
    for angle in (-1.1, -0.4, 0.4, 1.1):
        at = (centre[0], centre[1], centre[2] + half_height_m * math.sin(angle))
        size = radius_m * math.cos(angle) * 1.05
        rings.append(_ellipse(at, size, size, sides))
    return loft(rings)
