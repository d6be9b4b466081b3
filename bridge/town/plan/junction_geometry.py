"""The geometry of junctions: stop lines, kerbs, corners, crosswalks and connectors.

Along each arm, from the junction's centre outwards: the round corners, `_CORNER_TO_CROSSING_M`,
the crosswalk, `CROSSING_TO_STOP_LINE_M`, the stop line. The road begins at the stop line.
"""

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
    unit,
    without_repeats,
    wrap_angle,
)

_CORNER_TO_CROSSING_M = 0.7
_CROSSING_WIDTH_M = 3.5
"""Of a crosswalk, along the road."""

CROSSING_TO_STOP_LINE_M = 1.2
"""From a crosswalk to the stop line before it."""

_STRAIGHT_RAD = math.radians(40.0)
"""Connectors that turn less go straight on."""

_FLAT_RAD = math.radians(150.0)
"""Arms with a larger angle between them have no round corner."""

_FLAT_CORNER_REACH_M = 9.0


RoadEnd = tuple[int, bool]
"""(road id, True at the road's start)."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A road where it leaves a junction. Left and right are as seen outwards.

    Attributes:
        angle_rad: direction of the road, outwards.
        kerb_left_m, kerb_right_m: from the road's centre line to its kerbs.
        half_width_m: of the lanes. sidewalk_m: width of the sidewalks.
        lanes: each way.
    """

    road_id: int
    angle_rad: float
    kerb_left_m: float
    kerb_right_m: float
    half_width_m: float
    sidewalk_m: float
    lanes: int


@dataclass(frozen=True, slots=True)
class Reach:
    """Distances along an arm from the junction's centre.

    Attributes:
        left_m, right_m: to the ends of the round corners on either side, as seen outwards.
        stop_line_m: to the stop line, where the junction ends and the road begins.
    """

    left_m: float
    right_m: float
    stop_line_m: float

    @property
    def straight_m(self) -> float:
        """Distance from which on both kerbs are straight."""
        return max(self.left_m, self.right_m)


def junction_reaches(centre_m: Points, arms: list[Arm], radius_m: float) -> list[Reach]:
    """How far a junction reaches along each arm.

    Args:
        arms: counter-clockwise. radius_m: of the kerbs at the corners.
    """
    lefts, rights = [0.0] * len(arms), [0.0] * len(arms)
    for a, b in _neighbours(len(arms)):
        lefts[a], rights[b] = _corner_ends(centre_m, arms[a], arms[b], radius_m)
    to_stop_line = _CORNER_TO_CROSSING_M + _CROSSING_WIDTH_M + CROSSING_TO_STOP_LINE_M
    return [
        Reach(left, right, max(left, right) + to_stop_line)
        for left, right in zip(lefts, rights, strict=True)
    ]


def make_junction(
    junction_id: int,
    centre_m: Points,
    arms: list[Arm],
    arm_reaches: list[Reach],
    first_crossing_id: int,
    has_lights: bool,
) -> Junction:
    """A junction with its outline, corners and crosswalks."""
    corners = [
        _corner(centre_m, arms[a], arms[b], arm_reaches[a], arm_reaches[b])
        for a, b in _neighbours(len(arms))
    ]
    crossings = [
        _crossing(first_crossing_id + i, junction_id, centre_m, arm, reach)
        for i, (arm, reach) in enumerate(zip(arms, arm_reaches, strict=True))
    ]
    outline = without_repeats(np.concatenate([corner.kerb_m for corner in corners]))
    road_ids = tuple(arm.road_id for arm in arms)
    return Junction(
        junction_id, centre_m, outline, road_ids, tuple(corners), tuple(crossings), has_lights
    )


def turn_of(from_arm: Arm, to_arm: Arm) -> Turn:
    """The turn of a vehicle that comes in on one arm and leaves on another."""
    turn = wrap_angle(to_arm.angle_rad - from_arm.angle_rad - math.pi)
    if abs(turn) < _STRAIGHT_RAD:
        return "straight"
    return "left" if turn > 0 else "right"


def connected_lanes(from_arm: Arm, to_arm: Arm, has_right: bool) -> list[tuple[int, int]]:
    """Pairs (lane index in, lane index out) that connectors join; see `Lane.index`.

    `has_right`: whether vehicles from `from_arm` can turn right at this junction.
    """
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


