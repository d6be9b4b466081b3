"""How still frames hold: two rendered views compared along the world's exact motion.

The same comparison serves neighbouring ticks (flicker) and visits of the same place minutes
apart (revisit consistency).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.bridge.errors import FrameError
from sim2street.bridge.frame import Actor, ByteArray, FloatArray, View
from sim2street.bridge.geometry import Motion, motion, visible_before, warp
from sim2street.neural_renderer.colour import LUMA

MOVED_PX = 2.0
"""Ghosts are looked for where the picture moves at least so far."""


@dataclass(frozen=True, slots=True)
class PairScore:
    """Two views of the same world.

    Attributes:
        error: mean absolute difference (0..255) between a picture and the earlier one moved
            to it, where both show the same surface.
        unmoved: the same without moving: what a world that stands still would score.
        ghosting: how much of the earlier picture stays where it was on the screen although
            the world moved on: 0 none, 1 the whole picture. A static weave counts.
        visible: share of the picture that the earlier view showed.
    """

    error: float
    unmoved: float
    ghosting: float
    visible: float


def compare_views(
    current: View,
    previous: View,
    actors: Sequence[Actor] = (),
    previous_actors: Sequence[Actor] = (),
) -> PairScore:
    """Compare the rgb of two views along their exact motion. Both need rgb and depth."""
    if current.rgb is None or previous.rgb is None:
        raise FrameError("compare_views needs rendered views: rgb is missing")
    moved = motion(current, previous, actors, previous_actors)
    seen = visible_before(moved, current, previous)
    here, before = at_label_size(current), at_label_size(previous)
    return score_pair(here, before, moved, seen)


def score_pair(
    current: FloatArray, previous: FloatArray, moved: Motion, seen: npt.NDArray[np.bool_]
) -> PairScore:
    """Score float32 (H, W, 3) pictures; `seen` bool (H, W): the earlier one showed the point."""
    if not seen.any():
        return PairScore(float("nan"), float("nan"), float("nan"), 0.0)
    carried = warp(previous, moved.source_px)
    return PairScore(
        float(np.abs(current - carried)[seen].mean()),
        float(np.abs(current - previous)[seen].mean()),
        _ghosting(current, previous, carried, moved, seen),
        float(seen.mean()),
    )


def high_frequency_energy(rgb: ByteArray) -> float:
    """Mean square of what a blur of sigma 1 takes away from luminance (0..255), uint8 in.

    Reported at frame 1 and at frame 50: recurrence must not eat detail.
    """
    luma = rgb.astype(np.float32) @ LUMA
    return float(np.square(luma - ndimage.gaussian_filter(luma, 1.0)).mean())


def at_label_size(view: View) -> FloatArray:
    """The view's rgb as float32 (H, W, 3) at the size of its labels, by area."""
    assert view.rgb is not None
    height, width = view.camera.height_px, view.camera.width_px
    k = view.rgb.shape[0] // height
    blocks = view.rgb.reshape(height, k, width, k, 3).astype(np.float32)
    return blocks.mean(axis=(1, 3))


def _ghosting(
    current: FloatArray,
    previous: FloatArray,
    carried: npt.NDArray[np.float32],
    moved: Motion,
    seen: npt.NDArray[np.bool_],
) -> float:
    """Share `b` in the fit current = a * carried + b * previous of the high-passed pictures.

    Fitting both keeps flicker, which lowers `a`, from being taken for a ghost.
    """
    height, width = seen.shape
    v, u = np.mgrid[0:height, 0:width]
    way = np.hypot(moved.source_px[..., 0] - u, moved.source_px[..., 1] - v)
    where = seen & (way >= MOVED_PX)
    if where.sum() < 50:
        return 0.0
    now, stayed, came = (_fine(picture)[where] for picture in (current, previous, carried))
    fit = np.linalg.lstsq(np.stack([came, stayed], axis=1), now, rcond=None)[0]
    return float(fit[1])


def _fine(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    luma = picture @ LUMA
    return luma - ndimage.gaussian_filter(luma, 2.0)
