"""Temporal stability: two rendered views compared along the exact motion of the world.

The same comparison serves consecutive ticks (flicker) and visits of one place minutes apart
(revisit consistency).
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
from sim2street.neural_renderer.images import LUMA

MIN_MOTION_PX = 2.0
"""Ghosting is measured where the image moves at least this far."""

MIN_MOVING_PIXELS = 50
"""With fewer moving pixels, ghosting counts as 0."""


@dataclass(frozen=True, slots=True)
class PairScore:
    """Comparison of a view with an earlier one.

    Attributes:
        error: mean absolute difference (0..255) between the image and the warped earlier image,
            over pixels whose surface both show.
        ghosting: how much of the earlier image stays in place on the screen although the world
            moved, from 0 (nothing) to 1 (all of it). A static pattern counts as well.
        visible: share of pixels whose surface the earlier view showed.
    """

    error: float
    ghosting: float
    visible: float


def compare_views(
    current: View,
    previous: View,
    actors: Sequence[Actor] = (),
    previous_actors: Sequence[Actor] = (),
) -> PairScore:
    """Compare the RGB of two views along their exact motion.

    Raises:
        FrameError: a view has no RGB or no depth.
    """
    if current.rgb is None or previous.rgb is None:
        raise FrameError(
            "compare_views needs two rendered views, but `rgb` is missing: render first"
        )
    moved = motion(current, previous, actors, previous_actors)
    seen = visible_before(moved, current, previous)
    here, before = at_label_size(current), at_label_size(previous)
    return score_pair(here, before, moved, seen)


def score_pair(
    current: FloatArray, previous: FloatArray, moved: Motion, seen: npt.NDArray[np.bool_]
) -> PairScore:
    """Compare two images along a given motion.

    Args:
        current, previous: float32 (H, W, 3), 0..255.
        moved: motion from the previous to the current image.
        seen: bool (H, W), pixels of the current image whose surface the previous one showed.
    """
    if not seen.any():
        return PairScore(float("nan"), float("nan"), 0.0)
    warped = warp(previous, moved.source_px)
    return PairScore(
        float(np.abs(current - warped)[seen].mean()),
        _ghosting(current, previous, warped, moved, seen),
        float(seen.mean()),
    )


def high_frequency_energy(rgb: ByteArray) -> float:
    """Mean square of the luminance (0..255) minus its Gaussian blur with sigma 1 px.

    It falls from frame to frame if the recurrence loses detail.

    Args:
        rgb: uint8 (H, W, 3).
    """
    luma: FloatArray = rgb.astype(np.float32) @ LUMA
    return float(np.square(luma - ndimage.gaussian_filter(luma, 1.0)).mean())


def at_label_size(view: View) -> FloatArray:
    """The RGB of a view averaged to the size of its labels: float32 (H, W, 3), 0..255."""
    assert view.rgb is not None
    height, width = view.camera.height_px, view.camera.width_px
    k = view.rgb.shape[0] // height
    blocks = view.rgb.reshape(height, k, width, k, 3).astype(np.float32)
    image: FloatArray = blocks.mean(axis=(1, 3))
    return image


def _ghosting(
    current: FloatArray,
    previous: FloatArray,
    warped: FloatArray,
    moved: Motion,
    seen: npt.NDArray[np.bool_],
) -> float:
    """Share b in the least-squares fit current = a * warped + b * previous of high-passed images.

    Fitting a as well keeps flicker, which lowers a, from counting as ghosting.
    """
    height, width = seen.shape
    v, u = np.mgrid[0:height, 0:width]
    motion_px = np.hypot(moved.source_px[..., 0] - u, moved.source_px[..., 1] - v)
    moving = seen & (motion_px >= MIN_MOTION_PX)
    if moving.sum() < MIN_MOVING_PIXELS:
        return 0.0
    now, in_place, moved_along = (_high_pass(rgb)[moving] for rgb in (current, previous, warped))
    fit = np.linalg.lstsq(np.stack([moved_along, in_place], axis=1), now, rcond=None)[0]
    return float(fit[1])


def _high_pass(rgb: FloatArray) -> FloatArray:
    luma: FloatArray = rgb @ LUMA
    fine: FloatArray = luma - ndimage.gaussian_filter(luma, 2.0)
    return fine
