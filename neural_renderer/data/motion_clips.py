"""Clips from single photographs: the camera drives, the labels follow their pseudo-depth.

The photograph is the last frame. Earlier frames are what a camera farther back would have
seen: labels and depth are warped forward, things that can move get a motion of their own,
and what the photograph did not show is filled in and marked invalid. Because all poses are
known, the exact motion between the frames is too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, FloatArray
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.layout import photo_layout
from sim2street.neural_renderer.conditions.pseudo_depth import GROUND
from sim2street.neural_renderer.data.augment import draw_tone, roughen
from sim2street.neural_renderer.data.batch import ClipBatch
from sim2street.neural_renderer.data.crops import (
    Crop,
    choose_crop,
    crop_camera,
    crop_rgb,
    planes,
    sample_positions,
)
from sim2street.neural_renderer.data.dataset import PhotoDataset, joined, thinned_sets
from sim2street.neural_renderer.data.motion_paths import (
    MotionConfig,
    Trajectory,
    draw_trajectory,
    find_movers,
    moves_to,
)
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.data.splat import PointCloud, nearest_filled, point_cloud, splat

Pose = npt.NDArray[np.float64]
Intrinsics = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Layers:
    """What one frame shows, all (H, W): ids, facades and slots uint8, depth_m float32,
    valid bool."""

    ids: ByteArray
    facades: ByteArray
    slots: ByteArray
    depth_m: FloatArray
    valid: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Target:
    """The crop's camera (fx, fy, cx, cy), its size, and per row the depth of the ground."""

    camera: Intrinsics
    size_px: tuple[int, int]
    plane_m: npt.NDArray[np.floating]


def still_clips(
    dataset: PhotoDataset,
    step: int,
    batch_size: int,
    frames: int,
    weights: Mapping[str, float] | None = None,
    motion: MotionConfig | None = None,
) -> ClipBatch:
    """The clip batch of a step: `has_rgb` in the last frame only."""
    clips = []
    for index in range(batch_size):
        rng = np.random.default_rng((dataset.seed, step, index, 1))
        photo = dataset.draw(rng, weights)
        clips.append(make_clip(dataset, photo, frames, rng, motion or MotionConfig()))
    return collate_clips(clips)


def make_clip(
    dataset: PhotoDataset,
    photo: PreparedPhoto,
    frames: int,
    rng: np.random.Generator,
    motion: MotionConfig,
) -> ClipBatch:
    """One clip that ends in `photo`, as a batch of one."""
    config = dataset.config
    tone = draw_tone(rng, config.tone)
    if config.flip and rng.random() < 0.5:
        photo = mirrored(photo)
    crop = choose_crop(photo, config.model_copy(update={"flip": False}), rng)
    rough = config.roughen
    if rough is not None and rng.random() < rough.probability:
        photo = dataclasses.replace(photo, ids=roughen(photo.ids, photo.primary, rng, rough))
    slots, count = find_movers(photo, motion.max_movers)
    path = draw_trajectory(photo, slots, count, frames, rng, motion)
    camera = crop_camera(photo, crop, config.size_px)
    layers = _frames(photo, slots, crop, config.size_px, path)
    rgb = torch.zeros(frames, 3, config.size_px[1], config.size_px[0])
    rgb[-1] = crop_rgb(photo, crop, config.size_px, tone)
    has_rgb = torch.zeros(frames, dtype=torch.bool)
    has_rgb[-1] = True
    sets = thinned_sets(photo, rng, config.thin_sets)
    exemplar_rgb, exemplar_tags = dataset.exemplars(photo, rng, tone)
    parts = {
        "rgb": rgb,
        "has_rgb": has_rgb,
        "tags": joined([planes(layer.ids, sets)[None] for layer in layers]),
        "depth_m": _stack([layer.depth_m for layer in layers]),
        "layout": torch.from_numpy(
            np.stack([photo_layout(photo.primary[layer.ids], layer.facades) for layer in layers])
        ),
        "valid": _stack([layer.valid for layer in layers]).float(),
        "instances": _stack([layer.slots for layer in layers]).long(),
        "camera": camera,
        "pose": torch.from_numpy(path.camera.astype(np.float32)),
        "actor_pose": torch.from_numpy(path.movers.astype(np.float32)),
        "actor_present": torch.ones(path.movers.shape[:2], dtype=torch.bool),
        "exemplar_rgb": exemplar_rgb,
        "exemplar_tags": exemplar_tags,
        "has_exemplars": torch.tensor(True),
    }
    batched = {name: tensor[None] for name, tensor in parts.items()}
    return ClipBatch(**batched, drives=(photo.drive,))


def collate_clips(clips: Sequence[ClipBatch]) -> ClipBatch:
    """One batch from batches of one; missing actors are absent, at the identity."""
    most = max(clip.actor_present.shape[2] for clip in clips)
    clips = [_with_actors(clip, most) for clip in clips]
    names = [field.name for field in dataclasses.fields(ClipBatch) if field.name != "drives"]
    tensors = {name: joined([getattr(clip, name) for clip in clips]) for name in names}
    return ClipBatch(**tensors, drives=tuple(drive for clip in clips for drive in clip.drives))


