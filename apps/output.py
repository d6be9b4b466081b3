"""Output files that appear only when they are complete: written aside, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sim2street.configs import Sim2StreetError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OutputError(Sim2StreetError):
    """An output file cannot be written."""


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix; on success rename it to `path`."""
    path = path.absolute()
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        with _room_for(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path`; on success rename it to `path`.

    Raises:
        OutputError: `path` exists and is not empty.
    """
    path = path.absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} exists already: choose another --out, or remove it first")
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
    temporary.mkdir()
    try:
        with _room_for(path):
            yield temporary
            if path.exists():
                path.rmdir()
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _room_for(path: Path) -> Iterator[None]:
    """Turn "no space left" into an error that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise OutputError(
            f"cannot write {path}: {error.strerror}. Nothing was kept: free some space, try again"
        ) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f"{folder} is a file, not a folder: choose another --out") from error
