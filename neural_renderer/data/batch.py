"""What the trainer receives: one batch of stills, or of clips.

How to get one (all deterministic from `seed`, `step` and the index in the batch)::

    photos = load_photos(PhotoSourceConfig(...))                    # prepare.py
    dataset = PhotoDataset(PhotoDatasetConfig(size_px=(256, 128)), {"camvid": photos}, seed=1)
    batch = dataset.batch(step=17, batch_size=4)                    # Batch
    clips = still_clips(dataset, step=17, batch_size=2, frames=4)   # ClipBatch, motion_clips.py
    town = TownClips(folder, TownClipsConfig(size_px=(256, 128)), seed=1)   # town_clips.py
    clips = town.clips(step=17, batch_size=2, frames=4)             # ClipBatch

Tag planes are multi-hot: a pixel of a coarse data set (IDD's "far objects") has several
planes set; a pixel nobody labelled has plane 0 (UNKNOWN) alone, and `valid` is 0 there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

AnyBatch = TypeVar("AnyBatch", "Batch", "ClipBatch")


@dataclass(frozen=True, slots=True)
class Batch:
    """B independent pictures with their conditions and K exemplars each.

    Attributes:
        rgb: float32 (B, 3, H, W) in [-1, 1], sRGB values, the target.
        tags: uint8 (B, 29, H, W), multi-hot, labels already roughened.
        depth_m: float32 (B, 1, H, W), planar z, sky = 1000; meaningless where `has_depth`
            is False.
        has_depth: bool (B,).
        layout: float32 (B, 8, H, W), edges, places in things, windows, see `layout.py`.
        valid: float32 (B, 1, H, W), 1 where a label is known: losses look only there.
        camera: float32 (B, 4), fx, fy, cx, cy in pixels of this crop.
        pose: float32 (B, 4, 4), camera (OpenCV axes) to world. Photographs have no
            common world: a random yaw and position of the drive's own, z up.
        exemplar_rgb: float32 (B, K, 3, H, W) in [-1, 1], same tone jitter as `rgb`.
        exemplar_tags: uint8 (B, K, 29, H, W), multi-hot.
        own_style: bool (B,), False where the exemplars are another picture's: `rgb` then is
            no target.
        drives: data set and drive of each picture, such as "camvid/0016E5".
    """

    rgb: Tensor
    tags: Tensor
    depth_m: Tensor
    has_depth: Tensor
    layout: Tensor
    valid: Tensor
    camera: Tensor
    pose: Tensor
    exemplar_rgb: Tensor
    exemplar_tags: Tensor
    own_style: Tensor
    drives: tuple[str, ...]

    def in_next_style(self) -> Batch:
        """The same pictures' labels with the exemplars of the next picture each."""
        return replace(
            self,
            exemplar_rgb=self.exemplar_rgb.roll(-1, 0),
            exemplar_tags=self.exemplar_tags.roll(-1, 0),
            own_style=torch.zeros_like(self.own_style),
        )


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """B clips of T consecutive views; the exact motion follows from depth and poses.

    Attributes:
        rgb: float32 (B, T, 3, H, W) in [-1, 1]; zeros where `has_rgb` is False.
        has_rgb: bool (B, T): stills in motion have a target in their last frame only,
            video in every frame, town clips in none.
        tags: uint8 (B, T, 29, H, W), multi-hot.
        depth_m: float32 (B, T, 1, H, W), planar z, sky = 1000.
        layout: float32 (B, T, 8, H, W).
        valid: float32 (B, T, 1, H, W).
        instances: int64 (B, T, 1, H, W), index + 1 into the actors of this clip, 0 = not
            a mover.
        camera: float32 (B, 4), fx, fy, cx, cy, the same in all frames.
        pose: float32 (B, T, 4, 4), camera (OpenCV axes) to world.
        actor_pose: float32 (B, T, A, 4, 4), body to world; identity where absent.
        actor_present: bool (B, T, A).
        exemplar_rgb: float32 (B, K, 3, H, W), zeros without exemplars (town).
        exemplar_tags: uint8 (B, K, 29, H, W).
        has_exemplars: bool (B,).
        drives: data set and drive (or world and seed) of each clip.
    """

    rgb: Tensor
    has_rgb: Tensor
    tags: Tensor
    depth_m: Tensor
    layout: Tensor
    valid: Tensor
    instances: Tensor
    camera: Tensor
    pose: Tensor
    actor_pose: Tensor
    actor_present: Tensor
    exemplar_rgb: Tensor
    exemplar_tags: Tensor
    has_exemplars: Tensor
    drives: tuple[str, ...]


def to_device(batch: AnyBatch, device: torch.device | str) -> AnyBatch:
    """The same batch with all tensors on `device`."""
    moved = {
        item.name: getattr(batch, item.name).to(device)
        for item in fields(batch)
        if item.name != "drives"
    }
    return replace(batch, **moved)
