"""Measures of clips: how still frames hold, whether detail lasts, whether places come back."""

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

Pictures = Sequence[ByteArray]
RenderClip = Callable[[Clip, bool], list[ByteArray]]
"""Renders all frames of a clip; the flag: with history."""


@dataclass(frozen=True, slots=True)
class ClipScore:
    """Means over a clip's neighbouring frames, and detail of its first and last frame."""

    error: float
    ghosting: float
    first_energy: float
    last_energy: float


def score_clip(clip: Clip, pictures: Pictures) -> ClipScore:
    """Temporal error and ghosting of rendered frames along the exact motion."""
    pairs = [_compare(clip, pictures, i, i - 1) for i in range(1, len(pictures))]
    return ClipScore(
        mean_of([pair.error for pair in pairs]),
        mean_of([pair.ghosting for pair in pairs]),
        high_frequency_energy(pictures[0]),
        high_frequency_energy(pictures[-1]),
    )


def clip_rows(what: str, clips: Sequence[Clip], render: RenderClip) -> list[Row]:
    """Temporal error, ghosting and detail, each with history beside frame by frame.

    Detail is compared in the same frame: energy changes with what is in view. Well above 1 is
    no gain, but texture that the history sharpens over and over.
    """
    steady = [score_clip(clip, render(clip, True)) for clip in clips]
    alone = [score_clip(clip, render(clip, False)) for clip in clips]
    frames = sum(len(clip.moments) for clip in clips)
    seen = f"{len(clips)} clips, {frames} frames"

    def pair(name: str) -> tuple[float, float]:
        both = (mean_of([getattr(score, name) for score in s]) for s in (steady, alone))
        first, second = both
        return first, second

    error, error_alone = pair("error")
    ghosting, ghosting_alone = pair("ghosting")
    first, _ = pair("first_energy")
    last, last_alone = pair("last_energy")
    real = [photo_score(clip) for clip in clips]
    of_photos = mean_of([score.error for score in real if score is not None])
    share = f", {error / error_alone:.0%} of it" if error_alone else ""
    beside = f"frame by frame {error_alone:.2f} of 255{share}; {seen}"
    if math.isfinite(of_photos):
        beside += f"; the photographs themselves {of_photos:.2f}"
    return [
        Row(
            f"temporal error, {what}", error, beside, "down",
            {"frame_by_frame": error_alone, "photographs": of_photos},
        ),
        Row(
            f"ghosting, {what}", ghosting, f"frame by frame {ghosting_alone:.3f}", "down",
            {"frame_by_frame": ghosting_alone},
        ),
        Row(
            f"detail kept, {what}", last / last_alone if last_alone else math.nan,
            f"high-frequency energy of the last frame {last:.1f}, frame by frame "
            f"{last_alone:.1f}; of the first {first:.1f}", "up",
            {"first": first, "last": last, "last_frame_by_frame": last_alone},
        ),
    ]  # fmt: skip


def photo_score(clip: Clip) -> ClipScore | None:
    """The same of the photographs of a video: what the estimated motion itself costs."""
    photos = [moment.photo for moment in clip.moments if moment.photo is not None]
    return score_clip(clip, photos) if len(photos) == len(clip.moments) else None


def revisit_row(clips: Sequence[Clip], render: RenderClip) -> Row:
    """Drive away, come back, compare with what was there."""
    scores = []
    for clip in clips:
        loop = there_and_back(clip)
        pictures = render(loop, True)
        scores.append(_compare(loop, pictures, len(pictures) - 1, 0).error)
    ticks = max(2 * len(clip.moments) - 2 for clip in clips)
    return Row(
        "revisit error", mean_of(scores),
        f"of 255; {len(clips)} places, back after {ticks} frames; 0 for frame by frame", "down",
    )  # fmt: skip


def mean_of(values: Sequence[float]) -> float:
    """Mean of the finite ones; nan where there are none."""
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def _compare(clip: Clip, pictures: Pictures, now: int, before: int) -> PairScore:
    current, previous = clip.moments[now], clip.moments[before]
    return compare_views(
        dataclasses.replace(current.view, rgb=pictures[now]),
        dataclasses.replace(previous.view, rgb=pictures[before]),
        current.actors,
        previous.actors,
    )
