"""A cache of prepared photographs on disk, so that a run restarts quickly."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sim2street.bridge.datasets.layouts import LabelledPhoto
from sim2street.neural_renderer.conditions.pseudo_depth import GroundCamera
from sim2street.neural_renderer.data.photos import PhotoSourceConfig
from sim2street.neural_renderer.data.prepare import PREPARE_VERSION, PreparedPhoto, load_photos

_ARRAYS = ("rgb", "ids", "depth_m", "facades")


def load_cached_photos(
    config: PhotoSourceConfig, items: Sequence[LabelledPhoto], folder: Path, workers: int = 0
) -> list[PreparedPhoto]:
    """`load_photos`, from the cache in `folder` if the same files were prepared the same way.

    A cache that cannot be read is replaced. items: `list_photos(config)`.
    """
    path = folder / f"{config.name}-{fingerprint(config, items)}.npz"
    if path.is_file():
        try:
            return _read(path)
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError):
            path.unlink()  # incomplete, after a full disk or a kill
    photos = load_photos(config, workers)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(file, **_packed(photos))  # type: ignore[arg-type]  # numpy's stub: one kind
    temporary.rename(path)
    return photos


def fingerprint(config: PhotoSourceConfig, items: Sequence[LabelledPhoto]) -> str:
    """Hash of everything that the prepared photographs depend on.

    That is the config, the files (name, size, time of change) and `PREPARE_VERSION`.
    """
    files = []
    for item in items:
        for path in (item.image, item.labels):
            state = path.stat()
            files.append([str(path), state.st_size, state.st_mtime_ns])
    settings = config.model_dump(mode="json", exclude={"video_step"})
    text = json.dumps([PREPARE_VERSION, settings, files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _packed(photos: Sequence[PreparedPhoto]) -> dict[str, np.ndarray]:
    facts = [
        {
            "drive": photo.drive,
            "frame": photo.frame,
            "camera": [photo.camera.focal_px, photo.camera.horizon_px, photo.camera.height_m],
            "bottom_px": photo.bottom_px,
        }
        for photo in photos
    ]
    arrays = {
        "facts": np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8),
        "sets": photos[0].sets,
        "primary": photos[0].primary,
    }
    for index, photo in enumerate(photos):
        arrays |= {f"{index}.{name}": getattr(photo, name) for name in _ARRAYS}
    return arrays


def _read(path: Path) -> list[PreparedPhoto]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        facts = json.loads(arrays["facts"].tobytes())
        sets, primary = arrays["sets"], arrays["primary"]
        return [
            PreparedPhoto(
                drive=fact["drive"],
                frame=fact["frame"],
                rgb=arrays[f"{index}.rgb"],
                ids=arrays[f"{index}.ids"],
                sets=sets,
                primary=primary,
                depth_m=arrays[f"{index}.depth_m"],
                facades=arrays[f"{index}.facades"],
                camera=GroundCamera(*fact["camera"]),
                bottom_px=fact["bottom_px"],
            )
            for index, fact in enumerate(facts)
        ]
