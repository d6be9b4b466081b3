"""The evaluation of a checkpoint: load scenes, render, measure, report."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim2street.bridge.datasets.files import evenly_spaced
from sim2street.configs import ConfigError
from sim2street.neural_renderer.checkpoint import CheckpointInfo
from sim2street.neural_renderer.data.photo_cache import load_cached_photos
from sim2street.neural_renderer.data.photos import PhotoSourceConfig, list_photos
from sim2street.neural_renderer.data.prepare import PreparedPhoto, load_photos
from sim2street.neural_renderer.data.town_pack import decode_clip
from sim2street.neural_renderer.data.video import find_videos, track_camera
from sim2street.neural_renderer.evaluation.config import EvaluationConfig, ScoringNetworks
from sim2street.neural_renderer.evaluation.measures import (
    Measures,
    StillContext,
    measure_motion,
    measure_stills,
    measure_style,
    still_strips,
)
from sim2street.neural_renderer.evaluation.progress import EvaluationProgress
from sim2street.neural_renderer.evaluation.rendering import (
    CheckpointRenderer,
    DriveStyles,
    refuse_loss_networks,
)
from sim2street.neural_renderer.evaluation.report import Report
from sim2street.neural_renderer.evaluation.scenes import (
    Clip,
    clip_from_pack,
    clip_from_video,
    longest_video,
    still_from_photo,
)
from sim2street.neural_renderer.evaluation.still_rows import RenderedStill
from sim2street.neural_renderer.images import to_tensor
from sim2street.neural_renderer.styles.files import StyleError
from sim2street.neural_renderer.styles.make import UNSTYLED, StyleFit


@dataclass(frozen=True)
class Scenes:
    """Everything that an evaluation renders or compares with.

    Attributes:
        photos: photographs to compare with, by source name.
        gallery: photographs that styles are made from.
        town: clips of a simulated world.
        videos: clips of photographs.
    """

    photos: dict[str, list[PreparedPhoto]]
    gallery: list[PreparedPhoto]
    town: list[Clip]
    videos: list[Clip]


def evaluate(
    weights: Path,
    config: EvaluationConfig,
    networks: ScoringNetworks,
    device: str = "cpu",
    progress: EvaluationProgress | None = None,
    cache: Path | None = None,
    fit: StyleFit | None = None,
) -> Report:
    """Render the scenes of `config` with a checkpoint and measure the images.

    Args:
        cache: folder for prepared photographs and for the features that networks find in them;
            None: nothing is kept.
        fit: style retrieval is measured a second time, with styles optimised by it.

    Raises:
        ConfigError: a file or folder cannot be used, or a scoring network was used in a training
            loss of the checkpoint; raised before anything is rendered.
        StyleError: `fit` is given, but the weights do not use styles.
    """
    progress = progress or EvaluationProgress()
    renderer = CheckpointRenderer(weights, device, on_image=progress.advance)
    try:
        digests = {name: _file_sha256(path) for name, path in networks.files().items()}
        refuse_loss_networks(renderer.info, digests)
        if fit is not None and not renderer.styled:
            raise StyleError(UNSTYLED)
        progress.stage("reading photographs", 0)
        scenes = load_scenes(config, cache)
        styles = DriveStyles(renderer, scenes.gallery, config.size_px, config.exemplars)
        stills, without_style = _render_stills(renderer, styles, scenes, config, progress)
        context = StillContext(renderer, stills, config, networks, digests, cache, progress)
        measures = Measures()
        measure_stills(context, styles, measures)
        if fit is not None:
            fitted = DriveStyles(renderer, scenes.gallery, config.size_px, config.exemplars, fit)
            measure_style(context, fitted, measures, "style retrieval, fitted")
        if without_style:
            measures.left_out.append(
                f"{without_style} photographs whose drive has no other photograph for a style"
            )
        measures.images.update(still_strips(stills))
        measure_motion(renderer, styles, scenes.town, scenes.videos, measures, progress)
    finally:
        renderer.close()
    facts = _facts(weights, renderer.info, config, networks, digests)
    return Report(
        facts, tuple(measures.rows), tuple(measures.left_out), measures.images, measures.failures
    )


def load_scenes(config: EvaluationConfig, cache: Path | None = None) -> Scenes:
    """Read and prepare photographs, estimate the motion of videos, read clips."""
    if config.size_px[0] % 32 or config.size_px[1] % 32:
        raise ConfigError(f"size_px must be multiples of 32, got {config.size_px}")

    def prepared(source: PhotoSourceConfig) -> list[PreparedPhoto]:
        if cache is None:
            return load_photos(source)
        return load_cached_photos(source, list_photos(source), cache)

    for source in (*config.sources, *config.styles):
        list_photos(source)  # reports a missing folder before minutes are spent on the others
    photos = {source.name: prepared(source) for source in config.sources}
    shown = {source.drive for found in photos.values() for source in found}
    gallery = [photo for source in config.styles for photo in prepared(source)]
    known = {photo.drive for photo in gallery}
    # Drives without style photographs take their styles from the photographs compared with.
    gallery += [p for found in photos.values() for p in found if p.drive in shown - known]
    candidates = [run for found in photos.values() for run in find_videos(found, config.video_step)]
    video = longest_video(candidates, config.video_frames)
    videos = [clip_from_video(track_camera(video), config.size_px)] if len(video) > 2 else []
    return Scenes(photos, gallery, _town_clips(config), videos)


def _render_stills(
    renderer: CheckpointRenderer,
    styles: DriveStyles,
    scenes: Scenes,
    config: EvaluationConfig,
    progress: EvaluationProgress,
) -> tuple[list[RenderedStill], int]:
    """Render the labels of photographs in the style of their own drive.

    Also returns how many photographs were left out because their drive has no style.
    """
    rendered, without_style = [], 0
    chosen = [
        photo
        for photos in scenes.photos.values()
        for photo in evenly_spaced(photos, config.stills or len(photos))
    ]
    progress.stage("rendering the labels of photographs", len(chosen))
    for photo in chosen:
        style = styles.style(photo.drive, photo.frame)
        if style is None:
            without_style += 1
            continue
        still = still_from_photo(photo, config.size_px)
        rendered.append(RenderedStill(still, to_tensor(renderer.still(still.view, style)), style))
    if not rendered:
        raise ConfigError(
            "no photograph can be rendered in the style of its drive: give `styles` photographs "
            "with the same source names and drives"
        )
    return rendered, without_style


def _town_clips(config: EvaluationConfig) -> list[Clip]:
    if config.town_clips is None:
        return []
    paths = sorted(config.town_clips.glob("clip_*.npz"))[: config.clips]
    if not paths:
        raise ConfigError(
            f"no packed clips (clip_*.npz) in {config.town_clips}: make some with `sim2street pack`"
        )
    return [clip_from_pack(decode_clip(path.read_bytes(), path.name)) for path in paths]


def _facts(
    weights: Path,
    info: CheckpointInfo,
    config: EvaluationConfig,
    networks: ScoringNetworks,
    digests: dict[str, str],
) -> dict[str, Any]:
    """Weights, conditions and networks, as they appear in the JSON file."""
    return {
        "weights": {
            "file": weights.name, "sha256": info.sha256, "size": info.size, "kind": info.kind,
            "step": info.step,
        },
        "conditions": config.model_dump(mode="json", exclude={"sources", "styles"})
        | {"sources": [s.name for s in config.sources]},
        "networks": {
            name: {"file": path.name, "sha256": digests[name]}
            for name, path in networks.files().items()
        },
    }  # fmt: skip


def _file_sha256(path: Path) -> str:
    if not path.is_file():
        raise ConfigError(f"no file {path}: give the path of a scoring network")
    return hashlib.sha256(path.read_bytes()).hexdigest()
