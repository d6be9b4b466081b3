"""Facades: sheets of bays composed from CC0 walls and rendered windows and doors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from sim2street.neural_renderer.canvas.atlas import Part, Texture
from tools.atlas.bay import DRAW_PX_PER_M, Bay, px
from tools.atlas.facade_style import Facade
from tools.atlas.images import (
    Bytes,
    Floats,
    Random,
    flatten,
    hex_colour,
    noise,
    octaves,
    recolour,
    resize_tile,
    tile_to,
    to_bytes,
    toned,
)
from tools.atlas.kit import Kit, glazed
from tools.atlas.masonry_facades import MASONRY_FACADES
from tools.atlas.ornaments import (
    arch,
    balcony,
    cornice,
    flower_box,
    lintel,
    plants,
    shutters,
    sill,
    surround,
)
from tools.atlas.plaster_facades import PLASTER_FACADES
from tools.atlas.shops import WORDS, shop_bay
from tools.atlas.tiles import Tiles, quilt

PX_PER_M = DRAW_PX_PER_M // 2
_GUTTER = 4
STYLES = (*PLASTER_FACADES, *MASONRY_FACADES)


def wall_texture(tiles: Tiles, style: Facade, random: Random) -> Floats:
    """The wall of one storey of one bay; repeats in x and y."""
    width, height = px(style.bay_m), px(style.storey_m)
    source = flatten(tiles.get(style.tile), 30, 0.85)
    if style.loose:
        scale = max(style.tile_m * DRAW_PX_PER_M / 128, 0.5)
        side = int(128 * scale)
        grown = resize_tile(source, side, side)
        wall = quilt(tile_to(grown, side * 2, side * 2), random, height, width, min(96, side))
    else:
        across = max(round(width / px(style.tile_m)), 1)
        down = max(round(height / px(style.tile_m)), 1)
        tile = resize_tile(source, round(width / across), round(height / down))
        wall = tile_to(tile, width, height)
    if style.colour:
        wall = recolour(wall, hex_colour(style.colour), style.keep)
    grit = (
        1 + 0.03 * noise(random, height, width, 1.5) + 0.03 * octaves(random, height, width, 60, 4)
    )
    return (toned(wall, style.light, style.contrast) * grit[..., None]).astype(np.float32)


class Composer:
    """Draws the bays of one facade."""

    def __init__(self, kit: Kit, tiles: Tiles, style: Facade, random: Random) -> None:
        self.kit, self.tiles, self.style, self.random = kit, tiles, style, random
        self.wall = wall_texture(tiles, style, random)
        self.paint = hex_colour(style.frame)
        self.trim = hex_colour(style.trim)
        stone = tiles.get("Concrete_037" if random.random() < 0.5 else "Concrete_006")
        stone = resize_tile(stone, px(1.4), px(1.4))
        self.plinth = recolour(stone, hex_colour(style.plinth)) if style.plinth else self.wall * 0.8
        self.words = [str(word) for word in random.permutation(WORDS)]

    def _window(
        self, bay: Bay, middle_m: float, bottom_m: float, model: str, size: tuple[float, float]
    ) -> None:
        """One window with what belongs to it, its middle at `middle_m`."""
        style, random = self.style, self.random
        width_m, height_m = size
        piece = self.kit.piece(model, px(width_m), px(height_m))
        colour, alpha, glass = glazed(self.kit, random, piece, self.paint, self.paint, style.mirror)
        left = middle_m - width_m / 2
        if "arched" in model:
            arch(bay, self.trim if style.surround != "none" else None, left, bottom_m, alpha)
        else:
            surround(bay, style, self.trim, left, bottom_m, width_m, height_m)
        bay.paste(left, bottom_m, colour, alpha, glass, style.recess_m)
        if "arched" not in model:
            lintel(bay, style, self.trim, left, bottom_m + height_m, width_m)
        sill(bay, style, self.trim, left, bottom_m, width_m)
        if style.shutters:
            shutters(bay, self.kit, hex_colour(style.shutters), left, bottom_m, width_m, height_m)
        if style.flowers and random.random() < 0.45 and bottom_m > 0.5:
            flower_box(bay, self.kit, left, bottom_m, width_m)
        if style.balcony:
            balcony(bay, style.balcony, left, bottom_m, width_m)

    def storey(self, index: int) -> Bay:
        """An upper floor with its windows."""
        style = self.style
        bay = Bay(self.wall, style.bay_m, style.storey_m, self.random)
        bay.stain(style.dirt)
        model = style.windows[index % len(style.windows)]
        width_m, height_m = style.window_m
        bottom = style.sill_m
        count = style.per_bay
        for i in range(count):
            middle = style.bay_m * (i + 0.5) / count
            self._window(bay, middle, bottom, model, (width_m, height_m))
        if style.band == "floor":
            bay.block(-0.1, 0.0, style.bay_m + 0.1, 0.14, self.trim, 0.03)
        return bay

    def ground(self, index: int) -> Bay:
        """A ground floor bay: the first is a door, others windows, shops or garages."""
        style = self.style
        bay = Bay(self.wall, style.bay_m, style.ground_m, self.random)
        bay.stain(style.dirt)
        kind = style.ground[index % len(style.ground)]
        if style.plinth_m > 0 and kind not in ("shop", "office"):
            bay.block(-0.1, 0.0, style.bay_m + 0.1, style.plinth_m, self.plinth, 0.03)
        if style.rusticated and kind != "shop":
            self._rustication(bay)
        if kind == "door":
            self._door(bay, style.doors[0])
        elif kind == "shop":
            shop_bay(bay, self.kit, self.random, style, index, self.words[index])
        elif kind == "garage":
            self._garage(bay)
        elif kind == "office":
            size = (style.bay_m * 0.86, style.ground_m - 0.75)
            self._window(bay, style.bay_m / 2, 0.25, "window_4x1", size)
        else:
            height = min(style.window_m[1], style.ground_m - style.sill_m - 0.45)
            for i in range(style.per_bay):
                middle = style.bay_m * (i + 0.5) / style.per_bay
                size = (style.window_m[0], height)
                bottom = max(style.sill_m, style.plinth_m + 0.15)
                self._window(bay, middle, bottom, style.windows[0], size)
        bay.ground_dirt(0.5, 0.6)
        if style.plants and kind == "window" and index % 2 == 0:
            plants(bay, self.kit)
        if style.band:
            top = style.ground_m
            bay.block(-0.1, top - 0.2, style.bay_m + 0.1, top, self.trim, 0.05)
            bay.streaks(0, style.bay_m, top - 0.2, 0.8, 0.14)
        return bay

    def _rustication(self, bay: Bay) -> None:
        """Grooves between courses of rendered blocks."""
        height = bay.parts.shape[0]
        step = px(0.42)
        for row in range(height - step, 0, -step):
            bay.rgb[row : row + 3] *= 0.5
            bay.rgb[row + 3 : row + 5] *= 1.12

    def _door(self, bay: Bay, model: str) -> None:
        style = self.style
        double = self.kit.aspect(model) > 0.7
        width_m = 1.55 if double else 1.02
        height_m = min(2.35, style.ground_m - 0.75)
        middle, step = style.bay_m / 2, 0.16
        fan_m = 0.45 if style.ground_m - height_m - step > 0.95 else 0.0
        left = middle - width_m / 2
        trim = self.trim
        bay.block(
            left - 0.16, 0, middle + width_m / 2 + 0.16, step + height_m + fan_m + 0.16, trim, 0.05
        )
        piece = self.kit.piece(model, px(width_m), px(height_m))
        leaf = hex_colour(style.door)
        colour, alpha, glass = glazed(self.kit, self.random, piece, leaf, leaf, style.mirror)
        bay.paste(left, step, colour, alpha, glass, 0.22)
        if fan_m:
            light = self.kit.piece("window_2x1_with_sliders", px(width_m), px(fan_m))
            parts = glazed(self.kit, self.random, light, leaf, leaf, style.mirror)
            bay.paste(left, step + height_m, *parts, 0.2)
        stone = hex_colour("#9a968e")
        bay.block(left - 0.25, 0, left + width_m + 0.25, step, stone, 0.05)
        if style.canopy:
            bay.block(left - 0.35, step + height_m + fan_m + 0.22, left + width_m + 0.35,
                      step + height_m + fan_m + 0.3, hex_colour("#4b4d4e"), 0.25)  # fmt: skip
        self._details(bay, left + width_m)

    def _details(self, bay: Bay, right_m: float) -> None:
        """A house number, a bell plate and a lamp beside a door."""
        if right_m + 0.45 > bay.width_m:
            return
        bay.block(right_m + 0.25, 1.35, right_m + 0.35, 1.55, hex_colour("#b8b4a8"), 0.02)
        bay.block(right_m + 0.24, 1.75, right_m + 0.4, 1.89, hex_colour("#e4e2dc"), 0.01)
        bay.block(right_m + 0.26, 2.05, right_m + 0.38, 2.27, hex_colour("#35352f"), 0.06)

    def _garage(self, bay: Bay) -> None:
        style = self.style
        width_m, height_m = min(2.6, style.bay_m - 0.4), min(2.25, style.ground_m - 0.5)
        piece = self.kit.piece("garage-door", px(width_m), px(height_m))
        leaf = hex_colour(style.door)
        parts = glazed(self.kit, self.random, piece, self.paint, leaf, style.mirror)
        bay.paste(style.bay_m / 2 - width_m / 2, 0.02, *parts, 0.16)
        rows = np.arange(bay.parts.shape[0])
        inside = slice(bay.parts.shape[0] - px(height_m) + px(0.25), bay.parts.shape[0] - 4)
        columns = slice(
            px(style.bay_m / 2 - width_m / 2 + 0.12), px(style.bay_m / 2 + width_m / 2 - 0.12)
        )
        ribs = 1 - 0.28 * ((rows[inside] % px(0.22)) < 3) + 0.1 * ((rows[inside] % px(0.22)) == 3)
        bay.rgb[inside, columns] *= ribs[:, None, None].astype(np.float32)
        lintel(bay, style, self.trim, style.bay_m / 2 - width_m / 2, height_m, width_m)

    def blank(self) -> Bay:
        """Wall without windows; repeats both ways."""
        bay = Bay(self.wall, self.style.bay_m, self.style.storey_m, self.random)
        height, width = bay.parts.shape
        bay.rgb *= np.exp(self.style.dirt * octaves(self.random, height, width, px(1.2), 4))[
            ..., None
        ]
        return bay

    def top(self) -> Bay:
        """The cornice; repeats in x."""
        bay = Bay(self.wall, self.style.bay_m, self.style.cornice_m, self.random)
        cornice(bay, self.style, self.trim)
        return bay

    def pipe(self) -> Bay:
        """A drainpipe on the wall, 0.3 m wide; repeats in y."""
        bay = Bay(self.wall, 0.3, self.style.storey_m, self.random)
        height = bay.parts.shape[0]
        bay.shadow(0.06, -1, 0.2, self.style.storey_m + 1, 0.05, 0.5)
        columns = slice(px(0.07), px(0.18))
        count = px(0.18) - px(0.07)
        across = np.linspace(-1, 1, count)
        light = 0.35 + 0.75 * np.sqrt(np.clip(1 - (across + 0.35) ** 2, 0, 1))
        metal = hex_colour("#8d918f" if self.style.light < 0.3 else "#a3a49f")
        bay.rgb[:, columns] = metal * light[None, :, None]
        bay.rgb[height // 2 : height // 2 + 5, px(0.05) : px(0.2)] *= 0.55
        return bay


def sheet(composer: Composer) -> Texture:
    """All bays of a facade packed into one texture."""
    style = composer.style
    ground = [("ground", composer.ground(i)) for i in range(len(style.ground))]
    storey = [("storey", composer.storey(i)) for i in range(3)]
    blank, top, pipe = ((kind, getattr(composer, kind)()) for kind in ("blank", "top", "pipe"))
    if len(ground) < 4:
        rows = [[*ground, blank], [*storey, top, pipe]]
    else:
        rows = [ground, [*storey, blank, pipe], [top]]
    drawn = [[(kind, *bay.finished()) for kind, bay in row] for row in rows]
    width = max(sum(item[1].shape[1] + _GUTTER for item in row) for row in drawn) + _GUTTER
    height = sum(max(item[1].shape[0] for item in row) + _GUTTER for row in drawn) + _GUTTER
    width, height = -(-width // 8) * 8, -(-height // 8) * 8
    colour = np.zeros((height, width, 3), np.float32)
    colour[:] = composer.wall.mean(axis=(0, 1))
    parts = np.zeros((height, width), np.uint8)
    places: dict[str, list[list[int]]] = {}
    y = _GUTTER
    for row in drawn:
        x = _GUTTER
        for kind, rgb, glass in row:
            _place(colour, parts, x, y, rgb, glass, kind)
            places.setdefault(kind, []).append([x, y, rgb.shape[1], rgb.shape[0]])
            x += rgb.shape[1] + _GUTTER
        y += max(item[1].shape[0] for item in row) + _GUTTER
    meta = {
        "ground": places["ground"],
        "ground_kinds": list(style.ground),
        "storey": places["storey"],
        "top": places["top"][0],
        "blank": places["blank"][0],
        "pipe": places["pipe"][0],
        "panes": _rectangles(parts),
        "bay_m": style.bay_m,
        "storey_m": style.storey_m,
        "ground_m": style.ground_m,
        "cornice_m": style.cornice_m,
        "material": style.material,
        "era": style.era,
    }
    picture = to_bytes(colour)
    return Texture(
        f"facade_{style.name}", "facade", picture, float(PX_PER_M), (False, False), meta, parts
    )


def _place(
    colour: Floats, parts: Bytes, x: int, y: int, rgb: Floats, glass: Bytes, kind: str
) -> None:
    """Copies a bay with a border: the opposite side for what repeats, else the edge."""
    half = _GUTTER // 2
    mode = "wrap" if kind in ("blank", "top", "pipe") else "edge"
    height, width = glass.shape
    framed = np.pad(rgb, ((half, half), (half, half), (0, 0)), mode=mode)  # type: ignore[call-overload]
    if kind == "top":
        framed[:half], framed[-half:] = framed[half], framed[-half - 1]
    if kind == "pipe":
        framed[:, :half], framed[:, -half:] = (
            framed[:, half : half + 1],
            framed[:, -half - 1 : -half],
        )
    colour[y - half : y + height + half, x - half : x + width + half] = framed
    parts[y : y + height, x : x + width] = glass


def _rectangles(parts: Bytes) -> list[list[int]]:
    """Bounding rectangles of the panes."""
    labels, _ = ndimage.label(parts == Part.PANE)
    found = []
    for box in ndimage.find_objects(labels):
        rows, columns = box
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if height * width >= 12:
            found.append([int(columns.start), int(rows.start), int(width), int(height)])
    return found


def all_facades(kit: Kit, tiles: Tiles, random: Random) -> Iterator[Texture]:
    """Every facade of the catalogue, each with its own random numbers."""
    for style, own in zip(STYLES, random.spawn(len(STYLES)), strict=True):
        yield sheet(Composer(kit, tiles, style, own))
