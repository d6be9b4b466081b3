"""Which measures an evaluation takes, given the networks at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sim2street.bridge.frame import ByteArray
from sim2street.bridge.palette import paint_labels
from sim2street.neural_renderer.evaluation.config import EvaluationConfig, ScoringNetworks
from sim2street.neural_renderer.evaluation.failures import draw_failures, worst_failures
from sim2street.neural_renderer.evaluation.feature_cache import FeatureCache
from sim2street.neural_renderer.evaluation.motion_rows import clip_rows, revisit_row
from sim2street.neural_renderer.evaluation.progress import EvaluationProgress
from sim2street.neural_renderer.evaluation.rendering import CheckpointRenderer, DriveStyles
from sim2street.neural_renderer.evaluation.report import Row
from sim2street.neural_renderer.evaluation.scenes import Clip
from sim2street.neural_renderer.evaluation.still_rows import (
    RenderedStill,
    alexnet_features,
    distance_rows,
    label_confusions,
    label_rows,
    load_script_features,
    lpips_row,
)
from sim2street.neural_renderer.evaluation.style_rows import StyleTest, style_row
from sim2street.neural_renderer.images import to_uint8
from sim2street.neural_renderer.metrics.label_agreement import load_segmenter
from sim2street.neural_renderer.metrics.perceptual import load_alexnet, load_lpips

SHEET_STILLS = 6


@dataclass
class Measures:
    """What an evaluation has found so far; see `report.Report` for the fields."""

    rows: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    images: dict[str, ByteArray] = field(default_factory=dict)
    failures: ByteArray | None = None


@dataclass(frozen=True)
class StillContext:
    """Rendered stills and everything needed to measure them.

    Attributes:
        digests: sha256 of the files of `networks`, by command-line option.
        cache: folder for the features of photographs, or None.
    """

    renderer: CheckpointRenderer
    stills: Sequence[RenderedStill]
    config: EvaluationConfig
    networks: ScoringNetworks
    digests: Mapping[str, str]
    cache: Path | None
    progress: EvaluationProgress

    def feature_cache(self, purpose: str, network: str) -> FeatureCache:
        """The cache for features that one network finds in photographs."""
        return FeatureCache(self.cache, purpose, self.digests[network])


def measure_stills(context: StillContext, styles: DriveStyles, measures: Measures) -> None:
    """Take all measures of single images that the given networks allow."""
    _measure_labels(context, measures)
    _measure_distances(context, measures)
    _measure_lpips(context, measures)
    measure_style(context, styles, measures)


def _measure_labels(context: StillContext, measures: Measures) -> None:
    config = context.config
    if context.networks.segmenter is None:
        measures.left_out.append("label agreement: no --segmenter")
        if config.failures:
            measures.left_out.append("failures: no --segmenter")
        return
    context.progress.stage("label agreement", 0)
    segmenter = load_segmenter(context.networks.segmenter)
    cache = context.feature_cache("labels", "--segmenter")
    confusions = label_confusions(segmenter, context.stills, cache, config.read_at_px)
    cache.save()
    measures.rows += label_rows(confusions)
    failures = worst_failures(confusions, config.failures)
    if failures:
        measures.failures = draw_failures(failures, context.stills, segmenter, config.read_at_px)


def _measure_distances(context: StillContext, measures: Measures) -> None:
    """KID and FID."""
    networks = context.networks
    if networks.kid_features is not None:
        option, name = "--kid-features", networks.kid_features.stem
        features = load_script_features(networks.kid_features)
    elif networks.alexnet is not None:
        option, name = "--alexnet", "AlexNet"
        features = alexnet_features(load_alexnet(networks.alexnet))
    else:
        measures.left_out.append("KID: neither --kid-features nor --alexnet")
        return
    context.progress.stage("KID", 0)
    cache = context.feature_cache("pooled", option)
    measures.rows += distance_rows(features, name, context.stills, cache)
    cache.save()


def _measure_lpips(context: StillContext, measures: Measures) -> None:
    networks = context.networks
    if networks.lpips is None or networks.alexnet is None:
        measures.left_out.append("LPIPS: needs --alexnet and --lpips")
        return
    context.progress.stage("LPIPS", 0)
    cache = context.feature_cache("lpips", "--lpips")
    lpips = load_lpips(networks.alexnet, networks.lpips)
    measures.rows.append(lpips_row(lpips, context.stills, cache))
    cache.save()


def measure_style(
    context: StillContext,
    styles: DriveStyles,
    measures: Measures,
    name: str = "style retrieval",
) -> None:
    """Take style retrieval, reported as `name`."""
    if context.networks.alexnet is None:
        measures.left_out.append(f"{name}: no --alexnet")
        return
    config = context.config
    context.progress.stage(name, 0)
    cache = context.feature_cache("looks", "--alexnet")
    test = StyleTest(config.size_px, config.retrieval_pictures, config.style_photos, name)
    alexnet = load_alexnet(context.networks.alexnet)
    stills = [rendered.still for rendered in context.stills]
    row = style_row(alexnet, context.renderer, styles, stills, test, cache)
    cache.save()
    if isinstance(row, Row):
        measures.rows.append(row)
    else:
        measures.left_out.append(row)


def measure_motion(
    renderer: CheckpointRenderer,
    styles: DriveStyles,
    town: Sequence[Clip],
    videos: Sequence[Clip],
    measures: Measures,
    progress: EvaluationProgress,
) -> None:
    """Take all measures of clips, and add some of their frames to the sheet."""
    first_rendering: dict[str, list[ByteArray]] = {}

    def render(clip: Clip, history: bool) -> list[ByteArray]:
        style = (styles.style(clip.drive) if clip.drive else None) or styles.any_style()
        frames = renderer.clip(clip, style, history)
        if history:
            first_rendering.setdefault(clip.name, frames)
        return frames

    for kind, clips in (("town", town), ("video", videos)):
        if not clips:
            measures.left_out.append(f"temporal error, {kind}: no clips")
            continue
        progress.stage(f"temporal error, {kind}", 2 * sum(len(clip.frames) for clip in clips))
        measures.rows += clip_rows(kind, clips, render)
        frames = first_rendering[clips[0].name]
        shown = (0, 1, len(frames) // 2, len(frames) - 1)
        measures.images[kind] = np.concatenate([frames[i] for i in shown], axis=1)
    if town:
        progress.stage("revisits", sum(2 * len(clip.frames) - 1 for clip in town))
        measures.rows.append(revisit_row(town, render))


def still_strips(stills: Sequence[RenderedStill]) -> dict[str, ByteArray]:
    """Strips for the sheet: labels, rendered image and photograph, of a few stills."""
    step = max(1, len(stills) // SHEET_STILLS)
    strips = [
        np.concatenate([paint_labels(s.still.view), to_uint8(s.rgb), to_uint8(s.still.rgb)], axis=1)
        for s in stills[::step][:SHEET_STILLS]
    ]
    return {f"still {i}": strip for i, strip in enumerate(strips)}
