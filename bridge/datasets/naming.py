"""Which label map a naming stands for, and what the names of files say about their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sim2street.bridge.datasets.files import shown
from sim2street.bridge.errors import DatasetError
from sim2street.bridge.label_maps import LabelMap, label_map, label_map_names
from sim2street.configs import ConfigError, did_you_mean

ALIASES: Mapping[str, str] = {"cityscapes": "cityscapes-ids", "camvid": "camvid11"}
"""Short names that `--naming` takes, and the label map that each one stands for."""

_TRAIN_IDS = ("cityscapes-train", "bdd")

_LABEL_ENDINGS: Mapping[str, tuple[str, ...]] = {
    "_gtFine_labelIds": ("cityscapes-ids",),
    "_gtCoarse_labelIds": ("cityscapes-ids",),
    "_labelIds": ("cityscapes-ids",),
    "_gtFine_labelTrainIds": _TRAIN_IDS,
    "_gtCoarse_labelTrainIds": _TRAIN_IDS,
    "_labelTrainIds": _TRAIN_IDS,
    "_trainIds": _TRAIN_IDS,
    "_train_id": _TRAIN_IDS,
    "_gtFine_labelcsIds": ("cityscapes-ids",),
    "_gtFine_labelcsTrainIds": _TRAIN_IDS,
    "_gtFine_labellevel1Ids": ("idd-lite",),
    "_gtFine_labellevel3Ids": ("idd-level3",),
    "_gtFine_labelids": (),
    "_labelid": (),
    "_label": (),
    "_L": (),
}
"""Endings of names of label images, and the label maps that they stand for; () means any."""

_USUAL_ENDINGS: Mapping[str, tuple[str, ...]] = {
    "camvid32": ("_L",),
    "idd-lite": ("_label",),
}
"""Endings without a certain meaning that come first for some label maps."""

_COLOR_ENDINGS = (
    "_gtFine_color", "_gtCoarse_color", "_labelColors", "_train_color", "_color",
)  # fmt: skip

_OTHER_ENDINGS = (
    "_gtFine_instanceIds", "_gtCoarse_instanceIds", "_instanceIds", "_instanceTrainIds",
    "_gtFine_instancelevel1Ids", "_gtFine_instancelevel3Ids", "_inst_label", "_inst", "_panoptic",
    "_leftImg8bit", "_rightImg8bit", "_disparity", "_depth",
)  # fmt: skip
"""Endings of names of images that are never semantic labels."""

_PHOTO_ENDINGS = ("_leftImg8bit", "_image", "_rgb")

_COLOR_FOLDERS = ("colormaps", "color_labels")
_OTHER_FOLDERS = (
    "images", "leftImg8bit", "rightImg8bit", "disparity", "bitmasks", "ins_seg", "pan_seg",
    "drivable", "lane", "701_StillsRaw_full",
)  # fmt: skip
"""Folders within data sets that hold no semantic labels."""

_LOSSY_SUFFIXES = (".jpg", ".jpeg")


def naming_names() -> tuple[str, ...]:
    """All values that `--naming` takes."""
    return (*ALIASES, *label_map_names())


def find_map(naming: str) -> LabelMap:
    """The label map that `--naming` stands for. Raises ConfigError."""
    known = naming_names()
    if naming not in known:
        raise ConfigError(
            f"--naming: unknown data set '{naming}'{did_you_mean(naming, list(known))}"
        )
    return label_map(ALIASES.get(naming, naming))


def frame_name(path: Path) -> str:
    """The name of a label image or photograph without its suffix and its data set's endings."""
    for ending in _by_length((*_LABEL_ENDINGS, *_COLOR_ENDINGS, *_PHOTO_ENDINGS)):
        if path.stem.endswith(ending) and path.stem != ending:
            return path.stem.removesuffix(ending)
    return path.stem


def choose_labels(files: Sequence[Path], source_map: LabelMap, where: Path) -> list[Path]:
    """Those of `files` that are label images of this label map, by the names of files and folders.

    Prefers files whose ending stands for the map (`_gtFine_labelIds` for "cityscapes-ids"), then
    files without a known ending, then colour-coded ones, then JPEGs.

    Args:
        files: images in or below one folder.
        source_map: what the labels should mean.
        where: the folder, for the error.

    Raises:
        DatasetError: all files are named as images of something else.
    """
    chosen = _best_kind(files, source_map, where, use_folders=True)
    chosen = chosen or _best_kind(files, source_map, where, use_folders=False)
    if not chosen:
        raise DatasetError(
            f"{shown(where)}: no label images for the naming '{source_map.name}': {len(files)} "
            f"images are named as something else, such as {shown(files[0].relative_to(where))}"
            f"{_naming_hint(files)}"
        )
    return chosen


def _best_kind(
    files: Sequence[Path], source_map: LabelMap, where: Path, *, use_folders: bool
) -> list[Path]:
    """The files of the best kind there is, by their names and those of their folders."""
    kinds: dict[str, list[Path]] = {kind: [] for kind in _KINDS}
    photo_folders = _photo_folders(files) if use_folders else set()
    for path in files:
        folders = path.relative_to(where).parts[:-1] if use_folders else ()
        if path.parent in photo_folders or any(name in _OTHER_FOLDERS for name in folders):
            kind = "other"
        elif any(name in _COLOR_FOLDERS for name in folders):
            kind = "colours"
        else:
            kind = _kind(path, source_map)
        kinds[kind].append(path)
    if not source_map.ids_by_color:
        kinds["colours"].clear()
    return next((kinds[kind] for kind in _KINDS if kinds[kind] and kind != "other"), [])


def check_name(path: Path, source_map: LabelMap) -> None:
    """Raise DatasetError if a file's name says that it does not hold labels of this label map."""
    if _kind(path, source_map) == "other":
        raise DatasetError(
            f"{shown(path)} is not named as labels of the naming '{source_map.name}'"
            f"{_naming_hint([path])}"
        )


_KINDS = ("named", "plain", "colours", "lossy", "other")
"""What a file can be to a label map, the best first."""


def _photo_folders(files: Iterable[Path]) -> set[Path]:
    """Folders beside one of the same name with `annot` or `_labels`, as CamVid has them."""
    folders = {path.parent for path in files}
    endings = ("annot", "_labels")
    return {
        folder
        for folder in folders
        if any(folder.with_name(folder.name + ending) in folders for ending in endings)
    }


def _kind(path: Path, source_map: LabelMap) -> str:
    """One of `_KINDS`, by the file's name alone."""
    stem = path.stem
    if any(stem.endswith(ending) for ending in _OTHER_ENDINGS):
        return "other"
    if any(stem.endswith(ending) for ending in _USUAL_ENDINGS.get(source_map.name, ())):
        return "named"
    maps = _named_maps(path)
    if maps:
        return "named" if source_map.name in maps else "other"
    if any(stem.endswith(ending) for ending in _COLOR_ENDINGS):
        return "colours"
    return "lossy" if path.suffix.lower() in _LOSSY_SUFFIXES else "plain"


def _named_maps(path: Path) -> tuple[str, ...]:
    """The label maps that a file's ending stands for; () if it says nothing."""
    for ending in _by_length(_LABEL_ENDINGS):
        if path.stem.endswith(ending):
            return _LABEL_ENDINGS[ending]
    return ()


def _naming_hint(files: Iterable[Path]) -> str:
    names = sorted({name for path in files for name in _named_maps(path)})
    return f"; by their names they are labels of {' or '.join(names)}" if names else ""


def _by_length(endings: Iterable[str]) -> list[str]:
    return sorted(endings, key=len, reverse=True)
