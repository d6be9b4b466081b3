"""One evaluation from beginning to end: load, render, measure, report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sim2street.bridge.frame import ByteArray
from sim2street.bridge.palette import paint_labels
from sim2street.configs import ConfigError
from sim2street.neural_renderer.data.photo_cache import load_cached_photos
from sim2street.neural_renderer.data.photos import PhotoSourceConfig, list_photos, spread
from sim2street.neural_renderer.data.prepare import PreparedPhoto, load_photos
from sim2street.neural_renderer.data.town_pack import decode_clip
from sim2street.neural_renderer.data.video import find_videos, track
from sim2street.neural_renderer.evaluation.config import EvaluationConfig, Judges
from sim2street.neural_renderer.evaluation.failures import draw, worst
from sim2street.neural_renderer.evaluation.feature_cache import FeatureCache
from sim2street.neural_renderer.evaluation.motion_rows import clip_rows, revisit_row
from sim2street.neural_renderer.evaluation.painter import Painter, StyleBook, checked
from sim2street.neural_renderer.evaluation.report import Report, Row
from sim2street.neural_renderer.evaluation.scenes import (
    Clip,
    as_tensor,
    as_uint8,
    clip_of_pack,
    clip_of_video,
    longest,
    still_of,
)
from sim2street.neural_renderer.evaluation.still_rows import (
    Painted,
    Readings,
    alexnet_features,
    distance_rows,
    label_rows,
    load_script_features,
    lpips_row,
    read_labels,
)
from sim2street.neural_renderer.evaluation.style_rows import StyleTest, style_row
from sim2street.neural_renderer.metrics.label_agreement import Segmenter, load_segmenter
from sim2street.neural_renderer.metrics.perceptual import load_alexnet, load_lpips
from sim2street.neural_renderer.styles.files import UNSTYLED, StyleError, StyleFit

SHEET_STILLS = 6


@dataclass(frozen=True)
class Watch:
    """Who wants to know how far it is.

    `stage` is told what begins and how many pictures it renders (0: none); `advance` is
    called after each of them.
    """

    stage: Callable[[str, int], None] = lambda what, pictures: None
    advance: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Scenes:
    """Everything that is looked at; `photos` by source name, `gallery` for styles."""

    photos: dict[str, list[PreparedPhoto]]
    gallery: list[PreparedPhoto]
    town: list[Clip]
    videos: list[Clip]


def evaluate(
    weights: Path,
    config: EvaluationConfig,
    judges: Judges,
    device: str = "cpu",
    watch: Watch | None = None,
    cache: Path | None = None,
    fit: StyleFit | None = None,
) -> Report:
    """Render and measure.

    Prepared photographs, and what networks found in them, are kept in `cache`, if one is given.
    With `fit`, style retrieval is measured a second time, with styles so fitted.

    Raises:
        ConfigError: before anything is rendered, where a file or folder is not what it
            should be, or a network that scores was in a loss of these weights.
        StyleError: `fit` for weights that paint without styles.
    """
    watch = watch or Watch()
    painter = Painter(weights, device, on_picture=watch.advance)
    try:
        digests = {name: file_sha256(path) for name, path in judges.files().items()}
        checked(painter.info, digests)
        if fit is not None and not painter.styled:
            raise StyleError(UNSTYLED)
        watch.stage("reading photographs", 0)
        scenes = load_scenes(config, cache)
        book = StyleBook(painter, scenes.gallery, config.size_px, config.exemplars)
        painted, without = paint_stills(painter, book, scenes, config, watch)
        bench = Bench(config, judges, digests, cache, watch)
        rows, left_out, failures = still_measures(painter, book, painted, bench)
        if fit is not None:
            fitted = StyleBook(painter, scenes.gallery, config.size_px, config.exemplars, fit)
            _add(_style(painter, fitted, painted, bench, ", fitted"), rows, left_out)
        if without:
            left_out.append(f"{without} photographs of drives without another one for a style")
        pictures = {f"still {i}": p for i, p in enumerate(_still_strips(painted))}
        rows += _motion_measures(painter, book, scenes, pictures, left_out, watch)
    finally:
        painter.close()
    facts = {
        "weights": {
            "file": weights.name, "sha256": painter.info.sha256, "size": painter.info.size,
            "kind": painter.info.kind, "step": painter.info.step,
        },
        "conditions": config.model_dump(mode="json", exclude={"sources", "styles"})
        | {"sources": [s.name for s in config.sources]},
        "networks": {
            name: {"file": path.name, "sha256": digests[name]}
            for name, path in judges.files().items()
        },
    }  # fmt: skip
    return Report(facts, tuple(rows), tuple(left_out), pictures, failures)


def load_scenes(config: EvaluationConfig, cache: Path | None = None) -> Scenes:
    """Photographs prepared, videos tracked, clips read."""
    if config.size_px[0] % 32 or config.size_px[1] % 32:
        raise ConfigError(f"size_px must be multiples of 32, got {config.size_px}")

    def prepared(source: PhotoSourceConfig) -> list[PreparedPhoto]:
        if cache is None:
            return load_photos(source)
        return load_cached_photos(source, list_photos(source), cache)

    for source in (*config.sources, *config.styles):
        list_photos(source)  # what is not there is said before minutes are spent on the rest
    photos = {source.name: prepared(source) for source in config.sources}
    shown = {source.drive for found in photos.values() for source in found}
    gallery = [photo for source in config.styles for photo in prepared(source)]
    known = {photo.drive for photo in gallery}
    # A drive's own validation photographs show its style where no others do.
    gallery += [p for found in photos.values() for p in found if p.drive in shown - known]
    run = longest([r for found in photos.values() for r in find_videos(found, config.video_step)],
                  config.video_frames)  # fmt: skip
    videos = [clip_of_video(track(run), config.size_px)] if len(run) > 2 else []
    return Scenes(photos, gallery, _town(config), videos)


def paint_stills(
    painter: Painter, book: StyleBook, scenes: Scenes, config: EvaluationConfig, watch: Watch
) -> tuple[list[Painted], int]:
    """Photographs' labels in the style of their own drive; and how many have no such style."""
    painted, without = [], 0
    chosen = [
        photo
        for photos in scenes.photos.values()
        for photo in spread(photos, config.stills or len(photos))
    ]
    watch.stage("rendering photographs' labels", len(chosen))
    for photo in chosen:
        style = book.style(photo.drive, photo.frame)
        if style is None:
            without += 1
            continue
        still = still_of(photo, config.size_px)
        painted.append(Painted(still, as_tensor(painter.still(still.view, style)), style))
    if not painted:
        raise ConfigError(
            "no photograph can be rendered in the style of its drive: give `styles` photographs "
            "of the same source names and drives"
        )
    return painted, without


