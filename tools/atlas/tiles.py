"""Textures that repeat: roads, pavings, soils, walls, roofs, bark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage

from sim2street.neural_renderer.canvas.atlas import Texture
from tools.atlas.images import (
    Floats,
    Random,
    blur,
    flatten,
    hex_colour,
    noise,
    octaves,
    over,
    read,
    recolour,
    resize_tile,
    tile_to,
    to_bytes,
    toned,
)


class Tiles:
    """The folder of CC0 material tiles, by category and number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @lru_cache(maxsize=256)  # noqa: B019 - one instance for the whole build
    def get(self, name: str) -> Floats:
        """A tile such as 'Asphalt_003' in linear light, 128 x 128, made to repeat."""
        tile = read(self.folder / name.rsplit("_", 1)[0] / f"{name}.jpg")
        return resize_tile(tile, 128, 128)


@dataclass(frozen=True)
class Recipe:
    """How one repeating texture is made.

    Attributes:
        tile: name of the source tile.
        metres: width of the source tile in metres.
        light: mean luminance of the result (linear light).
        contrast: exponent of the tile's own contrast.
        colour: mean colour ('#rrggbb') or '' for the tile's own.
        dirt: strength of broad stains.
        keep: share of the tile's own hue that remains when recoloured.
    """

    tile: str
    metres: float
    light: float
    contrast: float = 1.0
    colour: str = ""
    dirt: float = 0.08
    keep: float = 0.4


