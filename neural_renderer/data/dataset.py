"""Random crops of photographs as training batches, each with exemplars of the same drive.

    dataset = PhotoDataset(
        PhotoDatasetConfig(size_px=(256, 128)), {"camvid": load_photos(config)}, seed=1
    )
    batch = dataset.batch(step=17, batch_size=4, weights={"camvid": 1.0})

A batch depends on the seed and the step only, so that a run that was stopped continues with the
batches that it would have had.
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
from sim2street.neural_renderer.conditions.class_map import DEFAULT_GROUPS
from sim2street.neural_renderer.conditions.layout import photo_layout
from sim2street.neural_renderer.data.augment import (
    ROUGHENED_SHARE,
    THIN_RANK,
    RoughenConfig,
    Tone,
    draw_tone,
)
from sim2street.neural_renderer.data.batch import Batch
from sim2street.neural_renderer.data.crops import (
    CropConfig,
    choose_crop,
    crop_camera,
    crop_labels,
    crop_rgb,
    multihot_tags,
    random_pose,
)
from sim2street.neural_renderer.data.photo_canvas import PhotoCanvas, crop_view
from sim2street.neural_renderer.data.prepare import PreparedPhoto

RARE_OBJECTS = tuple(DEFAULT_GROUPS[name] for name in ("person", "cyclist", "sign"))
"""Tags of each kind of rare object; each kind covers a fiftieth of a street photograph or less."""

MIN_RARE_AREA = 0.001
"""Least share of a photograph that a rare object must cover for a crop to be moved to it."""


class PhotoDatasetConfig(CropConfig):
    """Which crops are drawn and how they are augmented.

    Attributes:
        exemplars: number of exemplars for each crop.
        tone: strength of the random change of colours; 0: none.
        depth_dropout: share of the crops whose `has_depth` is False.
        single_tag: probability that a label id that may mean several tags is given as one of
            them, as a simulator would.
        roughen: how label outlines are augmented; None: not.
        rare_share: share of the crops that are moved to one of `RARE_OBJECTS`, each kind equally
            often: rare class sampling (Hoyer et al., CVPR 2022, section 3.3).
    """

    exemplars: int = Field(2, ge=1)
    tone: float = Field(1.0, ge=0.0)
    depth_dropout: float = Field(0.3, ge=0.0, le=1.0)
    single_tag: float = Field(0.5, ge=0.0, le=1.0)
    roughen: RoughenConfig | None = RoughenConfig()
    rare_share: float = Field(0.0, ge=0.0, le=1.0)


class PhotoDataset:
    """Draws batches from prepared photographs.

    Attributes:
        config: which crops are drawn.
        sources: photographs by source name.
        seed: start of all random numbers.
        canvas: makes the canvas of each crop, or None.
    """

    def __init__(
        self,
        config: PhotoDatasetConfig,
        sources: Mapping[str, Sequence[PreparedPhoto]],
        seed: int,
        canvas: PhotoCanvas | None = None,
    ) -> None:
        """Raises ConfigError for no source, or a source without photographs.

        canvas: makes the canvas of each crop; None: there is none.
        """
        if not sources or not all(sources.values()):
            raise ConfigError("a dataset needs at least one source, and photographs in each")
        self.config = config
        self.sources = {name: list(photos) for name, photos in sources.items()}
        self.seed = seed
        self.canvas = canvas
        self._drives: dict[str, list[PreparedPhoto]] = defaultdict(list)
        for photos in self.sources.values():
            for photo in photos:
                self._drives[photo.drive].append(photo)
        self._rare = self._photos_of_rare() if config.rare_share else []

    def batch(
        self, step: int, batch_size: int, weights: Mapping[str, float] | None = None
    ) -> Batch:
        """The batch of a step.

        weights: share of each source, normalised; None: all photographs equally often.

        Raises:
            ConfigError: weights for an unknown source, or weights that add up to 0.
        """
        shares = self._shares(weights)
        return collate([self.sample(step, index, shares) for index in range(batch_size)])

    def sample(self, step: int, index: int, shares: Mapping[str, float]) -> Batch:
        """Sample number `index` of a step's batch, as a batch of one.

        shares: of each source; they must add up to 1.
        """
        rng = np.random.default_rng((self.seed, step, index))
        if self._rare and rng.random() < self.config.rare_share:
            tags, photos = self._rare[int(rng.integers(len(self._rare)))]
            available = {name: shares[name] for name in shares if photos.get(name)}
            if available:
                photo = self._draw(rng, self._shares(available), photos)
                pixels = np.flatnonzero(np.isin(photo.primary, tags)[photo.ids])
                column_px = int(rng.choice(pixels)) % photo.ids.shape[1]
                return self.make_sample(photo, rng, column_px)
        return self.make_sample(self._draw(rng, shares), rng)

    def draw_photo(
        self, rng: np.random.Generator, weights: Mapping[str, float] | None = None
    ) -> PreparedPhoto:
        """A random photograph; `weights` as in `batch`."""
        return self._draw(rng, self._shares(weights))

    def make_sample(
        self, photo: PreparedPhoto, rng: np.random.Generator, column_px: int | None = None
    ) -> Batch:
        """An augmented crop of a photograph with its exemplars, as a batch of one.

        column_px: a column of the photograph that the crop must show.
        """
        config = self.config
        tone = draw_tone(rng, config.tone)
        crop = choose_crop(photo, config, rng, column_px)
        rough = config.roughen
        if rough is not None and rng.random() >= ROUGHENED_SHARE:
            rough = None
        labels = crop_labels(photo, crop, config.size_px, rng, rough)
        sets = resolve_label_sets(photo, rng, config.single_tag)
        tags = photo.primary[labels.ids]
        exemplar_rgb, exemplar_tags = self.exemplars(photo, rng, tone)
        rgb = crop_rgb(photo, crop, config.size_px, tone)
        camera = crop_camera(photo, crop, config.size_px)
        pose = random_pose(photo.camera.height_m, rng)
        has_depth = rng.random() >= config.depth_dropout
        canvas, foreign = np.zeros((4, *tags.shape), np.float32), np.zeros((1, *tags.shape))
        if self.canvas is not None:
            view = crop_view(tags, labels.depth_m, labels.facades, camera.numpy(), pose)
            canvas, foreign = self.canvas.still(view, rgb.numpy(), rng)
        return Batch(
            rgb=rgb[None],
            tags=multihot_tags(labels.ids, sets)[None],
            depth_m=_plane(labels.depth_m),
            has_depth=torch.tensor([has_depth]),
            layout=torch.from_numpy(photo_layout(tags, labels.facades))[None],
            valid=_plane(tags != Tag.UNKNOWN),
            canvas=torch.from_numpy(canvas)[None],
            foreign=torch.from_numpy(foreign.astype(np.float32))[None],
            camera=camera[None],
            pose=torch.from_numpy(pose)[None],
            exemplar_rgb=exemplar_rgb[None],
            exemplar_tags=exemplar_tags[None],
            own_style=torch.tensor([True]),
            drives=(photo.drive,),
        )

    def exemplars(
        self, photo: PreparedPhoto, rng: np.random.Generator, tone: Tone | None
    ) -> tuple[Tensor, Tensor]:
        """Crops of other photographs of the same drive (of the same one if it has no other).

        Returns:
            Images (K, 3, H, W) in [-1, 1] and multi-hot tags uint8 (K, 29, H, W).
        """
        size_px = self.config.size_px
        others = [p for p in self._drives[photo.drive] if p.frame != photo.frame] or [photo]
        rgbs, tags = [], []
        for _ in range(self.config.exemplars):
            other = others[int(rng.integers(len(others)))]
            crop = choose_crop(other, self.config, rng)
            labels = crop_labels(other, crop, size_px, rng, None)
            rgbs.append(crop_rgb(other, crop, size_px, tone))
            tags.append(multihot_tags(labels.ids, other.sets))
        return concatenate([rgb[None] for rgb in rgbs]), concatenate([hot[None] for hot in tags])

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
        """For each kind of rare object its tags and the photographs that show it, by source."""
        found: list[dict[str, list[PreparedPhoto]]] = [defaultdict(list) for _ in RARE_OBJECTS]
        for name, photos in self.sources.items():
            for photo in photos:
                pixels = np.bincount(photo.ids.ravel(), minlength=256)
                for tags, by_source in zip(RARE_OBJECTS, found, strict=True):
                    area_px = pixels[np.isin(photo.primary, tags)].sum()
                    if area_px >= MIN_RARE_AREA * photo.ids.size:
                        by_source[name].append(photo)
        return [pair for pair in zip(RARE_OBJECTS, found, strict=True) if pair[1]]

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
    """Concatenate batches."""
    names = [name for name in Batch.__dataclass_fields__ if name != "drives"]
    tensors = {name: concatenate([getattr(sample, name) for sample in samples]) for name in names}
    return Batch(**tensors, drives=tuple(drive for s in samples for drive in s.drives))


def concatenate(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate along the first dimension with NumPy, which does not wait for torch's threads."""
    return torch.from_numpy(np.concatenate([tensor.numpy() for tensor in tensors]))


def _plane(values: npt.NDArray[np.generic]) -> Tensor:
    """An array (H, W) as a float32 tensor (1, 1, H, W)."""
    return torch.from_numpy(values.astype(np.float32))[None, None]


def resolve_label_sets(
    photo: PreparedPhoto, rng: np.random.Generator, probability: float
) -> ByteArray:
    """Replace some sets of possible tags by a single tag, mostly the most likely one.

    The tag is never a thinner one than the most likely one: IDD-Lite's "vehicle" may be a bicycle,
    but a whole car labelled as a bicycle would teach wrong bicycles.

    Returns:
        Tags of each label id, multi-hot uint8 (256, 29).
    """
    sets = photo.sets.copy()
    for label_id in np.flatnonzero(sets.sum(axis=1) > 1):
        if rng.random() < probability:
            likeliest = photo.primary[label_id]
            members = np.flatnonzero(sets[label_id])
            members = members[THIN_RANK[members] <= THIN_RANK[likeliest]]
            any_member = members[int(rng.integers(len(members)))]
            sets[label_id] = 0
            sets[label_id, likeliest if rng.random() < 0.7 else any_member] = 1
    return sets
