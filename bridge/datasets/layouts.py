"""Photographs with their labels, in the folders of data sets as they are downloaded."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim2street.bridge.datasets.files import (
    check_folder,
    child_folder,
    contents,
    find_images,
    normal_name,
    shown,
    subfolders,
    suffix_counts,
)
from sim2street.bridge.datasets.naming import choose_labels, frame_name
from sim2street.bridge.errors import DatasetError
from sim2street.bridge.label_maps import LabelMap, label_map

ALL_SPLITS = "all"
"""Split of data sets that are downloaded without splits."""


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """Files of one photograph, and its place in a drive."""

    drive: str
    frame: int
    image: Path
    labels: Path


@dataclass(frozen=True)
class PhotoSet:
    """The photographs of one split of a data set.

    Attributes:
        photos: in the order of their files.
        source_map: what the labels mean.
        images: the folder of the photographs.
        labels: the folder of the labels.
        unused_labels: number of label images without a photograph.
    """

    photos: tuple[LabelledPhoto, ...]
    source_map: LabelMap
    images: Path
    labels: Path
    unused_labels: int


Placing = Callable[[Path, str, int], tuple[str, int]]
"""Drive and frame of a photograph: of its folder below the images, its name, its position."""


@dataclass(frozen=True)
class _Tree:
    """Folders of a data set, relative to its root.

    Attributes:
        images: folder of photographs; `{split}` is filled in.
        labels: folder of labels; `{split}` and `{labels}`, the user's name for it, are filled in.
        naming: usual label map.
        place: tells drives and frames from names.
        has_splits: whether the data set comes in splits.
    """

    images: str
    labels: str
    naming: str
    place: Placing
    has_splits: bool = True

    def folders(self, split: str, label_folder: str) -> tuple[str, str]:
        """Both folders with their names filled in."""
        return self.images.format(split=split), self.labels.format(split=split, labels=label_folder)


def find_photos(
    layout: str,
    root: Path,
    *,
    split: str = "train",
    naming: str = "",
    label_folder: str = "labels",
) -> PhotoSet:
    """The photographs and labels of a data set.

    Args:
        layout: one of `LAYOUTS`.
        root: folder of the data set, or the folder above it.
        split: "train", "val", ...; "all" for data sets that are downloaded without splits.
        naming: name of the label map; empty: the usual one of the layout.
        label_folder: name of the label folder beside `images`, in the layouts that have one.

    Raises:
        DatasetError: the folders do not match the layout, or photographs have no labels.
    """
    check_folder(root)
    for tree in LAYOUTS[layout]:
        names = tree.folders(split, label_folder)
        images, labels = (_folder_of(root, name) for name in names)
        if images is None or labels is None:
            continue
        if not tree.has_splits and split != ALL_SPLITS:
            raise DatasetError(
                f"{shown(images)} has no splits, so there is no '{split}': set `split: all`, and "
                "choose drives with `drives` and `exclude_drives`"
            )
        source_map = label_map(naming or tree.naming)
        return _paired(images, labels, source_map, tree.place, layout)
    raise _no_such_tree(layout, root, split, label_folder)


def _paired(
    images: Path, labels: Path, source_map: LabelMap, place: Placing, layout: str
) -> PhotoSet:
    """Every photograph with the labels of its name."""
    photos = find_images(images)
    if not photos:
        raise DatasetError(f"no photographs in {shown(images)}: found {suffix_counts(images)}")
    label_files = find_images(labels)
    if not label_files:
        raise DatasetError(
            f"no label images in {shown(labels)}: found {suffix_counts(labels)}{_polygons(labels)}"
        )
    index = _LabelIndex(choose_labels(label_files, source_map, labels), labels)
    pairs, missing = [], []
    for position, image in enumerate(photos):
        folder = image.parent.relative_to(images)
        found = index.labels_of(image, folder)
        if found is None:
            missing.append(image)
            continue
        name = normal_name(frame_name(image))
        try:
            drive, frame = place(folder, name, position)
        except ValueError as error:
            raise DatasetError(f"layout '{layout}': {shown(image)} {error}") from error
        pairs.append(LabelledPhoto(drive, frame, image, found))
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(photos)} images have no labels in {shown(labels)} (the first: "
            f"{shown(missing[0])}); move them away, or label them"
        )
    return PhotoSet(tuple(pairs), source_map, images, labels, index.count_unused())


class _LabelIndex:
    """Label images by the folder and name of their photographs."""

    def __init__(self, files: Sequence[Path], base: Path) -> None:
        self._exact: dict[tuple[Path, str], list[Path]] = defaultdict(list)
        self._short: dict[tuple[Path, str], list[Path]] = defaultdict(list)
        self._photo_of: dict[Path, Path] = {}
        self._count = len(files)
        for path in files:
            folder = path.parent.relative_to(base)
            self._exact[folder, normal_name(path.stem)].append(path)
            self._short[folder, normal_name(frame_name(path))].append(path)

    def labels_of(self, image: Path, folder: Path) -> Path | None:
        """The labels of a photograph: of the same name, or the same but for known endings."""
        stem, short = normal_name(image.stem), normal_name(frame_name(image))
        found = (
            self._exact.get((folder, stem))
            or self._short.get((folder, short))
            or self._short.get((folder, stem))
        )
        if not found:
            return None
        if len(found) > 1:
            raise DatasetError(
                f"two label images for {shown(image)}: {shown(found[0])} and {shown(found[1])}; "
                "keep one"
            )
        other = self._photo_of.setdefault(found[0], image)
        if other != image:
            raise DatasetError(
                f"two photographs for {shown(found[0])}: {shown(other)} and {shown(image)}; keep "
                "one"
            )
        return found[0]

    def count_unused(self) -> int:
        """How many label images no photograph has asked for."""
        return self._count - len(self._photo_of)


def _folder_of(root: Path, relative: str) -> Path | None:
    """A folder below the root, or below one of its subfolders, as archives unpack into."""
    direct = child_folder(root, relative)
    if direct is not None:
        return direct
    below = [child_folder(folder, relative) for folder in subfolders(root)]
    found = [folder for folder in below if folder is not None]
    if len(found) > 1:
        raise DatasetError(
            f"{shown(root)} has several folders {relative}: {shown(found[0])} and "
            f"{shown(found[1])}; give the folder of one data set"
        )
    return found[0] if found else None


def _no_such_tree(layout: str, root: Path, split: str, label_folder: str) -> DatasetError:
    ways = []
    for tree in LAYOUTS[layout]:
        images, labels = tree.folders(split, label_folder)
        found = _folder_of(root, images)
        if found is not None and images != split:
            return DatasetError(
                f"there is the folder {shown(found)}, but none with its labels: layout '{layout}' "
                f"expects the folder {shown(root / labels)}"
            )
        ways.append(f"{images} and {labels}")
    return DatasetError(
        f"layout '{layout}' expects the folders {', or '.join(ways)} in {shown(root)}; there are "
        f"{contents(root)}"
    )


def _polygons(labels: Path) -> str:
    """What to do about annotations that are not drawn yet, as the end of a message."""
    if not any(path.suffix == ".json" for path in labels.rglob("*.json")):
        return ""
    return (
        "; its polygons have to be drawn as images first (for IDD by preperation/createLabels.py "
        "--id-type level1Id of AutoNUE/public-code)"
    )


def _last_number(text: str, fallback: int) -> int:
    """The last number in a name."""
    digits = re.findall(r"\d+", text)
    return int(digits[-1]) if digits else fallback


def _by_name(folder: Path, name: str, position: int) -> tuple[str, int]:
    """`DRIVE_FRAME`."""
    drive, underscore, frame = name.rpartition("_")
    if not underscore:
        raise ValueError("is not named DRIVE_FRAME; use the layout 'folder'")
    return "/".join((*folder.parts, drive)), _last_number(frame, position)


def _by_folder(folder: Path, name: str, position: int) -> tuple[str, int]:
    """`DRIVE/FRAME`."""
    return "/".join(folder.parts), _last_number(name, position)


def _alone(folder: Path, name: str, position: int) -> tuple[str, int]:
    """Each photograph is a drive of its own."""
    return "/".join((*folder.parts, name)), 0


FRAMES_PER_SEQUENCE = 1_000_000
"""More than the frames of any sequence of Cityscapes, whose numbers have six digits."""


def _by_city(folder: Path, name: str, position: int) -> tuple[str, int]:
    """`CITY/CITY_SEQUENCE_FRAME`."""
    try:
        city, sequence, frame = name.rsplit("_", 2)
        return city, int(sequence) * FRAMES_PER_SEQUENCE + int(frame)
    except ValueError as error:
        raise ValueError("is not named CITY_SEQUENCE_FRAME; use the layout 'folder'") from error


def _own(naming: str, place: Placing) -> _Tree:
    return _Tree("{split}/images", "{split}/{labels}", naming, place)


_BDD_LABELS = "labels/sem_seg"

LAYOUTS: Mapping[str, tuple[_Tree, ...]] = {
    "camvid": (
        _own("camvid11", _by_name),
        _Tree("{split}", "{split}annot", "camvid11", _by_name),  # SegNet
        _Tree("{split}", "{split}_labels", "camvid32", _by_name),  # Kaggle
        _Tree(
            "701_StillsRaw_full", "LabeledApproved_full", "camvid32", _by_name, has_splits=False
        ),  # Cambridge
    ),
    "idd-lite": (
        _own("idd-lite", _by_name),
        _Tree("leftImg8bit/{split}", "gtFine/{split}", "idd-lite", _by_folder),
    ),
    "bdd": (
        _own("bdd", _alone),
        _Tree("images/10k/{split}", f"{_BDD_LABELS}/masks/{{split}}", "bdd", _alone),
        _Tree("images/10k/{split}", f"{_BDD_LABELS}/colormaps/{{split}}", "bdd", _alone),
        _Tree("seg/images/{split}", "seg/labels/{split}", "bdd", _alone),  # before 2020
        _Tree("seg/images/{split}", "seg/color_labels/{split}", "bdd", _alone),
    ),
    "cityscapes": (_Tree("leftImg8bit/{split}", "gtFine/{split}", "cityscapes-ids", _by_city),),
    "folder": (_Tree("images", "{labels}", "cityscapes-train", _by_folder),),
}
"""The trees of each layout, of which the first counts that is there: `SPLIT/images` beside
`SPLIT/labels`, then those of the downloads."""
