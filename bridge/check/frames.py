"""Checks of one frame at a time: shapes, ranges, labels, and images against each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sim2street.bridge.check.findings import Finding
from sim2street.bridge.errors import FrameError
from sim2street.bridge.frame import (
    EGO_UNKNOWN,
    MAX_TAG,
    POSE_UNKNOWN,
    SKY_DEPTH_M,
    SensorFrame,
    View,
    WorldSpec,
)
from sim2street.bridge.geometry import camera_points
from sim2street.bridge.labels import Tag, taxonomy_fingerprint
from sim2street.bridge.wire.world_messages import VIEW_BUFFERS

GROUND_TAGS = (Tag.ROAD, Tag.ROAD_LINES)
_NEAR_M = 40.0
_MIN_GROUND_PX = 30
_FLAT = 0.002  # residual over depth, below which nothing can be said
_MIN_SHARE = 0.02  # of the image, before one of its parts is judged


def check_spec(spec: WorldSpec) -> list[Finding]:
    """What a world says about itself."""
    findings = []
    if not 0.0 < spec.tick_s <= 1.0:
        findings.append(
            Finding("tick_s", "error", f"tick_s is {spec.tick_s:g}", "expected seconds, 0.01..1")
        )
    if spec.taxonomy != taxonomy_fingerprint():
        findings.append(
            Finding(
                "taxonomy",
                "error",
                f"taxonomy {spec.taxonomy!r} is not {taxonomy_fingerprint()!r}",
                "map the engine's ids to sim2street.bridge.labels.Tag, then send this fingerprint",
            )
        )
    for name, camera in spec.cameras.items():
        try:
            camera.validate()
        except FrameError as error:
            findings.append(Finding("camera", "error", f"{name}: {error}", "intrinsics in pixels"))
    unknown = spec.fields - VIEW_BUFFERS.keys() - {"pose", "actors"}
    if unknown:
        hint = f"the fields are {', '.join(VIEW_BUFFERS)}, pose and actors"
        findings.append(
            Finding("spec_fields", "warning", f"unknown fields {sorted(unknown)}", hint)
        )
    return findings


def check_frame(frame: SensorFrame, spec: WorldSpec) -> list[Finding]:
    """Everything that one frame shows by itself."""
    findings = list(_check_tier(frame, spec))
    for name, view in frame.views.items():
        if name in spec.cameras and view.camera != spec.cameras[name]:
            message = f"{name}: the frame's camera is not the spec's"
            findings.append(Finding("camera", "error", message, "send the same intrinsics"))
        findings += [
            Finding(f.code, f.severity, f"{name}: {f.message}", f.hint) for f in _check_view(view)
        ]
    if any(f.severity == "error" for f in findings):
        return findings
    try:
        frame.validate()
    except FrameError as error:
        findings.append(Finding("invalid", "error", str(error), "see bridge/frame.py"))
    return findings


def _check_tier(frame: SensorFrame, spec: WorldSpec) -> Iterator[Finding]:
    """Fields that were announced and did not come."""
    if frame.views.keys() != spec.cameras.keys():
        yield Finding(
            "views",
            "error",
            f"views {sorted(frame.views)} came, the spec has cameras {sorted(spec.cameras)}",
            "one view per camera in every frame",
        )
    for name, view in frame.views.items():
        came = {item for item in VIEW_BUFFERS if getattr(view, item) is not None}
        missing = (spec.fields & VIEW_BUFFERS.keys()) - came
        if missing:
            yield Finding(
                "missing_field",
                "error",
                f"{name}: the spec announces {sorted(missing)}, which did not come",
                "send it in every frame, or leave it out of the spec's fields",
            )
        if "labels" not in came:
            hint = "labels are what a renderer needs least: tier 1"
            yield Finding("no_labels", "error", f"{name}: no labels", hint)
    if POSE_UNKNOWN in frame.flags:
        hint = "without poses nothing can be carried from frame to frame (tier 3)"
        yield Finding("no_pose", "warning", "views come without poses", hint)
    if EGO_UNKNOWN in frame.flags:
        hint = "without an ego state there are no rewards: an env needs it"
        yield Finding("no_ego", "warning", "no ego state comes", hint)


def _check_view(view: View) -> Iterator[Finding]:
    if view.labels is not None:
        yield from _check_labels(view.labels)
    if view.depth_m is not None:
        yield from _check_depth(view)
    rotation = view.pose[:3, :3].astype(np.float64)
    if not np.array_equal(view.pose[3], [0, 0, 0, 1]):
        hint = "a pose is [R t; 0 0 0 1] row by row, and takes camera points to the world"
        code = "pose_transposed" if np.array_equal(view.pose[:3, 3], [0, 0, 0]) else "pose"
        yield Finding(code, "error", f"last row of the pose is {view.pose[3].tolist()}", hint)
    elif not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
        hint = "its 3x3 part must be a pure rotation, without scale"
        yield Finding("pose", "error", "the pose is no rotation and translation", hint)
    elif np.linalg.det(rotation) < 0.0:
        hint = "x right, y down, z forward; the world x east, y north, z up: negate one axis"
        yield Finding("pose_left_handed", "error", "the pose mirrors: left-handed axes", hint)


def _check_labels(labels: np.ndarray) -> Iterator[Finding]:
    found = np.unique(labels)
    unknown = found[found > MAX_TAG].tolist()
    if unknown:
        hint = f"tags are 0..{MAX_TAG} (sim2street.bridge.labels.Tag); map the engine's ids first"
        text = ", ".join(map(str, unknown))
        if 255 in unknown and found[found <= MAX_TAG].max(initial=0) <= 18:
            hint = "these look like Cityscapes trainIds: send trainId + 1, and 0 for 255"
        yield Finding("labels_unknown", "error", f"labels unknown: {text}", hint)
    rows = np.arange(labels.shape[0])[:, None] * np.ones(labels.shape)
    sky, road = labels == Tag.SKY, np.isin(labels, GROUND_TAGS)
    enough = min(sky.mean(), road.mean()) > _MIN_SHARE
    if enough and rows[sky].mean() > rows[road].mean():
        hint = "row 0 is the top row: many engines read pictures bottom-up"
        yield Finding("upside_down", "error", "the sky is below the road", hint)


def _check_depth(view: View) -> Iterator[Finding]:
    depth = view.depth_m
    assert depth is not None
    finite = np.isfinite(depth)
    if not finite.all():
        hint = f"write {SKY_DEPTH_M:.0f} for the sky and whatever is farther"
        yield Finding("depth_finite", "error", "depth holds nan or inf", hint)
        return
    low, high = float(depth.min()), float(depth.max())
    if low < 0.0 or high > SKY_DEPTH_M:
        hint = f"metres, cut at {SKY_DEPTH_M:.0f}"
        yield Finding("depth_range", "error", f"depth is in [{low:g}, {high:g}]", hint)
        return
    if high <= 1.0:
        hint = "send metres along the optical axis, not a z-buffer or a share of the far plane"
        yield Finding("depth_normalised", "error", f"depth is in [{low:g}, {high:g}]", hint)
        return
    yield from _check_sky(view, depth)
    yield from _check_ground(view, depth)


def _check_sky(view: View, depth: np.ndarray) -> Iterator[Finding]:
    if view.labels is None:
        return
    sky, far = view.labels == Tag.SKY, depth >= SKY_DEPTH_M
    if sky.mean() > _MIN_SHARE and (sky & far).sum() < 0.5 * sky.sum():
        typical = float(np.median(depth[sky]))
        hint = f"the sky's depth is {SKY_DEPTH_M:.0f}"
        yield Finding("sky_depth", "error", f"depth of the sky is {typical:g} m", hint)
    elif (sky != far).mean() > 0.03 and (far & ~sky).sum() > 0.1 * max(1, far.sum()):
        share = float((sky != far).mean())
        hint = "labels and depth must be of the same tick (and the far plane at 1000 m)"
        message = f"labels and depth disagree about the sky on {share:.0%} of the pixels"
        yield Finding("labels_depth_mixed", "warning", message, hint)


def _check_ground(view: View, depth: np.ndarray) -> Iterator[Finding]:
    """A road is nearly a plane, unless its depth is measured along the rays."""
    if view.labels is None:
        return
    road = np.isin(view.labels, GROUND_TAGS) & (depth < _NEAR_M)
    if road.sum() < _MIN_GROUND_PX:
        return
    as_sent = plane_residual(camera_points(view.camera, depth)[road])
    planar = planar_from_euclidean(view, depth)
    as_euclidean = plane_residual(camera_points(view.camera, planar)[road])
    if as_sent > _FLAT and as_euclidean < 0.3 * as_sent:
        message = f"depth looks Euclidean: the road bends by {as_sent:.2%} of its depth"
        hint = "send the distance along the optical axis: divide by the length of the ray at z = 1"
        yield Finding("depth_euclidean", "error", message, hint)


def planar_from_euclidean(view: View, distance_m: np.ndarray) -> np.ndarray:
    """Planar depth, where `distance_m` was measured along the rays; the sky stays."""
    length = np.linalg.norm(camera_points(view.camera, np.ones_like(distance_m)), axis=-1)
    planar = np.where(distance_m >= SKY_DEPTH_M, distance_m, distance_m / length)
    return planar.astype(np.float32)


def plane_residual(points: np.ndarray) -> float:
    """How far points (N, 3) are from their best plane, over their depth: median."""
    centred = points - points.mean(axis=0)
    normal = np.linalg.svd(centred, full_matrices=False)[2][2]
    return float(np.median(np.abs(centred @ normal) / points[:, 2]))
