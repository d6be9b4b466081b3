"""Batches of street-like crops of photographs, each with exemplars of its own drive.

    dataset = PhotoDataset(
        PhotoDatasetConfig(size_px=(256, 128)), {"camvid": load_photos(config)}, seed=1
    )
    batch = dataset.batch(step=17, batch_size=4, weights={"camvid": 1.0})

A batch depends on the seed and the step alone: not on what was drawn before, so a resumed
run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from sim2street.bridge.frame import ByteArray
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError, did_you_mean
from sim2street.neural_renderer.conditions.generator_input import DEFAULT_GROUPS
from sim2street.neural_renderer.conditions.layout import photo_layout
from sim2street.neural_renderer.data.augment import THIN_RANK, RoughenConfig, Tone, draw_tone
from sim2street.neural_renderer.data.batch import Batch
from sim2street.neural_renderer.data.crops import (
    CropConfig,
    choose_crop,
    crop_camera,
    crop_labels,
    crop_rgb,
    planes,
    random_pose,
)
from sim2street.neural_renderer.data.prepare import PreparedPhoto

RARE_THINGS = tuple(DEFAULT_GROUPS[name] for name in ("person", "cyclist", "sign"))
"""What a crop may be moved to: each covers a fiftieth of a street photograph or less."""

LEAST_SHOWN = 0.001
"""Share of a photograph that a rare thing must cover for a crop to be moved to it."""


class PhotoDatasetConfig(CropConfig):
    """What a crop looks like and how it is changed.

    Attributes:
        exemplars: K, per picture.
        tone: strength of the tone jitter, 0 = none.
        depth_dropout: share of pictures whose `has_depth` is False (their depth stays
            filled in, for the world-anchored noise).
        thin_sets: probability that an id that may mean several tags is given as one of
            them, as a simulator would.
        roughen: labels towards a simulator's; None: as they are.
        rare_share: share of the pictures that show one of `RARE_THINGS`, each as often as
            the others: rare class sampling (Hoyer et al., CVPR 2022, section 3.3), with
            the crop moved to the thing.
    """

    exemplars: int = Field(2, ge=1)
    tone: float = Field(1.0, ge=0.0)
    depth_dropout: float = Field(0.3, ge=0.0, le=1.0)
    thin_sets: float = Field(0.5, ge=0.0, le=1.0)
    roughen: RoughenConfig | None = RoughenConfig()
    rare_share: float = Field(0.0, ge=0.0, le=1.0)


class PhotoDataset:
    """Draws batches from prepared photographs, grouped by source name."""

    def __init__(
        self,
        config: PhotoDatasetConfig,
        sources: Mapping[str, Sequence[PreparedPhoto]],
        seed: int,
    ) -> None:
        if not sources or not all(sources.values()):
            raise ConfigError("a dataset needs at least one source, each with photographs")
        self.config = config
        self.sources = {name: list(photos) for name, photos in sources.items()}
        self.seed = seed
        self._drives: dict[str, list[PreparedPhoto]] = defaultdict(list)
        for photos in self.sources.values():
            for photo in photos:
                self._drives[photo.drive].append(photo)
        self._rare = self._photos_of_rare() if config.rare_share else []

    @property
    def drives(self) -> tuple[str, ...]:
        """Names of all drives, "source/drive"."""
        return tuple(sorted(self._drives))

    def batch(
        self, step: int, batch_size: int, weights: Mapping[str, float] | None = None
    ) -> Batch:
        """The batch of a step. `weights`: share per source (default: all photos alike)."""
        shares = self._shares(weights)
        return collate([self.sample(step, index, shares) for index in range(batch_size)])

    def sample(self, step: int, index: int, shares: Mapping[str, float]) -> Batch:
        """One picture of a step's batch, as a batch of one."""
        rng = np.random.default_rng((self.seed, step, index))
        if self._rare and rng.random() < self.config.rare_share:
            things, photos = self._rare[int(rng.integers(len(self._rare)))]
            with_any = {name: shares[name] for name in shares if photos.get(name)}
            if with_any:
                photo = self._draw(rng, self._shares(with_any), photos)
                shown = np.flatnonzero(np.isin(photo.primary, things)[photo.ids])
                column_px = int(rng.choice(shown)) % photo.ids.shape[1]
                return self.make(photo, rng, column_px)
        return self.make(self._draw(rng, shares), rng)

    def draw(
        self, rng: np.random.Generator, weights: Mapping[str, float] | None = None
    ) -> PreparedPhoto:
        """A random photograph; `weights` as in `batch`."""
        return self._draw(rng, self._shares(weights))

    def make(
        self, photo: PreparedPhoto, rng: np.random.Generator, column_px: int | None = None
    ) -> Batch:
        """One augmented crop of `photo` with exemplars, as a batch of one.

        `column_px`: see `choose_crop`.
        """
        config = self.config
        tone = draw_tone(rng, config.tone)
        crop = choose_crop(photo, config, rng, column_px)
        rough = config.roughen
        if rough is not None and rng.random() >= rough.probability:
            rough = None
        labels = crop_labels(photo, crop, config.size_px, rng, rough)
        sets = thinned_sets(photo, rng, config.thin_sets)
        tags = photo.primary[labels.ids]
        exemplar_rgb, exemplar_tags = self.exemplars(photo, rng, tone)
        return Batch(
            rgb=crop_rgb(photo, crop, config.size_px, tone)[None],
            tags=planes(labels.ids, sets)[None],
            depth_m=_plane(labels.depth_m),
            has_depth=torch.tensor([rng.random() >= config.depth_dropout]),
            layout=torch.from_numpy(photo_layout(tags, labels.facades))[None],
            valid=_plane(tags != Tag.UNKNOWN),
            camera=crop_camera(photo, crop, config.size_px)[None],
            pose=torch.from_numpy(random_pose(photo.camera.height_m, rng))[None],
            exemplar_rgb=exemplar_rgb[None],
            exemplar_tags=exemplar_tags[None],
            own_style=torch.tensor([True]),
            drives=(photo.drive,),
        )

    def exemplars(
        self, photo: PreparedPhoto, rng: np.random.Generator, tone: Tone | None
    ) -> tuple[Tensor, Tensor]:
        """K other pictures of the drive: (K, 3, H, W) in [-1, 1] and (K, 29, H, W)."""
        size_px = self.config.size_px
        others = [p for p in self._drives[photo.drive] if p.frame != photo.frame] or [photo]
        rgbs, tags = [], []
        for _ in range(self.config.exemplars):
            other = others[int(rng.integers(len(others)))]
            crop = choose_crop(other, self.config, rng)
            labels = crop_labels(other, crop, size_px, rng, None)
            rgbs.append(crop_rgb(other, crop, size_px, tone))
            tags.append(planes(labels.ids, other.sets))
        return joined([rgb[None] for rgb in rgbs]), joined([hot[None] for hot in tags])

    def _draw(
        self,
        rng: np.random.Generator,
        shares: Mapping[str, float],
        sources: Mapping[str, Sequence[PreparedPhoto]] | None = None,
    ) -> PreparedPhoto:
        names = sorted(shares)
        name = names[rng.choice(len(names), p=[shares[n] for n in names])]
        photos = (sources or self.sources)[name]
        return photos[int(rng.integers(len(photos)))]

    def _photos_of_rare(self) -> list[tuple[tuple[Tag, ...], dict[str, list[PreparedPhoto]]]]:
        """Rare things that any photograph shows, and these photographs by source."""
        found: list[dict[str, list[PreparedPhoto]]] = [defaultdict(list) for _ in RARE_THINGS]
        for name, photos in self.sources.items():
            for photo in photos:
                pixels = np.bincount(photo.ids.ravel(), minlength=256)
                for things, by_source in zip(RARE_THINGS, found, strict=True):
                    shown = pixels[np.isin(photo.primary, things)].sum()
                    if shown >= LEAST_SHOWN * photo.ids.size:
                        by_source[name].append(photo)
        return [pair for pair in zip(RARE_THINGS, found, strict=True) if pair[1]]

    def _shares(self, weights: Mapping[str, float] | None) -> dict[str, float]:
        raw = weights or {name: float(len(photos)) for name, photos in self.sources.items()}
        for name in raw:
            if name not in self.sources:
                hint = did_you_mean(name, list(self.sources))
                raise ConfigError(f"no photo source '{name}'{hint}")
        total = sum(raw.values())
        if total <= 0.0:
            raise ConfigError(f"weights of photo sources must add up to more than 0: {raw}")
        return {name: weight / total for name, weight in raw.items() if weight > 0.0}


