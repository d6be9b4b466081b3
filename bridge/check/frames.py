"""Checks of a spec and of single frames: fields, shapes, ranges, and images of the same tick."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from sim2street.bridge.check.findings import Finding
from sim2street.bridge.errors import FrameError
from sim2street.bridge.frame import (
    EGO_UNKNOWN,
    MAX_TAG,
    POSE_UNKNOWN,
    SKY_DEPTH_M,
    ByteArray,
    FloatArray,
    SensorFrame,
    View,
    WorldSpec,
)
from sim2street.bridge.geometry import camera_points
from sim2street.bridge.labels import Tag, taxonomy_fingerprint
from sim2street.bridge.wire.world_messages import VIEW_BUFFERS

_ROAD_TAGS = (Tag.ROAD, Tag.ROAD_LINES)

_ROAD_RANGE_M = 40.0
"""Road pixels up to this depth are used to tell planar from Euclidean depth."""

_MIN_ROAD_PX = 30
"""Number of road pixels that this needs."""

_FLAT = 0.002
"""Roads that are flatter than this (`_plane_residual`) have planar depth."""

_MIN_SHARE = 0.02
"""Share of the image that the sky or the road needs to be checked."""


def check_spec(spec: WorldSpec) -> list[Finding]:
    """Findings about the spec of a world."""
    findings = []
    if not 0.0 < spec.tick_s <= 1.0:
        findings.append(
            Finding("tick_s", "error", f"tick_s is {spec.tick_s:g}", "expected seconds in (0, 1]")
        )
    if spec.taxonomy != taxonomy_fingerprint():
        findings.append(
            Finding(
                "taxonomy",
                "error",
                f"taxonomy {spec.taxonomy!r} is not {taxonomy_fingerprint()!r}",
                "send labels as in sim2street.bridge.labels.Tag, and the fingerprint of these",
            )
        )
    for name, camera in spec.cameras.items():
        try:
            camera.validate()
        except FrameError as error:
            findings.append(Finding("camera", "error", f"{name}: {error}", "intrinsics in pixels"))
    unknown = spec.fields - VIEW_BUFFERS.keys() - {"surfaces", "pose", "actors"}
    if unknown:
        hint = f"the fields are {', '.join(VIEW_BUFFERS)}, surfaces, pose and actors"
        findings.append(
            Finding("spec_fields", "warning", f"unknown fields {sorted(unknown)}", hint)
        )
    return findings


def check_frame(frame: SensorFrame, spec: WorldSpec) -> list[Finding]:
    """Findings about a single frame."""
    findings = [*_check_fields(frame, spec), *_check_conditions(frame)]
    for name, view in frame.views.items():
        if name in spec.cameras and view.camera != spec.cameras[name]:
            message = f"{name}: the frame has other camera intrinsics than the spec"
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


def _check_fields(frame: SensorFrame, spec: WorldSpec) -> Iterator[Finding]:
    """Fields that are missing: announced ones, labels, poses and the ego state."""
    if frame.views.keys() != spec.cameras.keys():
        yield Finding(
            "views",
            "error",
            f"the frame has views {sorted(frame.views)}, the spec cameras {sorted(spec.cameras)}",
            "send one view per camera in every frame",
        )
    for name, view in frame.views.items():
        optional = {*VIEW_BUFFERS, "surfaces"}
        present = {item for item in optional if getattr(view, item) is not None}
        missing = (spec.fields & optional) - present
        if frame.tick == 0:
            missing -= {"motion_px"}  # nothing was seen before
        if missing:
            yield Finding(
                "missing_field",
                "error",
                f"{name}: the spec announces {sorted(missing)}, but the frame lacks it",
                "send it in every frame, or remove it from the fields of the spec",
            )
        if "labels" not in present:
            hint = "every renderer needs labels (tier 1 of docs/protocol.md)"
            yield Finding("no_labels", "error", f"{name}: no labels", hint)
    if POSE_UNKNOWN in frame.flags:
        hint = "without poses, rendered videos flicker (tier 3 of docs/protocol.md)"
        yield Finding("no_pose", "warning", "views have no poses", hint)
    if EGO_UNKNOWN in frame.flags:
        hint = "environments need it to compute rewards"
        yield Finding("no_ego", "warning", "frames have no ego state", hint)


def _check_conditions(frame: SensorFrame) -> Iterator[Finding]:
    """Weather, stamps, and ids of actors."""
    weather = dataclasses.asdict(frame.weather)
    sun_deg = weather.pop("sun_altitude_deg")
    wrong = {name: value for name, value in weather.items() if not 0.0 <= value <= 1.0}
    if not -90.0 <= sun_deg <= 90.0:
        wrong["sun_altitude_deg"] = sun_deg
    if wrong:
        hint = "cloudiness, rain, fog and wetness are in [0, 1], the sun's altitude in [-90, 90]"
        yield Finding("weather", "error", f"weather has {wrong}", hint)
    negative = {name: value for name, value in frame.stamps.items() if not value >= 0.0}
    if negative:
        hint = "send how long each stage took, in seconds, not points in time"
        yield Finding("stamps", "warning", f"stamps has {negative}", hint)
    ids = [actor.actor_id for actor in frame.actors]
    if len(set(ids)) != len(ids):
        hint = "ids must be unique in a frame and constant during an episode"
        yield Finding("actor_ids", "error", "two actors have the same id", hint)


def _check_view(view: View) -> Iterator[Finding]:
    if view.rgb is not None and view.rgb.size and view.rgb.max() <= 1:
        hint = "send sRGB values of 0 to 255"
        yield Finding("rgb_dark", "warning", "rgb is black, or in [0, 1]", hint)
    if view.labels is not None:
        yield from _check_labels(view.labels)
    if view.depth_m is not None:
        yield from _check_depth(view)
    rotation = view.pose[:3, :3].astype(np.float64)
    if not np.array_equal(view.pose[3], [0, 0, 0, 1]):
        hint = "a pose is [R t; 0 0 0 1], row by row, and maps camera points to the world"
        code = "pose_transposed" if np.array_equal(view.pose[:3, 3], [0, 0, 0]) else "pose"
        yield Finding(code, "error", f"the last row of the pose is {view.pose[3].tolist()}", hint)
    elif not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
        hint = "its 3x3 part must be a pure rotation, without scale"
        yield Finding("pose", "error", "the pose is not a rotation and a translation", hint)
    elif np.linalg.det(rotation) < 0.0:
        hint = "camera: x right, y down, z forward; world: x east, y north, z up; negate one axis"
        yield Finding("pose_left_handed", "error", "the pose mirrors (left-handed axes)", hint)


def _check_labels(labels: ByteArray) -> Iterator[Finding]:
    found = np.unique(labels)
    unknown = found[found > MAX_TAG].tolist()
    if unknown:
        hint = f"send tags 0..{MAX_TAG} (sim2street.bridge.labels.Tag), not the engine's own ids"
        text = ", ".join(map(str, unknown))
        if 255 in unknown and found[found <= MAX_TAG].max(initial=0) <= 18:
            hint = "these look like Cityscapes trainIds; send trainId + 1, and 0 instead of 255"
        yield Finding("labels_unknown", "error", f"labels unknown: {text}", hint)
    rows = np.arange(labels.shape[0])[:, None] * np.ones(labels.shape)
    sky, road = labels == Tag.SKY, np.isin(labels, _ROAD_TAGS)
    enough = min(sky.mean(), road.mean()) > _MIN_SHARE
    if enough and rows[sky].mean() > rows[road].mean():
        hint = "row 0 is the top row; many engines read images from the bottom up"
        yield Finding("upside_down", "error", "the sky is below the road", hint)


def _check_depth(view: View) -> Iterator[Finding]:
    depth_m = view.depth_m
    assert depth_m is not None
    finite = np.isfinite(depth_m)
    if not finite.all():
        hint = f"send {SKY_DEPTH_M:.0f} for the sky and everything farther away"
        yield Finding("depth_finite", "error", "depth contains NaN or infinity", hint)
        return
    low, high = float(depth_m.min()), float(depth_m.max())
    if low < 0.0 or high > SKY_DEPTH_M:
        hint = f"send metres in [0, {SKY_DEPTH_M:.0f}]"
        yield Finding("depth_range", "error", f"depth is in [{low:g}, {high:g}]", hint)
        return
    if high <= 1.0:
        hint = "send metres along the optical axis, not a z-buffer or a fraction of the far plane"
        yield Finding("depth_normalised", "error", f"depth is in [{low:g}, {high:g}]", hint)
        return
    yield from _check_sky(view, depth_m)
    yield from _check_road(view, depth_m)


def _check_sky(view: View, depth_m: FloatArray) -> Iterator[Finding]:
    if view.labels is None:
        return
    sky, far = view.labels == Tag.SKY, depth_m >= SKY_DEPTH_M
    if sky.mean() > _MIN_SHARE and (sky & far).sum() < 0.5 * sky.sum():
        typical = float(np.median(depth_m[sky]))
        hint = f"send {SKY_DEPTH_M:.0f} as the depth of the sky"
        yield Finding("sky_depth", "error", f"the depth of the sky is {typical:g} m", hint)
    elif (sky != far).mean() > 0.03 and (far & ~sky).sum() > 0.1 * max(1, far.sum()):
        share = float((sky != far).mean())
        hint = "labels and depth must be of the same tick; put the far plane at 1000 m"
        message = f"labels and depth disagree about the sky on {share:.0%} of the pixels"
        yield Finding("labels_depth_mixed", "warning", message, hint)


def _check_road(view: View, depth_m: FloatArray) -> Iterator[Finding]:
    """A near road is almost a plane; it looks bent if depth is measured along the rays."""
    if view.labels is None:
        return
    road = np.isin(view.labels, _ROAD_TAGS) & (depth_m < _ROAD_RANGE_M)
    if road.sum() < _MIN_ROAD_PX:
        return
    as_sent = _plane_residual(camera_points(view.camera, depth_m)[road])
    planar = planar_from_euclidean(view, depth_m)
    if_euclidean = _plane_residual(camera_points(view.camera, planar)[road])
    if as_sent > _FLAT and if_euclidean < 0.3 * as_sent:
        message = f"depth looks Euclidean: the road bends by {as_sent:.2%} of its depth"
        hint = "send the distance along the optical axis: divide by the length of the ray at z = 1"
        yield Finding("depth_euclidean", "error", message, hint)


def planar_from_euclidean(view: View, distance_m: FloatArray) -> FloatArray:
    """Depth along the optical axis from distances along the rays; the sky stays the same."""
    length = np.linalg.norm(camera_points(view.camera, np.ones_like(distance_m)), axis=-1)
    planar = np.where(distance_m >= SKY_DEPTH_M, distance_m, distance_m / length)
    return planar.astype(np.float32)


def _plane_residual(points_m: FloatArray) -> float:
    """Median of distance to the best-fitting plane divided by depth, of points (N, 3)."""
    centred = points_m - points_m.mean(axis=0)
    normal = np.linalg.svd(centred, full_matrices=False)[2][2]
    return float(np.median(np.abs(centred @ normal) / points_m[:, 2]))
