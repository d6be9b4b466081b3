"""Junctions: how far they reach, their kerbs, corners, crossings and turning lanes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.town.plan.layout import Corner, Crossing, Junction, Points, Turn
from sim2street.bridge.town.plan.polyline import (
    arc_lengths,
    crossing_of_lines,
    fillet,
    offset,
    resample,
    smooth_join,
    tidy,
    unit,
    wrap_angle,
)

CROSSING_M = 3.5
"""Width of a zebra crossing along the road."""

_CROSSING_GAP_M = 0.7
STOP_GAP_M = 1.2
"""From the crossing's far side to the stop line, which is the mouth."""

_STRAIGHT_RAD = math.radians(40.0)
_FLAT_RAD = math.radians(150.0)


@dataclass(frozen=True, slots=True)
class Arm:
    """One road where it leaves a junction; left and right as seen looking outwards."""

    road_id: int
    angle_rad: float
    kerb_left_m: float
    kerb_right_m: float
    half_width_m: float
    sidewalk_m: float
    lanes: int


@dataclass(frozen=True, slots=True)
class Reach:
    """Distances from the junction's centre along an arm.

    Attributes:
        left_m: where the round corner on its left (looking outwards) ends. right_m: likewise.
        mouth_m: the stop line, where the junction ends.
    """

    left_m: float
    right_m: float
    mouth_m: float

    @property
    def round_m(self) -> float:
        """From here on the arm is straight on both sides."""
        return max(self.left_m, self.right_m)


def reaches(centre_m: Points, arms: list[Arm], radius_m: float) -> list[Reach]:
    """How far the junction reaches along each arm; `arms` are sorted counter-clockwise."""
    lefts, rights = [0.0] * len(arms), [0.0] * len(arms)
    for a, b in _neighbours(len(arms)):
        lefts[a], rights[b] = _corner_ends(centre_m, arms[a], arms[b], radius_m)
    extra = _CROSSING_GAP_M + CROSSING_M + STOP_GAP_M
    return [Reach(p, q, max(p, q) + extra) for p, q in zip(lefts, rights, strict=True)]


def make_junction(
    junction_id: int,
    centre_m: Points,
    arms: list[Arm],
    arm_reaches: list[Reach],
    first_crossing_id: int,
    has_lights: bool,
) -> Junction:
    """The junction's outline, corners and crossings."""
    corners = [
        _corner(centre_m, arms[a], arms[b], arm_reaches[a], arm_reaches[b])
        for a, b in _neighbours(len(arms))
    ]
    crossings = [
        _crossing(first_crossing_id + i, junction_id, centre_m, arm, reach)
        for i, (arm, reach) in enumerate(zip(arms, arm_reaches, strict=True))
    ]
    outline = tidy(np.concatenate([corner.kerb_m for corner in corners]))
    road_ids = tuple(arm.road_id for arm in arms)
    return Junction(
        junction_id, centre_m, outline, road_ids, tuple(corners), tuple(crossings), has_lights
    )


def turn_of(from_arm: Arm, to_arm: Arm) -> Turn:
    """How one turns when coming in on one arm and leaving on another."""
    turn = wrap_angle(to_arm.angle_rad - from_arm.angle_rad - math.pi)
    if abs(turn) < _STRAIGHT_RAD:
        return "straight"
    return "left" if turn > 0 else "right"


def lane_pairs(from_arm: Arm, to_arm: Arm, has_right: bool) -> list[tuple[int, int]]:
    """Which lane index leads to which (0 = next to the middle of the road)."""
    n, m = from_arm.lanes, to_arm.lanes
    turn = turn_of(from_arm, to_arm)
    if turn == "left":
        return [(0, 0)]
    if turn == "right":
        return [(n - 1, m - 1)]
    pairs = [(k, min(k, m - 1)) for k in range(n)]
    if n > m and has_right:
        pairs = pairs[:m]
    return [*pairs, (0, 1)] if n < m else pairs


