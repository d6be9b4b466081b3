"""Checks of everything in `EgoState` besides pose and velocity: ranges, units and signs.

What a frame says is compared with how the ego's pose changes. A world may leave a value out; it is
then 0, which tells nothing, and is not checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.check.findings import Finding
from sim2street.bridge.frame import (
    EGO_UNKNOWN,
    ROUTE_POINTS,
    ROUTE_SPACING_M,
    EgoState,
    SensorFrame,
)

Floats = npt.NDArray[np.float64]

_MAX_SPEED_LIMIT_MPS = 70.0
_MAX_CURVATURE_1PM = 1.0
_MAX_LANE_OFFSET_M = 50.0
_MAX_AHEAD_M = 10_000.0

_MIN_TURN_RPS = 0.05
"""Turning that is needed to check the yaw rate."""

_MIN_TURN_RAD = 0.02
"""Root of the summed squares of turning per tick that is needed to check headings."""

_MIN_SIDEWAYS_M = 0.02
"""The same of movement across the lane."""

_MIN_TRAVEL_M = 1.0
"""Distance that is needed to check distances ahead."""

_MAX_JUMP_M = 5.0
"""A larger change in one tick means another light, vehicle or route."""

_MAX_TURN_PER_TICK_RAD = 0.3
_OFFSET_HINT = "send metres from the lane's centre line to the ego, positive to the left of it"
_RAD_IN_DEG = math.degrees(1.0)


@dataclass(frozen=True, slots=True)
class _Drive:
    """How the ego moved: arrays (T,) for the ticks after the first."""

    egos: Sequence[EgoState]
    tick_s: float
    yaw_rad: Floats  # (T + 1,)
    turned_rad: Floats
    moved_m: Floats  # (T, 2)
    travelled_m: Floats

    def of(self, name: str) -> Floats:
        """The values of a field of the ego, one per frame."""
        return np.array([getattr(ego, name) for ego in self.egos], np.float64)


def check_ego_values(frames: Sequence[SensorFrame], tick_s: float) -> list[Finding]:
    """Findings about the ego's state. Poses and velocities must be right already."""
    if any(EGO_UNKNOWN in frame.flags for frame in frames):
        return []
    egos = [frame.ego for frame in frames]
    findings = list(_check_ranges(egos))
    if findings:
        return findings
    yaw_rad = np.unwrap([np.arctan2(ego.pose[1, 0], ego.pose[0, 0]) for ego in egos])
    positions_m = np.array([ego.pose[:2, 3] for ego in egos], np.float64)
    moved_m = np.diff(positions_m, axis=0)
    forward = np.stack([np.cos(yaw_rad), np.sin(yaw_rad)], axis=1)
    travelled_m = np.sum(moved_m * forward[1:], axis=1)
    turned_rad = np.diff(yaw_rad)
    drive = _Drive(egos, tick_s, yaw_rad, turned_rad, moved_m, travelled_m)
    for check in (_check_speed, _check_yaw_rate, _check_lane, _check_ahead, _check_events):
        findings += check(drive)
    return [*findings, *_check_route_ahead(drive)]


