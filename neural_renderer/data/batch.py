"""Training batches: single photographs (`Batch`) and clips of consecutive frames (`ClipBatch`).

All batches are functions of a seed and a step number::

    photos = load_photos(PhotoSourceConfig(...))                    # prepare.py
    dataset = PhotoDataset(PhotoDatasetConfig(size_px=(256, 128)), {"camvid": photos}, seed=1)
    batch = dataset.batch(step=17, batch_size=4)                    # Batch
    clips = photo_clips(dataset, step=17, batch_size=2, frames=4)   # ClipBatch, photo_clips.py
    town = TownClips(folder, TownClipsConfig(size_px=(256, 128)), seed=1)   # town_clips.py
    clips = town.clips(step=17, batch_size=2, frames=4)             # ClipBatch

Tags are multi-hot: where a data set's label is coarse (IDD's "far objects"), all tags that it may
mean are set. An unlabelled pixel has only tag 0 (UNKNOWN), and `valid` is 0 there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

AnyBatch = TypeVar("AnyBatch", "Batch", "ClipBatch")


@dataclass(frozen=True, slots=True)
class Batch:
    """B crops of photographs with their labels, geometry and K exemplars each.

    Attributes:
        rgb: float32 (B, 3, H, W) in [-1, 1], sRGB, the target image.
        tags: uint8 (B, 29, H, W), multi-hot, with augmented outlines.
        depth_m: float32 (B, 1, H, W), planar z, sky = 1000. Always filled in, because it places
            the noise; the generator sees it only where `has_depth` is True.
        has_depth: bool (B,).
        layout: float32 (B, 8, H, W), see `conditions.layout`.
        valid: float32 (B, 1, H, W), 1 where a label is known; losses count only there.
        canvas: float32 (B, 4, H, W), see `GeneratorInput.canvas`; zeros without a canvas.
        foreign: float32 (B, 1, H, W), 1 where the canvas shows other things than `rgb`.
        camera: float32 (B, 4), fx, fy, cx, cy in pixels of the crop.
        pose: float32 (B, 4, 4), camera (OpenCV axes) to world (z up), at a random place, since the
            true one is not known.
        exemplar_rgb: float32 (B, K, 3, H, W) in [-1, 1], with the same change of colours as `rgb`.
        exemplar_tags: uint8 (B, K, 29, H, W), multi-hot.
        own_style: bool (B,), False where the exemplars belong to another photograph, so that `rgb`
            is no target.
        drives: data set and drive of each photograph, such as "camvid/0016E5".
    """

    rgb: Tensor
    tags: Tensor
    depth_m: Tensor
    has_depth: Tensor
    layout: Tensor
    valid: Tensor
    canvas: Tensor
    foreign: Tensor
    camera: Tensor
    pose: Tensor
    exemplar_rgb: Tensor
    exemplar_tags: Tensor
    own_style: Tensor
    drives: tuple[str, ...]

    def with_next_style(self) -> Batch:
        """The same batch, in which each sample has the exemplars of the next sample."""
        return replace(
            self,
            exemplar_rgb=self.exemplar_rgb.roll(-1, 0),
            exemplar_tags=self.exemplar_tags.roll(-1, 0),
            own_style=torch.zeros_like(self.own_style),
        )


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """B clips of T consecutive frames; depth and poses give the exact motion between them.

    Attributes:
        rgb: float32 (B, T, 3, H, W) in [-1, 1]; zeros where `has_rgb` is False.
        has_rgb: bool (B, T), whether the frame has a target image: only the last frame of clips
            made from photographs, every frame of real video, none of a simulated world.
        tags: uint8 (B, T, 29, H, W), multi-hot.
        depth_m: float32 (B, T, 1, H, W), planar z, sky = 1000.
        layout: float32 (B, T, 8, H, W).
        valid: float32 (B, T, 1, H, W).
        canvas: float32 (B, T, 4, H, W), see `GeneratorInput.canvas`; it comes from the atlas, and
            so is foreign to any photograph. Zeros without a canvas.
        instances: int64 (B, T, 1, H, W), 1 + index into the clip's actors; 0 for pixels that do
            not move on their own.
        camera: float32 (B, 4), fx, fy, cx, cy, the same in all frames.
        pose: float32 (B, T, 4, 4), camera (OpenCV axes) to world.
        actor_pose: float32 (B, T, A, 4, 4), body to world; identity where absent.
        actor_present: bool (B, T, A).
        exemplar_rgb: float32 (B, K, 3, H, W) in [-1, 1]; zeros where `has_exemplars` is False.
        exemplar_tags: uint8 (B, K, 29, H, W).
        has_exemplars: bool (B,).
        drives: data set and drive of each clip, or world and seed.
    """

    rgb: Tensor
    has_rgb: Tensor
    tags: Tensor
    depth_m: Tensor
    layout: Tensor
    valid: Tensor
    canvas: Tensor
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
