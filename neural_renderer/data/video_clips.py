"""Stretches of real video as clip batches: a target picture in every frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError
from sim2street.neural_renderer.conditions.layout import photo_layout
from sim2street.neural_renderer.data.augment import draw_tone
from sim2street.neural_renderer.data.batch import ClipBatch
from sim2street.neural_renderer.data.crops import (
    choose_crop,
    crop_camera,
    crop_labels,
    crop_rgb,
    planes,
)
from sim2street.neural_renderer.data.dataset import PhotoDataset, joined, thinned_sets
from sim2street.neural_renderer.data.motion_clips import collate_clips
from sim2street.neural_renderer.data.video import Video


def video_clips(
    dataset: PhotoDataset, videos: Sequence[Video], step: int, batch_size: int, frames: int
) -> ClipBatch:
    """The clip batch of a step; `dataset` gives the crop's config and the exemplars.

    Raises:
        ConfigError: no video is long enough.
    """
    long = [video for video in videos if len(video.photos) >= frames]
    if not long:
        raise ConfigError(f"no video has {frames} consecutive frames")
    drawn = []
    for index in range(batch_size):
        rng = np.random.default_rng((dataset.seed, step, index, 4))
        video = long[int(rng.integers(len(long)))]
        start = int(rng.integers(len(video.photos) - frames + 1))
        drawn.append(video_clip(dataset, video, start, frames, rng))
    return collate_clips(drawn)


def video_clip(
    dataset: PhotoDataset, video: Video, start: int, frames: int, rng: np.random.Generator
) -> ClipBatch:
    """Frames `start`.. of a video through one window, as a batch of one. Nothing is known
    to move by itself: `instances` is 0 and there are no actors."""
    config = dataset.config
    photos = video.photos[start : start + frames]
    size_px, tone = config.size_px, draw_tone(rng, config.tone)
    crop = choose_crop(photos[0], config.model_copy(update={"flip": False}), rng)
    sets = thinned_sets(photos[0], rng, config.thin_sets)
    layers = [crop_labels(photo, crop, size_px, rng, None) for photo in photos]
    tags = [photo.primary[layer.ids] for photo, layer in zip(photos, layers, strict=True)]
    layouts = [
        photo_layout(shown, layer.facades) for shown, layer in zip(tags, layers, strict=True)
    ]
    exemplar_rgb, exemplar_tags = dataset.exemplars(photos[0], rng, tone)
    still = torch.zeros(1, frames, 1, size_px[1], size_px[0], dtype=torch.int64)
    valid = np.stack([shown != Tag.UNKNOWN for shown in tags])
    return ClipBatch(
        rgb=joined([crop_rgb(photo, crop, size_px, tone)[None] for photo in photos])[None],
        has_rgb=torch.ones(1, frames, dtype=torch.bool),
        tags=joined([planes(layer.ids, sets)[None] for layer in layers])[None],
        depth_m=torch.from_numpy(np.stack([layer.depth_m for layer in layers]))[None, :, None],
        layout=torch.from_numpy(np.stack(layouts))[None],
        valid=torch.from_numpy(valid.astype(np.float32))[None, :, None],
        instances=still,
        camera=crop_camera(photos[0], crop, size_px)[None],
        pose=torch.from_numpy(video.poses[start : start + frames].astype(np.float32))[None],
        actor_pose=torch.zeros(1, frames, 0, 4, 4),
        actor_present=torch.zeros(1, frames, 0, dtype=torch.bool),
        exemplar_rgb=exemplar_rgb[None],
        exemplar_tags=exemplar_tags[None],
        has_exemplars=torch.ones(1, dtype=torch.bool),
        drives=(photos[0].drive,),
    )
