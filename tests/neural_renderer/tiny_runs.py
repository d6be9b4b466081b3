"""Synthetic photographs, and small training runs on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sim2street.neural_renderer.data.photos import PhotoSourceConfig
from sim2street.neural_renderer.training.config import Phase, TrainConfig


def write_photos(root: Path) -> Path:
    """Six street-like images of one drive, labels in Cityscapes trainIds."""
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        ids = np.full((96, 128), 10, np.uint8)
        ids[40:] = 2
        ids[50:] = 0
        ids[45:60, 20 + 4 * index : 45 + 4 * index] = 13
        colours = rng.integers(0, 255, (20, 3))
        rgb = colours[ids] + rng.integers(-20, 20, (96, 128, 3))
        Image.fromarray(rgb.clip(0, 255).astype(np.uint8)).save(root / f"images/{index}.png")
        Image.fromarray(ids).save(root / f"labels/{index}.png")
    return root


def tiny_config(
    root: Path, phase_changes: dict[str, object] | None = None, **changes: object
) -> TrainConfig:
    """Four steps on batches of two images of 64x32 pixels."""
    phase = Phase(steps=4, size_px=(64, 32), batch_size=2, mix={"made": 1.0})
    phase = phase.model_copy(update=phase_changes or {})
    source = PhotoSourceConfig(name="made", root=root, layout="folder")
    settings = {"size": "tiny", "sources": (source,), "phases": (phase,), "sample_every": 2}
    return TrainConfig(**{**settings, **changes})  # type: ignore[arg-type]