def collate(samples: Sequence[Batch]) -> Batch:
    """One batch from batches of one."""
    names = [name for name in Batch.__dataclass_fields__ if name != "drives"]
    tensors = {name: joined([getattr(sample, name) for sample in samples]) for name in names}
    return Batch(**tensors, drives=tuple(drive for s in samples for drive in s.drives))


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenation on the CPU in this thread."""
    return torch.from_numpy(np.concatenate([tensor.numpy() for tensor in tensors]))


def _plane(values: npt.NDArray[np.generic]) -> Tensor:
    """(H, W) of anything to float32 (1, 1, H, W)."""
    return torch.from_numpy(values.astype(np.float32))[None, None]


def thinned_sets(photo: PreparedPhoto, rng: np.random.Generator, probability: float) -> ByteArray:
    """Some ids of several tags become one of them, mostly the likeliest; uint8 (256, 29).

    Never a thinner one: of what IDD-Lite calls vehicles few pixels are bicycles, yet whole cars
    labelled as bicycles or motorcycles were a third of all that was labelled cyclist alone.
    """
    thinned = photo.sets.copy()
    for label_id in np.flatnonzero(thinned.sum(axis=1) > 1):
        if rng.random() < probability:
            likeliest = photo.primary[label_id]
            members = np.flatnonzero(thinned[label_id])
            members = members[THIN_RANK[members] <= THIN_RANK[likeliest]]
            any_member = members[int(rng.integers(len(members)))]
            thinned[label_id] = 0
            thinned[label_id, likeliest if rng.random() < 0.7 else any_member] = 1
    return thinned
