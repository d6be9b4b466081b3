"""Clips made from single photographs by moving a virtual camera.

The photograph is the last frame. Earlier frames are labels and depth as a camera farther back would
have seen them, warped by the photograph's pseudo-depth; vehicles and people may move on their own.
What the photograph does not show is filled in and marked as not valid. All poses are known, and so
is the exact motion between the frames.
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
from sim2street.neural_renderer.data.augment import ROUGHENED_SHARE, draw_tone, roughen
from sim2street.neural_renderer.data.batch import ClipBatch
from sim2street.neural_renderer.data.crops import (
    Crop,
    choose_crop,
    crop_camera,
    crop_rgb,
    multihot_tags,
    sample_positions,
)
from sim2street.neural_renderer.data.dataset import PhotoDataset, concatenate, resolve_label_sets
from sim2street.neural_renderer.data.motion_paths import (
    MotionConfig,
    Trajectory,
    draw_trajectory,
    find_movers,
    moves_to,
)
from sim2street.neural_renderer.data.photo_canvas import crop_view
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.data.splat import PointCloud, fill_from_nearest, point_cloud, splat

Pose = npt.NDArray[np.float64]
Intrinsics = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class FrameLayers:
    """One frame, all arrays (H, W).

    Attributes:
        ids, facades: uint8, as in `PreparedPhoto`.
        slots: uint8, 0 = static, i = mover number i.
        depth_m: float32, planar z.
        valid: bool, False where labels are filled in or unknown.
    """

    ids: ByteArray
    facades: ByteArray
    slots: ByteArray
    depth_m: FloatArray
    valid: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CropView:
    """The view that all frames of a clip are rendered in.

    Attributes:
        camera: fx, fy, cx, cy in pixels of the crop.
        size_px: (width, height).
        ground_m: depth of the ground in each row, (H,).
    """

    camera: Intrinsics
    size_px: tuple[int, int]
    ground_m: npt.NDArray[np.floating]


def photo_clips(
    dataset: PhotoDataset,
    step: int,
    batch_size: int,
    frames: int,
    weights: Mapping[str, float] | None = None,
    motion: MotionConfig | None = None,
) -> ClipBatch:
    """The clips of a step; only their last frame has a target image.

    Args:
        dataset: photographs, crops and augmentation.
        step: together with the dataset's seed it decides what is drawn.
        batch_size: number of clips.
        frames: frames in each clip.
        weights: share of each photo source; None: all photographs equally often.
        motion: how camera and movers move; None: the defaults.
    """
    clips = []
    for index in range(batch_size):
        rng = np.random.default_rng((dataset.seed, step, index, 1))
        photo = dataset.draw_photo(rng, weights)
        clips.append(photo_clip(dataset, photo, frames, rng, motion or MotionConfig()))
    return collate_clips(clips)


def photo_clip(
    dataset: PhotoDataset,
    photo: PreparedPhoto,
    frames: int,
    rng: np.random.Generator,
    motion: MotionConfig,
) -> ClipBatch:
    """A clip that ends in `photo`, as a batch of one."""
    config = dataset.config
    tone = draw_tone(rng, config.tone)
    if config.flip and rng.random() < 0.5:
        photo = mirrored(photo)
    crop = choose_crop(photo, config.model_copy(update={"flip": False}), rng)
    rough = config.roughen
    if rough is not None and rng.random() < ROUGHENED_SHARE:
        photo = dataclasses.replace(photo, ids=roughen(photo.ids, photo.primary, rng, rough))
    slots, count = find_movers(photo)
    path = draw_trajectory(photo, slots, count, frames, rng, motion)
    camera = crop_camera(photo, crop, config.size_px)
    layers = _render_frames(photo, slots, crop, config.size_px, path)
    rgb = torch.zeros(frames, 3, config.size_px[1], config.size_px[0])
    rgb[-1] = crop_rgb(photo, crop, config.size_px, tone)
    has_rgb = torch.zeros(frames, dtype=torch.bool)
    has_rgb[-1] = True
    sets = resolve_label_sets(photo, rng, config.single_tag)
    exemplar_rgb, exemplar_tags = dataset.exemplars(photo, rng, tone)
    parts = {
        "rgb": rgb,
        "has_rgb": has_rgb,
        "tags": concatenate([multihot_tags(layer.ids, sets)[None] for layer in layers]),
        "depth_m": _stack([layer.depth_m for layer in layers]),
        "layout": torch.from_numpy(
            np.stack([photo_layout(photo.primary[layer.ids], layer.facades) for layer in layers])
        ),
        "valid": _stack([layer.valid for layer in layers]).float(),
        "canvas": canvas_of_frames(
            dataset,
            [photo.primary[layer.ids] for layer in layers],
            [layer.depth_m for layer in layers],
            [layer.facades for layer in layers],
            camera,
            path.camera.astype(np.float32),
            rng,
        ),
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


def canvas_of_frames(
    dataset: PhotoDataset,
    labels: Sequence[ByteArray],
    depths_m: Sequence[FloatArray],
    facades: Sequence[ByteArray],
    camera: torch.Tensor,
    poses: FloatArray,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Canvases of a clip's T frames, float32 (T, 4, H, W); zeros if the dataset makes none.

    Args:
        labels, depths_m, facades: of each frame, see `crop_view`.
        camera: fx, fy, cx, cy in pixels of all frames.
        poses: float32 (T, 4, 4), camera to world.
    """
    if dataset.canvas is None:
        return torch.zeros(len(labels), 4, *labels[0].shape)
    views = [
        crop_view(tags, depth_m, numbers, camera.numpy(), pose)
        for tags, depth_m, numbers, pose in zip(labels, depths_m, facades, poses, strict=True)
    ]
    return torch.from_numpy(np.stack(dataset.canvas.frames(views, rng)))