def turning_lane(
    start: tuple[Points, float], end: tuple[Points, float], stubs_m: tuple[float, float]
) -> Points:
    """Centre line (N, 2) through a junction between two poses (point, heading).

    `stubs_m`: how long it stays straight after the start and before the end. Turns are arcs
    as wide as that allows: concentric with the kerb for right turns.
    """
    (start_m, start_rad), (end_m, end_rad) = start, end
    along, back = crossing_of_lines(start_m, unit(start_rad), end_m, unit(end_rad))
    tangent = min(along - stubs_m[0], -back - stubs_m[1])
    if abs(wrap_angle(end_rad - start_rad)) < _STRAIGHT_RAD or not 0.5 < tangent < math.inf:
        first = start_m + unit(start_rad) * stubs_m[0]
        last = end_m - unit(end_rad) * stubs_m[1]
        middle = smooth_join(first, last, start_rad, end_rad)
    else:
        middle = fillet(start_m + unit(start_rad) * along, start_rad, end_rad, tangent)
    return resample(tidy(np.concatenate([start_m[None], middle, end_m[None]])))


def _neighbours(count: int) -> list[tuple[int, int]]:
    return [(a, (a + 1) % count) for a in range(count)]


def _gap_rad(a: Arm, b: Arm) -> float:
    return (b.angle_rad - a.angle_rad) % (2.0 * math.pi)


def _kerb_lines(centre_m: Points, a: Arm, b: Arm) -> tuple[Points, Points]:
    """Points at the foot of a's left kerb line and of b's right kerb line."""
    left_of_a = unit(a.angle_rad + math.pi / 2) * a.kerb_left_m
    right_of_b = unit(b.angle_rad - math.pi / 2) * b.kerb_right_m
    return centre_m + left_of_a, centre_m + right_of_b


def _corner_ends(centre_m: Points, a: Arm, b: Arm, radius_m: float) -> tuple[float, float]:
    """Where the round corner between two arms ends, along each."""
    gap = _gap_rad(a, b)
    if gap > _FLAT_RAD:
        return 9.0, 9.0
    foot_a, foot_b = _kerb_lines(centre_m, a, b)
    along_a, along_b = crossing_of_lines(foot_a, unit(a.angle_rad), foot_b, unit(b.angle_rad))
    tangent = radius_m / math.tan(gap / 2.0)
    return along_a + tangent, along_b + tangent


def _corner(centre_m: Points, a: Arm, b: Arm, reach_a: Reach, reach_b: Reach) -> Corner:
    """Kerb and property line from the mouth of `a` to the mouth of `b`."""
    foot_a, foot_b = _kerb_lines(centre_m, a, b)
    mouth_a = foot_a + unit(a.angle_rad) * reach_a.mouth_m
    mouth_b = foot_b + unit(b.angle_rad) * reach_b.mouth_m
    in_rad, out_rad = a.angle_rad + math.pi, b.angle_rad
    along_a, _ = crossing_of_lines(foot_a, unit(a.angle_rad), foot_b, unit(b.angle_rad))
    if _gap_rad(a, b) > _FLAT_RAD:
        round_a = foot_a + unit(a.angle_rad) * reach_a.left_m
        round_b = foot_b + unit(b.angle_rad) * reach_b.right_m
        middle = smooth_join(round_a, round_b, in_rad, out_rad)
    else:
        corner_m = foot_a + unit(a.angle_rad) * along_a
        middle = fillet(corner_m, in_rad, out_rad, reach_a.left_m - along_a)
    kerb = resample(tidy(np.concatenate([mouth_a[None], middle, mouth_b[None]])), 0.7)
    lengths = arc_lengths(kerb)
    width = np.interp(lengths / lengths[-1], [0.0, 1.0], [a.sidewalk_m, b.sidewalk_m])
    return Corner((a.road_id, b.road_id), kerb, offset(kerb, -width))


def _crossing(
    crossing_id: int, junction_id: int, centre_m: Points, arm: Arm, reach: Reach
) -> Crossing:
    out, left = unit(arm.angle_rad), unit(arm.angle_rad + math.pi / 2)
    near, far = reach.round_m + _CROSSING_GAP_M, reach.mouth_m - STOP_GAP_M

    def at(along_m: float, left_m: float) -> Points:
        return centre_m + out * along_m + left * left_m

    polygon = [
        at(near, -arm.kerb_right_m),
        at(far, -arm.kerb_right_m),
        at(far, arm.kerb_left_m),
        at(near, arm.kerb_left_m),
    ]
    middle, half_walk = (near + far) / 2, arm.sidewalk_m / 2
    walk = [at(middle, -arm.kerb_right_m - half_walk), at(middle, arm.kerb_left_m + half_walk)]
    return Crossing(crossing_id, junction_id, arm.road_id, np.array(polygon), np.array(walk))
