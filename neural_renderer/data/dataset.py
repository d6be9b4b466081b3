"""Batches of street-like crops of photographs, each with exemplars of its own drive.

    dataset = PhotoDataset(
        PhotoDatasetConfig(size_px=(256, 128)), {"camvid": load_photos(config)}, seed=1
    )
    batch = dataset.batch(step=17, batch_size=4, weights={"camvid": 1.0})

A batch depends on the seed and the step alone: not on what was drawn before, so a resumed
run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812  (the usual name)
from pydantic import Field
from torch import Tensor

from bridge.frame import ByteArray, FloatArray
from bridge.labels import Tag
from configs import ConfigError, StrictModel, did_you_mean
from neural_renderer.data.augment import (
    THIN_RANK,
    RoughenConfig,
    Tone,
    apply_tone,
    draw_tone,
    elastic_offsets,
    roughen,
)
from neural_renderer.data.batch import Batch
from neural_renderer.data.boundaries import boundaries
from neural_renderer.data.prepare import PreparedPhoto


class PhotoDatasetConfig(StrictModel):
    """What a crop looks like and how it is changed.

    Attributes:
        size_px: (width, height) of a crop; 2:1 as the town's camera.
        exemplars: K, per picture.
        zoom: range of the crop's width as a fraction of the photograph's.
        horizon: range of the horizon's height in the crop, from its top.
        flip: mirror half of the pictures.
        tone: strength of the tone jitter, 0 = none.
        depth_dropout: share of pictures whose `has_depth` is False (their depth stays
            filled in, for the world-anchored noise).
        thin_sets: probability that an id that may mean several tags is given as one of
            them, as a simulator would.
        roughen: labels towards a simulator's; None: as they are.
    """

    size_px: tuple[int, int] = (256, 128)
    exemplars: int = Field(2, ge=1)
    zoom: tuple[float, float] = (0.62, 1.0)
    horizon: tuple[float, float] = (0.36, 0.50)
    flip: bool = True
    tone: float = Field(1.0, ge=0.0)
    depth_dropout: float = Field(0.3, ge=0.0, le=1.0)
    thin_sets: float = Field(0.5, ge=0.0, le=1.0)
    roughen: RoughenConfig | None = RoughenConfig()


@dataclass(frozen=True, slots=True)
class Crop:
    """A window of a photograph: rows, columns, mirrored or not."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


@dataclass(frozen=True, slots=True)
class LabelCrop:
    """Ids and facades uint8, depth_m float32, all (H, W)."""

    ids: ByteArray
    depth_m: FloatArray
    facades: ByteArray


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
        names = sorted(shares)
        name = names[rng.choice(len(names), p=[shares[n] for n in names])]
        photos = self.sources[name]
        return self.make(photos[int(rng.integers(len(photos)))], rng)

    def make(self, photo: PreparedPhoto, rng: np.random.Generator) -> Batch:
        """One augmented crop of `photo` with exemplars, as a batch of one."""
        config = self.config
        tone = draw_tone(rng, config.tone)
        crop = choose_crop(photo, config, rng)
        rough = config.roughen
        if rough is not None and rng.random() >= rough.probability:
            rough = None
        labels = crop_labels(photo, crop, config.size_px, rng, rough)
        sets = _thinned(photo, rng, config.thin_sets)
        tags = photo.primary[labels.ids]
        facades = np.where(tags == Tag.BUILDING, labels.facades, np.uint8(0))
        exemplar_rgb, exemplar_tags = self.exemplars(photo, rng, tone)
        return Batch(
            rgb=crop_rgb(photo, crop, config.size_px, tone)[None],
            tags=planes(labels.ids, sets)[None],
            depth_m=torch.from_numpy(labels.depth_m)[None, None],
            has_depth=torch.tensor([rng.random() >= config.depth_dropout]),
            boundaries=torch.from_numpy(boundaries(tags, facades)).float()[None, None],
            valid=torch.from_numpy(tags != Tag.UNKNOWN).float()[None, None],
            camera=crop_camera(photo, crop, config.size_px)[None],
            pose=torch.from_numpy(random_pose(photo.camera.height_m, rng))[None],
            exemplar_rgb=exemplar_rgb[None],
            exemplar_tags=exemplar_tags[None],
            drives=(photo.drive,),
        )

    def exemplars(
        self, photo: PreparedPhoto, rng: np.random.Generator, tone: Tone | None
    ) -> tuple[Tensor, Tensor]:
        """K other pictures of the drive: (K, 3, H, W) in [-1, 1] and (K, 29, H, W)."""
        size_px = self.config.size_px
        others = [p for p in self._drives[photo.drive] if p is not photo] or [photo]
        rgbs, tags = [], []
        for _ in range(self.config.exemplars):
            other = others[int(rng.integers(len(others)))]
            crop = choose_crop(other, self.config, rng)
            labels = crop_labels(other, crop, size_px, rng, None)
            rgbs.append(crop_rgb(other, crop, size_px, tone))
            tags.append(planes(labels.ids, other.sets))
        return torch.stack(rgbs), torch.stack(tags)

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
    tensors = {name: torch.cat([getattr(sample, name) for sample in samples]) for name in names}
    return Batch(**tensors, drives=tuple(drive for s in samples for drive in s.drives))


