"""From a dataset folder to a list of photographs with labels, checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import Field

from sim2street.bridge.errors import LabelError
from sim2street.bridge.frame import ByteArray
from sim2street.bridge.label_maps import LabelMap, label_map
from sim2street.configs import ConfigError, StrictModel, did_you_mean
from sim2street.neural_renderer.conditions.pseudo_depth import USUAL_FOV_DEG, USUAL_HEIGHT_M

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

Thing = TypeVar("Thing")


class PhotoSourceConfig(StrictModel):
    """Where photographs and their labels lie, and how they were taken.

    Attributes:
        name: of the data set, first part of a drive's name.
        root: the folder of the data set.
        layout: "camvid", "idd-lite" and "bdd": `root/split/images` and `labels` of the
            same stem, the drive being the part before the last underscore (bdd: every
            picture its own); "cityscapes": `leftImg8bit/split/city` and `gtFine`;
            "folder": `root/images` and `root/labels`, same stem, one drive, in order.
        split: "train", "val", ...; ignored by the layout "folder".
        labels: label map (see `sim2street.bridge.label_maps`); empty: the layout's own.
        label_folder: name of the label folder beside `images`.
        drives: only these drives; empty: all.
        exclude_drives: leave these out (to hold a drive back for evaluation).
        every: take only every n-th picture of each drive.
        fov_deg: horizontal field of view of the camera.
        horizon: height of the horizon, fraction of the picture from its top; None: found
            from how far up the road goes in each drive.
        camera_height_m: above the road.
        bottom: fraction of the height that is kept (cuts the ego's bonnet off).
        video_step: the pictures are a video: those whose frame numbers are so far apart
            follow each other; None: they are not.
        find_lines: look for lane markings in the road; None: unless the layout's labels
            have them (camvid32) or its roads are full of dappled light (idd-lite).
    """

    name: str
    root: Path
    layout: Literal["camvid", "cityscapes", "idd-lite", "bdd", "folder"]
    split: str = "train"
    labels: str = ""
    label_folder: str = "labels"
    drives: tuple[str, ...] = ()
    exclude_drives: tuple[str, ...] = ()
    every: int = Field(1, ge=1)
    fov_deg: float = Field(USUAL_FOV_DEG, ge=20.0, le=150.0)
    horizon: float | None = Field(None, gt=0.0, lt=1.0)
    camera_height_m: float = Field(USUAL_HEIGHT_M, gt=0.0, le=10.0)
    bottom: float = Field(1.0, gt=0.5, le=1.0)
    video_step: int | None = Field(None, ge=1)
    find_lines: bool | None = None


@dataclass(frozen=True, slots=True)
class PhotoItem:
    """One photograph of a drive, not read yet."""

    drive: str
    frame: int
    image: Path
    labels: Path


_DEFAULT_MAPS = {
    "camvid": "camvid11",
    "cityscapes": "cityscapes-ids",
    "idd-lite": "idd-lite",
    "bdd": "bdd",
    "folder": "cityscapes-train",
}


def looks_for_lines(config: PhotoSourceConfig) -> bool:
    """Whether markings are searched for in this source's photographs."""
    if config.find_lines is not None:
        return config.find_lines
    return config.layout != "idd-lite" and config.labels != "camvid32"


def source_label_map(config: PhotoSourceConfig) -> LabelMap:
    """The label map of a source, or ConfigError where the config names none that exists."""
    try:
        return label_map(config.labels or _DEFAULT_MAPS[config.layout])
    except LabelError as error:
        raise ConfigError(f"{config.name}: {error}") from error


def spread(things: Sequence[Thing], most: int) -> list[Thing]:
    """At most so many of them, evenly spread, in their order."""
    count = min(most, len(things))
    return [things[(2 * i + 1) * len(things) // (2 * count)] for i in range(count)]


def list_photos(config: PhotoSourceConfig) -> list[PhotoItem]:
    """All items of a source, ordered by drive and frame.

    Raises:
        ConfigError: in one line, where the folder is not what the config says it is.
    """
    if not config.root.is_dir():
        raise ConfigError(f"{config.name}: there is no folder {config.root}")
    items = _LISTERS[config.layout](config)
    known = sorted({item.drive for item in items})
    for drive in (*config.drives, *config.exclude_drives):
        if drive not in known:
            raise ConfigError(f"{config.name}: no drive '{drive}'{did_you_mean(drive, known)}")
    kept = sorted(
        (
            item
            for item in items
            if (not config.drives or item.drive in config.drives)
            and item.drive not in config.exclude_drives
        ),
        key=lambda item: (item.drive, item.frame, item.image.name),
    )
    if config.every > 1:
        kept = [item for i, item in enumerate(kept) if i % config.every == 0]
    if not kept:
        raise ConfigError(f"{config.name}: no photographs are left in {config.root}")
    return kept


def read_photo(item: PhotoItem, labels: LabelMap) -> tuple[ByteArray, ByteArray]:
    """Pixels (uint8 (H, W, 3) sRGB) and label ids (uint8 (H, W)) of an item.

    Raises:
        ConfigError: unreadable, sizes differ, or not a label picture.
        LabelError: an id that the label map does not know.
    """
    rgb = np.array(_open(item.image).convert("RGB"))
    picture = _open(item.labels)
    if labels.colors is not None and picture.mode not in ("L", "P"):
        ids = labels.from_colors(np.asarray(picture.convert("RGB")), str(item.labels))
    elif picture.mode in ("L", "P"):
        ids = np.asarray(picture)
    else:
        raise ConfigError(
            f"{item.labels}: expected one 8-bit channel of label ids, got mode {picture.mode}; "
            "colour labels need a label map with colours, such as 'camvid32'"
        )
    if ids.shape != rgb.shape[:2]:
        raise ConfigError(
            f"{item.labels}: labels are {ids.shape[1]}x{ids.shape[0]} but the photograph is "
            f"{rgb.shape[1]}x{rgb.shape[0]}"
        )
    labels.check(ids, str(item.labels))
    return rgb, ids.astype(np.uint8)


def _open(path: Path) -> Image.Image:
    try:
        picture = Image.open(path)
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # PIL raises all three
        raise ConfigError(f"{path}: cannot be read as a picture ({error})") from error
    return picture


def _pairs(config: PhotoSourceConfig, root: Path) -> list[tuple[Path, Path]]:
    """Pictures of `root/images` with their labels of the same stem."""
    images, labels = root / "images", root / config.label_folder
    for folder in (images, labels):
        if not folder.is_dir():
            raise ConfigError(
                f"{config.name}: layout '{config.layout}' expects the folder {folder}; "
                f"there are {_names(root) if root.is_dir() else _names(config.root)}"
            )
    found = sorted(path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise ConfigError(f"{config.name}: no pictures in {images}")
    by_stem = {path.stem: path for path in labels.iterdir() if path.suffix.lower() == ".png"}
    missing = [path.name for path in found if path.stem not in by_stem]
    if missing:
        raise ConfigError(
            f"{config.name}: {len(missing)} of {len(found)} pictures have no labels in {labels} "
            f"(the first: {missing[0]})"
        )
    return [(path, by_stem[path.stem]) for path in found]


def _names(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "no files"


def _number(text: str, fallback: int) -> int:
    digits = re.findall(r"\d+", text)
    return int(digits[-1]) if digits else fallback


def _list_drive_frame(config: PhotoSourceConfig) -> list[PhotoItem]:
    """`split/images/drive_frame.jpg`, as in CamVid and IDD-lite."""
    items = []
    for index, (image, labels) in enumerate(_pairs(config, config.root / config.split)):
        drive, underscore, frame = image.stem.rpartition("_")
        if not underscore:
            raise ConfigError(
                f"{config.name}: {image.name} is not named drive_frame; use the layout 'folder'"
            )
        items.append(PhotoItem(drive, _number(frame, index), image, labels))
    return items


def _list_bdd(config: PhotoSourceConfig) -> list[PhotoItem]:
    """Each picture is a drive of its own."""
    pairs = _pairs(config, config.root / config.split)
    return [PhotoItem(image.stem, 0, image, labels) for image, labels in pairs]


def _list_folder(config: PhotoSourceConfig) -> list[PhotoItem]:
    """One drive; the frame number is the last number of the name, or the position."""
    pairs = _pairs(config, config.root)
    return [
        PhotoItem(config.name, _number(image.stem, index), image, labels)
        for index, (image, labels) in enumerate(pairs)
    ]


def _list_cityscapes(config: PhotoSourceConfig) -> list[PhotoItem]:
    """`leftImg8bit/split/city/city_seq_frame_leftImg8bit.png` with `gtFine/.../_labelIds`."""
    images, labels = (config.root / kind / config.split for kind in ("leftImg8bit", "gtFine"))
    for folder in (images, labels):
        if not folder.is_dir():
            raise ConfigError(
                f"{config.name}: layout 'cityscapes' expects the folder {folder}; "
                f"there are {_names(config.root)}"
            )
    ending = "labelTrainIds" if config.labels in ("cityscapes-train", "bdd") else "labelIds"
    items = []
    for image in sorted(images.glob("*/*_leftImg8bit.*")):
        stem = image.stem.removesuffix("_leftImg8bit")
        city, sequence, frame = stem.rsplit("_", 2)
        path = labels / image.parent.name / f"{stem}_gtFine_{ending}.png"
        if not path.is_file():
            raise ConfigError(f"{config.name}: {image.name} has no labels at {path}")
        items.append(PhotoItem(f"{city}_{sequence}", int(frame), image, path))
    if not items:
        raise ConfigError(f"{config.name}: no pictures *_leftImg8bit.* in {images}/<city>")
    return items


_LISTERS: dict[str, Callable[[PhotoSourceConfig], list[PhotoItem]]] = {
    "camvid": _list_drive_frame,
    "idd-lite": _list_drive_frame,
    "bdd": _list_bdd,
    "cityscapes": _list_cityscapes,
    "folder": _list_folder,
}
