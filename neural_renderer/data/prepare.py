"""Preparing photographs for training: lane markings, pseudo-depth, facades and windows."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from sim2street.bridge.datasets.files import evenly_spaced
from sim2street.bridge.datasets.label_images import LabelReader
from sim2street.bridge.datasets.layouts import LabelledPhoto
from sim2street.bridge.frame import ByteArray
from sim2street.bridge.label_maps import LabelMap
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.layout import WINDOW
from sim2street.neural_renderer.conditions.pseudo_depth import (
    GroundCamera,
    estimate_horizon,
    pseudo_depth,
)
from sim2street.neural_renderer.data.photo_facades import split_facades
from sim2street.neural_renderer.data.photo_vehicle_windows import find_panes
from sim2street.neural_renderer.data.photo_windows import find_windows
from sim2street.neural_renderer.data.photos import (
    PhotoSourceConfig,
    check_source,
    looks_for_lines,
    open_source,
    read_photo,
)
from sim2street.neural_renderer.data.prefetch import prefetched
from sim2street.neural_renderer.data.road_lines import find_road_lines

LINE_CODE = 254
"""Label id of the lane markings found in a photograph; no data set uses it."""

PREPARE_VERSION = 4
"""Increased whenever photographs are prepared differently, so that old caches are not read."""

MAX_WIDTH_PX = 640
"""Wider photographs are reduced to this width; training crops are at most 512 wide."""


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """One photograph with everything that training needs; about 1 MB at 480x360.

    Attributes:
        drive: "source/drive"; exemplars come from the same drive.
        frame: number within the drive.
        rgb: uint8 (H, W, 3), sRGB.
        ids: uint8 (H, W), label ids of the data set; detected lane markings are `LINE_CODE`.
        sets: uint8 (256, 29), tags that each id may mean, multi-hot; shared by all photographs of a
            source.
        primary: uint8 (256,), most likely tag of each id.
        depth_m: float16 (H, W), pseudo-depth (planar z), sky = 1000.
        facades: uint8 (H, W), number of the facade on buildings, 0 elsewhere; the bit
            `layout.WINDOW` is set on detected windows of buildings and vehicles.
        camera: the level camera that the pseudo-depth assumes.
        bottom_px: rows from here on show the ego car and are never cropped.
    """

    drive: str
    frame: int
    rgb: ByteArray
    ids: ByteArray
    sets: ByteArray
    primary: ByteArray
    depth_m: npt.NDArray[np.float16]
    facades: ByteArray
    camera: GroundCamera
    bottom_px: int

    @property
    def tags(self) -> ByteArray:
        """The most likely tag of each pixel, uint8 (H, W)."""
        return self.primary[self.ids]


def load_photos(
    config: PhotoSourceConfig, workers: int = 0, most: int | None = None
) -> list[PreparedPhoto]:
    """Read and prepare the photographs of a source, about 60 ms each.

    Args:
        config: the source.
        workers: processes that prepare photographs; 0: this process does it.
        most: use at most so many photographs, evenly spaced; None: all.

    Raises:
        ConfigError: the folder does not match the config.
        DatasetError: a file cannot be read, or labels look like those of another label map.
        LabelError: an id or colour that the label map does not have.
    """
    found = open_source(config)
    labels = found.source_map
    reader = LabelReader(labels)
    check_source(config, found, reader)
    config = config.model_copy(update={"labels": labels.name})
    items = found.photos if most is None else evenly_spaced(found.photos, most)
    sets = _tag_sets(labels)
    primary = labels.primary
    primary[LINE_CODE] = Tag.ROAD_LINES
    pixels = []
    for item in items:
        rgb, image = read_photo(item, reader)
        pixels.append(_reduced(rgb, image.ids))
    horizons = _horizons(config, items, [primary[ids] for _, ids in pixels])

    def prepared(index: int) -> PreparedPhoto:
        rgb, ids = pixels[index]
        return prepare_photo(config, items[index], rgb, ids, sets, primary, horizons[index])

    photos = prefetched(prepared, 0, len(items), workers)
    return [dataclasses.replace(photo, sets=sets, primary=primary) for photo in photos]


def prepare_photo(
    config: PhotoSourceConfig,
    item: LabelledPhoto,
    rgb: ByteArray,
    ids: ByteArray,
    sets: ByteArray,
    primary: ByteArray,
    horizon: float,
) -> PreparedPhoto:
    """Detect lane markings, facades and windows in a photograph, and estimate its depth.

    Args:
        config: the photograph's source.
        item: its drive and frame.
        rgb: uint8 (H, W, 3).
        ids: label ids, uint8 (H, W).
        sets: tags that each id may mean, uint8 (256, 29).
        primary: most likely tag of each id, uint8 (256,).
        horizon: row of the horizon as a fraction of the height.
    """
    height, width = ids.shape
    camera = GroundCamera.of_picture(
        (width, height), config.fov_deg, horizon, config.camera_height_m
    )
    tags = primary[ids]
    if looks_for_lines(config):
        lines = find_road_lines(rgb, tags == Tag.ROAD, camera.horizon_px, camera.height_m)
        ids = np.where(lines, np.uint8(LINE_CODE), ids)
        tags = primary[ids]
    depth = pseudo_depth(tags, camera).astype(np.float16)
    facades = split_facades(rgb, tags == Tag.BUILDING)
    windows = find_windows(rgb, tags == Tag.BUILDING) | find_panes(rgb, tags)
    facades |= np.where(windows, WINDOW, np.uint8(0))
    return PreparedPhoto(
        f"{config.name}/{item.drive}", item.frame, rgb, ids, sets, primary, depth, facades,
        camera, round(config.bottom * height),
    )  # fmt: skip


def _tag_sets(labels: LabelMap) -> ByteArray:
    """Tags that each label id may mean, and `LINE_CODE` for lane markings: uint8 (256, 29)."""
    sets = labels.multihot.astype(np.uint8)
    sets[LINE_CODE] = 0
    sets[LINE_CODE, Tag.ROAD_LINES] = 1
    return sets


def _reduced(rgb: ByteArray, ids: ByteArray) -> tuple[ByteArray, ByteArray]:
    """Pixels and labels, reduced to at most `MAX_WIDTH_PX`."""
    height, width = ids.shape
    if width <= MAX_WIDTH_PX:
        return rgb, ids
    size = (MAX_WIDTH_PX, round(height * MAX_WIDTH_PX / width))
    small = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BOX))
    return small, np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))


def _horizons(
    config: PhotoSourceConfig, items: Sequence[LabelledPhoto], tags: Sequence[ByteArray]
) -> list[float]:
    """The horizon of each photograph, as a fraction of its height.

    A camera keeps its pitch during a drive, and traffic often hides the far road, which puts single
    estimates too far down in the image. So all photographs of a drive share a low quantile of their
    estimates, kept near the median of the source.
    """
    if config.horizon is not None:
        return [config.horizon] * len(items)
    by_drive: dict[str, list[float]] = defaultdict(list)
    for item, photo_tags in zip(items, tags, strict=True):
        estimate = estimate_horizon(photo_tags)
        if estimate is not None:
            by_drive[item.drive].append(estimate)
    drives = {drive: float(np.quantile(values, 0.35)) for drive, values in by_drive.items()}
    middle = float(np.median(list(drives.values()))) if drives else 0.5
    return [
        float(np.clip(drives.get(item.drive, middle), middle - 0.07, middle + 0.07))
        for item in items
    ]