@dataclass(frozen=True)
class Bench:
    """What measures of single pictures need besides the pictures."""

    config: EvaluationConfig
    judges: Judges
    digests: Mapping[str, str]
    cache: Path | None
    watch: Watch

    def kept(self, question: str, judge: str) -> FeatureCache:
        """What this judge found in photographs before."""
        return FeatureCache(self.cache, question, self.digests[judge])


def still_measures(
    painter: Painter, book: StyleBook, painted: Sequence[Painted], bench: Bench
) -> tuple[list[Row], list[str], ByteArray | None]:
    """All measures of single pictures that the given networks allow, what is left out, and a
    sheet of failures where one is asked for."""
    rows: list[Row] = []
    left_out: list[str] = []
    failures: ByteArray | None = None
    if bench.judges.segmenter is None:
        left_out.append("label agreement: no --segmenter")
        if bench.config.failures:
            left_out.append("failures: no --segmenter")
    else:
        bench.watch.stage("label agreement", 0)
        segmenter, size_px = load_segmenter(bench.judges.segmenter), bench.config.read_at_px
        kept = bench.kept("labels", "--segmenter")
        readings = read_labels(segmenter, painted, kept, size_px)
        kept.save()
        rows += label_rows(readings)
        failures = _failures(readings, painted, segmenter, bench.config)
    rows += _distances(painted, bench, left_out)
    _add(_style(painter, book, painted, bench), rows, left_out)
    return rows, left_out, failures


def _add(found: Row | str, rows: list[Row], left_out: list[str]) -> None:
    """A measure, or why there is none."""
    if isinstance(found, Row):
        rows.append(found)
    else:
        left_out.append(found)