def _check_ranges(egos: Sequence[EgoState]) -> Iterator[Finding]:
    limits = {
        "lane_offset_m": (-_MAX_LANE_OFFSET_M, _MAX_LANE_OFFSET_M, "metres"),
        "heading_error_rad": (-math.pi, math.pi, "radians in [-pi, pi]"),
        "curvature_1pm": (-_MAX_CURVATURE_1PM, _MAX_CURVATURE_1PM, "1/m: 1 / radius"),
        "speed_limit_mps": (0.0, _MAX_SPEED_LIMIT_MPS, "m/s, and 0 where it is unknown"),
        "route_distance_m": (-1.0, math.inf, "metres to the goal, or null without a route"),
    }
    for name, (low, high, hint) in limits.items():
        values = [getattr(ego, name) for ego in egos if getattr(ego, name) is not None]
        wrong = [value for value in values if not low <= value <= high + 1e-6]
        if wrong:
            message = f"{name} is {wrong[0]:g}, outside of [{low:g}, {high:g}]"
            yield Finding("ego_range", "error", message, f"send {hint}")
    for name in ("next_light", "lead"):
        ahead = [getattr(ego, name) for ego in egos if getattr(ego, name) is not None]
        wrong = [a.distance_m for a in ahead if not -1.0 <= a.distance_m <= _MAX_AHEAD_M]
        if wrong:
            message = f"{name}.distance_m is {wrong[0]:g}"
            hint = "send metres ahead, or null where there is nothing ahead"
            yield Finding("ego_range", "error", message, hint)
    if max(len(ego.route_ahead_m) for ego in egos) > ROUTE_POINTS:
        message = f"route_ahead_m has more than {ROUTE_POINTS} points"
        hint = f"send up to {ROUTE_POINTS} points, {ROUTE_SPACING_M:g} m apart"
        yield Finding("ego_range", "error", message, hint)


def _check_speed(drive: _Drive) -> Iterator[Finding]:
    speed = np.abs(drive.of("speed_mps"))
    length = np.linalg.norm(drive.of("velocity_mps"), axis=1)
    factor = _factor(speed, length)
    if length.max() > 1.0 and not 0.8 < factor < 1.25:
        message = f"speed_mps is {factor:.3g} times the length of velocity_mps"
        yield Finding("speed", "error", message, "send the speed in m/s, as velocity_mps")


def _check_yaw_rate(drive: _Drive) -> Iterator[Finding]:
    turned_rps = drive.turned_rad / drive.tick_s
    reported = drive.of("yaw_rate_rps")
    if np.abs(turned_rps).max(initial=0.0) < _MIN_TURN_RPS or not reported.any():
        return
    # The rate may be that of the tick that ends with the frame, or of the next one.
    factors = [_factor(reported[1:], turned_rps), _factor(reported[:-1], turned_rps)]
    factor = min(factors, key=lambda f: abs(f - 1.0))
    if 0.4 < factor < 2.5:
        return
    message = f"yaw_rate_rps is {factor:.3g} times the change of the heading per second"
    hint = "send radians per second, positive to the left (counter-clockwise from above)"
    yield Finding("yaw_rate", "error", message, _sign_or_degrees(factor) or hint)


def _check_lane(drive: _Drive) -> Iterator[Finding]:
    """Compare lane offset, heading error and curvature with the movement of the pose."""
    error_rad, offset_m = drive.of("heading_error_rad"), drive.of("lane_offset_m")
    curvature = drive.of("curvature_1pm")
    bend_rad = 0.5 * (curvature[1:] + curvature[:-1]) * drive.travelled_m
    changed_rad = np.diff(error_rad)
    same_lane = np.abs(changed_rad) < _MAX_TURN_PER_TICK_RAD
    jumps_m = np.abs(np.diff(offset_m))
    same_lane &= jumps_m < 1.0
    if np.median(jumps_m) > 2.0 * np.abs(drive.moved_m).max() + 0.1:
        message = f"lane_offset_m changes by {np.median(jumps_m):.1f} m in most ticks"
        yield Finding("lane_offset", "error", message, _OFFSET_HINT)
        return
    factor = _factor(changed_rad[same_lane], (drive.turned_rad - bend_rad)[same_lane])
    turning = np.linalg.norm((drive.turned_rad - bend_rad)[same_lane])
    if error_rad.any() and turning > _MIN_TURN_RAD and not -0.3 < factor < 10.0:
        message = f"heading_error_rad changes {factor:.3g} times as much as the heading"
        hint = "it is the heading minus the lane's direction: positive points left of the lane"
        yield Finding("heading_error", "error", message, _sign_or_degrees(factor, hint) or hint)
        return
    yield from _check_curvature(drive, error_rad, bend_rad, same_lane)
    lane_rad = drive.yaw_rad - error_rad
    middle_rad = 0.5 * (lane_rad[1:] + lane_rad[:-1])
    left = np.stack([-np.sin(middle_rad), np.cos(middle_rad)], axis=1)
    sideways_m = np.sum(drive.moved_m * left, axis=1)[same_lane]
    factor = _factor(np.diff(offset_m)[same_lane], sideways_m)
    if np.linalg.norm(sideways_m) > _MIN_SIDEWAYS_M and not -0.3 < factor < 10.0:
        message = f"lane_offset_m changes {factor:.3g} times as much as the ego moves sideways"
        yield Finding("lane_offset", "error", message, _OFFSET_HINT)


