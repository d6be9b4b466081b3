"""Where a run's batches come from: photographs prepared once, one dataset per phase."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sim2street.configs import ConfigError
from sim2street.neural_renderer.data.batch import Batch, ClipBatch
from sim2street.neural_renderer.data.dataset import PhotoDataset, PhotoDatasetConfig
from sim2street.neural_renderer.data.motion_clips import still_clips
from sim2street.neural_renderer.data.photo_cache import load_cached_photos
from sim2street.neural_renderer.data.photos import PhotoSourceConfig, list_photos
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.data.town_clips import TownClips, TownClipsConfig
from sim2street.neural_renderer.data.video import Video, find_videos, track
from sim2street.neural_renderer.data.video_clips import video_clips
from sim2street.neural_renderer.training.config import Phase, TrainConfig

Photos = dict[str, list[PreparedPhoto]]
Drawn = tuple[int, ClipBatch | None, Batch]
"""The number of a draw, clips or None, and photographs."""


def load_sources(sources: tuple[PhotoSourceConfig, ...], cache: Path) -> Photos:
    """Read and prepare all photographs, or read them prepared from `cache`."""
    return {s.name: load_cached_photos(s, list_photos(s), cache) for s in sources}


def at_root(config: TrainConfig, root: Path) -> TrainConfig:
    """The same run with relative data folders looked up under `root`."""

    def moved(sources: tuple[PhotoSourceConfig, ...]) -> tuple[PhotoSourceConfig, ...]:
        return tuple(s.model_copy(update={"root": root / s.root}) for s in sources)

    update = {"sources": moved(config.sources), "validation": moved(config.validation)}
    return config.model_copy(update=update)


class Source:
    """Batches of stills and clips by step."""

    def __init__(self, config: TrainConfig, cache: Path) -> None:
        if not config.sources:
            raise ConfigError("a training run needs at least one photo source")
        self._config = config
        self._photos = load_sources(config.sources, cache)
        self._validation = load_sources(config.validation, cache)
        self._datasets = [self._dataset(phase) for phase in config.phases]
        self._towns = [self._town(phase) for phase in config.phases]
        self._videos = self._tracked()
        self.seen_tags = _seen_tags(self._photos)

    def drawn(self, step: int, draw: int) -> Drawn:
        """Everything that a draw of a step needs: its clips, if any, and photographs."""
        clip = self.clip(step, draw)
        stills = self.batch(step, draw, len(clip.drives) if clip else None)
        if clip is None and self._swaps(step):
            stills = stills.in_next_style()
        return draw, clip, stills

    def batch(self, step: int, draw: int, batch_size: int | None = None) -> Batch:
        """The stills of a step's phase, from the seed and the number of the draw alone.

        `draw` is `step` itself unless a step has several batches (accumulation, ranks).
        """
        index, phase = self._config.phase_at(step)
        return self._datasets[index].batch(draw, batch_size or phase.batch_size, phase.mix)

    def clip(self, step: int, draw: int) -> ClipBatch | None:
        """The clips of a step, or None where the step is one of stills.

        Which of the two depends on the step alone: all its batches are of one kind.
        """
        index, phase = self._config.phase_at(step)
        rng = np.random.default_rng((self._config.seed, step, 3))
        if rng.random() >= phase.clip_share:
            return None
        town, dataset, kind = self._towns[index], self._datasets[index], rng.random()
        if town is not None and kind < phase.town_share:
            return town.clips(draw, phase.clip_batch_size, phase.frames)
        if kind < phase.town_share + phase.video_share:
            return video_clips(dataset, self._videos, draw, phase.clip_batch_size, phase.frames)
        return still_clips(dataset, draw, phase.clip_batch_size, phase.frames, phase.mix)

    def _swaps(self, step: int) -> bool:
        """Whether a step of stills has no targets, from the step alone as in `clip`."""
        _, phase = self._config.phase_at(step)
        return np.random.default_rng((self._config.seed, step, 4)).random() < phase.swap_share

    def samples(self, count: int, step: int) -> Batch:
        """Fixed samples for a sheet: validation photographs where there are any."""
        _, phase = self._config.phase_at(step)
        photos = self._validation or self._photos
        config = self._dataset_config(phase, zoom=(0.9, 1.0), plain=True)
        return PhotoDataset(config, photos, seed=7).batch(0, count)

    def _dataset(self, phase: Phase) -> PhotoDataset:
        return PhotoDataset(
            self._dataset_config(phase, phase.zoom), self._photos, self._config.seed
        )

    def _tracked(self) -> list[Video]:
        """The sources' videos with their cameras' ways, where a phase asks for video."""
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
                f"a phase asks for video of {frames} frames, but at most {longest} pictures follow "
                "each other a source's video_step apart in their names' numbers"
            )
        return [track(run) for run in runs]

    def _town(self, phase: Phase) -> TownClips | None:
        if not phase.town_share or not phase.clip_share:
            return None
        if self._config.town_clips is None:
            raise ConfigError("a phase has a town_share, but there is no town_clips folder")
        config = TownClipsConfig(size_px=phase.size_px, zoom=phase.zoom)
        return TownClips(self._config.town_clips, config, self._config.seed)

    def _dataset_config(
        self, phase: Phase, zoom: tuple[float, float], plain: bool = False
    ) -> PhotoDatasetConfig:
        config = PhotoDatasetConfig(
            size_px=phase.size_px,
            exemplars=self._config.exemplars,
            zoom=zoom,
            rare_share=phase.rare_share,
        )
        if not plain:
            return config
        as_they_are = {"tone": 0.0, "depth_dropout": 0.0, "roughen": None, "rare_share": 0.0}
        return config.model_copy(update={"flip": False, **as_they_are})


def _seen_tags(photos: Photos) -> tuple[int, ...]:
    seen: set[int] = set()
    for source in photos.values():
        for photo in source:
            ids = np.flatnonzero(np.bincount(photo.ids.ravel(), minlength=256))
            seen |= set(np.flatnonzero(photo.sets[ids].any(axis=0)).tolist())
    return tuple(sorted(seen - {0}))
