"""Crops of photographs: where they lie, and their pixels, labels, depth and camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from sim2street.bridge.frame import ByteArray, FloatArray
from sim2street.configs import StrictModel
from sim2street.neural_renderer.data.augment import (
    ELASTIC_PX,
    THIN_RANK,
    RoughenConfig,
    Tone,
    apply_tone,
    elastic_offsets,
    roughen,
)
from sim2street.neural_renderer.data.prepare import PreparedPhoto

MAX_ENLARGEMENT = 1.25
"""Most pixels of a crop for one pixel of the photograph; more would teach the generator blur."""


class CropConfig(StrictModel):
    """Which crops of a photograph are taken.

    Attributes:
        size_px: (width, height) of a crop.
        zoom: range of a crop's width as a fraction of the photograph's width; a crop is wider where
            it would be enlarged more than `MAX_ENLARGEMENT`.
        horizon: range of the horizon's row as a fraction of the crop's height, from its top.
        flip: mirror half of the crops.
    """

    size_px: tuple[int, int] = (256, 128)
    zoom: tuple[float, float] = (0.62, 1.0)
    horizon: tuple[float, float] = (0.36, 0.50)
    flip: bool = True


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of a photograph, in its pixels; `flip`: mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


@dataclass(frozen=True, slots=True)
class LabelCrop:
    """Labels and depth of a crop, all (H, W); see `PreparedPhoto` for the fields."""

    ids: ByteArray
    depth_m: FloatArray
    facades: ByteArray


def choose_crop(
    photo: PreparedPhoto,
    config: CropConfig,
    rng: np.random.Generator,
    column_px: int | None = None,
) -> Crop:
    """A random crop whose horizon lies where a driving camera has it.

    column_px: a column of the photograph that the crop must show, in its middle half if possible.
    """
    full_height, full_width = photo.ids.shape
    full_height = min(full_height, photo.bottom_px)
    aspect = config.size_px[1] / config.size_px[0]
    low, high = config.zoom
    zoom = math.exp(rng.uniform(math.log(low), math.log(high)))
    wanted = max(round(full_width * zoom), round(config.size_px[0] / MAX_ENLARGEMENT))
    width = min(wanted, full_width, int(full_height / aspect))
    height = round(width * aspect)
    top = round(photo.camera.horizon_px - rng.uniform(*config.horizon) * height)
    if column_px is None:
        left = int(rng.integers(full_width - width + 1))
    else:
        left = round(column_px - rng.uniform(0.25, 0.75) * width)
    return Crop(
        min(max(top, 0), full_height - height),
        min(max(left, 0), full_width - width),
        height,
        width,
        bool(config.flip and rng.random() < 0.5),
    )


def crop_rgb(
    photo: PreparedPhoto, crop: Crop, size_px: tuple[int, int], tone: Tone | None
) -> Tensor:
    """A crop's pixels, float32 (3, H, W) in [-1, 1], resized with an antialiasing filter."""
    window = photo.rgb[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    image = Image.fromarray(window)
    if crop.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    small = image.resize(size_px, Image.Resampling.BILINEAR)
    unit = np.asarray(small).transpose(2, 0, 1).astype(np.float32, order="C")
    unit *= np.float32(1.0 / 255.0)
    return torch.from_numpy(apply_tone(unit, tone) * np.float32(2.0) - np.float32(1.0))


def crop_labels(
    photo: PreparedPhoto,
    crop: Crop,
    size_px: tuple[int, int],
    rng: np.random.Generator,
    rough: RoughenConfig | None,
) -> LabelCrop:
    """A crop's labels and depth, sampled as in `sample_positions`.

    rough: augment the outlines of the labels; None: leave them as they are.
    """
    shift = None
    if rough is not None:
        amplitude_px = float(rng.uniform(0.0, ELASTIC_PX)) * size_px[0] / 256.0
        shift = elastic_offsets(rng, size_px, amplitude_px)
    chosen = sample_positions(photo, crop, size_px, shift)
    picked = photo.ids.take(chosen, mode="clip")
    if rough is not None:
        picked = roughen(picked, photo.primary, rng, rough)
    depth_m = photo.depth_m.take(chosen, mode="clip").astype(np.float32)
    return LabelCrop(picked, depth_m, photo.facades.take(chosen, mode="clip"))


def multihot_tags(ids: ByteArray, sets: ByteArray) -> Tensor:
    """Label ids uint8 (H, W) as multi-hot tags uint8 (29, H, W).

    sets: tags that each id may mean, multi-hot uint8 (256, 29).
    """
    hot = np.zeros((sets.shape[1], *ids.shape), dtype=np.uint8)
    for label_id in np.flatnonzero(np.bincount(ids.ravel())):
        mask = ids == label_id
        for tag in np.flatnonzero(sets[label_id]):
            hot[tag] |= mask
    return torch.from_numpy(hot)


def crop_camera(photo: PreparedPhoto, crop: Crop, size_px: tuple[int, int]) -> Tensor:
    """A crop's fx, fy, cx, cy in pixels, float32 (4,). The camera is level: cy is the horizon."""
    width, height = size_px
    sx, sy = width / crop.width, height / crop.height
    cx = (photo.ids.shape[1] / 2.0 - crop.left) * sx - 0.5
    cy = (photo.camera.horizon_px + 0.5 - crop.top) * sy - 0.5
    if crop.flip:
        cx = width - 1 - cx
    return torch.tensor([photo.camera.focal_px * sx, photo.camera.focal_px * sy, cx, cy])


def random_pose(height_m: float, rng: np.random.Generator) -> FloatArray:
    """A level camera at a random place and heading, float32 (4, 4).

    From camera (OpenCV axes) to world (z up), `height_m` above z = 0.
    """
    yaw = rng.uniform(-math.pi, math.pi)
    x, y = rng.uniform(-500.0, 500.0, 2)
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.array(
        [[sin, 0.0, cos, x], [-cos, 0.0, sin, y], [0.0, -1.0, 0.0, height_m], [0, 0, 0, 1]],
        dtype=np.float32,
    )


def sample_positions(
    photo: PreparedPhoto,
    crop: Crop,
    size_px: tuple[int, int],
    shift: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.int32]:
    """The photograph's pixel for each pixel of the crop, as flat indices, int32 (H, W).

    Of four samples (2x2) in each pixel, the one with the highest `THIN_RANK` is taken, so that thin
    objects survive when the photograph is reduced.

    shift: displacement of the samples in pixels of the crop, float32 (2, H, W); None: none.
    """
    width, height = size_px
    full_height, full_width = photo.ids.shape
    if shift is None:
        shift = np.zeros((2, 1, 1), dtype=np.float32)
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