def _check_curvature(
    drive: _Drive, error_rad: Floats, bend_rad: Floats, same_lane: npt.NDArray[np.bool_]
) -> Iterator[Finding]:
    """The lane's direction is the heading minus the heading error; it turns with the curvature."""
    turned_rad = np.diff(drive.yaw_rad - error_rad)[same_lane]
    factor = _factor(bend_rad[same_lane], turned_rad)
    if error_rad.any() and abs(turned_rad.sum()) > 2.0 * _MIN_TURN_RAD and factor < -0.3:
        message = "curvature_1pm is positive where the lane bends to the right"
        yield Finding("curvature", "error", message, "send 1 / radius, positive to the left")


def _check_ahead(drive: _Drive) -> Iterator[Finding]:
    """What stands ahead comes closer by the distance travelled; so does the goal."""
    lights = [ego.next_light for ego in drive.egos]
    distances: dict[str, list[float | None]] = {
        "route_distance_m": [ego.route_distance_m for ego in drive.egos],
        "next_light.distance_m": [light.distance_m if light else None for light in lights],
    }
    for name, values in distances.items():
        closer_m, travelled_m = _closer(values, drive.travelled_m)
        if travelled_m.sum() < _MIN_TRAVEL_M:
            continue
        share = float(closer_m.sum() / travelled_m.sum())
        if not 0.4 < share < 2.5:
            message = f"{name} falls by {share:.3g} m for each metre that the ego travels"
            hint = "send the distance along the route in metres, from the ego to what is ahead"
            yield Finding("distance_ahead", "error", message, hint)
    leads = [ego.lead for ego in drive.egos]
    speeds = np.array([lead.speed_mps if lead else 0.0 for lead in leads])
    approach_m = drive.of("speed_mps")[1:] * drive.tick_s - speeds[1:] * drive.tick_s
    gaps_m = [lead.distance_m if lead else None for lead in leads]
    closer_m, expected_m = _closer(gaps_m, approach_m)
    factor = _factor(closer_m, expected_m)
    if np.abs(expected_m).sum() > _MIN_TRAVEL_M and not -0.3 < factor < 5.0:
        message = f"lead.distance_m falls {factor:.3g} times as fast as the speeds say"
        hint = "distance_m: from bumper to bumper; speed_mps: of that vehicle along the lane"
        yield Finding("lead", "error", message, hint)


def _closer(values: Sequence[float | None], travelled_m: Floats) -> tuple[Floats, Floats]:
    """By how much a distance fell, and what was travelled, in ticks that have it before and after.

    Ticks in which it jumps are left out.
    """
    known = np.array([math.nan if value is None else value for value in values], np.float64)
    closer_m = -np.diff(known)
    is_same = np.isfinite(closer_m) & (np.abs(closer_m - travelled_m) < _MAX_JUMP_M)
    return closer_m[is_same], travelled_m[is_same]


