"""Label images of a small street in every coding, made from label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sim2street.bridge.label_maps import label_map
from sim2street.bridge.labels import Tag

WIDTH, HEIGHT = 128, 64


def street_tags(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Sky, houses and trees above a road with pavements, a car and a pole: tags, uint8 (H, W)."""
    tags = np.full((height, width), Tag.SKY, np.uint8)
    tags[height // 5 : height // 2, : width // 3] = Tag.BUILDING
    tags[height // 4 : height // 2, -width // 4 :] = Tag.VEGETATION
    tags[height // 2 :] = Tag.ROAD
    tags[height // 2 :, : width // 8] = Tag.SIDEWALK
    tags[height * 7 // 16 : height * 5 // 8, width // 2 : width * 5 // 8] = Tag.CAR
    tags[height // 8 : height // 2, width * 2 // 5] = Tag.POLE
    return tags


def street_ids(naming: str, tags: np.ndarray | None = None) -> np.ndarray:
    """The same street in the ids of a label map, uint8 (H, W)."""
    table = np.zeros(256, np.uint8)
    for label_id, meanings in sorted(label_map(naming).tags_by_id.items(), reverse=True):
        for tag in reversed(meanings):
            table[tag] = label_id
    for label_id, meanings in sorted(label_map(naming).tags_by_id.items(), reverse=True):
        table[meanings[0]] = label_id
    return table[street_tags() if tags is None else tags]


def street_colors(naming: str) -> np.ndarray:
    """The same street in the colours of a label map, uint8 (H, W, 3)."""
    colors = label_map(naming).colors
    table = np.array([colors.get(label_id, (0, 0, 0)) for label_id in range(256)], np.uint8)
    return table[street_ids(naming)]


def save(picture: np.ndarray | Image.Image, path: Path, **options: object) -> Path:
    """Write a picture and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(path, **options)
    return path


def indexed(indices: np.ndarray, palette: np.ndarray) -> Image.Image:
    """An indexed image with exactly these palette entries, uint8 (N, 3)."""
    image = Image.fromarray(indices.astype(np.uint8)).copy()
    image.putpalette(palette.astype(np.uint8).tobytes())
    return image


def photograph(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A photograph of the street, uint8 (H, W, 3): blue above, grey below, with noise."""
    rng = np.random.default_rng(seed)
    rgb = np.full((height, width, 3), (150.0, 180.0, 220.0))
    rgb[height // 2 :] = 90
    return np.clip(rgb + rng.normal(0, 8, rgb.shape), 0, 255).astype(np.uint8)
