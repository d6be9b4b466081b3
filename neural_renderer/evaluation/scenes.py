"""What an evaluation renders: photographs, videos and packed clips, all as Views.

Everything goes through the session as a simulator's frames would, so that what is measured
is what is served.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sim2street.bridge.frame import Actor, ByteArray, Camera, FloatArray, View
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.layout import WINDOW
from sim2street.neural_renderer.data.crops import (
    Crop,
    CropConfig,
    choose_crop,
    crop_camera,
    crop_labels,
    crop_rgb,
    planes,
)
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.data.town_pack import PackedClip
from sim2street.neural_renderer.data.video import Video

MIDDLE_HORIZON = 0.43
"""Where a crop's horizon lies, fraction from the top: the middle of what training draws."""


@dataclass(frozen=True, slots=True)
class Still:
    """A photograph and the view that its labels make.

    Attributes:
        view: labels, pseudo-depth and facades; a camera of the crop.
        rgb: float32 (3, H, W) in [-1, 1], the photograph. tags: uint8 (29, H, W) multi-hot.
        drive, frame: where it comes from.
    """

    view: View
    rgb: Tensor
    tags: Tensor
    drive: str
    frame: int


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame of a clip: its view, its actors, and the photograph where there is one."""

    view: View
    actors: tuple[Actor, ...] = ()
    photo: ByteArray | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """Consecutive moments of a world, and the drive whose style suits ("" = any)."""

    name: str
    moments: tuple[Moment, ...]
    drive: str = ""


def still_of(photo: PreparedPhoto, size_px: tuple[int, int]) -> Still:
    """The middle of a photograph as large as the size's aspect allows, unchanged labels."""
    crop = _whole(photo, size_px)
    view, tags = _view_of(photo, crop, size_px, _level_pose(photo.camera.height_m))
    rgb = crop_rgb(photo, crop, size_px, None)
    return Still(view, rgb, tags, photo.drive, photo.frame)


def clip_of_video(video: Video, size_px: tuple[int, int]) -> Clip:
    """Real frames with the poses found for them; nothing is known to move by itself."""
    crop = _whole(video.photos[0], size_px)
    moments = []
    for photo, pose in zip(video.photos, video.poses, strict=True):
        view, _ = _view_of(photo, crop, size_px, pose.astype(np.float32))
        moments.append(Moment(view, (), as_uint8(crop_rgb(photo, crop, size_px, None))))
    first = video.photos[0]
    return Clip(f"{first.drive} from {first.frame}", tuple(moments), first.drive)


def clip_of_pack(clip: PackedClip) -> Clip:
    """A packed clip of a simulated world; instances 1..A are its actors."""
    count, height, width = clip.labels.shape
    camera = Camera(width, height, *(float(value) for value in clip.camera))
    tags = _actor_tags(clip)
    moments = []
    for t in range(count):
        actors = tuple(
            Actor(a + 1, tags[a], clip.actor_pose[t, a], (1.0, 1.0, 1.0))
            for a in np.flatnonzero(clip.actor_present[t]).tolist()
        )
        ids = clip.instances[t].astype(np.uint32)
        view = View(camera, clip.pose[t], clip.labels[t], clip.depth_m[t], ids)
        moments.append(Moment(view, actors))
    return Clip(clip.name, tuple(moments))


def there_and_back(clip: Clip) -> Clip:
    """The clip, then the same moments in reverse: the last one is the first one again."""
    return Clip(clip.name, (*clip.moments, *clip.moments[-2::-1]), clip.drive)


def as_uint8(rgb: Tensor) -> ByteArray:
    """(3, H, W) in [-1, 1] to uint8 (H, W, 3)."""
    scaled = ((rgb.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).numpy())


def as_tensor(rgb: ByteArray) -> Tensor:
    """Uint8 (H, W, 3) to float32 (3, H, W) in [-1, 1]."""
    return torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1.0


def longest(videos: Sequence[list[PreparedPhoto]], frames: int) -> list[PreparedPhoto]:
    """The beginning of the longest run of photographs, at most `frames`; empty: no run."""
    return max(videos, key=len, default=[])[:frames]


def _whole(photo: PreparedPhoto, size_px: tuple[int, int]) -> Crop:
    horizon = (MIDDLE_HORIZON, MIDDLE_HORIZON)
    config = CropConfig(size_px=size_px, zoom=(1.0, 1.0), horizon=horizon, flip=False)
    return choose_crop(photo, config, np.random.default_rng(0))


def _view_of(
    photo: PreparedPhoto, crop: Crop, size_px: tuple[int, int], pose: FloatArray
) -> tuple[View, Tensor]:
    layers = crop_labels(photo, crop, size_px, np.random.default_rng(0), None)
    tags = photo.primary[layers.ids]
    facades = np.where(tags == Tag.BUILDING, layers.facades & ~WINDOW, 0).astype(np.uint32)
    fx, fy, cx, cy = crop_camera(photo, crop, size_px).tolist()
    camera = Camera(size_px[0], size_px[1], fx, fy, cx, cy)
    return View(camera, pose, tags, layers.depth_m, facades), planes(layers.ids, photo.sets)


def _level_pose(height_m: float) -> FloatArray:
    """A level camera that looks along x: camera (OpenCV axes) to world (z up)."""
    return np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, height_m], [0, 0, 0, 1]], np.float32)


def _actor_tags(clip: PackedClip) -> list[int]:
    """The commonest label on each actor's pixels; actors that are never seen are cars."""
    actors = clip.actor_present.shape[1]
    pairs = clip.instances.astype(np.int64) * 32 + clip.labels
    counts = np.bincount(pairs.ravel(), minlength=(actors + 1) * 32)[: (actors + 1) * 32]
    table = counts.reshape(-1, 32)[1:]
    return [int(row.argmax()) if row.any() else int(Tag.CAR) for row in table]


assert math.isclose(MIDDLE_HORIZON, sum(CropConfig().horizon) / 2.0)
