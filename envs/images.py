"""Observations from a camera: rgb, labels and depth, at the size and grouping asked for."""

from __future__ import annotations

from typing import Literal

import numpy as np
from gymnasium import spaces
from pydantic import Field, field_validator

from sim2street.bridge.frame import MAX_TAG, SKY_DEPTH_M, ByteArray, Camera, FloatArray, View
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError, StrictModel, did_you_mean

PICTURES = ("image", "labels", "depth_m")
"""Keys that are made from a camera."""

DRIVING_GROUPS: dict[str, tuple[str, ...]] = {
    "road": ("road",),
    "marking": ("road_lines",),
    "sidewalk": ("sidewalk",),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
    "person": ("pedestrian", "rider"),
    "light": ("traffic_light",),
    "sign": ("traffic_sign",),
}
"""Groups of tags that matter to a driver; `label_groups: driving` stands for these."""


class PictureConfig(StrictModel):
    """How pictures become small enough to learn from.

    Attributes:
        downscale: whole factor by which images (mean), labels and depth (nearest to the
            camera) are made smaller; it must divide their size.
        label_filter: which label a smaller pixel gets: of its middle, or the most frequent.
        label_groups: names of groups to names of tags; labels become 0 (none of them), 1,
            2, ... in this order. "driving": the groups of `DRIVING_GROUPS`.
        one_hot: labels as one channel per tag or group, 255 where it is (and no channel
            for "none of them").
    """

    downscale: int = Field(default=1, ge=1)
    label_filter: Literal["nearest", "majority"] = "nearest"
    label_groups: Literal["driving"] | dict[str, tuple[str, ...]] | None = None
    one_hot: bool = False

    @field_validator("label_groups")
    @classmethod
    def _known_tags(
        cls, groups: Literal["driving"] | dict[str, tuple[str, ...]] | None
    ) -> Literal["driving"] | dict[str, tuple[str, ...]] | None:
        known = [tag.name.lower() for tag in Tag]
        for name in (n for names in _groups(groups).values() for n in names):
            if name.lower() not in known:
                raise ValueError(f"there is no tag '{name}'{did_you_mean(name.lower(), known)}")
        return groups

    @property
    def channels(self) -> tuple[str, ...]:
        """What the label values 1, 2, ... (or the one-hot channels) stand for."""
        groups = _groups(self.label_groups)
        return tuple(groups) if groups else tuple(tag.name.lower() for tag in Tag if tag > 0)

    def label_table(self) -> ByteArray:
        """uint8 (29,): tag to value."""
        groups = _groups(self.label_groups)
        if not groups:
            return np.arange(MAX_TAG + 1, dtype=np.uint8)
        table = np.zeros(MAX_TAG + 1, np.uint8)
        for value, names in enumerate(groups.values(), start=1):
            table[[Tag[name.upper()] for name in names]] = value
        return table


class PictureMaker:
    """Makes the picture observations of one camera."""

    def __init__(self, config: PictureConfig, camera: Camera, image_scale: int = 1) -> None:
        """`image_scale`: size of the rgb over the size of the labels."""
        self._config = config
        self._table = config.label_table()
        k = config.downscale
        self._size = camera.height_px // k, camera.width_px // k
        if (self._size[0] * k, self._size[1] * k) != (camera.height_px, camera.width_px):
            raise ConfigError(
                f"observation.pictures.downscale: {k} does not divide the camera's size "
                f"({camera.width_px}, {camera.height_px})"
            )
        self._scale = image_scale

    def box(self, key: str, stack: int) -> spaces.Box:
        """The space of `stack` pictures, one after the other along the channels."""
        height, width = self._size
        if key == "image":
            shape = height * self._scale, width * self._scale, 3 * stack
            return spaces.Box(0, 255, shape, np.uint8)
        if key == "depth_m":
            shape_d = (height, width) if stack == 1 else (height, width, stack)
            return spaces.Box(0.0, SKY_DEPTH_M, shape_d, np.float32)
        if self._config.one_hot:
            channels = len(self._config.channels) * stack
            return spaces.Box(0, 255, (height, width, channels), np.uint8)
        shape_l = (height, width) if stack == 1 else (height, width, stack)
        return spaces.Box(0, int(self._table.max()), shape_l, np.uint8)

    def picture(self, key: str, view: View) -> np.ndarray | None:
        """The observation as a new array, or None where the view does not have it."""
        k = self._config.downscale
        if key == "image":
            return None if view.rgb is None else _mean(view.rgb, k)
        if key == "depth_m":
            return None if view.depth_m is None else _nearest_depth(view.depth_m, k)
        if view.labels is None:
            return None
        values = self._table[view.labels]
        majority = self._config.label_filter == "majority" and k > 1
        small = _most_frequent(values, k) if majority else values[k // 2 :: k, k // 2 :: k]
        if not self._config.one_hot:
            return np.ascontiguousarray(small)
        wanted = np.arange(1, len(self._config.channels) + 1, dtype=np.uint8)
        return (small[..., None] == wanted).astype(np.uint8) * np.uint8(255)


def _groups(
    groups: Literal["driving"] | dict[str, tuple[str, ...]] | None,
) -> dict[str, tuple[str, ...]]:
    return DRIVING_GROUPS if groups == "driving" else groups or {}


def _blocks(array: np.ndarray, k: int) -> np.ndarray:
    """(H, W, ...) to (H/k, k, W/k, k, ...)."""
    height, width = array.shape[:2]
    return array.reshape(height // k, k, width // k, k, *array.shape[2:])


def _mean(rgb: ByteArray, k: int) -> ByteArray:
    if k == 1:
        return rgb.copy()
    return (_blocks(rgb, k).mean(axis=(1, 3), dtype=np.float32) + 0.5).astype(np.uint8)


def _nearest_depth(depth_m: FloatArray, k: int) -> FloatArray:
    return depth_m.copy() if k == 1 else _blocks(depth_m, k).min(axis=(1, 3))


def _most_frequent(values: ByteArray, k: int) -> ByteArray:
    """The most frequent value of each k x k block; the lowest where several are."""
    blocks = _blocks(values, k)
    present = np.flatnonzero(np.bincount(values.ravel(), minlength=1)).astype(np.uint8)
    counts = np.stack([(blocks == value).sum(axis=(1, 3)) for value in present])
    return present[counts.argmax(axis=0)]
