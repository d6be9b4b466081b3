"""Leaves: tileable foliage with holes, and hedges, from photographs of trees and bushes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from sim2street.neural_renderer.canvas.atlas import Texture
from tools.atlas.images import Floats, Random, blur, luminance, noise, octaves, read, to_bytes
from tools.atlas.tiles import quilt


@dataclass(frozen=True)
class Leaves:
    """Where leaves are cut from and how they are laid.

    Attributes:
        cuts: (photograph, left, top, right, bottom) in pixels of lund_street29.
        px_per_m: scale of the texture: that of the photograph, estimated from doors and cars, or
            more where leaves would be too large for a tree.
        light: mean luminance of the result.
        holes: share of transparent texels.
        tint: factor on red, green, blue.
        patch: side of the pieces, pixels.
    """

    cuts: tuple[tuple[str, int, int, int, int], ...]
    px_per_m: float
    light: float
    holes: float = 0.15
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    patch: int = 72


BIRCH = (("28", 75, 10, 270, 290),)
BROAD = (("28", 310, 165, 480, 285), ("27", 385, 160, 510, 300))
DARK = (("26", 10, 185, 230, 375), ("27", 5, 165, 180, 350))
ELDER = (("25", 850, 300, 958, 660), ("25", 690, 180, 815, 240))
BUSH = (("27", 815, 430, 955, 560), ("26", 740, 375, 890, 455))
HEDGE = (("25", 5, 375, 250, 440), ("27", 5, 400, 165, 490))
CLIMBER = (("20", 35, 225, 190, 540),)
HOLLYHOCK = (("02", 722, 375, 868, 530), ("05", 0, 370, 95, 560))

FOLIAGE = {
    "foliage_birch": Leaves(BIRCH, 42, 0.11, 0.2),
    "foliage_broadleaf": Leaves(BROAD, 45, 0.12, 0.14, (1.0, 1.0, 0.9)),
    "foliage_dark": Leaves(DARK, 45, 0.085, 0.14),
    "foliage_elder": Leaves(ELDER, 120, 0.1, 0.12),
    "foliage_climber": Leaves(CLIMBER, 115, 0.1, 0.12),
    "foliage_hollyhock": Leaves(HOLLYHOCK, 170, 0.13, 0.1),
    "foliage_autumn": Leaves(BROAD, 45, 0.15, 0.16, (1.9, 1.05, 0.6)),
    "foliage_olive": Leaves(BIRCH + BROAD, 44, 0.13, 0.16, (1.08, 0.98, 0.9)),
}
HEDGES = {
    "hedge_dense": Leaves(HEDGE, 75, 0.075, 0),
    "hedge_bush": Leaves(BUSH, 95, 0.1, 0),
    "hedge_elder": Leaves(ELDER + HEDGE, 90, 0.085, 0, (1.0, 1.02, 0.9)),
}


def leaf_cut(cut: Floats) -> Floats:
    """A cut with a fourth channel: 0 where sky, walls or paving show between the leaves.

    Their colour becomes that of shaded leaves.
    """
    red, green, blue = cut[..., 0], cut[..., 1], cut[..., 2]
    bright = luminance(cut) > 0.03
    sky = (blue > green * 0.88) & bright | (blue > green * 1.1)
    wall = (red > green * 1.12) & bright
    spread = cut.max(axis=2) - cut.min(axis=2)
    stone = (spread < 0.3 * cut.max(axis=2)) & (luminance(cut) > 0.22)
    foreign = ndimage.binary_opening(sky | wall | stone, iterations=1) | sky
    soft = blur(ndimage.binary_dilation(foreign, iterations=1).astype(np.float32), 0.6)
    leaf = ~foreign & (luminance(cut) > 0.02)
    dark = np.median(cut[leaf], axis=0) * 0.3
    rgb = cut + (dark - cut) * np.clip(soft * 1.5, 0, 1)[..., None]
    return np.dstack([rgb, 1 - soft]).astype(np.float32)


def leaves(photos: Path, recipe: Leaves, random: Random, size: int = 256) -> tuple[Floats, Floats]:
    """Colour (size, size, 3) and coverage (size, size) of one foliage texture."""
    layers = []
    for name, left, top, right, bottom in recipe.cuts:
        cut = leaf_cut(read(photos / f"{name}.jpg")[top:bottom, left:right])
        patch = min(recipe.patch, *cut.shape[:2])
        layers.append(quilt(cut, random, size, size, patch))
    image = layers[0]
    for layer in layers[1:]:
        mask = np.clip(noise(random, size, size, 40) * 4 + noise(random, size, size, 4), 0, 1)
        image = image + (layer - image) * mask[..., None]
    image, open_sky = image[..., :3] * np.array(recipe.tint, np.float32), 1 - image[..., 3]
    image = image * (recipe.light / luminance(image).mean())
    clumps = octaves(random, size, size, size / 5, 3)
    image = image * np.exp(0.22 * clumps)[..., None]
    if not recipe.holes:
        return image.astype(np.float32), np.ones((size, size), np.float32)
    light = luminance(image)
    depth = -np.log(np.maximum(blur(light, 1.2, True), 1e-3))
    score = depth / depth.std() * 0.6 + octaves(random, size, size, 30, 5)
    score = score + 3 * blur(open_sky, 0.8, True)
    edge = np.quantile(score, 1 - recipe.holes)
    return image.astype(np.float32), np.clip((edge - score) * 2.5 + 0.5, 0, 1)


def all_foliage(data: Path, random: Random) -> Iterator[Texture]:
    """Foliage and hedges."""
    photos = data / "lund_street29"
    for group, table in (("foliage", FOLIAGE), ("hedge", HEDGES)):
        for name, recipe in table.items():
            image, coverage = leaves(photos, recipe, random)
            picture = to_bytes(image, coverage)
            yield Texture(name, group, picture, float(recipe.px_per_m), (True, True))


def greens(data: Path, random: Random) -> list[tuple[Floats, Floats]]:
    """Leaves for flower boxes and plants at walls, at about 96 texels per metre."""
    photos = data / "lund_street29"
    kinds = ("foliage_hollyhock", "foliage_climber", "foliage_elder")
    return [leaves(photos, FOLIAGE[kind], random, 192) for kind in kinds]
