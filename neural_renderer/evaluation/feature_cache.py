"""Features that networks find in photographs, kept on disk between evaluations."""

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
"""Increase it when the same network is used differently, so that old caches are not read."""

Array = npt.NDArray[np.generic]


class FeatureCache:
    """Arrays by the images they were computed from; one file for each network and purpose.

    Args:
        folder: None: nothing is kept on disk.
        purpose: what is computed, part of the file's name.
        network: sha256 of the network's file.
    """

    def __init__(self, folder: Path | None, purpose: str, network: str) -> None:
        name = f"{purpose}-{CACHE_VERSION}-{network[:16]}.npz"
        self._path = folder / name if folder is not None else None
        self._known: dict[str, Array] = {}
        self._changed = False
        if self._path is not None and self._path.is_file():
            try:
                with np.load(self._path) as content:
                    self._known = {key: content[key] for key in content.files}
            except (zipfile.BadZipFile, ValueError, EOFError, KeyError):
                self._path.unlink()  # truncated by a full disk or a kill; computed again

    def get(self, images: tuple[Tensor, ...], compute: Callable[[], Array]) -> Array:
        """The result of `compute` for these images, from the cache if it is known."""
        digest = hashlib.sha256()
        for image in images:
            digest.update(image.contiguous().numpy().tobytes())
        key = digest.hexdigest()[:24]
        if key not in self._known:
            self._known[key] = compute()
            self._changed = True
        return self._known[key]

    def save(self) -> None:
        """Write the file if anything is new; under a temporary name until complete."""
        if self._path is None or not self._changed:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")  # other processes may write, too
        with temporary.open("wb") as file:
            np.savez(file, **self._known)  # type: ignore[arg-type]  # numpy's stub: one kind
        temporary.rename(self._path)
        self._changed = False
