"""Meshes of people, on foot and on two wheels, each in one fixed pose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.actor_models import VEHICLE_MODELS, ActorModel
from sim2street.bridge.town.scenery.meshes import Floats, Mesh, joined, mesh
from sim2street.bridge.town.scenery.primitives import box, loft, tube
from sim2street.bridge.town.scenery.vehicle_meshes import two_wheeler_wheel

Point = tuple[float, float, float]
"""(x, y, z) in the body frame: x forward, y left, z up, metres."""


@dataclass(frozen=True, slots=True)
class _Stance:
    """Pose, build and clothes of a pedestrian.

    Attributes:
        stride: distance of each foot from the hips, forward or back, over the body height.
        build: width of the body relative to the average.
        lean_rad: forward lean of the trunk.
        coat: height of a coat's or dress's hem over the body height; 0 for none.
        flare: width of the hem relative to the hips.
        pack: wears a backpack.
        bag: carries a bag in one hand.
        bent: the elbows are bent, as a runner's.
    """

    stride: float = 0.16
    build: float = 1.0
    lean_rad: float = 0.05
    coat: float = 0.0
    flare: float = 1.1
    pack: bool = False
    bag: bool = False
    bent: bool = False


_STANCES: dict[str, _Stance] = {
    "man_walking": _Stance(0.15, 1.05),
    "man_striding": _Stance(0.19, 1.1, bag=True),
    "man_tall": _Stance(0.16, 0.94),
    "man_heavy": _Stance(0.13, 1.28, 0.0),
    "woman_walking": _Stance(0.145, 0.9, bag=True),
    "woman_dress": _Stance(0.12, 0.9, coat=0.27, flare=1.45),
    "woman_coat": _Stance(0.13, 0.98, coat=0.34, flare=1.2),
    "person_backpack": _Stance(0.165, 1.0, 0.09, pack=True),
    "person_jogging": _Stance(0.215, 0.95, 0.16, bent=True),
    "person_old": _Stance(0.085, 1.08, 0.20, coat=0.42),
    "child": _Stance(0.16, 1.02),
    "standing_man": _Stance(0.02, 1.05, 0.0),
    "standing_woman": _Stance(0.025, 0.92, 0.0, coat=0.45, flare=1.15),
    "standing_bag": _Stance(0.03, 1.0, 0.02, pack=True, bag=True),
}


def pedestrian_mesh(model: ActorModel, fine: bool) -> Mesh:
    """A pedestrian in the body frame; the coarse level has fewer faces per limb."""
    stance, height = _STANCES[model.name], 2 * model.extent_m[2]
    build = stance.build
    hips = (0.0, 0.0, 0.52 * height)
    parts = _trunk(hips, stance.lean_rad, height, build, fine)
    neck_x = math.sin(stance.lean_rad) * 0.28 * height
    for side in (-1.0, 1.0):
        parts += _step(stance, side, height, fine)
        swing = -0.8 * side * stance.stride * height
        shoulder = (neck_x, side * 0.100 * height * build, 0.795 * height)
        elbow = (neck_x + 0.3 * swing, side * 0.122 * height * build, 0.63 * height)
        hand = (neck_x + swing + 0.04 * height, side * 0.118 * height * build, 0.485 * height)
        if stance.bent:
            hand = (elbow[0] + 0.13 * height, side * 0.08 * height, 0.66 * height)
        parts += _arm(shoulder, elbow, hand, height, 5 if fine else 3)
    if stance.coat:
        wide = 0.105 * height * build
        low, high = (
            _ellipse((0, 0, z * height), 0.8 * w, w, 7)
            for z, w in ((stance.coat, wide * stance.flare), (0.6, wide * 0.85))
        )
        parts.append(loft([low, high]))
    if stance.pack:
        parts.append(box((-0.27, -0.14, 0.60 * height), (-0.06, 0.14, 0.83 * height), True))
    if stance.bag:
        y = 0.12 * height
        parts.append(box((-0.13, y, 0.30 * height), (0.15, y + 0.08, 0.45 * height), True))
    return mesh(np.concatenate(parts), Tag.PEDESTRIAN)


def far_pedestrian_mesh(model: ActorModel) -> Mesh:
    """A pedestrian at the coarsest level: trunk, head and two legs."""
    stance, height = _STANCES[model.name], 2 * model.extent_m[2]
    wide = 0.115 * height * stance.build
    rings = [_ellipse((0, 0, z * height), 0.66 * w, w, 4)
             for z, w in ((0.46, 0.8 * wide), (0.79, 1.15 * wide), (0.84, 0.4 * wide))]  # fmt: skip
    head = [_ellipse((0, 0, z * height), w * height, w * height, 4)
            for z, w in ((0.83, 0.03), (0.91, 0.055), (0.99, 0.03))]  # fmt: skip
    parts = [loft(rings), loft(head)]
    for side in (-1.0, 1.0):
        hip = (0.0, side * 0.05 * height, 0.5 * height)
        foot = (side * stance.stride * height, side * 0.06 * height, 0.015 * height)
        parts.append(tube(hip, foot, 0.055 * height * stance.build, 0.03 * height, 3))
    return mesh(np.concatenate(parts), Tag.PEDESTRIAN)


def _step(stance: _Stance, side: float, height_m: float, fine: bool) -> list[Floats]:
    """One leg: straight in front of the body, or bent with a lifted heel behind it.

    `side` is -1 for the right leg and 1 for the left one, which is the leg in front.
    """
    reach = side * stance.stride * height_m
    behind = max(0.0, -reach)
    hip = (0.0, side * 0.05 * height_m, 0.52 * height_m)
    knee = (0.5 * reach + 0.3 * behind + 0.02 * height_m, side * 0.054 * height_m, 0.285 * height_m)
    foot = (reach, side * 0.056 * height_m, 0.04 * height_m + 0.28 * behind)
    drop = 0.02 * height_m + 0.25 * behind
    return _leg(hip, knee, foot, height_m, stance.build, 5 if fine else 3, drop)


def two_wheeler_mesh(model: ActorModel, fine: bool) -> Mesh:
    """A bicycle or motorcycle and its rider, whose triangles have their own tag."""
    vehicle, rider = _TWO_WHEELERS[model.name](model, fine)
    return joined(
        [mesh(np.concatenate(vehicle), Tag(model.tag)), mesh(np.concatenate(rider), Tag.RIDER)]
    )


@cache
def parked_bicycles() -> tuple[Mesh, Mesh]:
    """A bicycle without a rider, in a fine and a coarse level of detail."""
    model = next(model for model in VEHICLE_MODELS if model.name == "bicycle")
    fine, coarse = (mesh(np.concatenate(_bicycle(model, near)[0]), Tag.BICYCLE)
                    for near in (True, False))  # fmt: skip
    return fine, coarse


def _bicycle(model: ActorModel, fine: bool) -> tuple[list[Floats], list[Floats]]:
    """Triangles of a bicycle and of its rider."""
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
    vehicle += [two_wheeler_wheel(x, radius, 0.05, 18 if fine else 9) for x in (front, rear)]
    vehicle.append(tube((bar[0], -0.29, bar[2]), (bar[0], 0.29, bar[2]), 0.025, 0.025, sides))
    vehicle.append(
        box((saddle[0] - 0.14, -0.08, 0.92), (saddle[0] + 0.12, 0.08, 0.98), bottom=True)
    )
    lean = 0.30 if upright else 0.62
    rider = _rider((saddle[0], 0.0, 0.99), lean, bar, (crank[0], 0.29), top, fine)
    return vehicle, rider


def _motorcycle(model: ActorModel, fine: bool) -> tuple[list[Floats], list[Floats]]:
    """Triangles of a motorcycle or scooter and of its rider."""
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
    """A person who sits with the hands on the handlebar and the feet on the pedals.

    Args:
        hips: where they sit.
        lean_rad: forward lean of the trunk.
        bar: middle of the handlebar.
        pedal: x and z of the axis about which the pedals turn (of the foot rests).
        top_m: height of the top of the head.
        fine: with more faces per limb.
        apart_m: distance of each foot from the middle plane.
    """
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
        parts += _leg(hip, knee, foot, height, 1.0, sides, 0.02 * height)
        shoulder = (x, side * 0.102 * height, z)
        hand = (bar[0], side * 0.26, bar[2] + 0.02)
        elbow = ((x + hand[0]) / 2 - 0.04, side * 0.26, (z + hand[2]) / 2 - 0.06)
        parts += _arm(shoulder, elbow, hand, height, sides)
    return parts


_TWO_WHEELERS = {
    "bicycle": _bicycle,
    "city_bicycle": _bicycle,
    "motorcycle": _motorcycle,
    "scooter": _motorcycle,
}


def _trunk(hips: Point, lean_rad: float, height_m: float, build: float, fine: bool) -> list[Floats]:
    """Trunk, neck and head above the hips."""
    sides = 7 if fine else 4
    # (height above the hips, half depth, half width), each over the body height.
    sections = [(-0.03, 0.066, 0.088), (0.02, 0.070, 0.096), (0.11, 0.060, 0.080),
                (0.22, 0.072, 0.100), (0.285, 0.058, 0.112), (0.315, 0.034, 0.052),
                (0.345, 0.028, 0.030)]  # fmt: skip
    rings = []
    for up, deep, wide in sections:
        centre = _along(hips, lean_rad, up * height_m)
        rings.append(_ellipse(centre, deep * height_m * build, wide * height_m * build, sides))
    head = _along(hips, lean_rad * 0.8, 0.406 * height_m)
    return [loft(rings), _ball(head, 0.048 * height_m, 0.068 * height_m, sides)]


def _along(start: Point, lean_rad: float, distance_m: float) -> Point:
    """The point at a distance upward from `start` on a line that leans forward."""
    x = start[0] + math.sin(lean_rad) * distance_m
    return (x, start[1], start[2] + math.cos(lean_rad) * distance_m)


def _leg(
    hip: Point,
    knee: Point,
    foot: Point,
    height_m: float,
    build: float,
    sides: int,
    drop_m: float,
) -> list[Floats]:
    """Thigh, calf and foot; the toes lie `drop_m` below the ankle."""
    thigh, calf, ankle = (r * height_m * build for r in (0.050, 0.034, 0.024))
    toe = (foot[0] + 0.09 * height_m, foot[1], max(0.02, foot[2] - drop_m))
    heel = (foot[0] - 0.03 * height_m, foot[1], foot[2])
    return [
        tube(hip, knee, thigh, calf, sides),
        tube(knee, foot, calf * 1.05, ankle, sides),
        tube(heel, toe, 0.026 * height_m, 0.018 * height_m, sides),
    ]


def _arm(shoulder: Point, elbow: Point, hand: Point, height_m: float, sides: int) -> list[Floats]:
    """Upper arm and forearm."""
    upper, wrist = 0.030 * height_m, 0.018 * height_m
    return [
        tube(shoulder, elbow, upper, upper * 0.8, sides),
        tube(elbow, hand, upper * 0.8, wrist, sides),
    ]


def _ellipse(centre: Point, half_depth_m: float, half_width_m: float, sides: int) -> Floats:
    """Corners (sides, 3) of a level ellipse, counter-clockwise from above."""
    angle = np.arange(sides) * 2 * math.pi / sides
    x, y = centre[0] + half_depth_m * np.cos(angle), centre[1] + half_width_m * np.sin(angle)
    return np.stack([x, y, np.full(sides, centre[2])], axis=1)


def _ball(centre: Point, radius_m: float, half_height_m: float, sides: int) -> Floats:
    """An upright ellipsoid."""
    rings = []
    for angle in (-1.1, -0.4, 0.4, 1.1):
        at = (centre[0], centre[1], centre[2] + half_height_m * math.sin(angle))
        size = radius_m * math.cos(angle) * 1.05
        rings.append(_ellipse(at, size, size, sides))
    return loft(rings)
