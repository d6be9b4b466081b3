"""Checks of `View.motion_px`: does it point to where the same surface was before?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from sim2street.bridge.check.findings import Finding
from sim2street.bridge.frame import POSE_UNKNOWN, Actor, FloatArray, SensorFrame, View
from sim2street.bridge.geometry import motion, visible_before, warp

_MIN_MOVED_PX = 0.3
"""Mean length of the offsets that is needed to check them."""

_MIN_COMPARED_PX = 30

_BAD_SHARE = 0.5
"""Offsets are wrong if their error is larger than this share of their length."""

_EXPLAINED_SHARE = 0.3
"""An undone mistake explains the error if it leaves less than this share of it."""

_HINT = (
    "motion_px holds (x, y) in pixels, to the right and down, from a pixel to the place where the "
    "same surface point was at tick motion_from_tick"
)

_UNDO: Mapping[str, tuple[Callable[[FloatArray], FloatArray], str]] = {
    "sign": (lambda m: -m, "points forward in time: its sign is wrong"),
    "swapped": (lambda m: m[..., ::-1], "has x and y swapped"),
    "x": (lambda m: m * (-1.0, 1.0), "has the wrong sign in x"),
    "y": (lambda m: m * (1.0, -1.0), "has the wrong sign in y"),
    "swapped and sign": (lambda m: -m[..., ::-1], "has x and y swapped, and the wrong sign"),
    "fractions": (
        lambda m: m * (m.shape[1], m.shape[0]), "is in fractions of the image, not in pixels"
    ),
}  # fmt: skip
"""What may be wrong -> how to undo it, and how it is said."""


def check_image_motion(frames: Sequence[SensorFrame]) -> list[Finding]:
    """Findings about views that have `motion_px`."""
    findings = []
    by_tick = {frame.tick: frame for frame in frames}
    for name in frames[0].views:
        pairs = []
        for frame in frames:
            view = frame.views.get(name)
            if view is None or view.motion_px is None:
                continue
            if view.motion_from_tick is None and frame.tick == 0:
                continue  # there is nothing before tick 0
            if view.motion_from_tick is None or not 0 <= view.motion_from_tick < frame.tick:
                findings.append(_wrong_tick(name, frame.tick, view.motion_from_tick))
                break
            earlier = by_tick.get(view.motion_from_tick)
            if earlier is not None and name in earlier.views:
                pairs.append((earlier, frame))
        else:
            findings += [
                Finding(f.code, f.severity, f"{name}: {f.message}", f.hint)
                for f in _check_offsets(name, pairs)
            ]
    return findings


def _wrong_tick(name: str, tick: int, from_tick: int | None) -> Finding:
    message = f"{name}: motion_from_tick is {from_tick} at tick {tick}"
    hint = "it is the earlier tick that motion_px points to; only at tick 0 it is left out"
    return Finding("motion_from_tick", "error", message, hint)


def _check_offsets(
    name: str, pairs: Sequence[tuple[SensorFrame, SensorFrame]]
) -> Iterator[Finding]:
    """Compare the offsets with depth and poses where they are known, else with labels."""
    as_sent: list[float] = []
    lengths: list[float] = []
    undone: dict[str, list[float]] = {key: [] for key in _UNDO}
    for earlier, frame in pairs:
        view, before = frame.views[name], earlier.views[name]
        assert view.motion_px is not None
        error_px = _error_function(view, before, frame, earlier)
        if error_px is None:
            continue
        as_sent.append(error_px(view.motion_px))
        lengths.append(error_px(np.zeros_like(view.motion_px)))
        for key, (undo, _) in _UNDO.items():
            undone[key].append(error_px(undo(view.motion_px).astype(np.float32)))
    if not as_sent or np.mean(lengths) < _MIN_MOVED_PX:
        return
    error, length = float(np.mean(as_sent)), float(np.mean(lengths))
    if error < _BAD_SHARE * length:
        return
    best = min(_UNDO, key=lambda key: float(np.mean(undone[key])))
    what = "does not show how the surfaces moved"
    if np.mean(undone[best]) < _EXPLAINED_SHARE * error:
        what = _UNDO[best][1]
    message = f"motion_px {what} (wrong by {error:.1f} px where surfaces moved by {length:.1f} px)"
    yield Finding("motion_px", "error", message, _HINT)


def _error_function(
    view: View, before: View, frame: SensorFrame, earlier: SensorFrame
) -> Callable[[FloatArray], float] | None:
    """A function from offsets to their mean error in pixels; None if nothing can be compared."""
    has_poses = POSE_UNKNOWN not in frame.flags and POSE_UNKNOWN not in earlier.flags
    if view.depth_m is not None and before.depth_m is not None and has_poses:
        return _geometric_error(view, before, frame.actors, earlier.actors)
    if view.labels is not None and before.labels is not None:
        return _label_error(view, before)
    return None


def _geometric_error(
    view: View, before: View, actors: Sequence[Actor], earlier_actors: Sequence[Actor]
) -> Callable[[FloatArray], float] | None:
    moved = motion(view, before, actors, earlier_actors)
    visible = visible_before(moved, view, before)
    if visible.sum() < _MIN_COMPARED_PX:
        return None
    expected = (moved.source_px - _grid(view))[visible]
    return lambda offsets: float(np.linalg.norm(offsets[visible] - expected, axis=-1).mean())


def _label_error(view: View, before: View) -> Callable[[FloatArray], float] | None:
    """Without depth: how many labels differ from those that the offsets point to.

    Given as pixels along the borders between labels, so that errors compare like lengths.
    """
    labels, earlier = view.labels, before.labels
    assert labels is not None
    assert earlier is not None
    border_px = (labels[:, 1:] != labels[:, :-1]).sum() + (labels[1:] != labels[:-1]).sum()
    if border_px < _MIN_COMPARED_PX:
        return None
    grid = _grid(view)
    height_px, width_px = labels.shape

    def error(offsets: FloatArray) -> float:
        source = grid + offsets
        x, y = source[..., 0], source[..., 1]
        inside = (x >= 0) & (x <= width_px - 1) & (y >= 0) & (y <= height_px - 1)
        differs = warp(earlier, source.astype(np.float32), nearest=True) != labels
        return float((differs & inside).sum() / border_px + (~inside).mean())

    return error


def _grid(view: View) -> FloatArray:
    """Coordinates (x, y) of every pixel: float32 (H, W, 2)."""
    x, y = np.meshgrid(np.arange(view.camera.width_px), np.arange(view.camera.height_px))
    return np.stack([x, y], axis=-1).astype(np.float32)