def choose_crop(photo: PreparedPhoto, config: PhotoDatasetConfig, rng: np.random.Generator) -> Crop:
    """A window of the crop's aspect whose horizon lies where a driving camera has it."""
    full_height, full_width = photo.ids.shape
    full_height = min(full_height, photo.bottom_px)
    aspect = config.size_px[1] / config.size_px[0]
    low, high = config.zoom
    zoom = math.exp(rng.uniform(math.log(low), math.log(high)))
    width = min(round(full_width * zoom), int(full_height / aspect))
    height = round(width * aspect)
    top = round(photo.camera.horizon_px - rng.uniform(*config.horizon) * height)
    return Crop(
        min(max(top, 0), full_height - height),
        int(rng.integers(full_width - width + 1)),
        height,
        width,
        bool(config.flip and rng.random() < 0.5),
    )


def crop_rgb(
    photo: PreparedPhoto, crop: Crop, size_px: tuple[int, int], tone: Tone | None
) -> Tensor:
    """Pixels of a window, float32 (3, H, W) in [-1, 1], area-filtered."""
    window = photo.rgb[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    if crop.flip:
        window = window[:, ::-1]
    source = torch.from_numpy(np.ascontiguousarray(window)).permute(2, 0, 1)[None]
    small = F.interpolate(source, (size_px[1], size_px[0]), mode="bilinear", antialias=True)
    return apply_tone(small[0].float() / 255.0, tone).mul(2.0).sub(1.0)


def crop_labels(
    photo: PreparedPhoto,
    crop: Crop,
    size_px: tuple[int, int],
    rng: np.random.Generator,
    rough: RoughenConfig | None,
) -> LabelCrop:
    """Ids and depth of a window; of 2x2 samples a pixel the thinnest thing wins."""
    chosen = _sample_positions(photo, crop, size_px, rng, rough)
    picked = photo.ids.take(chosen, mode="clip")
    if rough is not None:
        picked = roughen(picked, photo.primary, rng, rough)
    depth_m = photo.depth_m.take(chosen, mode="clip").astype(np.float32)
    return LabelCrop(picked, depth_m, photo.facades.take(chosen, mode="clip"))


def planes(ids: ByteArray, sets: ByteArray) -> Tensor:
    """Multi-hot planes, uint8 (29, H, W), of ids (H, W) through sets uint8 (256, 29)."""
    hot = np.zeros((sets.shape[1], *ids.shape), dtype=np.uint8)
    for label_id in np.flatnonzero(np.bincount(ids.ravel())):
        mask = ids == label_id
        for tag in np.flatnonzero(sets[label_id]):
            hot[tag] |= mask
    return torch.from_numpy(hot)


def crop_camera(photo: PreparedPhoto, crop: Crop, size_px: tuple[int, int]) -> Tensor:
    """fx, fy, cx, cy of a window, float32 (4,); the camera is level, so cy is the horizon."""
    width, height = size_px
    sx, sy = width / crop.width, height / crop.height
    cx = (photo.ids.shape[1] / 2.0 - crop.left) * sx - 0.5
    cy = (photo.camera.horizon_px + 0.5 - crop.top) * sy - 0.5
    if crop.flip:
        cx = width - 1 - cx
    return torch.tensor([photo.camera.focal_px * sx, photo.camera.focal_px * sy, cx, cy])


def random_pose(height_m: float, rng: np.random.Generator) -> FloatArray:
    """A level camera somewhere in a made-up world: camera (OpenCV axes) to world (z up)."""
    yaw = rng.uniform(-math.pi, math.pi)
    x, y = rng.uniform(-500.0, 500.0, 2)
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.array(
        [[sin, 0.0, cos, x], [-cos, 0.0, sin, y], [0.0, -1.0, 0.0, height_m], [0, 0, 0, 1]],
        dtype=np.float32,
    )


def _sample_positions(
    photo: PreparedPhoto,
    crop: Crop,
    size_px: tuple[int, int],
    rng: np.random.Generator,
    rough: RoughenConfig | None,
) -> npt.NDArray[np.int32]:
    """Flat indices into the photograph, int32 (H, W): the thinnest of four samples."""
    width, height = size_px
    full_height, full_width = photo.ids.shape
    shift = np.zeros((2, 1, 1), dtype=np.float32)
    if rough is not None:
        amplitude = float(rng.uniform(0.0, rough.elastic_px)) * width / 256.0
        shift = elastic_offsets(rng, size_px, amplitude)
    rows = np.arange(height, dtype=np.float32)[:, None] + 0.5 + shift[0]
    columns = np.arange(width, dtype=np.float32) + 0.5 + shift[1]
    if crop.flip:
        columns = width - columns
    ranks = THIN_RANK[photo.primary]
    best = np.zeros((height, width), dtype=np.uint8)
    chosen = np.zeros((height, width), dtype=np.int32)
    for dy, dx in ((0.25, 0.25), (-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25)):
        y = ((rows + dy) * (crop.height / height)).astype(np.int32) + crop.top
        x = ((columns + dx) * (crop.width / width)).astype(np.int32) + crop.left
        flat = np.clip(y, 0, full_height - 1) * full_width + np.clip(x, 0, full_width - 1)
        rank = ranks.take(photo.ids.take(flat, mode="clip"), mode="clip") + np.uint8(1)
        np.copyto(chosen, flat, where=rank > best)
        np.maximum(best, rank, out=best)
    return chosen


def _thinned(photo: PreparedPhoto, rng: np.random.Generator, probability: float) -> ByteArray:
    """Some ids of several tags become one of them, mostly the likeliest; uint8 (256, 29)."""
    thinned = photo.sets.copy()
    for label_id in np.flatnonzero(thinned.sum(axis=1) > 1):
        if rng.random() < probability:
            members = np.flatnonzero(thinned[label_id])
            any_member = members[int(rng.integers(len(members)))]
            thinned[label_id] = 0
            thinned[label_id, photo.primary[label_id] if rng.random() < 0.7 else any_member] = 1
    return thinned
