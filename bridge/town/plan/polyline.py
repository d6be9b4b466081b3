"""Geometry of polylines in the plane: float64 (N, 2) arrays in metres, angles in radians."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sim2street.bridge.town.plan.layout import Points

Floats = npt.NDArray[np.float64]


def unit(angle_rad: float) -> Points:
    """Unit vector (2,) of a direction."""
    return np.array([math.cos(angle_rad), math.sin(angle_rad)])


def wrap_angle(angle_rad: float) -> float:
    """The same angle in [-pi, pi)."""
    return (angle_rad + math.pi) % (2.0 * math.pi) - math.pi


def arc_lengths(points_m: Points) -> Floats:
    """float64 (N,): distance of each point along the line; the first is 0."""
    lengths = np.zeros(len(points_m))
    np.cumsum(np.hypot(*(points_m[1:] - points_m[:-1]).T), out=lengths[1:])
    return lengths


def resample(points_m: Points, spacing_m: float = 1.0) -> Points:
    """Equally spaced points along the line with the same ends, about `spacing_m` apart."""
    lengths = arc_lengths(points_m)
    count = max(2, round(float(lengths[-1]) / spacing_m) + 1)
    return at_lengths(points_m, np.linspace(0.0, lengths[-1], count), lengths)


def at_lengths(points_m: Points, s_m: Floats, lengths_m: Floats | None = None) -> Points:
    """Points (K, 2) at distances (K,) along the line. `lengths_m`: its `arc_lengths`, if known."""
    known = arc_lengths(points_m) if lengths_m is None else lengths_m
    points = np.empty((len(s_m), 2))
    for axis in (0, 1):
        points[:, axis] = np.interp(s_m, known, points_m[:, axis])
    return points


def cut(points_m: Points, from_m: float, to_m: float) -> Points:
    """The part of the line between two distances along it."""
    lengths = arc_lengths(points_m)
    inner = points_m[(lengths > from_m + 1e-9) & (lengths < to_m - 1e-9)]
    ends = at_lengths(points_m, np.array([from_m, to_m]), lengths)
    return np.concatenate([ends[:1], inner, ends[1:]])


def headings(points_m: Points) -> Floats:
    """Heading (N,) at each point; continuous, so it may exceed pi."""
    steps = points_m[1:] - points_m[:-1]
    middle = steps[:-1] / _norms(steps[:-1]) + steps[1:] / _norms(steps[1:])
    tangents = np.concatenate([steps[:1], middle, steps[-1:]])
    angles: Floats = np.arctan2(tangents[:, 1], tangents[:, 0])
    if np.abs(np.diff(angles)).max(initial=0.0) < math.pi:  # the usual case; unwrapping is slow
        return angles
    return np.unwrap(angles)


def curvatures(points_m: Points) -> Floats:
    """Curvature (N,) at each point in 1/m; positive bends left."""
    return heading_slopes(headings(points_m), arc_lengths(points_m))


def heading_slopes(heading_rad: Floats, lengths_m: Floats) -> Floats:
    """Curvature (N,) in 1/m from the `headings` and the `arc_lengths` of a line."""
    if len(heading_rad) < 3:
        return np.zeros(len(heading_rad))
    curvature: Floats = np.gradient(heading_rad, lengths_m)
    return curvature


def offset(points_m: Points, left_m: float | Floats) -> Points:
    """The line shifted to its left by `left_m`, a number or (N,); negative: to its right."""
    heading = headings(points_m)
    normals = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    shifted: Points = points_m + normals * np.reshape(left_m, (-1, 1))
    return shifted


def hermite(start_m: Points, end_m: Points, start_tangent: Points, end_tangent: Points) -> Points:
    """Cubic Hermite curve (N, 2), with about two points per metre of its chord."""
    count = max(8, int(np.hypot(*(end_m - start_m)) * 2))
    t = np.linspace(0.0, 1.0, count)[:, None]
    curve: Points = (
        (2 * t**3 - 3 * t**2 + 1) * start_m
        + (t**3 - 2 * t**2 + t) * start_tangent
        + (-2 * t**3 + 3 * t**2) * end_m
        + (t**3 - t**2) * end_tangent
    )
    return curve


def smooth_join(start_m: Points, end_m: Points, start_rad: float, end_rad: float) -> Points:
    """Hermite curve between two poses, with tangents as long as the chord."""
    chord = float(np.hypot(*(end_m - start_m)))
    return hermite(start_m, end_m, unit(start_rad) * chord, unit(end_rad) * chord)


def crossing_of_lines(
    first_m: Points, first_dir: Points, second_m: Points, second_dir: Points
) -> tuple[float, float]:
    """Where two lines meet: distance along each from its point; inf for parallel lines."""
    determinant = first_dir[0] * second_dir[1] - first_dir[1] * second_dir[0]
    if abs(determinant) < 1e-9:
        return math.inf, math.inf
    gap = second_m - first_m
    along_first = (gap[0] * second_dir[1] - gap[1] * second_dir[0]) / determinant
    along_second = (gap[0] * first_dir[1] - gap[1] * first_dir[0]) / determinant
    return float(along_first), float(along_second)


def fillet(
    corner_m: Points, in_rad: float, out_rad: float, tangent_m: float, step_m: float = 0.5
) -> Points:
    """Arc (N, 2) that rounds a corner between headings `in_rad` and `out_rad`.

    It begins `tangent_m` before the corner and ends `tangent_m` after it.
    """
    turn = wrap_angle(out_rad - in_rad)
    radius = tangent_m / math.tan(abs(turn) / 2.0)
    count = max(4, int(radius * abs(turn) / step_m) + 1)
    side = math.copysign(1.0, turn)
    start = corner_m - unit(in_rad) * tangent_m
    centre = start + side * radius * unit(in_rad + math.pi / 2)
    angles = in_rad - side * math.pi / 2 + np.linspace(0.0, turn, count)
    return centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def without_repeats(points_m: Points) -> Points:
    """The line without points that equal the point before."""
    keep = np.concatenate([[True], np.hypot(*np.diff(points_m, axis=0).T) > 1e-6])
    kept: Points = points_m[keep]
    return kept


def _norms(vectors: Points) -> Points:
    """Lengths (N, 1) of vectors (N, 2)."""
    norms: Points = np.hypot(vectors[:, 0], vectors[:, 1])[:, None]
    return norms