def collate_clips(clips: Sequence[ClipBatch]) -> ClipBatch:
    """Concatenate batches; clips with fewer actors get absent ones, with identity poses."""
    most = max(clip.actor_present.shape[2] for clip in clips)
    clips = [_pad_actors(clip, most) for clip in clips]
    names = [field.name for field in dataclasses.fields(ClipBatch) if field.name != "drives"]
    tensors = {name: concatenate([getattr(clip, name) for clip in clips]) for name in names}
    return ClipBatch(**tensors, drives=tuple(drive for clip in clips for drive in clip.drives))


def mirrored(photo: PreparedPhoto) -> PreparedPhoto:
    """The photograph mirrored; its camera stays, because its axis is in the middle."""
    return dataclasses.replace(
        photo,
        rgb=np.ascontiguousarray(photo.rgb[:, ::-1]),
        ids=np.ascontiguousarray(photo.ids[:, ::-1]),
        depth_m=np.ascontiguousarray(photo.depth_m[:, ::-1]),
        facades=np.ascontiguousarray(photo.facades[:, ::-1]),
    )


def _render_frames(
    photo: PreparedPhoto,
    slots: ByteArray,
    crop: Crop,
    size_px: tuple[int, int],
    path: Trajectory,
) -> list[FrameLayers]:
    """All frames of a clip; the last one is the photograph's own."""
    fx, fy, cx, cy = (float(value) for value in crop_camera(photo, crop, size_px))
    focal_px, height_m = photo.camera.focal_px, photo.camera.height_m
    window = _with_margin(crop, photo.ids.shape)
    cx_px = (photo.ids.shape[1] - 1) / 2.0 - window[1].start
    source = (focal_px, focal_px, cx_px, photo.camera.horizon_px - window[0].start)
    finer = 2 if size_px[0] > 1.3 * crop.width else 1
    cloud = point_cloud(photo.depth_m[window].astype(np.float32), slots[window], source, finer)
    pixels = _pixels_of_points(photo.ids.shape, window, finer)
    ground_m = fy * height_m / np.maximum(np.arange(size_px[1]) - cy, 1e-3)
    view = CropView((fx, fy, cx, cy), size_px, ground_m)
    layers = []
    for frame in range(len(path.camera) - 1):
        moves = moves_to(path, frame)
        layers.append(_render_frame(photo, slots, cloud, pixels, moves, view))
    return [*layers, _last_frame(photo, slots, crop, size_px)]