def quilt(source: Floats, random: Random, height: int, width: int, patch: int) -> Floats:
    """A repeating texture of any size from random pieces of a source, by ragged masks.

    The source need not repeat. Pieces overlap by their ragged borders, so no seam is straight.
    """
    out = np.zeros((height, width, source.shape[2]), np.float32)
    reach = np.hypot(*np.mgrid[-1 : 1 : patch * 1j, -1 : 1 : patch * 1j]).astype(np.float32)
    step = max(patch // 3, 4)
    places = [(y, x) for y in range(0, height, step) for x in range(0, width, step)]
    order = random.permutation(len(places))
    for first in (True, False):
        for i in order:
            y, x = places[i]
            top = int(random.integers(0, source.shape[0] - patch + 1))
            left = int(random.integers(0, source.shape[1] - patch + 1))
            piece = source[top : top + patch, left : left + patch]
            if source.shape[2] == 3 and random.random() < 0.5:
                piece = piece[:, ::-1]
            edge = (
                noise(random, patch, patch, patch / 6) * 0.16
                + noise(random, patch, patch, 3) * 0.08
            )
            mask = np.clip((0.82 - reach - edge) * 9, 0, 1)
            rows = (np.arange(patch) + y) % height
            columns = (np.arange(patch) + x) % width
            window = np.ix_(rows, columns)
            if first:
                mask = np.ones_like(mask)
            out[window] += (piece - out[window]) * mask[..., None]
    return out


def finish(image: Floats, random: Random, recipe: Recipe, period: float) -> Floats:
    """Contrast, colour, tone and broad stains."""
    if recipe.colour:
        image = recolour(image, hex_colour(recipe.colour), recipe.keep)
    image = toned(image, recipe.light, recipe.contrast)
    height, width = image.shape[:2]
    stains = octaves(random, height, width, period, 4) * recipe.dirt
    warm = octaves(random, height, width, period * 0.7, 3) * recipe.dirt * 0.18
    tint = np.stack([1 + warm, np.ones_like(warm), 1 - warm], axis=2)
    return (image * np.exp(stains)[..., None] * tint).astype(np.float32)


ASPHALTS = {
    "fresh": Recipe("Asphalt_003", 1.6, 0.075, 1.3, "#55575a", 0.08),
    "worn": Recipe("Asphalt_001", 1.6, 0.205, 1.1, "#8d8c89", 0.1),
    "grey": Recipe("Asphalt_004", 1.6, 0.16, 1.3, "#7b7c7d", 0.1),
    "old": Recipe("Asphalt_024", 2.0, 0.175, 1.0, "#83817c", 0.14),
    "patched": Recipe("Asphalt_021", 2.0, 0.115, 1.1, "#757471", 0.13),
    "cracked": Recipe("Asphalt_044", 1.6, 0.18, 1.1, "#86847f", 0.12),
    "warm": Recipe("Asphalt_005", 1.6, 0.19, 1.0, "#8b867d", 0.1),
    "dark": Recipe("Gravel_007", 1.4, 0.09, 1.2, "#5f6063", 0.1),
}


def cracks(random: Random, size: int, count: int) -> Floats:
    """Thin wandering lines on a torus, 0 to 1, (size, size)."""
    lines = np.zeros((size, size), np.float32)
    for _ in range(count):
        x, y = random.random(2) * size
        course, bend = random.random() * 2 * np.pi, 0.0
        for _ in range(int(random.integers(size // 2, size * 3 // 2))):
            bend = 0.93 * bend + random.normal() * 0.3
            heading = course + bend
            x, y = x + np.cos(heading), y + np.sin(heading)
            lines[int(y) % size, int(x) % size] = 1
    return lines


def asphalt(tiles: Tiles, kind: str, random: Random, size: int = 512) -> Floats:
    """A road surface of size / 64 m with stones, stains, repairs and cracks."""
    recipe = ASPHALTS[kind]
    px_per_m = 64
    source = tile_to(flatten(tiles.get(recipe.tile), 12), 192, 192)
    factor = px_per_m * recipe.metres / 128
    pieces = quilt(source, random, size, size, 96)
    stones = flatten(tiles.get("Gravel_030"), 10)
    grain = quilt(tile_to(stones, 192, 192), random, size, size, 64)
    grain = grain / grain.mean()
    image = pieces * (0.55 + 0.45 * grain) * max(factor, 1)
    image = finish(image, random, recipe, size / 3)
    if kind in ("patched", "old"):
        image = _repairs(image, random)
    if kind in ("cracked", "old", "patched", "worn"):
        number = {"cracked": 7, "old": 3, "patched": 4, "worn": 2}[kind]
        lines = cracks(random, size, number)
        image = over(image, image * 0.45, np.clip(blur(lines, 0.6, True) * 1.6, 0, 0.8))
        if kind != "worn":
            tar = np.clip(blur(cracks(random, size, number // 2), 1.2, True) * 4, 0, 1)
            image = over(image, np.full(3, 0.035, np.float32), tar * 0.75)
    spots = noise(random, size, size, 26) > 2.3
    return over(image, image * 0.55, blur(spots.astype(np.float32), 3, True) * 0.7)


def _repairs(image: Floats, random: Random) -> Floats:
    """Darker and lighter rectangles with tarred joints."""
    size = image.shape[0]
    for _ in range(4):
        width, height = (int(x) for x in random.integers(size // 9, size // 3, 2))
        mask = np.zeros((size, size), np.float32)
        mask[:height, :width] = 1
        shift = tuple(int(x) for x in random.integers(0, size, 2))
        mask = np.roll(mask, shift, (0, 1))
        tone = float(np.exp(random.normal() * 0.22 - 0.08))
        grown = ndimage.grey_dilation(mask, 4, mode="wrap")
        joint = np.clip(grown - ndimage.grey_erosion(mask, 3, mode="wrap"), 0, 1)
        image = over(image, image * tone, blur(mask, 0.8, True))
        image = over(image, image * 0.55, blur(joint, 0.8, True) * 0.8)
    return image


PAVINGS = {
    "slab_grey": Recipe("PavingStones_113", 2.4, 0.27, 1.0, "#a9a6a0"),
    "slab_light": Recipe("PavingStones_037", 2.4, 0.36, 1.1, "#bdb8ae"),
    "slab_square": Recipe("PavingStones_136", 2.0, 0.33, 0.8, "#b4aea3"),
    "slab_offset": Recipe("PavingStones_006", 2.4, 0.24, 1.0, "#a09e9a"),
    "block_grey": Recipe("PavingStones_001", 1.2, 0.2, 1.1, "#94928e"),
    "block_red": Recipe("PavingStones_114", 1.2, 0.16, 1.0, "#9b6e5d"),
    "herringbone": Recipe("PavingStones_008", 1.6, 0.22, 1.0, "#a58f7c"),
    "cobble_grey": Recipe("PavingStones_034", 1.8, 0.2, 1.0, "#96928b"),
    "cobble_dark": Recipe("PavingStones_049", 1.6, 0.13, 0.85, "#777472"),
    "cobble_warm": Recipe("PavingStones_118", 1.6, 0.22, 0.9, "#a0968a"),
    "clinker": Recipe("PavingStones_108", 1.4, 0.17, 0.9, "#8c7c76"),
    "concrete_walk": Recipe("Concrete_007", 3.0, 0.32, 1.0, "#b0aca4"),
}

GROUNDS = {
    "kerb_granite": Recipe("Granite_004", 1.0, 0.3, 0.8, "#aeaba6"),
    "grass_lawn": Recipe("Grass_004", 1.6, 0.1, 1.3, "#6a7549", 0.2, 0.6),
    "grass_meadow": Recipe("Grass_007", 1.8, 0.12, 1.4, "#7b805a", 0.25, 0.7),
    "grass_dry": Recipe("Grass_006", 1.8, 0.16, 1.4, "#908a64", 0.22, 0.6),
    "soil_brown": Recipe("Ground_071", 1.6, 0.11, 1.2, "#7a6653", 0.15),
    "soil_leaves": Recipe("Ground_023", 1.6, 0.1, 1.1, "#776552", 0.15, 0.8),
    "gravel_grey": Recipe("Gravel_004", 1.2, 0.2, 1.0, "#97938c", 0.1),
    "gravel_warm": Recipe("Gravel_019", 1.2, 0.22, 1.0, "#a39a8a", 0.1),
}

WALLS = {
    "wall_plaster_white": Recipe("Plaster_003", 2.0, 0.58, 1.3, "#d8d4cb", 0.06),
    "wall_plaster_grey": Recipe("Plaster_004", 2.0, 0.34, 1.3, "#b0aca5", 0.07),
    "wall_plaster_cream": Recipe("Plaster_007", 2.0, 0.5, 0.8, "#d4c7a8", 0.08),
    "wall_plaster_ochre": Recipe("Plaster_005", 2.0, 0.36, 1.2, "#c9a468", 0.07),
    "wall_brick_red": Recipe("Bricks_025", 1.3, 0.13, 1.1, "#98604c", 0.1, 0.8),
    "wall_brick_brown": Recipe("Bricks_006", 1.4, 0.12, 1.0, "#85685a", 0.1, 0.8),
    "wall_brick_yellow": Recipe("Bricks_053", 1.4, 0.3, 1.1, "#b8a47d", 0.1, 0.7),
    "wall_brick_old": Recipe("Bricks_101", 1.4, 0.2, 0.9, "#a87a66", 0.1, 0.8),
    "wall_stone_grey": Recipe("Bricks_044", 1.8, 0.2, 0.8, "#8e8a83", 0.1),
    "wall_stone_sand": Recipe("Bricks_102", 1.8, 0.26, 0.8, "#b39f7f", 0.1, 0.6),
    "wall_stone_rubble": Recipe("Rocks_004", 1.6, 0.18, 0.85, "#958a7a", 0.1, 0.5),
    "wall_wood_brown": Recipe("WoodSiding_003", 1.6, 0.09, 1.1, "#6f5646", 0.1),
    "wall_wood_white": Recipe("WoodSiding_009", 1.6, 0.52, 0.8, "#cfccc2", 0.07, 0.15),
    "wall_concrete_panel": Recipe("Concrete_007", 3.0, 0.3, 1.2, "#a9a7a1", 0.1),
    "wall_concrete_raw": Recipe("Concrete_037", 2.4, 0.27, 1.1, "#a29d95", 0.12),
}

ROOFS = {
    "roof_tile_red": Recipe("RoofingTiles_015", 1.8, 0.14, 1.0, "#a2604a", 0.12, 0.7),
    "roof_tile_orange": Recipe("RoofingTiles_016", 1.8, 0.19, 0.9, "#b1714f", 0.12, 0.7),
    "roof_tile_brown": Recipe("RoofingTiles_013", 1.8, 0.1, 1.0, "#7b5745", 0.14, 0.7),
    "roof_tile_weathered": Recipe("RoofingTiles_023", 1.8, 0.13, 0.9, "#8a6a58", 0.16, 0.7),
    "roof_tile_dark": Recipe("RoofingTiles_009", 1.6, 0.06, 0.7, "#4d4c4d", 0.12, 0.3),
    "roof_slate_blue": Recipe("RoofingTiles_003", 1.6, 0.085, 0.9, "#585c63", 0.14, 0.3),
    "roof_slate_grey": Recipe("RoofingTiles_005", 1.8, 0.11, 0.9, "#6b6d6e", 0.14, 0.3),
    "roof_slate_mossy": Recipe("RoofingTiles_019", 1.8, 0.09, 0.9, "#5f6056", 0.16, 0.7),
    "roof_shingle_purple": Recipe("RoofingTiles_026", 2.0, 0.11, 1.0, "#6d6567", 0.12, 0.5),
    "roof_shingle_brown": Recipe("WoodSiding_011", 2.0, 0.11, 0.9, "#74685c", 0.14, 0.6),
    "roof_metal_grey": Recipe("CorrugatedSteel_005", 1.6, 0.22, 1.0, "#90979b", 0.1, 0.3),
    "roof_felt": Recipe("Asphalt_034", 2.0, 0.07, 1.0, "#565554", 0.16, 0.3),
}

BARKS = {
    "bark_oak": Recipe("Bark_001", 0.9, 0.16, 0.9, "#85796b", 0.12, 0.5),
    "bark_linden": Recipe("Bark_002", 0.9, 0.13, 0.9, "#776a5c", 0.12, 0.5),
    "bark_plane": Recipe("Bark_007", 1.0, 0.24, 0.9, "#9c9681", 0.12, 0.7),
}


def regular(tiles: Tiles, recipe: Recipe, random: Random, size: int) -> Floats:
    """A patterned texture: the tile repeated 2 x 2, with stains across the repeats."""
    tile = flatten(tiles.get(recipe.tile), 40, 0.8)
    half = resize_tile(tile, size // 2, size // 2)
    image = finish(tile_to(half, size, size), random, recipe, size / 2.5)
    grit = 1 + 0.035 * noise(random, size, size, 1.2)
    return (image * grit[..., None]).astype(np.float32)


def irregular(tiles: Tiles, recipe: Recipe, random: Random, size: int) -> Floats:
    """A texture without a pattern (grass, soil, plaster): pieces of the tile at random places."""
    source = tile_to(flatten(tiles.get(recipe.tile), 16, 0.7), 192, 192)
    return finish(quilt(source, random, size, size, 96), random, recipe, size / 2.5)


def all_tiles(tiles: Tiles, random: Random) -> Iterator[Texture]:
    """Every repeating texture except leaves."""
    for kind in ASPHALTS:
        detailed = kind in ("worn", "old", "patched", "cracked")
        picture = to_bytes(asphalt(tiles, kind, random, 512 if detailed else 256))
        yield Texture(f"asphalt_{kind}", "asphalt", picture, 64.0, (True, True))
    for kind, recipe in PAVINGS.items():
        image = regular(tiles, recipe, random, 256)
        scale = 128 / recipe.metres
        yield Texture(f"paving_{kind}", "paving", to_bytes(image), scale, (True, True))
    for table, size in ((GROUNDS, 256), (WALLS, 128), (ROOFS, 128), (BARKS, 128)):
        for name, recipe in table.items():
            loose = name.startswith(("grass", "soil", "gravel", "kerb", "wall_plaster"))
            make = irregular if loose else regular
            scale = (128 if loose else size / 2) / recipe.metres
            image = make(tiles, recipe, random, 128 if name == "kerb_granite" else size)
            if name == "kerb_granite":
                image = _kerb_joints(image, scale)
            group = name.rsplit("_", 1)[0] if name.startswith("wall") else name.split("_")[0]
            yield Texture(name, group, to_bytes(image), scale, (True, True))
    yield from road_marking(tiles, random)


def _kerb_joints(image: Floats, px_per_m: float) -> Floats:
    """Vertical joints every metre."""
    x = np.arange(image.shape[1])
    joint = ((x % round(px_per_m)) < 2).astype(np.float32)
    return over(image, image * 0.45, np.broadcast_to(joint, image.shape[:2]) * 0.8)


def road_marking(tiles: Tiles, random: Random) -> Iterator[Texture]:
    """Worn paint: white and yellow, with asphalt showing through."""
    base = asphalt(tiles, "grey", random, 128)
    for name, colour in (("white", "#d3d2cc"), ("yellow", "#c9a24a")):
        worn = octaves(random, 128, 128, 30, 5) + 0.5 * octaves(random, 128, 128, 3, 2)
        paint = np.clip(1.25 - np.clip(worn - 0.9, 0, 1) * 1.1, 0.25, 1)
        grain = 1 + 0.06 * noise(random, 128, 128, 1.5)
        image = over(base, hex_colour(colour) * grain[..., None], np.clip(paint, 0, 1))
        picture = to_bytes(toned(image, float(image.mean()), 1.0))
        yield Texture(f"road_marking_{name}", "road_marking", picture, 64.0, (True, True))
