"""Finding and reading the labelled photographs of a data set, with checks of the folder."""

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

Item = TypeVar("Item")


class PhotoSourceConfig(StrictModel):
    """Where photographs and their labels lie, and how they were taken.

    Attributes:
        name: of the data set; the first part of the names of its drives.
        root: folder of the data set.
        layout: how files are arranged; images and labels share their stem.
            "camvid", "idd-lite": `root/split/images` and `root/split/labels`; the stem is
            DRIVE_FRAME. "bdd": the same, each image a drive of its own. "cityscapes":
            `root/leftImg8bit/split/city` and `root/gtFine/split/city`. "folder": `root/images` and
            `root/labels`, all of one drive.
        split: "train", "val", ...; ignored by the layout "folder".
        labels: name of the label map (see `sim2street.bridge.label_maps`); empty: the layout's own.
        label_folder: name of the label folder beside `images`.
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
    """Files of one photograph, and its place in a drive."""

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
    """Whether lane markings are detected in this source's photographs."""
    if config.find_lines is not None:
        return config.find_lines
    return config.layout != "idd-lite" and config.labels != "camvid32"


def source_label_map(config: PhotoSourceConfig) -> LabelMap:
    """The label map of a source.

    Raises:
        ConfigError: the config names a label map that does not exist.
    """
    try:
        return label_map(config.labels or _DEFAULT_MAPS[config.layout])
    except LabelError as error:
        raise ConfigError(f"{config.name}: {error}") from error


def evenly_spaced(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, evenly spaced, in their order."""
    count = min(most, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def list_photos(config: PhotoSourceConfig) -> list[PhotoItem]:
    """All photographs of a source, ordered by drive and frame.

    Raises:
        ConfigError: the folder does not match the config.
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
        raise ConfigError(
            f"{config.name}: no photographs in {config.root} match the config's drives"
        )
    return kept


def read_photo(item: PhotoItem, labels: LabelMap) -> tuple[ByteArray, ByteArray]:
    """Pixels, uint8 (H, W, 3) sRGB, and label ids, uint8 (H, W).

    Raises:
        ConfigError: a file that cannot be read, sizes that differ, or labels of the wrong format.
        LabelError: an id or colour that the label map does not have.
    """
    rgb = np.array(_open(item.image).convert("RGB"))
    picture = _open(item.labels)
    if labels.colors is not None and picture.mode not in ("L", "P"):
        ids = labels.ids_from_colors(np.asarray(picture.convert("RGB")), str(item.labels))
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
    labels.check_ids(ids, str(item.labels))
    return rgb, ids.astype(np.uint8)


def _open(path: Path) -> Image.Image:
    try:
        picture = Image.open(path)
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # PIL raises all three
        raise ConfigError(f"{path}: cannot be read as an image ({error})") from error
    return picture


def _pairs(config: PhotoSourceConfig, root: Path) -> list[tuple[Path, Path]]:
    """Images in `root/images` with the labels of the same stem."""
    images, labels = root / "images", root / config.label_folder
    for folder in (images, labels):
        if not folder.is_dir():
            raise ConfigError(
                f"{config.name}: layout '{config.layout}' expects the folder {folder}; "
                f"there are {_names(root) if root.is_dir() else _names(config.root)}"
            )
    found = sorted(path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise ConfigError(f"{config.name}: no images ({', '.join(IMAGE_SUFFIXES)}) in {images}")
    by_stem = {path.stem: path for path in labels.iterdir() if path.suffix.lower() == ".png"}
    missing = [path.name for path in found if path.stem not in by_stem]
    if missing:
        raise ConfigError(
            f"{config.name}: {len(missing)} of {len(found)} images have no labels in {labels} "
            f"(the first: {missing[0]})"
        )
    return [(path, by_stem[path.stem]) for path in found]


def _names(folder: Path) -> str:
    """Up to eight names in a folder, for an error message."""
    return ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "no files"


def _last_number(text: str, fallback: int) -> int:
    """The last number in a file name."""
    digits = re.findall(r"\d+", text)
    return int(digits[-1]) if digits else fallback


def _list_drive_frame(config: PhotoSourceConfig) -> list[PhotoItem]:
    """`split/images/drive_frame.jpg`, as in CamVid and IDD-Lite."""
    items = []
    for index, (image, labels) in enumerate(_pairs(config, config.root / config.split)):
        drive, underscore, frame = image.stem.rpartition("_")
        if not underscore:
            raise ConfigError(
                f"{config.name}: {image.name} is not named drive_frame; use the layout 'folder'"
            )
        items.append(PhotoItem(drive, _last_number(frame, index), image, labels))
    return items


def _list_bdd(config: PhotoSourceConfig) -> list[PhotoItem]:
    """Each image is a drive of its own."""
    pairs = _pairs(config, config.root / config.split)
    return [PhotoItem(image.stem, 0, image, labels) for image, labels in pairs]


def _list_folder(config: PhotoSourceConfig) -> list[PhotoItem]:
    """One drive; the frame number is the last number in the name, else the position."""
    pairs = _pairs(config, config.root)
    return [
        PhotoItem(config.name, _last_number(image.stem, index), image, labels)
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
        raise ConfigError(f"{config.name}: no images *_leftImg8bit.* in {images}/<city>")
    return items


_LISTERS: dict[str, Callable[[PhotoSourceConfig], list[PhotoItem]]] = {
    "camvid": _list_drive_frame,
    "idd-lite": _list_drive_frame,
    "bdd": _list_bdd,
    "cityscapes": _list_cityscapes,
    "folder": _list_folder,
}