def _render_frame(
    photo: PreparedPhoto,
    slots: ByteArray,
    cloud: PointCloud,
    pixels: npt.NDArray[np.int64],
    moves: Pose,
    view: CropView,
) -> FrameLayers:
    """Labels and depth of the photograph's points, seen from another camera.

    Args:
        photo: the photograph.
        slots: its movers, uint8 (H, W).
        cloud: its points.
        pixels: flat index of each point's pixel.
        moves: see `splat`.
        view: the other camera and its image size.
    """
    index, depth_m = splat(cloud, moves, view.camera, view.size_px)
    shown = index >= 0
    static = shown & (cloud.slots[index] == 0)
    index = fill_from_nearest(index, static)
    pixel = pixels[index]
    ids = photo.ids.ravel()[pixel]
    tags = photo.primary[ids]
    filled_m = np.where(cloud.sky[index], SKY_DEPTH_M, cloud.points[index, 2])
    depth_m = np.where(shown, depth_m, filled_m)
    # The ground is a plane, so its depth at the pixel's centre is known exactly.
    ground_m = np.broadcast_to(view.ground_m[:, None], depth_m.shape)
    depth_m = np.where(np.isin(tags, GROUND) & (ground_m < 200.0), ground_m, depth_m)
    return FrameLayers(
        ids,
        photo.facades.ravel()[pixel],
        np.where(shown, slots.ravel()[pixel], 0).astype(np.uint8),
        depth_m.astype(np.float32),
        shown & (tags != Tag.UNKNOWN),
    )


def _last_frame(
    photo: PreparedPhoto, slots: ByteArray, crop: Crop, size_px: tuple[int, int]
) -> FrameLayers:
    """The photograph's own labels and depth."""
    chosen = sample_positions(photo, crop, size_px, None)
    ids = photo.ids.take(chosen)
    return FrameLayers(
        ids,
        photo.facades.take(chosen),
        slots.take(chosen),
        photo.depth_m.take(chosen).astype(np.float32),
        photo.primary[ids] != Tag.UNKNOWN,
    )


def _with_margin(crop: Crop, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the crop with a margin, since a camera farther back sees more."""
    dy, dx = crop.height // 3, crop.width // 4
    return (
        slice(max(crop.top - dy, 0), min(crop.top + crop.height + dy, shape[0])),
        slice(max(crop.left - dx, 0), min(crop.left + crop.width + dx, shape[1])),
    )


def _pixels_of_points(
    shape: tuple[int, ...], window: tuple[slice, slice], finer: int
) -> npt.NDArray[np.int64]:
    """Flat index of the pixel of each point of a cloud with `finer` x `finer` points per pixel."""
    pixels = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape)[window]
    return pixels.repeat(finer, axis=0).repeat(finer, axis=1).ravel()


def _stack(maps: Sequence[npt.NDArray[np.generic]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(maps))[:, None]


def _pad_actors(clip: ClipBatch, count: int) -> ClipBatch:
    """The same clips with absent actors added, up to `count`."""
    b, t, a = clip.actor_present.shape
    if a == count:
        return clip
    pose = torch.eye(4).repeat(b, t, count, 1, 1)
    pose[:, :, :a] = clip.actor_pose
    present = torch.zeros(b, t, count, dtype=torch.bool)
    present[:, :, :a] = clip.actor_present
    return dataclasses.replace(clip, actor_pose=pose, actor_present=present)
