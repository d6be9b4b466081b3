"""What networks found in photographs, kept between evaluations: photographs do not change."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

CACHE_VERSION = 1
"""Counts up whenever the same network is asked differently: old caches are not read."""

Array = npt.NDArray[np.generic]


class FeatureCache:
    """Arrays by the pictures that they were found in; one file a network and question."""

    def __init__(self, folder: Path | None, question: str, network: str) -> None:
        """`network`: sha256 of its file. Without a folder nothing is kept."""
        name = f"{question}-{CACHE_VERSION}-{network[:16]}.npz"
        self._path = folder / name if folder is not None else None
        self._known: dict[str, Array] = {}
        self._fresh = False
        if self._path is not None and self._path.is_file():
            try:
                with np.load(self._path) as content:
                    self._known = {key: content[key] for key in content.files}
            except (zipfile.BadZipFile, ValueError, EOFError, KeyError):
                self._path.unlink()  # cut short by a full disk or a kill: found again

    def of(self, pictures: tuple[Tensor, ...], find: Callable[[], Array]) -> Array:
        """What `find` gives for these pictures, asked once."""
        digest = hashlib.sha256()
        for picture in pictures:
            digest.update(picture.contiguous().numpy().tobytes())
        key = digest.hexdigest()[:24]
        if key not in self._known:
            self._known[key] = find()
            self._fresh = True
        return self._known[key]

    def save(self) -> None:
        """Write what is new; under another name first, so that a file is whole or not there."""
        if self._path is None or not self._fresh:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")  # others may write as well
        with temporary.open("wb") as file:
            np.savez(file, **self._known)  # type: ignore[arg-type]  # numpy's stub: one kind
        temporary.rename(self._path)
        self._fresh = False
