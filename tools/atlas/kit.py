"""Windows and doors for facades: free models rendered from the front, with filled panes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage

from tools.atlas.images import Floats, Random, blur, noise, read, resize
from tools.atlas.models import Material, Model, load_obj
from tools.atlas.raster import render

_FRONT = np.array([[-1.0, 0, 0], [0, 1.0, 0], [0, 0, -1.0]])
"""View from outside: the models' handles are at +z, indoors."""
_LIGHT = np.array([-0.35, 0.6, 0.72]) / np.linalg.norm([-0.35, 0.6, 0.72])
_SAMPLES = 3


@dataclass
class Piece:
    """A rendered window or door.

    Attributes:
        shade: (H, W), factor on the paint of a surface that faces the viewer.
        glass, metal, leaf, alpha: coverage (H, W) of panes, fittings, the door leaf, everything.
        panes: int (H, W), number of each pane, 0 elsewhere.
    """

    shade: Floats
    glass: Floats
    metal: Floats
    leaf: Floats
    alpha: Floats
    panes: np.ndarray


def _kind(material: Material) -> int:
    """0 frame, 1 glass, 2 metal, 3 door leaf."""
    name = material.name.lower()
    if "glass" in name and "shiny" not in name:
        return 1
    if any(word in name for word in ("metal", "gond", "lock", "handle", "hinge", "iron", "chrome")):
        return 2
    if any(word in name for word in ("red", "black", "white-door", ".001", "beige", "wooden")):
        return 3
    return 0


class Kit:
    """Renders the free window and door models at the sizes that facades need."""

    def __init__(
        self, models: Path, panorama: Path, greens: Sequence[tuple[Floats, Floats]] = ()
    ) -> None:
        """Remembers the sources.

        Args:
            models: folder of the Sweet Home 3D models.
            panorama: picture of a street, mirrored by panes.
            greens: colour (H, W, 3) and coverage (H, W) of leaves, at 96 texels per metre.
        """
        self.models = models
        self.street = read(panorama)
        self.greens = greens

    @lru_cache(maxsize=128)  # noqa: B019 - one instance for the whole build
    def _model(self, name: str) -> Model:
        folder = next(path for path in self.models.glob(f"*/{name}") if path.is_dir())
        return load_obj(folder / f"{name}.obj")

    def aspect(self, name: str) -> float:
        """Width over height of a model."""
        low, high = self._model(name).bounds()
        return float((high - low)[0] / (high - low)[1])

    @lru_cache(maxsize=512)  # noqa: B019
    def piece(self, name: str, width: int, height: int) -> Piece:
        """One model stretched to a size in texels."""
        model = self._model(name)
        size = (width * _SAMPLES, height * _SAMPLES)
        seen = render(model, _FRONT, size)
        kinds = np.array([_kind(material) for material in model.materials] + [-1])
        kind = kinds[seen.material]
        low, high = model.bounds()
        unit = (high - low)[1] / size[1]
        depth = np.where(np.isfinite(seen.depth), seen.depth, seen.depth[kind >= 0].min()) / unit
        hidden = np.clip(blur(depth.astype(np.float32), 2.5 * _SAMPLES) - depth, 0, None)
        facing = (seen.normal @ _LIGHT) / _LIGHT[2]
        shade = np.clip(0.35 + 0.65 * facing, 0.2, 1.35) * np.exp(-hidden * 0.035)
        shade = shade / np.median(shade[kind == (3 if (kind == 3).any() else 0)])

        def mean(values: Floats) -> Floats:
            return resize(values.astype(np.float32), width, height)

        glass = mean(kind == 1)
        panes, _ = ndimage.label(glass > 0.5)
        return Piece(
            mean(np.clip(shade, 0.15, 1.5)), glass, mean(kind == 2), mean(kind == 3),
            mean(kind >= 0), panes,
        )  # fmt: skip

    def reflection(self, random: Random, height: int, width: int, panes: np.ndarray) -> Floats:
        """The other side of the street as panes mirror it; each pane is tilted a little."""
        rows, columns = self.street.shape[:2]
        out = np.zeros((height, width, 3), np.float32)
        start = random.integers(columns)
        horizon = int(rows * 0.5)
        step = max(columns / 10 / max(width, 1), 0.15)
        for pane in range(1, int(panes.max()) + 1):
            where = panes == pane
            y, x = np.nonzero(where)
            tilt_y, tilt_x = random.normal() * rows * 0.02, random.normal() * columns * 0.02
            row = horizon + (y - height * 0.72) * step + tilt_y
            column = start - x * step + tilt_x
            bend = np.sin(y / height * 5 + pane) * 1.2
            place = np.stack([np.clip(row, 0, rows - 1), (column + bend) % columns])
            for channel in range(3):
                out[y, x, channel] = ndimage.map_coordinates(
                    self.street[..., channel], place, order=1, mode="nearest"
                )
        return out


