"""Checks depth, poses and images of different ticks against each other.

A surface that does not move is seen again later. A pixel's depth and label are reprojected into
an earlier view (`sim2street.bridge.geometry`) and compared with what is there. If they disagree,
each known mistake (`sim2street.bridge.check.mistakes`) is undone in turn; the mistake whose undoing
removes the disagreement is reported.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from sim2street.bridge.check.findings import Finding
from sim2street.bridge.check.mistakes import MISTAKES, Views, images_of
from sim2street.bridge.frame import POSE_UNKNOWN, Camera, FloatArray, SensorFrame, View
from sim2street.bridge.geometry import inverse_pose, motion, warp
from sim2street.bridge.labels import Tag

TickPairs = list[tuple[int, int]]
"""Indices of an earlier and a later view."""

_MOVING_TAGS = (*range(Tag.PEDESTRIAN, Tag.BICYCLE + 1), Tag.DYNAMIC, Tag.SKY)
"""Tags of pixels that are not compared, because they may move."""

_MAX_WIDTH_PX = 160
"""Views are reduced to this width, for speed."""

_MAX_DEPTH_M = 80.0
"""More distant pixels are not compared."""

_MIN_VISIBLE = 0.25
"""Share of the compared pixels that must lie inside the earlier image; else they disagree."""

_COMPARED = 0.85
"""Share of the best pixels that is averaged; the others may have been hidden earlier."""

_MAX_ERROR = 0.1
"""Upper bound on a pixel's relative depth error. A different label alone costs a tenth of it."""

_FAR_TICKS = 4
"""Distance in ticks of the far pairs, which show wrong scales."""

_FAR_MOVE_M = 0.3
"""Movement within `_FAR_TICKS` that makes a far pair useful."""

_NEAR_CHANGE_M = 0.02
"""Change of the motion from tick to tick that makes a near pair useful."""

_MAX_PAIRS = 5
"""Number of near pairs, and of far pairs, that are compared at most."""

_GOOD = 0.0005
"""Views with less disagreement than this are right."""

_BAD = 0.03
"""Views with more disagreement than this are wrong, even if no known mistake explains it."""

_EXPLAINED = 0.012
"""Disagreement that may remain after undoing a mistake; correct worlds have it in sharp turns."""

_EXPLAINED_SHARE = 0.45
"""Share of the original disagreement that may remain after undoing a mistake."""


def check_motion(frames: Sequence[SensorFrame]) -> list[Finding]:
    """Findings for every camera that has labels, depth and poses."""
    if any(POSE_UNKNOWN in frame.flags for frame in frames):
        return []
    findings = []
    for name in frames[0].views:
        views = [frame.views.get(name) for frame in frames]
        if all(_is_complete(view) for view in views):
            reduced = tuple(_reduced(view) for view in views if view is not None)
            findings += [
                dataclasses.replace(finding, message=f"{name}: {finding.message}")
                for finding in _explain(reduced)
            ]
    return findings


def _is_complete(view: View | None) -> bool:
    if view is None or view.depth_m is None or view.labels is None:
        return False
    return bool(np.isfinite(view.depth_m).all() and np.isfinite(view.pose).all())


