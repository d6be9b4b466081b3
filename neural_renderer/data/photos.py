"""The sources of training photographs: which files, checked before they are used."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from sim2street.bridge.datasets.files import evenly_spaced, shown
from sim2street.bridge.datasets.images import read_rgb, size_text
from sim2street.bridge.datasets.label_images import LabelImage, LabelReader
from sim2street.bridge.datasets.layouts import LAYOUTS, LabelledPhoto, PhotoSet, find_photos
from sim2street.bridge.datasets.plausibility import SAMPLES, check_naming
from sim2street.bridge.errors import DatasetError, LabelError
from sim2street.bridge.frame import ByteArray
from sim2street.bridge.label_maps import LabelMap, label_map
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError, StrictModel, did_you_mean
from sim2street.neural_renderer.conditions.pseudo_depth import USUAL_FOV_DEG, USUAL_HEIGHT_M


class PhotoSourceConfig(StrictModel):
    """Where photographs and their labels lie, and how they were taken.

    Attributes:
        name: of the data set; the first part of the names of its drives.
        root: folder of the data set.
        layout: how files are arranged; images and labels share their names.
            "camvid", "idd-lite", "bdd" and "cityscapes" are the trees that these data sets are
            downloaded as (`sim2street.bridge.datasets.layouts`). The first three may also be
            `root/split/images` and `root/split/labels`; then names are DRIVE_FRAME, and in "bdd"
            each image is a drive of its own. "folder": `root/images` and `root/labels`, each
            subfolder a drive.
        split: "train", "val", ...; "all" for data sets without splits; ignored by the layout
            "folder".
        labels: name of the label map (see `sim2street.bridge.label_maps`); empty: the layout's own.
        label_folder: name of the label folder beside `images`.
        trust_naming: do not check whether the label ids look like those of the label map.
        drives: use only these drives; empty: all.
        exclude_drives: leave these drives out.
        every: use only every n-th photograph.
        fov_deg: horizontal field of view of the camera, in degrees.
        horizon: row of the horizon as a fraction of the image's height, from the top; None:
            estimated from the labels of each drive.
        camera_height_m: height of the camera above the road.
        bottom: fraction of the height that is used, from the top; cuts off the ego car's bonnet.
        video_step: difference of the frame numbers of consecutive frames of a video; None: the
            photographs are not a video.
        find_lines: detect lane markings in the photographs; None: do so unless the labels contain
            them ("camvid32") or sunlight through leaves looks like them ("idd-lite").
    """

    name: str
    root: Path
    layout: Literal["camvid", "cityscapes", "idd-lite", "bdd", "folder"]
    split: str = "train"
    labels: str = ""
    label_folder: str = "labels"
    trust_naming: bool = False
    drives: tuple[str, ...] = ()
    exclude_drives: tuple[str, ...] = ()
    every: int = Field(1, ge=1)
    fov_deg: float = Field(USUAL_FOV_DEG, ge=20.0, le=150.0)
    horizon: float | None = Field(None, gt=0.0, lt=1.0)
    camera_height_m: float = Field(USUAL_HEIGHT_M, gt=0.0, le=10.0)
    bottom: float = Field(1.0, gt=0.5, le=1.0)
    video_step: int | None = Field(None, ge=1)
    find_lines: bool | None = None


@dataclass(frozen=True)
class SourceReport:
    """What a look at a source has found.

    Attributes:
        name: of the source.
        photos: number of photographs that are used.
        drives: number of drives.
        naming: name of the label map.
        images: their folder.
        size: of the photographs looked at, `WIDTHxHEIGHT`, or several.
        looked_at: number of photographs that were opened.
        classes: names of the classes seen in their labels, the most frequent first.
        unused_labels: label images without a photograph.
    """

    name: str
    photos: int
    drives: int
    naming: str
    images: Path
    size: str
    looked_at: int
    classes: tuple[str, ...]
    unused_labels: int

    def lines(self) -> list[str]:
        """The report as text."""
        lines = [
            f"{self.name}: {self.photos} photographs, {self.drives} drives: {shown(self.images)}",
            f"  labels: {self.naming}; {self.looked_at} pairs opened, {self.size}: "
            f"{', '.join(self.classes)}",
        ]
        if self.unused_labels:
            lines.append(f"  {self.unused_labels} label images have no photograph and are not used")
        return lines


def looks_for_lines(config: PhotoSourceConfig) -> bool:
    """Whether lane markings are detected in this source's photographs."""
    if config.find_lines is not None:
        return config.find_lines
    usual = config.labels or LAYOUTS[config.layout][0].naming
    tags = (tag for tags in label_map(usual).tags_by_id.values() for tag in tags)
    return config.layout != "idd-lite" and Tag.ROAD_LINES not in tags