def room(random: Random, height: int, width: int, curtain: str) -> Floats:
    """What is seen through a window: a dark room, curtains or a blind, (H, W, 3)."""
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    level = float(np.exp(random.normal() * 0.4)) * 0.02
    dark = level * (0.6 + 1.1 * y) * (1 + 0.3 * noise(random, height, width, width / 2, False))
    warm = np.array([1.12, 1.0, 0.85], np.float32)
    scene = np.clip(dark, 0.004, 1)[..., None] * warm
    if random.random() < 0.3:
        cx, cy = random.uniform(-0.7, 0.7), random.uniform(0.2, 0.6)
        glow = np.exp(-(((x - cx) * 2.2) ** 2) - ((y - cy) * 3) ** 2)
        scene = scene + glow[..., None] * np.array([0.13, 0.085, 0.045], np.float32)
    if curtain == "none":
        return scene.astype(np.float32)
    tone = (
        np.array([0.42, 0.40, 0.36]) * np.exp(random.normal() * 0.22) * random.choice([1, 1, 0.6])
    )
    if curtain == "blind":
        cover = (y < random.uniform(0.25, 0.75)) * np.ones_like(x)
        folds = 0.9 + 0.06 * np.sin(y * height / 2.2) + 0 * x
        cloth = tone * (folds * (0.75 + 0.25 * y))[..., None]
        return (scene + (cloth - scene) * cover[..., None] * 0.95).astype(np.float32)
    pleats = np.repeat(noise(random, 1, width, max(width / 16, 2), False), height, axis=0)
    pleats = 0.72 + 0.16 * pleats + 0.05 * noise(random, height, width, 5, False)
    if curtain == "sides":
        open_m = random.uniform(0.25, 0.6) * (1 - 0.25 * np.sin(y * np.pi))
        cover = np.clip((np.abs(x + random.uniform(-0.1, 0.1)) - open_m) * 14, 0, 1)
        weight = 0.92
    elif curtain == "half":
        cover = np.clip((y - random.uniform(0.35, 0.55)) * 40, 0, 1) * np.ones_like(x)
        weight = 0.7
    else:
        cover = np.ones((height, width), np.float32)
        weight = random.uniform(0.45, 0.75)
    cloth = tone * (pleats * (0.55 + 0.5 * y))[..., None]
    return np.clip(scene + (cloth - scene) * (cover * weight)[..., None], 0, 1).astype(np.float32)


CURTAINS = ("none", "none", "sides", "sides", "half", "net", "blind")


def glazed(
    kit: Kit, random: Random, piece: Piece, paint: Floats, leaf: Floats, mirror: float
) -> tuple[Floats, Floats, Floats]:
    """Colour (H, W, 3), alpha and pane mask of a window or door with something behind its panes."""
    height, width = piece.shade.shape
    behind = room(random, height, width, str(random.choice(CURTAINS)))
    seen = kit.reflection(random, height, width, piece.panes)
    strength = mirror * float(np.exp(random.normal() * 0.5))
    glass = behind * 0.8 + seen * np.clip(strength, 0.03, 0.6)
    inner = ndimage.grey_erosion(piece.glass, 3)
    glass = glass * (0.55 + 0.45 * inner)[..., None]
    grain = 1 + 0.03 * noise(random, height, width, 4, False)
    wear = np.exp(0.06 * noise(random, height, width, 20, False))
    frame = paint * (1 - piece.leaf[..., None]) + leaf * piece.leaf[..., None]
    frame = frame * (piece.shade * grain * wear)[..., None]
    metal = np.array([0.16, 0.155, 0.145], np.float32) * piece.shade[..., None]
    solid = frame + (metal - frame) * np.clip(piece.metal, 0, 1)[..., None]
    colour = solid + (glass - solid) * piece.glass[..., None]
    return colour.astype(np.float32), piece.alpha, piece.glass