def mirrored(photo: PreparedPhoto) -> PreparedPhoto:
    """The photograph in a mirror; its camera looks through the middle, so it stays."""
    return dataclasses.replace(
        photo,
        rgb=np.ascontiguousarray(photo.rgb[:, ::-1]),
        ids=np.ascontiguousarray(photo.ids[:, ::-1]),
        depth_m=np.ascontiguousarray(photo.depth_m[:, ::-1]),
        facades=np.ascontiguousarray(photo.facades[:, ::-1]),
    )


def _frames(
    photo: PreparedPhoto,
    slots: ByteArray,
    crop: Crop,
    size_px: tuple[int, int],
    path: Trajectory,
) -> list[Layers]:
    """All frames of the clip, the photograph's own last."""
    fx, fy, cx, cy = (float(value) for value in crop_camera(photo, crop, size_px))
    focal_px, height_m = photo.camera.focal_px, photo.camera.height_m
    window = _around(crop, photo.ids.shape)
    cx_px = (photo.ids.shape[1] - 1) / 2.0 - window[1].start
    source = (focal_px, focal_px, cx_px, photo.camera.horizon_px - window[0].start)
    finer = 2 if size_px[0] > 1.3 * crop.width else 1
    cloud = point_cloud(photo.depth_m[window].astype(np.float32), slots[window], source, finer)
    flat = _fine_index(photo.ids.shape, window, finer)
    plane_m = fy * height_m / np.maximum(np.arange(size_px[1]) - cy, 1e-3)
    target = Target((fx, fy, cx, cy), size_px, plane_m)
    layers = []
    for frame in range(len(path.camera) - 1):
        moves = moves_to(path, frame)
        layers.append(_seen_from(photo, slots, cloud, flat, moves, target))
    return [*layers, _own_frame(photo, slots, crop, size_px)]


def _seen_from(
    photo: PreparedPhoto,
    slots: ByteArray,
    cloud: PointCloud,
    flat: npt.NDArray[np.int64],
    moves: Pose,
    target: Target,
) -> Layers:
    """Labels and depth of the photograph's points in another view."""
    index, depth_m = splat(cloud, moves, target.camera, target.size_px)
    shown = index >= 0
    still = shown & (cloud.slots[index] == 0)
    index = nearest_filled(index, still)
    pixel = flat[index]
    ids = photo.ids.ravel()[pixel]
    tags = photo.primary[ids]
    filled_m = np.where(cloud.sky[index], SKY_DEPTH_M, cloud.points[index, 2])
    depth_m = np.where(shown, depth_m, filled_m)
    # Ground is a plane: its depth at the pixel's centre, not at the point that fell there.
    plane_m = np.broadcast_to(target.plane_m[:, None], depth_m.shape)
    depth_m = np.where(np.isin(tags, GROUND) & (plane_m < 200.0), plane_m, depth_m)
    return Layers(
        ids,
        photo.facades.ravel()[pixel],
        np.where(shown, slots.ravel()[pixel], 0).astype(np.uint8),
        depth_m.astype(np.float32),
        shown & (tags != Tag.UNKNOWN),
    )


def _own_frame(
    photo: PreparedPhoto, slots: ByteArray, crop: Crop, size_px: tuple[int, int]
) -> Layers:
    chosen = sample_positions(photo, crop, size_px, None)
    ids = photo.ids.take(chosen)
    return Layers(
        ids,
        photo.facades.take(chosen),
        slots.take(chosen),
        photo.depth_m.take(chosen).astype(np.float32),
        photo.primary[ids] != Tag.UNKNOWN,
    )


def _around(crop: Crop, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The crop with a margin: a camera farther back sees more than the crop."""
    dy, dx = crop.height // 3, crop.width // 4
    return (
        slice(max(crop.top - dy, 0), min(crop.top + crop.height + dy, shape[0])),
        slice(max(crop.left - dx, 0), min(crop.left + crop.width + dx, shape[1])),
    )


def _fine_index(
    shape: tuple[int, ...], window: tuple[slice, slice], finer: int
) -> npt.NDArray[np.int64]:
    """Pixel of each point of a cloud that has `finer` squared points a pixel of `window`."""
    pixels = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape)[window]
    return pixels.repeat(finer, axis=0).repeat(finer, axis=1).ravel()


def _stack(maps: Sequence[npt.NDArray[np.generic]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(maps))[:, None]


def _with_actors(clip: ClipBatch, count: int) -> ClipBatch:
    """The same clip with room for `count` actors."""
    b, t, a = clip.actor_present.shape
    if a == count:
        return clip
    pose = torch.eye(4).repeat(b, t, count, 1, 1)
    pose[:, :, :a] = clip.actor_pose
    present = torch.zeros(b, t, count, dtype=torch.bool)
    present[:, :, :a] = clip.actor_present
    return dataclasses.replace(clip, actor_pose=pose, actor_present=present)
