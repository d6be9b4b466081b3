"""Camera observations: `image` (rgb), `labels` and `depth_m`, optionally smaller and grouped."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from pydantic import Field, field_validator

from sim2street.bridge.frame import MAX_TAG, SKY_DEPTH_M, ByteArray, Camera, FloatArray, View
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError, StrictModel, did_you_mean

LabelGroups = Literal["driving"] | dict[str, tuple[str, ...]] | None

ImageArray = ByteArray | FloatArray

IMAGE_KEYS = ("image", "labels", "depth_m")
"""Observation keys that need a camera."""

DRIVING_GROUPS: dict[str, tuple[str, ...]] = {
    "road": ("road",),
    "marking": ("road_lines",),
    "sidewalk": ("sidewalk",),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
    "person": ("pedestrian", "rider"),
    "light": ("traffic_light",),
    "sign": ("traffic_sign",),
}
"""Group -> its label tags; what `label_groups: driving` stands for."""


class ImageConfig(StrictModel):
    """Size of camera observations, and classes of the label map.

    Attributes:
        downscale: whole factor by which all images are made smaller; it must divide the
            camera's width and height. Colours become the mean of each block of pixels,
            depths the smallest, labels what `label_filter` says.
        label_filter: label of a block of pixels: "nearest" takes the pixel in its middle,
            "majority" the most frequent label.
        label_groups: group -> names of its label tags. Labels become 0 (in no group), 1,
            2, ... in the order of the groups. "driving" stands for road, marking, sidewalk,
            vehicle, person, light and sign. Without groups, labels are the tags themselves.
        one_hot: gives labels as one channel per tag or group: 255 where a pixel has it,
            else 0. There is no channel for 0.
    """

    downscale: int = Field(default=1, ge=1)
    label_filter: Literal["nearest", "majority"] = "nearest"
    label_groups: LabelGroups = None
    one_hot: bool = False

    @field_validator("label_groups")
    @classmethod
    def _check_tags(cls, groups: LabelGroups) -> LabelGroups:
        known = [tag.name.lower() for tag in Tag]
        for name in (n for names in _groups(groups).values() for n in names):
            if name.lower() not in known:
                raise ValueError(f"unknown tag '{name}'{did_you_mean(name.lower(), known)}")
        return groups

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the label values 1, 2, ..., which are also the one-hot channels."""
        groups = _groups(self.label_groups)
        return tuple(groups) if groups else tuple(tag.name.lower() for tag in Tag if tag > 0)

    def label_table(self) -> ByteArray:
        """uint8 (MAX_TAG + 1,): tag -> label value of the observation."""
        groups = _groups(self.label_groups)
        if not groups:
            return np.arange(MAX_TAG + 1, dtype=np.uint8)
        table = np.zeros(MAX_TAG + 1, np.uint8)
        for value, names in enumerate(groups.values(), start=1):
            table[[Tag[name.upper()] for name in names]] = value
        return table


class ImageObserver:
    """Turns views of one camera into observations."""

    def __init__(self, config: ImageConfig, camera: Camera, image_scale: int = 1) -> None:
        """`image_scale`: width of the rgb image divided by the width of the labels.

        Raises:
            ConfigError: `downscale` does not divide the camera's size.
        """
        self._config = config
        self._label_table = config.label_table()
        k = config.downscale
        if camera.height_px % k or camera.width_px % k:
            raise ConfigError(
                f"observation.pictures.downscale: {k} does not divide the camera's size "
                f"{camera.width_px}x{camera.height_px}"
            )
        self._size_px = camera.height_px // k, camera.width_px // k
        self._image_scale = image_scale

    def space(self, key: str, stack: int) -> spaces.Box:
        """The space of `stack` observations, joined along the channels."""
        height, width = self._size_px
        if key == "image":
            shape = height * self._image_scale, width * self._image_scale, 3 * stack
            return spaces.Box(0, 255, shape, np.uint8)
        if key == "labels" and self._config.one_hot:
            channels = len(self._config.channels) * stack
            return spaces.Box(0, 255, (height, width, channels), np.uint8)
        plane = (height, width) if stack == 1 else (height, width, stack)
        if key == "depth_m":
            return spaces.Box(0.0, SKY_DEPTH_M, plane, np.float32)
        return spaces.Box(0, int(self._label_table.max()), plane, np.uint8)

    def observe(self, key: str, view: View) -> ImageArray | None:
        """The observation `key` as a new array, or None if the view lacks its data."""
        k = self._config.downscale
        if key == "image":
            return None if view.rgb is None else _block_mean(view.rgb, k)
        if key == "depth_m":
            return None if view.depth_m is None else _block_min(view.depth_m, k)
        if view.labels is None:
            return None
        values = self._label_table[view.labels]
        majority = self._config.label_filter == "majority" and k > 1
        small = _block_mode(values, k) if majority else values[k // 2 :: k, k // 2 :: k]
        if not self._config.one_hot:
            return np.ascontiguousarray(small)
        channels = np.arange(1, len(self._config.channels) + 1, dtype=np.uint8)
        one_hot: ByteArray = (small[..., None] == channels).astype(np.uint8) * np.uint8(255)
        return one_hot


def _groups(groups: LabelGroups) -> dict[str, tuple[str, ...]]:
    return DRIVING_GROUPS if groups == "driving" else groups or {}


def _blocks(array: npt.NDArray[Any], k: int) -> npt.NDArray[Any]:
    """(H, W, ...) to blocks (H/k, k, W/k, k, ...)."""
    height, width = array.shape[:2]
    return array.reshape(height // k, k, width // k, k, *array.shape[2:])


def _block_mean(rgb: ByteArray, k: int) -> ByteArray:
    if k == 1:
        return rgb.copy()
    mean: FloatArray = _blocks(rgb, k).mean(axis=(1, 3), dtype=np.float32)
    return (mean + 0.5).astype(np.uint8)


def _block_min(depth_m: FloatArray, k: int) -> FloatArray:
    if k == 1:
        return depth_m.copy()
    nearest_m: FloatArray = _blocks(depth_m, k).min(axis=(1, 3))
    return nearest_m


def _block_mode(values: ByteArray, k: int) -> ByteArray:
    """The most frequent value of each block; the lowest of equally frequent ones."""
    blocks = _blocks(values, k)
    present = np.flatnonzero(np.bincount(values.ravel(), minlength=1)).astype(np.uint8)
    counts = np.stack([(blocks == value).sum(axis=(1, 3)) for value in present])
    modes: ByteArray = present[counts.argmax(axis=0)]
    return modes
