"""Measures of clips: temporal error, ghosting, detail over time, and consistency on revisits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.frame import ByteArray
from sim2street.neural_renderer.evaluation.report import Row
from sim2street.neural_renderer.evaluation.scenes import Clip, there_and_back
from sim2street.neural_renderer.metrics.temporal import (
    PairScore,
    compare_views,
    high_frequency_energy,
)

Images = Sequence[ByteArray]
RenderClip = Callable[[Clip, bool], list[ByteArray]]
"""Renders all frames of a clip, with history or (False) each frame independently."""


@dataclass(frozen=True, slots=True)
class ClipScore:
    """Measures of one clip, or their means over clips.

    Attributes:
        error: mean temporal error between consecutive frames.
        ghosting: mean ghosting between consecutive frames.
        first_energy: high-frequency energy of the first frame.
        last_energy: high-frequency energy of the last frame.
    """

    error: float
    ghosting: float
    first_energy: float
    last_energy: float


def score_clip(clip: Clip, images: Images) -> ClipScore:
    """Measure the images of a clip along its exact motion."""
    pairs = [_compare(clip, images, i, i - 1) for i in range(1, len(images))]
    return ClipScore(
        _finite_mean([pair.error for pair in pairs]),
        _finite_mean([pair.ghosting for pair in pairs]),
        high_frequency_energy(images[0]),
        high_frequency_energy(images[-1]),
    )


def clip_rows(kind: str, clips: Sequence[Clip], render: RenderClip) -> list[Row]:
    """Temporal error, ghosting and detail with history, and the same for independent frames.

    "Detail kept" is the ratio of high-frequency energy of the last frame with history to the same
    frame without. A value well above 1 is no gain: the history sharpens texture again and again.

    Args:
        kind: of the clips, part of the names of the measures.
    """
    recurrent = _mean_score([score_clip(clip, render(clip, True)) for clip in clips])
    independent = _mean_score([score_clip(clip, render(clip, False)) for clip in clips])
    photo_scores = [score for clip in clips if (score := _photo_score(clip)) is not None]
    photo_error = _finite_mean([score.error for score in photo_scores])
    frames = sum(len(clip.frames) for clip in clips)
    error_context = f"frame by frame {independent.error:.2f} of 255"
    if independent.error:
        error_context += f", ratio {recurrent.error / independent.error:.0%}"
    error_context += f"; {len(clips)} clips, {frames} frames"
    if math.isfinite(photo_error):
        error_context += f"; photographs {photo_error:.2f}"
    last, independent_last = recurrent.last_energy, independent.last_energy
    return [
        Row(
            f"temporal error, {kind}", recurrent.error, error_context, "down",
            {"frame_by_frame": independent.error, "photographs": photo_error},
        ),
        Row(
            f"ghosting, {kind}", recurrent.ghosting,
            f"frame by frame {independent.ghosting:.3f}", "down",
            {"frame_by_frame": independent.ghosting},
        ),
        Row(
            f"detail kept, {kind}", last / independent_last if independent_last else math.nan,
            f"high-frequency energy of the last frame {last:.1f}, frame by frame "
            f"{independent_last:.1f}; of the first frame {recurrent.first_energy:.1f}", "up",
            {
                "first": recurrent.first_energy, "last": last,
                "last_frame_by_frame": independent_last,
            },
        ),
    ]  # fmt: skip


def revisit_row(clips: Sequence[Clip], render: RenderClip) -> Row:
    """Render each clip forwards and backwards; compare the last frame with the first."""
    errors = []
    for clip in clips:
        loop = there_and_back(clip)
        images = render(loop, True)
        errors.append(_compare(loop, images, len(images) - 1, 0).error)
    ticks = max(2 * len(clip.frames) - 2 for clip in clips)
    return Row(
        "revisit error", _finite_mean(errors),
        f"of 255; {len(clips)} places, revisited after {ticks} frames; 0 for frame by frame",
        "down",
    )  # fmt: skip


def _photo_score(clip: Clip) -> ClipScore | None:
    """Score of a video's photographs, which shows the error of the estimated motion."""
    photos = [frame.photo for frame in clip.frames if frame.photo is not None]
    return score_clip(clip, photos) if len(photos) == len(clip.frames) else None


def _mean_score(scores: Sequence[ClipScore]) -> ClipScore:
    return ClipScore(
        _finite_mean([score.error for score in scores]),
        _finite_mean([score.ghosting for score in scores]),
        _finite_mean([score.first_energy for score in scores]),
        _finite_mean([score.last_energy for score in scores]),
    )


def _finite_mean(values: Sequence[float]) -> float:
    """Mean of the finite values; nan if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def _compare(clip: Clip, images: Images, now: int, before: int) -> PairScore:
    current, previous = clip.frames[now], clip.frames[before]
    return compare_views(
        dataclasses.replace(current.view, rgb=images[now]),
        dataclasses.replace(previous.view, rgb=images[before]),
        current.actors,
        previous.actors,
    )
