"""Packed clips of a simulated world as training batches; they have no target image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from sim2street.bridge.frame import ByteArray
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError, StrictModel
from sim2street.neural_renderer.conditions.facade_windows import place_windows
from sim2street.neural_renderer.conditions.layout import layout
from sim2street.neural_renderer.data.augment import THIN_RANK
from sim2street.neural_renderer.data.batch import ClipBatch
from sim2street.neural_renderer.data.crops import Crop
from sim2street.neural_renderer.data.photo_clips import collate_clips
from sim2street.neural_renderer.data.town_pack import PackedClip, decode_clip

Scalar = TypeVar("Scalar", bound=np.generic)

MAX_STRIDE = 2
"""Clips take every n-th packed frame, n from 1 to this."""

MAX_ACTORS = 24
"""Most actors whose motion is kept, the largest in the image; the others count as static."""


class TownClipsConfig(StrictModel):
    """Which crops of a simulator's views are taken.

    Attributes:
        size_px: (width, height) of a crop.
        zoom: range of a crop's width as a fraction of the view's width.
    """

    size_px: tuple[int, int] = (256, 128)
    zoom: tuple[float, float] = (0.8, 1.0)


class TownClips:
    """The packed clips of a folder, kept compressed in memory."""

    def __init__(self, folder: Path, config: TownClipsConfig, seed: int) -> None:
        """Read all clips.

        Raises:
            ConfigError: the folder holds no clips.
        """
        paths = sorted(folder.glob("clip_*.npz"))
        if not paths:
            raise ConfigError(
                f"no packed clips (clip_*.npz) in {folder}: make some with `sim2street pack`"
            )
        self._files = [(path.name, path.read_bytes()) for path in paths]
        self.config = config
        self.seed = seed

    def __len__(self) -> int:
        return len(self._files)

    def clips(self, step: int, batch_size: int, frames: int) -> ClipBatch:
        """The clips of a step; they depend on the seed and the step only.

        Raises:
            ConfigError: a clip has fewer than `frames` frames.
            RecordingError: a file is no packed clip of this version.
        """
        drawn = []
        for index in range(batch_size):
            rng = np.random.default_rng((self.seed, step, index, 2))
            name, data = self._files[int(rng.integers(len(self._files)))]
            clip = decode_clip(data, name)
            drawn.append(crop_clip(clip, frames, rng, self.config))
        return collate_clips(drawn)


def crop_clip(
    clip: PackedClip, frames: int, rng: np.random.Generator, config: TownClipsConfig
) -> ClipBatch:
    """Some consecutive frames of a clip in one random crop, as a batch of one."""
    count = len(clip.labels)
    if count < frames:
        raise ConfigError(f"{clip.name}: has {count} frames, training asks for {frames}")
    longest = max(1, min(MAX_STRIDE, (count - 1) // max(frames - 1, 1)))
    stride = int(rng.integers(1, longest + 1))
    start = int(rng.integers(count - stride * (frames - 1)))
    chosen = slice(start, start + stride * (frames - 1) + 1, stride)
    crop = _random_crop(clip.labels.shape[1:], config, rng)
    pixels = [_sample_positions(labels, crop, config.size_px) for labels in clip.labels[chosen]]
    labels = _take(clip.labels[chosen], pixels)
    instances = _take(clip.instances[chosen], pixels)
    depth_m = _take(clip.depth_m[chosen], pixels)
    kept = _largest_actors(instances, clip.actor_present.shape[1])
    windows = [
        _windows(clip, t).take(flat) for t, flat in zip(range(count)[chosen], pixels, strict=True)
    ]
    layouts = [layout(*planes) for planes in zip(labels, instances, windows, strict=True)]
    canvases = [clip.canvas_planes(t) for t in range(count)[chosen]]
    canvas = [planes.reshape(4, -1)[:, flat] for planes, flat in zip(canvases, pixels, strict=True)]
    return ClipBatch(
        rgb=torch.zeros(1, frames, 3, *labels.shape[1:]),
        has_rgb=torch.zeros(1, frames, dtype=torch.bool),
        tags=_one_hot(labels)[None],
        depth_m=torch.from_numpy(depth_m)[None, :, None],
        layout=torch.from_numpy(np.stack(layouts))[None],
        valid=torch.from_numpy(labels != Tag.UNKNOWN).float()[None, :, None],
        canvas=torch.from_numpy(np.stack(canvas))[None],
        instances=torch.from_numpy(_slots(instances, kept))[None, :, None],
        camera=_camera(clip, crop, config.size_px)[None],
        pose=torch.from_numpy(clip.pose[chosen])[None],
        actor_pose=torch.from_numpy(clip.actor_pose[chosen][:, kept])[None],
        actor_present=torch.from_numpy(clip.actor_present[chosen][:, kept])[None],
        exemplar_rgb=torch.zeros(1, 1, 3, *labels.shape[1:]),
        exemplar_tags=torch.zeros(1, 1, 29, *labels.shape[1:], dtype=torch.uint8),
        has_exemplars=torch.zeros(1, dtype=torch.bool),
        drives=(clip.name,),
    )


def _random_crop(shape: tuple[int, ...], config: TownClipsConfig, rng: np.random.Generator) -> Crop:
    """A crop at a random column, and at a random row near the view's middle."""
    height, width = shape
    zoom = math.exp(rng.uniform(*np.log(config.zoom)))
    aspect = config.size_px[1] / config.size_px[0]
    crop_width = min(round(width * zoom), int(height / aspect))
    crop_height = round(crop_width * aspect)
    top = round((height - crop_height) * rng.uniform(0.35, 0.65))
    left = int(rng.integers(width - crop_width + 1))
    return Crop(top, left, crop_height, crop_width, flip=False)


