"""What the ego can collide with: boxes (vehicles, people, posts) and walls along the streets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.town.plan.lane_map import Bools
from sim2street.bridge.town.plan.layout import Layout, Points
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats, headings

_WALL_SETBACK_M = 0.4
"""Distance from the property line to the wall behind it."""


@dataclass(frozen=True, slots=True)
class Box:
    """A vehicle's bounding box on the ground: centre, heading, half sizes, and its speed."""

    x_m: float
    y_m: float
    heading_rad: float
    half_length_m: float
    half_width_m: float
    speed_mps: float


@dataclass(frozen=True, slots=True)
class Boxes:
    """M boxes on the ground: centres, headings and half sizes, each float64 (M,)."""

    x_m: Floats
    y_m: Floats
    heading_rad: Floats
    half_length_m: Floats
    half_width_m: Floats


def touching(box: Box, boxes: Boxes) -> Ints:
    """Indices of the boxes that overlap `box`."""
    reach = np.hypot(boxes.half_length_m, boxes.half_width_m)
    reach += math.hypot(box.half_length_m, box.half_width_m)
    dx, dy = boxes.x_m - box.x_m, boxes.y_m - box.y_m
    near = np.nonzero(dx * dx + dy * dy < reach * reach)[0]
    return near[overlap(box, boxes, near)] if len(near) else near


def overlap(box: Box, boxes: Boxes, index: Ints) -> Bools:
    """bool (K,): which of the boxes `index` (K,) overlap `box`, by the separating axis theorem."""
    dx, dy = boxes.x_m[index] - box.x_m, boxes.y_m[index] - box.y_m
    turn = boxes.heading_rad[index] - box.heading_rad
    length, width = boxes.half_length_m[index], boxes.half_width_m[index]
    c, s = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    own_c, own_s = math.cos(box.heading_rad), math.sin(box.heading_rad)
    other_c, other_s = np.cos(boxes.heading_rad[index]), np.sin(boxes.heading_rad[index])
    own_l, own_w = box.half_length_m, box.half_width_m
    return np.asarray(
        (np.abs(dx * own_c + dy * own_s) < own_l + length * c + width * s)
        & (np.abs(dy * own_c - dx * own_s) < own_w + length * s + width * c)
        & (np.abs(dx * other_c + dy * other_s) < length + own_l * c + own_w * s)
        & (np.abs(dy * other_c - dx * other_s) < width + own_l * s + own_w * c)
    )


@dataclass(frozen=True, slots=True)
class StreetSpace:
    """All ground between the walls: streets with their sidewalks, and junctions.

    Attributes:
        points_m: float64 (P, 2), on the centre lines of all roads.
        heading_rad: float64 (P,), of the centre lines.
        left_m, right_m: float64 (P,), from there to the wall on either side.
        junctions_m: outlines (K, 2) of the junctions with their sidewalks.
    """

    points_m: Points
    heading_rad: Floats
    left_m: Floats
    right_m: Floats
    junctions_m: tuple[Points, ...]

    @classmethod
    def of(cls, layout: Layout) -> StreetSpace:
        """The street space of a layout."""
        roads = layout.roads
        counts = [len(road.centre_m) for road in roads]
        reach = [
            [kerb + road.sidewalk_width_m + _WALL_SETBACK_M for kerb in road.kerb_m]
            for road in roads
        ]
        left, right = np.repeat(np.array(reach), counts, axis=0).T
        junctions = tuple(
            np.concatenate([corner.outer_m for corner in junction.corners])
            for junction in layout.junctions
        )
        return cls(
            np.concatenate([road.centre_m for road in roads]),
            np.concatenate([headings(road.centre_m) for road in roads]),
            left,
            right,
            junctions,
        )

    def contains(self, x_m: float, y_m: float) -> bool:
        """Whether a point lies on a street, a sidewalk or a junction."""
        offset = np.array([x_m, y_m]) - self.points_m
        squared = offset[:, 0] ** 2 + offset[:, 1] ** 2
        nearest = int(squared.argmin())
        cos, sin = math.cos(self.heading_rad[nearest]), math.sin(self.heading_rad[nearest])
        along = offset[nearest, 0] * cos + offset[nearest, 1] * sin
        left = offset[nearest, 1] * cos - offset[nearest, 0] * sin
        if abs(along) < 1.5 and -self.right_m[nearest] < left < self.left_m[nearest]:
            return True
        return any(inside(outline, x_m, y_m) for outline in self.junctions_m)


def inside(polygon_m: Points, x_m: float, y_m: float) -> bool:
    """Whether a point is inside a polygon (N, 2), by the even-odd rule."""
    x, y = polygon_m[:, 0], polygon_m[:, 1]
    x2, y2 = np.roll(x, -1), np.roll(y, -1)
    spans = (y > y_m) != (y2 > y_m)
    rise = np.where(spans, y2 - y, 1.0)
    return bool(np.count_nonzero(spans & (x_m < x + (x2 - x) * (y_m - y) / rise)) % 2)


def corners(box: Box) -> list[tuple[float, float]]:
    """The four corners of a box."""
    c, s = math.cos(box.heading_rad), math.sin(box.heading_rad)
    return [
        (box.x_m + a * c - b * s, box.y_m + a * s + b * c)
        for a in (-box.half_length_m, box.half_length_m)
        for b in (-box.half_width_m, box.half_width_m)
    ]