def _failures(
    readings: Readings, painted: Sequence[Painted], segmenter: Segmenter, config: EvaluationConfig
) -> ByteArray | None:
    chosen = worst(readings, config.failures)
    return draw(chosen, painted, segmenter, config.read_at_px) if chosen else None


def _distances(painted: Sequence[Painted], bench: Bench, left_out: list[str]) -> list[Row]:
    """KID, FID and LPIPS."""
    judges, rows = bench.judges, []
    if judges.kid_features is None and judges.alexnet is None:
        left_out.append("KID: neither --kid-features nor --alexnet")
    else:
        bench.watch.stage("KID", 0)
        if judges.kid_features is not None:
            judge, name = "--kid-features", judges.kid_features.stem
            features = load_script_features(judges.kid_features)
        else:
            assert judges.alexnet is not None
            judge, name = "--alexnet", "AlexNet"
            features = alexnet_features(load_alexnet(judges.alexnet))
        kept = bench.kept("pooled", judge)
        rows += distance_rows(features, name, painted, bench.config.seed, kept)
        kept.save()
    if judges.lpips is None or judges.alexnet is None:
        left_out.append("LPIPS: needs --alexnet and --lpips")
        return rows
    bench.watch.stage("LPIPS", 0)
    kept = bench.kept("lpips", "--lpips")
    rows.append(lpips_row(load_lpips(judges.alexnet, judges.lpips), painted, kept))
    kept.save()
    return rows


def _style(
    painter: Painter, book: StyleBook, painted: Sequence[Painted], bench: Bench, how: str = ""
) -> Row | str:
    """Style retrieval, or why there is none."""
    name = f"style retrieval{how}"
    if bench.judges.alexnet is None:
        return f"{name}: no --alexnet"
    config = bench.config
    bench.watch.stage(name, 0)
    kept = bench.kept("looks", "--alexnet")
    test = StyleTest(config.size_px, config.retrieval_pictures, config.style_photos, name)
    alexnet = load_alexnet(bench.judges.alexnet)
    found = style_row(alexnet, painter, book, [p.still for p in painted], test, kept)
    kept.save()
    return found


def file_sha256(path: Path) -> str:
    """Of a file's bytes; ConfigError where there is none."""
    if not path.is_file():
        raise ConfigError(f"no file {path}")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _motion_measures(
    painter: Painter,
    book: StyleBook,
    scenes: Scenes,
    pictures: dict[str, ByteArray],
    left_out: list[str],
    watch: Watch,
) -> list[Row]:
    """Measures of clips; adds their frames to `pictures`."""

    drawn: dict[str, list[ByteArray]] = {}

    def render(clip: Clip, history: bool) -> list[ByteArray]:
        style = (book.style(clip.drive) if clip.drive else None) or book.any_style()
        frames = painter.clip(clip, style, history)
        if history:
            drawn.setdefault(clip.name, frames)
        return frames

    rows: list[Row] = []
    for what, clips in (("town", scenes.town), ("video", scenes.videos)):
        if not clips:
            left_out.append(f"temporal error, {what}: no clips")
            continue
        watch.stage(f"temporal error, {what}", 2 * sum(len(clip.moments) for clip in clips))
        rows += clip_rows(what, clips, render)
        frames = drawn[clips[0].name]
        chosen = (0, 1, len(frames) // 2, len(frames) - 1)
        pictures[what] = np.concatenate([frames[i] for i in chosen], axis=1)
    if scenes.town:
        watch.stage("revisits", sum(2 * len(clip.moments) - 1 for clip in scenes.town))
        rows.append(revisit_row(scenes.town, render))
    return rows


def _still_strips(painted: Sequence[Painted]) -> list[ByteArray]:
    """Labels | rendered | photograph of a few."""
    step = max(1, len(painted) // SHEET_STILLS)
    return [
        np.concatenate([paint_labels(p.still.view), as_uint8(p.rgb), as_uint8(p.still.rgb)], axis=1)
        for p in painted[::step][:SHEET_STILLS]
    ]


def _town(config: EvaluationConfig) -> list[Clip]:
    if config.town_clips is None:
        return []
    paths = sorted(config.town_clips.glob("clip_*.npz"))[: config.clips]
    if not paths:
        raise ConfigError(f"no packed clips (clip_*.npz) in {config.town_clips}: pack some first")
    return [clip_of_pack(decode_clip(path.read_bytes(), path.name)) for path in paths]
