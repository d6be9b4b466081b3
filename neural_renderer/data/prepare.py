"""Photographs made ready for training: markings found, depth guessed, kept in memory."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from sim2street.bridge.frame import ByteArray
from sim2street.bridge.label_maps import LabelMap
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.conditions.facades import split_facades
from sim2street.neural_renderer.conditions.layout import WINDOW
from sim2street.neural_renderer.conditions.pseudo_depth import (
    GroundCamera,
    estimate_horizon,
    pseudo_depth,
)
from sim2street.neural_renderer.conditions.vehicle_windows import find_panes
from sim2street.neural_renderer.data.photo_windows import find_windows
from sim2street.neural_renderer.data.photos import (
    PhotoItem,
    PhotoSourceConfig,
    list_photos,
    looks_for_lines,
    read_photo,
    source_label_map,
    spread,
)
from sim2street.neural_renderer.data.prefetch import prefetched
from sim2street.neural_renderer.data.road_lines import find_road_lines

LINE_CODE = 254
"""Label id given to markings found in the photograph; no data set uses it."""

PREPARE_VERSION = 3
"""Counts up whenever the same photograph is prepared differently: old caches are not read."""

MAX_WIDTH_PX = 640
"""Wider photographs are reduced: training crops are at most 512 wide."""


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """One photograph with everything training needs, about 1 MB at 480x360.

    Attributes:
        drive: "source/drive"; exemplars come from the same drive.
        frame: number within the drive.
        rgb: uint8 (H, W, 3) sRGB.
        ids: uint8 (H, W), ids of the data set, with found markings as LINE_CODE.
        sets: uint8 (256, 29), multi-hot tags per id (shared by a source's photographs).
        primary: uint8 (256,), representative tag per id.
        depth_m: float16 (H, W), pseudo-depth, sky = 1000.
        facades: uint8 (H, W), number of the facade on buildings, 0 elsewhere; `layout.WINDOW`
            is added where a window was found, of a building or of a vehicle.
        camera: the level camera that the pseudo-depth assumes.
        bottom_px: rows below are the ego's bonnet or a dashboard and are never cropped.
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
        """Representative tags with markings, uint8 (H, W)."""
        return self.primary[self.ids]


def load_photos(
    config: PhotoSourceConfig, workers: int = 0, most: int | None = None
) -> list[PreparedPhoto]:
    """Read and prepare a source, or at most so many photographs evenly spread over it.

    About 60 ms a photograph, shared by `workers`.
    """
    items = list_photos(config)
    items = items if most is None else spread(items, most)
    labels = source_label_map(config)
    sets = _sets(labels)
    primary = labels.primary
    primary[LINE_CODE] = Tag.ROAD_LINES
    read = [_reduced(*read_photo(item, labels)) for item in items]
    horizons = _horizons(config, items, [primary[ids] for _, ids in read])

    def prepared(index: int) -> PreparedPhoto:
        rgb, ids = read[index]
        return prepare_photo(config, items[index], rgb, ids, sets, primary, horizons[index])

    photos = prefetched(prepared, 0, len(items), workers)
    return [dataclasses.replace(photo, sets=sets, primary=primary) for photo in photos]


def prepare_photo(
    config: PhotoSourceConfig,
    item: PhotoItem,
    rgb: ByteArray,
    ids: ByteArray,
    sets: ByteArray,
    primary: ByteArray,
    horizon: float,
) -> PreparedPhoto:
    """Find markings and guess the depth of one photograph; `horizon` as a fraction."""
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


def _sets(labels: LabelMap) -> ByteArray:
    sets = labels.multihot.astype(np.uint8)
    sets[LINE_CODE] = 0
    sets[LINE_CODE, Tag.ROAD_LINES] = 1
    return sets


def _reduced(rgb: ByteArray, ids: ByteArray) -> tuple[ByteArray, ByteArray]:
    height, width = ids.shape
    if width <= MAX_WIDTH_PX:
        return rgb, ids
    size = (MAX_WIDTH_PX, round(height * MAX_WIDTH_PX / width))
    small = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BOX))
    return small, np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))


def _horizons(
    config: PhotoSourceConfig, items: Sequence[PhotoItem], tags: Sequence[ByteArray]
) -> list[float]:
    """A camera keeps its pitch through a drive, and traffic often hides the far road.

    So a drive's horizon is a low quantile of what its photographs show; single pictures
    are kept near the median of the source.
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