def _sample_positions(
    labels: ByteArray, crop: Crop, size_px: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """The view's pixel for each pixel of the crop, as flat indices, int64 (H, W).

    Where the view is reduced, the sample with the highest `THIN_RANK` of four (2x2) is taken.
    """
    width, height = size_px
    offsets = (0.0,) if crop.width <= width else (-0.25, 0.25)
    best: ByteArray = np.zeros((height, width), dtype=np.uint8)
    chosen = np.zeros((height, width), dtype=np.int64)
    for dy in offsets:
        for dx in offsets:
            y = ((np.arange(height) + 0.5 + dy) * crop.height / height).astype(int) + crop.top
            x = ((np.arange(width) + 0.5 + dx) * crop.width / width).astype(int) + crop.left
            flat = y[:, None] * labels.shape[1] + x
            rank = THIN_RANK[labels.take(flat)] + np.uint8(1)
            np.copyto(chosen, flat, where=rank > best)
            np.maximum(best, rank, out=best)
    return chosen


def _windows(clip: PackedClip, t: int) -> npt.NDArray[np.bool_]:
    """Windows of a whole frame, bool; the depth of a crop is too uneven to find walls in."""
    ids = clip.instances[t].astype(np.uint32)
    return place_windows(clip.labels[t], ids, clip.depth_m[t], clip.camera.tolist(), clip.pose[t])


def _take(maps: npt.NDArray[Scalar], pixels: list[npt.NDArray[np.int64]]) -> npt.NDArray[Scalar]:
    """The pixels of each frame at flat indices: (T, H, W)."""
    return np.stack([layer.take(flat) for layer, flat in zip(maps, pixels, strict=True)])


def _one_hot(labels: ByteArray) -> torch.Tensor:
    """Tags uint8 (T, H, W) as one-hot uint8 (T, 29, H, W)."""
    hot = labels[:, None] == np.arange(29, dtype=np.uint8)[:, None, None]
    return torch.from_numpy(hot.astype(np.uint8))


def _largest_actors(instances: npt.NDArray[np.uint16], actors: int) -> list[int]:
    """Indices, ascending, of the actors with the most pixels in the clip, at most `MAX_ACTORS`."""
    sizes = np.bincount(instances.ravel(), minlength=actors + 1)[1 : actors + 1]
    largest = np.argsort(-sizes, kind="stable")[:MAX_ACTORS]
    return sorted(int(i) for i in largest if sizes[i] > 0)


def _slots(instances: npt.NDArray[np.uint16], kept: list[int]) -> npt.NDArray[np.int64]:
    """Instances as 1 + index into `kept`, 0 for everything else."""
    table = np.zeros(int(instances.max(initial=0)) + 1, dtype=np.int64)
    for slot, actor in enumerate(kept, start=1):
        table[actor + 1] = slot
    return table[instances]


def _camera(clip: PackedClip, crop: Crop, size_px: tuple[int, int]) -> torch.Tensor:
    """Fx, fy, cx, cy in pixels of the crop, float32 (4,)."""
    fx, fy, cx, cy = (float(value) for value in clip.camera)
    sx, sy = size_px[0] / crop.width, size_px[1] / crop.height
    return torch.tensor(
        [fx * sx, fy * sy, (cx + 0.5 - crop.left) * sx - 0.5, (cy + 0.5 - crop.top) * sy - 0.5]
    )