def connector_line(
    start: tuple[Points, float], end: tuple[Points, float], straight_m: tuple[float, float]
) -> Points:
    """Centre line (N, 2) of a connector between two poses (point, heading).

    Args:
        straight_m: lengths that stay straight after the start and before the end. Turns are
            arcs as wide as that allows; right turns become concentric with the kerb.
    """
    (start_m, start_rad), (end_m, end_rad) = start, end
    along, back = crossing_of_lines(start_m, unit(start_rad), end_m, unit(end_rad))
    tangent = min(along - straight_m[0], -back - straight_m[1])
    if abs(wrap_angle(end_rad - start_rad)) < _STRAIGHT_RAD or not 0.5 < tangent < math.inf:
        first = start_m + unit(start_rad) * straight_m[0]
        last = end_m - unit(end_rad) * straight_m[1]
        middle = smooth_join(first, last, start_rad, end_rad)
    else:
        middle = fillet(start_m + unit(start_rad) * along, start_rad, end_rad, tangent)
    return resample(without_repeats(np.concatenate([start_m[None], middle, end_m[None]])))


def _neighbours(count: int) -> list[tuple[int, int]]:
    """Pairs of neighbouring arms, counter-clockwise."""
    return [(a, (a + 1) % count) for a in range(count)]


def _gap_rad(a: Arm, b: Arm) -> float:
    return (b.angle_rad - a.angle_rad) % (2.0 * math.pi)


def _kerb_lines(centre_m: Points, a: Arm, b: Arm) -> tuple[Points, Points]:
    """Points beside the centre, on a's left kerb line and on b's right kerb line."""
    left_of_a = unit(a.angle_rad + math.pi / 2) * a.kerb_left_m
    right_of_b = unit(b.angle_rad - math.pi / 2) * b.kerb_right_m
    return centre_m + left_of_a, centre_m + right_of_b


def _corner_ends(centre_m: Points, a: Arm, b: Arm, radius_m: float) -> tuple[float, float]:
    """Distances along two neighbouring arms to the ends of the round corner between them."""
    gap = _gap_rad(a, b)
    if gap > _FLAT_RAD:
        return _FLAT_CORNER_REACH_M, _FLAT_CORNER_REACH_M
    foot_a, foot_b = _kerb_lines(centre_m, a, b)
    along_a, along_b = crossing_of_lines(foot_a, unit(a.angle_rad), foot_b, unit(b.angle_rad))
    tangent = radius_m / math.tan(gap / 2.0)
    return along_a + tangent, along_b + tangent


def _corner(centre_m: Points, a: Arm, b: Arm, reach_a: Reach, reach_b: Reach) -> Corner:
    """The corner between two arms, from the stop line of `a` to that of `b`."""
    foot_a, foot_b = _kerb_lines(centre_m, a, b)
    end_a = foot_a + unit(a.angle_rad) * reach_a.stop_line_m
    end_b = foot_b + unit(b.angle_rad) * reach_b.stop_line_m
    in_rad, out_rad = a.angle_rad + math.pi, b.angle_rad
    along_a, _ = crossing_of_lines(foot_a, unit(a.angle_rad), foot_b, unit(b.angle_rad))
    if _gap_rad(a, b) > _FLAT_RAD:
        round_a = foot_a + unit(a.angle_rad) * reach_a.left_m
        round_b = foot_b + unit(b.angle_rad) * reach_b.right_m
        middle = smooth_join(round_a, round_b, in_rad, out_rad)
    else:
        corner_m = foot_a + unit(a.angle_rad) * along_a
        middle = fillet(corner_m, in_rad, out_rad, reach_a.left_m - along_a)
    kerb = resample(without_repeats(np.concatenate([end_a[None], middle, end_b[None]])), 0.7)
    lengths = arc_lengths(kerb)
    width = np.interp(lengths / lengths[-1], [0.0, 1.0], [a.sidewalk_m, b.sidewalk_m])
    return Corner((a.road_id, b.road_id), kerb, offset(kerb, -width))


def _crossing(
    crossing_id: int, junction_id: int, centre_m: Points, arm: Arm, reach: Reach
) -> Crossing:
    out, left = unit(arm.angle_rad), unit(arm.angle_rad + math.pi / 2)
    near = reach.straight_m + _CORNER_TO_CROSSING_M
    far = reach.stop_line_m - CROSSING_TO_STOP_LINE_M

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
