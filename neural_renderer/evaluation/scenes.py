"""What an evaluation renders: photographs, videos and packed clips, all as views.

Views go through the same renderer sessions as those of a simulator, so that the measured images are
the ones that users get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from sim2street.bridge.frame import Actor, ByteArray, Camera, FloatArray, View
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.layout import WINDOW
from sim2street.neural_renderer.data.crops import (
    Crop,
    CropConfig,
    choose_crop,
    crop_camera,
    crop_labels,
    crop_rgb,
    multihot_tags,
)
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.data.town_pack import PackedClip
from sim2street.neural_renderer.data.video import Video
from sim2street.neural_renderer.images import to_uint8

HORIZON_SHARE = 0.43
"""Horizon of crops as a share of the height from the top: the middle of the range in training."""


@dataclass(frozen=True, slots=True)
class Still:
    """A cropped photograph and its labels as a view.

    Attributes:
        view: labels, pseudo-depth and facade ids, with the camera of the crop.
        rgb: float32 (3, H, W) in [-1, 1], the photograph.
        tags: uint8 (29, H, W), multi-hot label tags.
        drive: the drive that the photograph belongs to.
        frame: its frame number in the drive.
    """

    view: View
    rgb: Tensor
    tags: Tensor
    drive: str
    frame: int


@dataclass(frozen=True, slots=True)
class ClipFrame:
    """One frame of a clip: its view, its actors, and the photograph if there is one."""

    view: View
    actors: tuple[Actor, ...] = ()
    photo: ByteArray | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """Consecutive frames, and the drive whose style they are rendered in ("": any)."""

    name: str
    frames: tuple[ClipFrame, ...]
    drive: str = ""


def still_from_photo(photo: PreparedPhoto, size_px: tuple[int, int]) -> Still:
    """The largest crop of a photograph with the aspect ratio of `size_px`, resized to it."""
    crop = _largest_crop(photo, size_px)
    view, tags = _view_of_crop(photo, crop, size_px, level_pose(photo.camera.height_m))
    rgb = crop_rgb(photo, crop, size_px, None)
    return Still(view, rgb, tags, photo.drive, photo.frame)


def clip_from_video(video: Video, size_px: tuple[int, int]) -> Clip:
    """Photographs with their estimated camera poses; actors are unknown."""
    crop = _largest_crop(video.photos[0], size_px)
    frames = []
    for photo, pose in zip(video.photos, video.poses, strict=True):
        view, _ = _view_of_crop(photo, crop, size_px, pose.astype(np.float32))
        frames.append(ClipFrame(view, (), to_uint8(crop_rgb(photo, crop, size_px, None))))
    first = video.photos[0]
    return Clip(f"{first.drive} from {first.frame}", tuple(frames), first.drive)


def clip_from_pack(clip: PackedClip) -> Clip:
    """A packed clip of a simulated world; instance ids 1..A are its actors."""
    count, height, width = clip.labels.shape
    camera = Camera(width, height, *(float(value) for value in clip.camera))
    tags = _actor_tags(clip)
    frames = []
    for t in range(count):
        actors = tuple(
            Actor(a + 1, tags[a], clip.actor_pose[t, a], (1.0, 1.0, 1.0))
            for a in np.flatnonzero(clip.actor_present[t]).tolist()
        )
        ids = clip.instances[t].astype(np.uint32)
        view = View(camera, clip.pose[t], clip.labels[t], clip.depth_m[t], ids)
        frames.append(ClipFrame(view, actors))
    return Clip(clip.name, tuple(frames))


def there_and_back(clip: Clip) -> Clip:
    """The clip, then its frames in reverse order, back to the first one."""
    return Clip(clip.name, (*clip.frames, *clip.frames[-2::-1]), clip.drive)


def longest_video(videos: Sequence[list[PreparedPhoto]], frames: int) -> list[PreparedPhoto]:
    """The first `frames` photographs of the longest video; empty if there is no video."""
    return max(videos, key=len, default=[])[:frames]


def _largest_crop(photo: PreparedPhoto, size_px: tuple[int, int]) -> Crop:
    horizon = (HORIZON_SHARE, HORIZON_SHARE)
    config = CropConfig(size_px=size_px, zoom=(1.0, 1.0), horizon=horizon, flip=False)
    return choose_crop(photo, config, np.random.default_rng(0))


def _view_of_crop(
    photo: PreparedPhoto, crop: Crop, size_px: tuple[int, int], pose: FloatArray
) -> tuple[View, Tensor]:
    layers = crop_labels(photo, crop, size_px, np.random.default_rng(0), None)
    tags = photo.primary[layers.ids]
    facades = np.where(tags == Tag.BUILDING, layers.facades & ~WINDOW, 0).astype(np.uint32)
    fx, fy, cx, cy = crop_camera(photo, crop, size_px).tolist()
    camera = Camera(size_px[0], size_px[1], fx, fy, cx, cy)
    return View(camera, pose, tags, layers.depth_m, facades), multihot_tags(layers.ids, photo.sets)


def _actor_tags(clip: PackedClip) -> list[int]:
    """The most frequent label on the pixels of each actor; actors without pixels count as cars."""
    actors = clip.actor_present.shape[1]
    pairs = clip.instances.astype(np.int64) * 32 + clip.labels
    counts = np.bincount(pairs.ravel(), minlength=(actors + 1) * 32)[: (actors + 1) * 32]
    table = counts.reshape(-1, 32)[1:]
    return [int(row.argmax()) if row.any() else int(Tag.CAR) for row in table]
