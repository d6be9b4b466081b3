"""Which files of a folder count: visible ones with a known suffix, in upper or lower case."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from sim2street.bridge.errors import DatasetError

_log = logging.getLogger(__name__)

Item = TypeVar("Item")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""Suffixes of images, in lower case; files may have them in upper case too."""

_UNREADABLE = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif", ".dng", ".cr2", ".cr3", ".nef", ".arw",
    ".exr", ".psd", ".svg",
)  # fmt: skip
"""Suffixes of images that are not read. Leaving them out is worth a warning."""

_SYSTEM_NAMES = {
    "__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information",
    "lost+found",
}  # fmt: skip

_ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"}


def find_images(folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """All files below a folder with one of the suffixes, numbers in their names in numeric order.

    Symbolic links are followed. Hidden files (also the `._NAME` files that macOS writes) and
    system files are left out.

    Args:
        folder: where to look.
        suffixes: in lower case.

    Raises:
        DatasetError: `folder` is not a folder that can be read, or a link leads nowhere.
    """
    check_folder(folder)
    files = list(_files(folder, ()))
    others = Counter(path.suffix.lower() for path in files if path.suffix.lower() in _UNREADABLE)
    if others:
        _warn_left_out(folder, ", ".join(f"{count} {suffix}" for suffix, count in others.items()))
    found = (path for path in files if path.suffix.lower() in suffixes)
    return sorted(found, key=natural_order)


@cache
def _warn_left_out(folder: Path, what: str) -> None:
    """Warn once for each folder, however often it is listed."""
    _log.warning("%s: images in formats that are not read are left out: %s", shown(folder), what)


def check_folder(folder: Path) -> None:
    """Raise DatasetError if `folder` is missing or is a file."""
    if folder.is_dir():
        return
    if folder.suffix.lower() in _ARCHIVES and folder.is_file():
        raise DatasetError(f"{shown(folder)} is an archive: unpack it and give the folder")
    if folder.exists():
        raise DatasetError(f"{shown(folder)} is a file, expected a folder")
    if folder.is_symlink():
        raise DatasetError(f"{shown(folder)} is a link to {_target(folder)}, which is missing")
    raise DatasetError(f"there is no folder {shown(folder)}{_nearest(folder)}")


def natural_order(path: Path) -> list[str | int]:
    """Sort key: `2.png` comes before `10.png`."""
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def normal_name(name: str) -> str:
    """A name with its accents in composed form: macOS stores them apart from their letters."""
    return unicodedata.normalize("NFC", name)


def shown(path: Path) -> str:
    """A path as text for messages; bytes that are no UTF-8 become question marks."""
    return str(path).encode("utf-8", "replace").decode()


def child_folder(folder: Path, relative: str) -> Path | None:
    """The folder `relative` below `folder`, upper and lower case alike; None if there is none."""
    at = folder
    for name in relative.split("/"):
        if not (at / name).is_dir():
            alike = [path for path in _subfolders(at) if path.name.lower() == name.lower()]
            if len(alike) != 1:
                return None
            at = alike[0]
        else:
            at = at / name
    return at


def subfolders(folder: Path) -> list[Path]:
    """The visible folders in a folder, in order."""
    return sorted(_subfolders(folder), key=natural_order)


def contents(folder: Path) -> str:
    """Up to eight names in a folder, then the number of others, for a message."""
    names = sorted(entry.name for entry in _entries(folder))
    text = ", ".join(shown(Path(name)) for name in names[:8]) or "nothing"
    return f"{text} and {len(names) - 8} more" if len(names) > 8 else text


def suffix_counts(folder: Path) -> str:
    """What kinds of files are below a folder, such as `12 .heic, 1 .txt`, for a message."""
    counts = Counter(path.suffix.lower() or path.name for path in _files(folder, ()))
    return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(5)) or "no files"


def evenly_spaced(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, evenly spaced, in their order."""
    count = min(most, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def _files(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Visible files; `above` identifies the folders on the way here, so that no link loops."""
    state = folder.stat()
    identity = (state.st_dev, state.st_ino)
    if identity in above:
        return
    for entry in _entries(folder):
        path = folder / entry.name
        if path.is_dir():
            yield from _files(path, (*above, identity))
        elif path.is_file():
            yield path
        elif entry.is_symlink() and path.suffix.lower() in IMAGE_SUFFIXES:
            raise DatasetError(f"{shown(path)} is a link to {_target(path)}, which is missing")


def _subfolders(folder: Path) -> Iterator[Path]:
    paths = (folder / entry.name for entry in _entries(folder))
    return (path for path in paths if path.is_dir())


def _target(link: Path) -> str:
    return shown(Path(os.readlink(link)))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if _is_visible(entry.name)]
    except PermissionError as error:
        raise DatasetError(
            f"{shown(folder)} may not be read (permission denied): give yourself access to it"
        ) from error
    except OSError as error:
        raise DatasetError(f"{shown(folder)} cannot be read: {error.strerror}") from error


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _SYSTEM_NAMES


def _nearest(folder: Path) -> str:
    """What there is in the nearest existing folder above a missing one, for a message."""
    above = next((parent for parent in folder.parents if parent.is_dir()), None)
    return f"; in {shown(above)} there are {contents(above)}" if above is not None else ""