def _check_events(drive: _Drive) -> Iterator[Finding]:
    half = len(drive.egos) / 2
    if sum(ego.collision for ego in drive.egos) > half:
        hint = "collision is true only in the tick in which the ego hits something"
        yield Finding("collision", "warning", "collision is true in most ticks", hint)
    in_lane = np.abs(drive.of("lane_offset_m")) < 0.5
    if sum(ego.off_lane for ego in drive.egos) > half and in_lane.all():
        message = "off_lane is true in most ticks, although lane_offset_m is small"
        yield Finding("off_lane", "warning", message, "off_lane: the ego has left its lane")


def _check_route_ahead(drive: _Drive) -> Iterator[Finding]:
    routes = [np.array(ego.route_ahead_m, np.float64).reshape(-1, 2) for ego in drive.egos]
    long_ones = [route for route in routes if len(route) >= 2]
    if not long_ones:
        return
    spacing_m = float(np.median([_lengths(np.diff(route, axis=0)).mean() for route in long_ones]))
    first_m = float(np.median([_lengths(route[:1])[0] for route in long_ones]))
    if not 0.6 < spacing_m / ROUTE_SPACING_M < 1.5 or not 0.2 < first_m / ROUTE_SPACING_M < 2.0:
        message = (
            f"the points of route_ahead_m are {spacing_m:.1f} m apart, the first {first_m:.1f} m "
            "from the ego"
        )
        hint = f"points in the body frame (x forward, y left), every {ROUTE_SPACING_M:g} m"
        yield Finding("route_ahead", "error", message, hint)
        return
    mirrored = [route * (1.0, -1.0) for route in routes]
    as_sent_m, mirrored_m = _route_change_m(drive, routes), _route_change_m(drive, mirrored)
    if as_sent_m > 0.3 and mirrored_m < 0.4 * as_sent_m:
        message = "route_ahead_m moves in the world as if left and right were swapped"
        hint = "points in the body frame: x forward, y to the left"
        yield Finding("route_ahead", "error", message, hint)


def _route_change_m(drive: _Drive, routes: Sequence[Floats]) -> float:
    """How far the route's points lie from the route of four ticks before, in the world: metres."""
    changes = []
    for later in range(4, len(routes)):
        before = _in_world(drive.egos[later - 4], routes[later - 4])
        now = _in_world(drive.egos[later], routes[later])[:-1]
        if len(before) >= 2 and len(now):
            changes.append(float(np.mean(_distances_to_line(now, before))))
    return max(changes, default=0.0)


def _in_world(ego: EgoState, points_m: Floats) -> Floats:
    pose = ego.pose.astype(np.float64)
    in_world: Floats = points_m @ pose[:2, :2].T + pose[:2, 3]
    return in_world


def _distances_to_line(points_m: Floats, line_m: Floats) -> Floats:
    """Distances of points (N, 2) from the polyline through points (M, 2)."""
    starts, along = line_m[:-1], np.diff(line_m, axis=0)
    offset = points_m[:, None] - starts
    share = np.sum(offset * along, axis=2) / np.maximum(np.sum(along**2, axis=1), 1e-9)
    nearest = starts + np.clip(share, 0.0, 1.0)[..., None] * along
    distances: Floats = np.linalg.norm(points_m[:, None] - nearest, axis=2).min(axis=1)
    return distances


def _lengths(vectors: Floats) -> Floats:
    lengths: Floats = np.linalg.norm(vectors, axis=1)
    return lengths


def _factor(reported: Floats, expected: Floats) -> float:
    """The factor by which `expected` fits `reported` best; 1 if nothing is expected."""
    square = float(np.sum(expected * expected))
    return float(np.sum(reported * expected)) / square if square > 0.0 else 1.0


def _sign_or_degrees(factor: float, otherwise: str = "") -> str:
    """A hint for a factor that a wrong sign or a wrong unit explains."""
    if 0.8 < abs(factor) / _RAD_IN_DEG < 1.25:
        return "this looks like degrees: send radians"
    if factor < 0.0:
        return f"the sign is wrong: {otherwise or 'positive is to the left'}"
    return ""
