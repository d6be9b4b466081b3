"""A synthetic street with known geometry, for the tests of the data package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT, HORIZON = 240, 180, 84
SKY, BUILDING, ROAD, PAVEMENT, TREE, CAR = 0, 1, 3, 4, 5, 8  # ids of camvid11
LINE_COLUMNS = slice(118, 122)


def painted_street(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (180, 240, 3) and camvid11 ids uint8 (180, 240).

    Two facades of different colours on the left, a tree on the right, a car on the road
    and a white line down its middle from row 110.
    """
    rng = np.random.default_rng(seed)
    ids = np.full((HEIGHT, WIDTH), SKY, dtype=np.uint8)
    ids[HORIZON + 4 :] = ROAD
    ids[20 : HORIZON + 16, :90] = BUILDING
    ids[HORIZON + 16 : HORIZON + 24, :90] = PAVEMENT
    ids[40 : HORIZON + 6, 180:] = TREE
    ids[HORIZON + 2 : HORIZON + 30, 140:170] = CAR
    colors = {SKY: 220, BUILDING: 120, ROAD: 80, PAVEMENT: 140, TREE: 60, CAR: 30}
    rgb = np.zeros((HEIGHT, WIDTH, 3), dtype=np.float32)
    for label_id, grey in colors.items():
        rgb[ids == label_id] = grey
    rgb[:, :45][ids[:, :45] == BUILDING] = (170, 60, 40)
    rgb[110:, LINE_COLUMNS] = 230
    rgb += rng.normal(0.0, 2.0, rgb.shape)
    return np.clip(rgb, 0, 255).astype(np.uint8), ids


def write_pair(root: Path, stem: str, seed: int = 0) -> None:
    """Write one image to `root/images` and its labels to `root/labels`."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rgb, ids = painted_street(seed)
    Image.fromarray(rgb).save(root / "images" / f"{stem}.png")
    Image.fromarray(ids).save(root / "labels" / f"{stem}.png")


def write_drives(root: Path) -> Path:
    """Write two drives of two images each in CamVid's layout."""
    for index, stem in enumerate(("a_1", "a_2", "b_f10", "b_f20")):
        write_pair(root / "train", stem, index)
    return root