def open_source(config: PhotoSourceConfig) -> PhotoSet:
    """The photographs of a source, ordered by drive and frame, and what their labels mean.

    Raises:
        ConfigError: the folder does not match the config.
    """
    try:
        found = find_photos(
            config.layout, config.root,
            split=config.split, naming=config.labels, label_folder=config.label_folder,
        )  # fmt: skip
    except (DatasetError, LabelError) as error:
        raise ConfigError(f"{config.name}: {error}") from error
    photos = [
        photo if photo.drive else dataclasses.replace(photo, drive=config.name)
        for photo in found.photos
    ]
    known = sorted({photo.drive for photo in photos})
    for drive in (*config.drives, *config.exclude_drives):
        if drive not in known:
            raise ConfigError(f"{config.name}: no drive '{drive}'{did_you_mean(drive, known)}")
    kept = sorted(
        (
            photo
            for photo in photos
            if (not config.drives or photo.drive in config.drives)
            and photo.drive not in config.exclude_drives
        ),
        key=lambda photo: (photo.drive, photo.frame, photo.image.name),
    )
    kept = kept[:: config.every]
    if not kept:
        raise ConfigError(
            f"{config.name}: no photographs in {config.root} match the config's drives"
        )
    return dataclasses.replace(found, photos=tuple(kept))


def list_photos(config: PhotoSourceConfig) -> list[LabelledPhoto]:
    """All photographs of a source, ordered by drive and frame.

    Raises:
        ConfigError: the folder does not match the config.
    """
    return list(open_source(config).photos)


def read_photo(photo: LabelledPhoto, reader: LabelReader) -> tuple[ByteArray, LabelImage]:
    """Pixels, uint8 (H, W, 3) sRGB, and labels of the same size.

    Raises:
        DatasetError: a file that cannot be read or has no certain meaning, or sizes that differ.
        LabelError: an id or colour that the label map does not have.
    """
    rgb, labels = read_rgb(photo.image), reader.read(photo.labels)
    if labels.ids.shape != rgb.shape[:2]:
        raise DatasetError(
            f"{shown(photo.labels)}: labels are {size_text(labels.ids.shape)} but the photograph "
            f"is {size_text(rgb.shape)}{_size_hint(labels.ids.shape, rgb.shape)}"
        )
    return rgb, labels


def check_source(config: PhotoSourceConfig, found: PhotoSet, reader: LabelReader) -> SourceReport:
    """Open a few photographs and labels of a source, and check what can be checked.

    Args:
        config: the source.
        found: `open_source(config)`.
        reader: of its labels; it warns once.

    Raises:
        DatasetError, LabelError: as in `read_photo`; or the labels look like those of another map.
    """
    pairs = [read_photo(photo, reader) for photo in evenly_spaced(found.photos, SAMPLES)]
    labels = [image for _, image in pairs]
    if not config.trust_naming:
        check_naming(labels, found.source_map, f"{config.name}, {shown(found.labels)}")
    sizes = list(dict.fromkeys(size_text(rgb.shape) for rgb, _ in pairs))
    return SourceReport(
        config.name, len(found.photos), len({photo.drive for photo in found.photos}),
        found.source_map.name, found.images, ", ".join(sizes), len(pairs),
        _classes(labels, found.source_map), found.unused_labels,
    )  # fmt: skip


def _classes(labels: Sequence[LabelImage], source_map: LabelMap) -> tuple[str, ...]:
    counts = np.zeros(len(Tag), np.int64)
    for image in labels:
        counts += np.bincount(source_map.primary[image.ids].ravel(), minlength=len(Tag))
    return tuple(Tag(int(tag)).name.lower() for tag in np.argsort(-counts) if counts[tag])


def _size_hint(labels: tuple[int, ...], photo: tuple[int, ...]) -> str:
    if labels == photo[1::-1]:
        return (
            ": one of them is turned by 90°. The EXIF orientation of the photograph has been "
            "applied; turn the labels as well"
        )
    if labels[0] * photo[1] == labels[1] * photo[0]:
        return "; resize the labels without interpolation (nearest neighbour)"
    return "; are these the labels of this photograph?"
