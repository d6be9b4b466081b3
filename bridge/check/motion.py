"""Checks poses, depth and images against each other: do two views show one world?

What does not move is seen again: a pixel's depth and label, carried by depth and poses
into an earlier view (`sim2street.bridge.geometry`), must be found there. Where they are not, each
likely mistake is undone in turn, and the one that makes the views agree is named.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.check.findings import Finding
from sim2street.bridge.check.frames import planar_from_euclidean
from sim2street.bridge.frame import (
    POSE_UNKNOWN,
    SKY_DEPTH_M,
    ByteArray,
    Camera,
    FloatArray,
    SensorFrame,
    View,
)
from sim2street.bridge.geometry import inverse_pose, motion, warp
from sim2street.bridge.labels import Tag

_MOVING_TAGS = (*range(Tag.PEDESTRIAN, Tag.BICYCLE + 1), Tag.DYNAMIC, Tag.SKY)
_MAX_WIDTH_PX = 160
_FAR_M = 80.0
_CAP = 0.1
_TRUSTED = 0.85  # of the pixels; the rest may be hidden in the earlier view
_MIN_SEEN = 0.25
_MIN_MOVE_M = 0.3
_MIN_CHANGE_M = 0.02
_APART = 4
_PAIRS = 5
_WELL = 0.0005
_BADLY = 0.03
_CLEARLY = 0.45  # of the disagreement may be left where a mistake is named,
_NAMED = 0.012  # and no more than good worlds have in sharp turns


@dataclass(frozen=True, slots=True)
class Drive:
    """One camera's views, tick by tick, thinned to a size that is quick to check."""

    views: tuple[View, ...]


Undo = Callable[[Drive], Drive]
"""Takes a drive with one kind of mistake to the drive as it should have been sent."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake that engines make, and how to undo it."""

    undo: Undo
    message: str
    hint: str


def check_motion(frames: Sequence[SensorFrame]) -> list[Finding]:
    """Findings of every camera that has depth and poses."""
    if any(POSE_UNKNOWN in frame.flags for frame in frames):
        return []
    findings = []
    for name in frames[0].views:
        views = [frame.views.get(name) for frame in frames]
        if all(_is_whole(view) for view in views):
            drive = Drive(tuple(thin(view) for view in views if view is not None))
            findings += [
                dataclasses.replace(finding, message=f"{name}: {finding.message}")
                for finding in _explain(drive)
            ]
    return findings


def disagreement(drive: Drive, pairs: Sequence[tuple[int, int]]) -> float:
    """How badly pairs of views contradict each other: 0 not at all, 0.1 entirely.

    The mean over still pixels (but the worst 15 %, which may have been hidden) of the
    relative difference between the depth expected and the depth found, cut at 0.1; where
    only the label differs, a tenth of that.
    """
    return float(np.mean([_pair_disagreement(drive.views[a], drive.views[b]) for a, b in pairs]))


