"""Clips of real video, with a target image in every frame."""

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
    multihot_tags,
)
from sim2street.neural_renderer.data.dataset import PhotoDataset, concatenate, resolve_label_sets
from sim2street.neural_renderer.data.photo_clips import canvas_of_frames, collate_clips
from sim2street.neural_renderer.data.video import Video


def video_clips(
    dataset: PhotoDataset, videos: Sequence[Video], step: int, batch_size: int, frames: int
) -> ClipBatch:
    """The clips of a step.

    Args:
        dataset: gives the settings of crops and augmentation, and the exemplars.
        videos: what to draw from.
        step: together with the dataset's seed it decides what is drawn.
        batch_size: number of clips.
        frames: frames in each clip.

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
    """`frames` frames of a video from `start` on, in one crop, as a batch of one.

    The motion of other road users is not known, so there are no actors.
    """
    config = dataset.config
    photos = video.photos[start : start + frames]
    size_px, tone = config.size_px, draw_tone(rng, config.tone)
    crop = choose_crop(photos[0], config.model_copy(update={"flip": False}), rng)
    sets = resolve_label_sets(photos[0], rng, config.single_tag)
    layers = [crop_labels(photo, crop, size_px, rng, None) for photo in photos]
    tags = [photo.primary[layer.ids] for photo, layer in zip(photos, layers, strict=True)]
    layouts = [
        photo_layout(labels, layer.facades) for labels, layer in zip(tags, layers, strict=True)
    ]
    exemplar_rgb, exemplar_tags = dataset.exemplars(photos[0], rng, tone)
    instances = torch.zeros(1, frames, 1, size_px[1], size_px[0], dtype=torch.int64)
    valid = np.stack([labels != Tag.UNKNOWN for labels in tags])
    camera = crop_camera(photos[0], crop, size_px)
    poses = video.poses[start : start + frames].astype(np.float32)
    canvas = canvas_of_frames(
        dataset,
        tags,
        [layer.depth_m for layer in layers],
        [layer.facades for layer in layers],
        camera,
        poses,
        rng,
    )
    return ClipBatch(
        rgb=concatenate([crop_rgb(photo, crop, size_px, tone)[None] for photo in photos])[None],
        has_rgb=torch.ones(1, frames, dtype=torch.bool),
        tags=concatenate([multihot_tags(layer.ids, sets)[None] for layer in layers])[None],
        depth_m=torch.from_numpy(np.stack([layer.depth_m for layer in layers]))[None, :, None],
        layout=torch.from_numpy(np.stack(layouts))[None],
        valid=torch.from_numpy(valid.astype(np.float32))[None, :, None],
        canvas=canvas[None],
        instances=instances,
        camera=camera[None],
        pose=torch.from_numpy(poses)[None],
        actor_pose=torch.zeros(1, frames, 0, 4, 4),
        actor_present=torch.zeros(1, frames, 0, dtype=torch.bool),
        exemplar_rgb=exemplar_rgb[None],
        exemplar_tags=exemplar_tags[None],
        has_exemplars=torch.ones(1, dtype=torch.bool),
        drives=(photos[0].drive,),
    )