def _reduced(view: View) -> View:
    """Every n-th pixel of a view, at most `_MAX_WIDTH_PX` wide, with matching intrinsics."""
    n = -(-view.camera.width_px // _MAX_WIDTH_PX)
    if n == 1:
        return view
    c = view.camera
    labels, depth_m = images_of(view)
    labels, depth_m = labels[::n, ::n], depth_m[::n, ::n]
    height_px, width_px = depth_m.shape
    camera = Camera(width_px, height_px, c.fx_px / n, c.fy_px / n, c.cx_px / n, c.cy_px / n)
    return View(camera, view.pose, labels, depth_m)


def _explain(views: Views) -> list[Finding]:
    """The mistakes, one or two, that explain why views disagree; [] if they agree."""
    pairs = _choose_pairs(views)
    if not pairs:
        return []
    as_sent = disagreement(views, pairs)
    if as_sent < _GOOD:
        return []
    left = {names: _without(views, pairs, names) for names in itertools.permutations(MISTAKES, 1)}
    explained = min(_EXPLAINED, _EXPLAINED_SHARE * as_sent)
    if min(left.values()) >= explained and as_sent > _BAD:
        # No single mistake explains it. Try two at once, on fewer pairs to save time.
        few = pairs[:: max(1, len(pairs) // 3)]
        left |= {
            names: _without(views, few, names) for names in itertools.permutations(MISTAKES, 2)
        }
    best = min(left, key=lambda names: left[names])
    if left[best] < explained:
        evidence = f"(views disagree by {as_sent:.2%}, by {left[best]:.2%} without this mistake)"
        return [
            Finding(name, "error", f"{MISTAKES[name].message} {evidence}", MISTAKES[name].hint)
            for name in best
        ]
    if as_sent < _BAD:
        return []
    message = f"depth, poses and images of different ticks disagree by {as_sent:.1%}"
    hint = "send depth along the optical axis in metres and poses from OpenCV camera axes to world"
    return [Finding("views_disagree", "error", message, f"{hint}, all of the same tick")]


def _without(views: Views, pairs: TickPairs, mistakes: tuple[str, ...]) -> float:
    """The disagreement that remains after undoing these mistakes."""
    for name in mistakes:
        views = MISTAKES[name].undo(views)
    return disagreement(views, pairs)


def _choose_pairs(views: Views) -> TickPairs:
    """The pairs of views to compare; none if the camera does not move.

    Near pairs are neighbours whose motion differs from the motion before and after, which shows
    lags. Far pairs show wrong scales.
    """
    motions = [
        inverse_pose(a.pose) @ b.pose.astype(np.float64) for a, b in itertools.pairwise(views)
    ]
    change_m = {
        later: min(_distance_m(motions[later - 1], motions[n]) for n in (later - 2, later))
        for later in range(2, len(motions))
    }
    most_changed = sorted(change_m, key=lambda later: change_m[later])[-_MAX_PAIRS:]
    near = [
        (later - 1, later) for later in sorted(most_changed) if change_m[later] > _NEAR_CHANGE_M
    ]
    far = [
        (later - _FAR_TICKS, later)
        for later in range(_FAR_TICKS + 1, len(motions))
        if _distance_m(motions[later - 1], np.eye(4)) > _FAR_MOVE_M / _FAR_TICKS
    ]
    step = max(1, len(far) // _MAX_PAIRS)
    return near + far[::step][:_MAX_PAIRS]


def _distance_m(motion_a: np.ndarray, motion_b: np.ndarray) -> float:
    """Distance between the places to which two motions take a point 10 m ahead."""
    ahead = np.array([0.0, 0.0, 10.0, 1.0])
    return float(np.linalg.norm((motion_a - motion_b) @ ahead))


def disagreement(views: Views, pairs: TickPairs) -> float:
    """How strongly the pairs of views contradict each other: 0 not at all, 0.1 completely."""
    return float(np.mean([_pair_disagreement(views[a], views[b]) for a, b in pairs]))


def _pair_disagreement(earlier: View, later: View) -> float:
    """Mean relative depth error of the static pixels, in [0, `_MAX_ERROR`]."""
    labels, depth_m = images_of(later)
    earlier_labels, earlier_depth_m = images_of(earlier)
    static = ~np.isin(labels, _MOVING_TAGS) & (depth_m < _MAX_DEPTH_M)
    moved = motion(later, earlier)
    x, y = moved.source_px[..., 0], moved.source_px[..., 1]
    height_px, width_px = earlier_depth_m.shape
    compared = static & (x >= 0) & (x <= width_px - 1) & (y >= 0) & (y <= height_px - 1)
    compared &= moved.depth_m > 0.0
    if compared.sum() < max(20, _MIN_VISIBLE * static.sum()):
        return _MAX_ERROR
    expected_m = np.maximum(moved.depth_m, 1e-3)
    inverse = warp(1.0 / np.maximum(earlier_depth_m, 1e-3), moved.source_px)
    nearest_m: FloatArray = warp(earlier_depth_m, moved.source_px, nearest=True)
    # Either the interpolated or the nearest depth may match, see `geometry.visible_before`.
    error = np.minimum(np.abs(expected_m * inverse - 1.0), np.abs(nearest_m / expected_m - 1.0))
    other_label = warp(earlier_labels, moved.source_px, nearest=True) != labels
    cost = np.minimum(error, _MAX_ERROR) + 0.1 * _MAX_ERROR * other_label
    best = np.sort(cost[compared])
    return float(np.mean(best[: max(1, int(_COMPARED * best.size))]))