def thin(view: View) -> View:
    """Every n-th pixel, with the intrinsics that belong to them."""
    n = -(-view.camera.width_px // _MAX_WIDTH_PX)
    if n == 1:
        return view
    c = view.camera
    labels, depth_m = _images(view)
    labels, depth_m = labels[::n, ::n], depth_m[::n, ::n]
    height_px, width_px = depth_m.shape
    camera = Camera(width_px, height_px, c.fx_px / n, c.fy_px / n, c.cx_px / n, c.cy_px / n)
    return View(camera, view.pose, labels, depth_m)


def _images(view: View) -> tuple[ByteArray, FloatArray]:
    assert view.labels is not None
    assert view.depth_m is not None
    return view.labels, view.depth_m


def _is_whole(view: View | None) -> bool:
    if view is None or view.depth_m is None or view.labels is None:
        return False
    return bool(np.isfinite(view.depth_m).all() and np.isfinite(view.pose).all())


def _explain(drive: Drive) -> list[Finding]:
    pairs = _choose_pairs(drive)
    if not pairs:
        return []
    as_sent = disagreement(drive, pairs)
    if as_sent < _WELL:
        return []
    costs = {names: _undone(drive, pairs, names) for names in itertools.permutations(MISTAKES, 1)}
    enough = min(_NAMED, _CLEARLY * as_sent)
    if min(costs.values()) >= enough and as_sent > _BADLY:  # two at once?
        few = pairs[:: max(1, len(pairs) // 3)]
        costs |= {
            names: _undone(drive, few, names) for names in itertools.permutations(MISTAKES, 2)
        }
    best = min(costs, key=lambda names: costs[names])
    if costs[best] < enough:
        seen = f"(views disagree by {as_sent:.2%}, by {costs[best]:.2%} without that)"
        return [
            Finding(name, "error", f"{MISTAKES[name].message} {seen}", MISTAKES[name].hint)
            for name in best
        ]
    if as_sent < _BADLY:
        return []
    hint = "depth planar in metres, poses camera to world with OpenCV axes, all of one tick"
    message = f"depth, poses and images of two ticks disagree by {as_sent:.1%}"
    return [Finding("views_disagree", "error", message, hint)]


def _undone(drive: Drive, pairs: Sequence[tuple[int, int]], names: tuple[str, ...]) -> float:
    """The disagreement that is left when these mistakes are undone."""
    for name in names:
        drive = MISTAKES[name].undo(drive)
    return disagreement(drive, pairs)


def _choose_pairs(drive: Drive) -> list[tuple[int, int]]:
    """Pairs of neighbours before and after which the motion is another (that shows lags),
    and pairs farther apart (that shows scales); none where nothing moves.
    """
    relative = [
        inverse_pose(a.pose) @ b.pose.astype(np.float64) for a, b in itertools.pairwise(drive.views)
    ]
    change = {
        later: min(_distance(relative[later - 1], relative[n]) for n in (later - 2, later))
        for later in range(2, len(relative))
    }
    restless = sorted(change, key=lambda later: change[later])[-_PAIRS:]
    far = [
        (later - _APART, later)
        for later in range(_APART + 1, len(relative))
        if _distance(relative[later - 1], np.eye(4)) > _MIN_MOVE_M / _APART
    ]
    step = max(1, len(far) // _PAIRS)
    near = [(later - 1, later) for later in sorted(restless) if change[later] > _MIN_CHANGE_M]
    return near + far[::step][:_PAIRS]


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """How far apart two motions take a point 10 m ahead."""
    ahead = np.array([0.0, 0.0, 10.0, 1.0])
    return float(np.linalg.norm((a - b) @ ahead))


def _pair_disagreement(earlier: View, later: View) -> float:
    labels, depth_m = _images(later)
    earlier_labels, earlier_depth_m = _images(earlier)
    still = ~np.isin(labels, _MOVING_TAGS) & (depth_m < _FAR_M)
    moved = motion(later, earlier)
    x, y = moved.source_px[..., 0], moved.source_px[..., 1]
    height_px, width_px = earlier_depth_m.shape
    seen = still & (x >= 0) & (x <= width_px - 1) & (y >= 0) & (y <= height_px - 1)
    seen &= moved.depth_m > 0.0
    if seen.sum() < max(20, _MIN_SEEN * still.sum()):
        return _CAP
    inverse = warp(1.0 / np.maximum(earlier_depth_m, 1e-3), moved.source_px)
    nearest = warp(earlier_depth_m, moved.source_px, nearest=True)
    expected = np.maximum(moved.depth_m, 1e-3)
    error = np.minimum(np.abs(expected * inverse - 1.0), np.abs(nearest / expected - 1.0))[seen]
    other = warp(earlier_labels, moved.source_px, nearest=True)[seen] != labels[seen]
    cost = np.sort(np.minimum(error, _CAP) + 0.1 * _CAP * other)
    return float(np.mean(cost[: max(1, int(_TRUSTED * cost.size))]))


def _with_views(change: Callable[[View], View]) -> Undo:
    return lambda drive: Drive(tuple(change(view) for view in drive.views))


def _depth(change: Callable[[View, FloatArray], FloatArray]) -> Undo:
    def undo(view: View) -> View:
        depth = np.clip(change(view, _images(view)[1]), 0.0, SKY_DEPTH_M).astype(np.float32)
        return dataclasses.replace(view, depth_m=depth)

    return _with_views(undo)


def _pose(change: Callable[[FloatArray], FloatArray]) -> Undo:
    return _with_views(
        lambda view: dataclasses.replace(view, pose=change(view.pose).astype(np.float32))
    )


def _shifted(ticks: int) -> Undo:
    """Every view with the pose of `ticks` later (the ends keep their own)."""

    def undo(drive: Drive) -> Drive:
        last = len(drive.views) - 1
        poses = [drive.views[min(max(i + ticks, 0), last)].pose for i in range(last + 1)]
        return Drive(
            tuple(
                dataclasses.replace(view, pose=pose)
                for view, pose in zip(drive.views, poses, strict=True)
            )
        )

    return undo


def _upside_down(view: View) -> View:
    labels, depth_m = _images(view)
    return dataclasses.replace(view, labels=labels[::-1], depth_m=depth_m[::-1])


def _focal(ratio: Callable[[Camera], float]) -> Undo:
    def undo(view: View) -> View:
        c = view.camera
        k = ratio(c)
        camera = dataclasses.replace(c, fx_px=c.fx_px * k, fy_px=c.fy_px * k)
        return dataclasses.replace(view, camera=camera)

    return _with_views(undo)


def _moved(pose: FloatArray, factor: float) -> FloatArray:
    changed = pose.copy()
    changed[:3, 3] *= factor
    return changed


def _other_axes(columns: Sequence[Sequence[float]]) -> Undo:
    """The pose's camera axes, given as columns in OpenCV's."""
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] = columns
    return _pose(lambda pose: pose @ matrix)


def _negated(row: int) -> Undo:
    def undo(pose: FloatArray) -> FloatArray:
        changed = pose.copy()
        changed[row, 3] *= -1.0
        return changed

    return _pose(undo)


def _rotation_transposed(pose: FloatArray) -> FloatArray:
    changed = pose.copy()
    changed[:3, :3] = pose[:3, :3].T
    return changed


_MIRROR_X = np.array([-1, 1, 1, 1], np.float32)
_MIRROR_Y = np.array([1, -1, 1, 1], np.float32)
_AXES_HINT = "camera axes are OpenCV's: x right, y down, z forward"
_UNIT_HINT = "depth and positions are both in metres"
_TICK_HINT = "read images, poses and actors after the same tick, and send them together"
_POSE_HINT = "view.pose takes camera points to the world, row by row"
_IMAGE_HINT = "row 0 is the top row; send all images the same way up"

MISTAKES: Mapping[str, Mistake] = {
    "depth_euclidean": Mistake(
        _depth(planar_from_euclidean),
        "depth looks Euclidean",
        "send the distance along the optical axis, not along the ray",
    ),
    "depth_centimetres": Mistake(
        _depth(lambda _, d: d * 0.01), "depth looks like centimetres", _UNIT_HINT
    ),
    "depth_millimetres": Mistake(
        _depth(lambda _, d: d * 0.001), "depth looks like millimetres", _UNIT_HINT
    ),
    "positions_centimetres": Mistake(
        _pose(lambda pose: _moved(pose, 0.01)), "positions look like centimetres", _UNIT_HINT
    ),
    "axes_opengl": Mistake(
        _other_axes([[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
        "axes flipped: the camera looks along -z (OpenGL)",
        _AXES_HINT,
    ),
    "axes_body": Mistake(
        _other_axes([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]),
        "axes flipped: the camera looks along x (a body's axes)",
        _AXES_HINT,
    ),
    "left_right_swapped": Mistake(
        _pose(lambda pose: np.diag(_MIRROR_Y) @ pose @ np.diag(_MIRROR_X)),
        "axes flipped: left and right are swapped between images and poses",
        "either the world's y points right (left-handed: negate y and yaw), or the images are "
        "mirrored",
    ),
    "position_mirrored": Mistake(
        _negated(1), "axes flipped: y of the position has the wrong sign", "negate y, keep yaw"
    ),
    "pose_inverted": Mistake(
        _pose(lambda pose: inverse_pose(pose).astype(np.float32)),
        "poses are inverted (world to camera)",
        _POSE_HINT,
    ),
    "rotation_transposed": Mistake(
        _pose(_rotation_transposed), "the rotations are transposed", _POSE_HINT
    ),
    "poses_lag": Mistake(_shifted(1), "poses lag one tick behind the images", _TICK_HINT),
    "images_lag": Mistake(_shifted(-1), "images lag one tick behind the poses", _TICK_HINT),
    "images_flipped": Mistake(_with_views(_upside_down), "images are upside down", _IMAGE_HINT),
    "fov_vertical": Mistake(
        _focal(lambda c: c.width_px / c.height_px),
        "the focal length looks too short: a vertical field of view for a horizontal one?",
        "fx_px = width_px / (2 tan(horizontal fov / 2))",
    ),
    "fov_horizontal": Mistake(
        _focal(lambda c: c.height_px / c.width_px),
        "the focal length looks too long: a horizontal field of view for a vertical one?",
        "fx_px = width_px / (2 tan(horizontal fov / 2))",
    ),
}
"""Code of the finding -> what was done wrong, and how it is undone."""
