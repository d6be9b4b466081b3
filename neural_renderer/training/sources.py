"""A run's batches: photographs prepared once, then crops and clips drawn for each step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sim2street.bridge.datasets.label_images import LabelReader
from sim2street.configs import ConfigError
from sim2street.neural_renderer.canvas.atlas import load_atlas
from sim2street.neural_renderer.canvas.source import CanvasSource
from sim2street.neural_renderer.data.batch import Batch, ClipBatch
from sim2street.neural_renderer.data.dataset import PhotoDataset, PhotoDatasetConfig
from sim2street.neural_renderer.data.photo_cache import load_cached_photos
from sim2street.neural_renderer.data.photo_canvas import PhotoCanvas
from sim2street.neural_renderer.data.photo_clips import photo_clips
from sim2street.neural_renderer.data.photos import (
    PhotoSourceConfig,
    SourceReport,
    check_source,
    list_photos,
    open_source,
)
from sim2street.neural_renderer.data.prefetch import prefetched
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.data.town_clips import TownClips, TownClipsConfig
from sim2street.neural_renderer.data.video import Video, find_videos, track_camera
from sim2street.neural_renderer.data.video_clips import video_clips
from sim2street.neural_renderer.training.config import Phase, TrainConfig
from sim2street.neural_renderer.training.ranks import rank, world_size

Photos = dict[str, list[PreparedPhoto]]
"""Prepared photographs by the name of their source."""


@dataclass(frozen=True)
class StepData:
    """One batch.

    Attributes:
        draw: number of the batch, counted over steps, accumulation and ranks.
        clips: None for a batch of stills.
        stills: the batch itself, or, beside clips, as many photographs as there are clips.
    """

    draw: int
    clips: ClipBatch | None
    stills: Batch


def load_sources(sources: tuple[PhotoSourceConfig, ...], cache: Path) -> Photos:
    """Read and prepare all photographs, or read them from `cache` where they were prepared."""
    return {s.name: load_cached_photos(s, list_photos(s), cache) for s in sources}


def check_data(config: TrainConfig) -> list[SourceReport]:
    """Look at the data of a run without preparing it: lists all files and opens a few.

    Raises:
        ConfigError: folders or files that are missing or do not fit the config.
        DatasetError, LabelError: photographs or labels that cannot be used.
    """
    for key in ("vgg16", "efficientnet_lite0", "teacher", "town_clips"):
        path = getattr(config, key)
        if path is not None and not path.exists():
            raise ConfigError(f"{key}: there is no {path}; put it there, or leave out the key")
    reports = []
    for source in dict.fromkeys((*config.sources, *config.validation)):
        found = open_source(source)
        reports.append(check_source(source, found, LabelReader(found.source_map)))
    return reports


def at_root(config: TrainConfig, root: Path) -> TrainConfig:
    """The same run; relative data folders start at `root`."""

    def moved(sources: tuple[PhotoSourceConfig, ...]) -> tuple[PhotoSourceConfig, ...]:
        return tuple(s.model_copy(update={"root": root / s.root}) for s in sources)

    update = {"sources": moved(config.sources), "validation": moved(config.validation)}
    return config.model_copy(update=update)


class BatchSource:
    """Draws the batches of a run, each from the seed and its number alone.

    Attributes:
        seen_tags: tags that occur in the training photographs, ascending.
    """

    def __init__(self, config: TrainConfig, cache: Path) -> None:
        """Load and prepare all photographs and clips.

        Raises:
            ConfigError: no photo source, or data that is missing or does not fit the config.
        """
        if not config.sources:
            raise ConfigError("a training run needs photographs: add a source to `sources`")
        self._config = config
        self._photos = load_sources(config.sources, cache)
        self._validation = load_sources(config.validation, cache)
        self._canvas = None
        if config.canvas:
            self._canvas = PhotoCanvas(CanvasSource(load_atlas(config.atlas)))
        self._datasets = [self._dataset(phase) for phase in config.phases]
        self._towns = [self._town_clips(phase) for phase in config.phases]
        self._videos = self._load_videos()
        self.seen_tags = _seen_tags(self._photos)

    def batches(self, first_step: int, end_step: int) -> Iterator[StepData]:
        """This rank's batches of the steps before `end_step`, `accumulate` for each step."""
        accumulate = self._config.accumulate

        def make(number: int) -> StepData:
            return self.step_data(number // accumulate, number * world_size() + rank())

        last_step = max(first_step, end_step)
        numbers = first_step * accumulate, last_step * accumulate
        return prefetched(make, *numbers, self._config.workers)

    def step_data(self, step: int, draw: int) -> StepData:
        """Batch number `draw`, of the kind (stills, clips) and size that `step` asks for.

        The kind depends on the step alone, so that all batches of a step are of one kind.
        """
        index, phase = self._config.phase_at(step)
        clips = self._clips(step, draw)
        batch_size = len(clips.drives) if clips else phase.batch_size
        stills = self._datasets[index].batch(draw, batch_size, phase.mix)
        if clips is None and self._swaps_styles(step):
            stills = stills.with_next_style()
        return StepData(draw, clips, stills)

    def samples(self, count: int, step: int) -> Batch:
        """Fixed stills for a sample sheet: validation photographs where there are any."""
        _, phase = self._config.phase_at(step)
        config = PhotoDatasetConfig(
            size_px=phase.size_px, exemplars=self._config.exemplars, zoom=(0.9, 1.0),
            flip=False, tone=0.0, depth_dropout=0.0, roughen=None,
        )  # fmt: skip
        photos = self._validation or self._photos
        return PhotoDataset(config, photos, 7, self._canvas).batch(0, count)

    def _clips(self, step: int, draw: int) -> ClipBatch | None:
        """The clips of a batch; None in a step of stills."""
        index, phase = self._config.phase_at(step)
        rng = np.random.default_rng((self._config.seed, step, 3))
        if rng.random() >= phase.clip_share:
            return None
        size = phase.clip_batch_size, phase.frames
        town, dataset, kind = self._towns[index], self._datasets[index], rng.random()
        if town is not None and kind < phase.town_share:
            return town.clips(draw, *size)
        if kind < phase.town_share + phase.video_share:
            return video_clips(dataset, self._videos, draw, *size)
        return photo_clips(dataset, draw, *size, phase.mix)

    def _swaps_styles(self, step: int) -> bool:
        """Whether a step of stills paints each photograph in the next one's style."""
        _, phase = self._config.phase_at(step)
        return np.random.default_rng((self._config.seed, step, 4)).random() < phase.swap_share

    def _dataset(self, phase: Phase) -> PhotoDataset:
        config = PhotoDatasetConfig(
            size_px=phase.size_px, exemplars=self._config.exemplars, zoom=phase.zoom,
            rare_share=phase.rare_share,
        )  # fmt: skip
        return PhotoDataset(config, self._photos, self._config.seed, self._canvas)

    def _load_videos(self) -> list[Video]:
        """The sources' videos with camera poses, if a phase asks for video."""
        phases = [p for p in self._config.phases if p.clip_share and p.video_share]
        if not phases:
            return []
        runs = []
        for source in self._config.sources:
            if source.video_step is not None:
                runs += find_videos(self._photos[source.name], source.video_step)
        frames, longest = max(p.frames for p in phases), max(map(len, runs), default=0)
        if longest < frames:
            raise ConfigError(
                f"a phase asks for video of {frames} frames, but at most {longest} photographs "
                "have frame numbers that differ by their source's video_step; lower `frames` or "
                "correct `video_step`"
            )
        return [track_camera(run) for run in runs]

    def _town_clips(self, phase: Phase) -> TownClips | None:
        if not phase.town_share or not phase.clip_share:
            return None
        if self._config.town_clips is None:
            raise ConfigError("a phase has a town_share, but there is no town_clips folder")
        config = TownClipsConfig(size_px=phase.size_px, zoom=phase.town_zoom or phase.zoom)
        return TownClips(self._config.town_clips, config, self._config.seed)


def _seen_tags(photos: Photos) -> tuple[int, ...]:
    seen: set[int] = set()
    for source in photos.values():
        for photo in source:
            ids = np.flatnonzero(np.bincount(photo.ids.ravel(), minlength=256))
            seen |= set(np.flatnonzero(photo.sets[ids].any(axis=0)).tolist())
    return tuple(sorted(seen - {0}))
