"""Traffic signs, street names and posters, drawn; cloth for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sim2street.neural_renderer.canvas.atlas import Texture
from tools.atlas.images import (
    Floats,
    Random,
    blur,
    hex_colour,
    noise,
    octaves,
    resize,
    to_bytes,
    to_linear,
)
from tools.atlas.tiles import Tiles

SIZE = 96
_SCALE = 6
RED, BLUE, WHITE, BLACK, YELLOW, GREEN = (
    "#b5212a", "#1f5aa0", "#e9e8e3", "#1c1c1d", "#e3b52a", "#1f6b45",
)  # fmt: skip

Drawing = ImageDraw.ImageDraw


def _canvas(width: int = SIZE, height: int = SIZE) -> tuple[Image.Image, Drawing]:
    image = Image.new("RGBA", (width * _SCALE, height * _SCALE), (0, 0, 0, 0))
    return image, ImageDraw.Draw(image)


def _ring(draw: Drawing, colour: str, inset: float) -> None:
    size = SIZE * _SCALE
    draw.ellipse((inset * size, inset * size, (1 - inset) * size, (1 - inset) * size), fill=colour)


def _text(
    draw: Drawing, text: str, size: float, colour: str, y: float = 0.5, width: float = 1.0
) -> None:
    pixels = SIZE * _SCALE
    font = ImageFont.load_default(size * pixels)
    draw.text(
        (pixels * 0.5 * width, pixels * y),
        text,
        fill=colour,
        font=font,
        anchor="mm",
        stroke_width=int(size * pixels * 0.04),
        stroke_fill=colour,
    )


def _polygon(draw: Drawing, points: list[tuple[float, float]], colour: str) -> None:
    draw.polygon([(x * SIZE * _SCALE, y * SIZE * _SCALE) for x, y in points], fill=colour)


def speed(limit: int) -> Callable[[], Image.Image]:
    """A speed limit."""

    def make() -> Image.Image:
        image, draw = _canvas()
        _ring(draw, WHITE, 0.0)
        _ring(draw, RED, 0.015)
        _ring(draw, WHITE, 0.125)
        _text(draw, str(limit), 0.5, BLACK)
        return image

    return make


def no_entry() -> Image.Image:
    """A red disc with a white bar."""
    image, draw = _canvas()
    _ring(draw, WHITE, 0.0)
    _ring(draw, RED, 0.02)
    _polygon(draw, [(0.17, 0.41), (0.83, 0.41), (0.83, 0.59), (0.17, 0.59)], WHITE)
    return image


def no_parking() -> Image.Image:
    """A blue disc with a red ring and bar."""
    image, draw = _canvas()
    _ring(draw, RED, 0.0)
    _ring(draw, BLUE, 0.12)
    _polygon(draw, [(0.13, 0.2), (0.2, 0.13), (0.87, 0.8), (0.8, 0.87)], RED)
    return image


def arrow(angle: float) -> Callable[[], Image.Image]:
    """A white arrow on a blue disc, turned by an angle in degrees (0 = upwards)."""

    def make() -> Image.Image:
        image, draw = _canvas()
        _polygon(
            draw,
            [
                (0.45, 0.8),
                (0.45, 0.42),
                (0.3, 0.42),
                (0.5, 0.17),
                (0.7, 0.42),
                (0.55, 0.42),
                (0.55, 0.8),
            ],
            WHITE,
        )
        turned = image.rotate(-angle, Image.Resampling.BICUBIC)
        out, base = _canvas()
        _ring(base, WHITE, 0.0)
        _ring(base, BLUE, 0.02)
        out.alpha_composite(turned)
        return out

    return make


def stop() -> Image.Image:
    """An octagon with STOP."""
    image, draw = _canvas()
    for inset, colour in ((0.0, WHITE), (0.03, RED)):
        cut, end = 0.293 + inset * 0.41, 1 - inset
        _polygon(
            draw,
            [
                (cut, inset),
                (1 - cut, inset),
                (end, cut),
                (end, 1 - cut),
                (1 - cut, end),
                (cut, end),
                (inset, 1 - cut),
                (inset, cut),
            ],
            colour,
        )
    _text(draw, "STOP", 0.3, WHITE)
    return image


def give_way() -> Image.Image:
    """A triangle on its point."""
    image, draw = _canvas()
    _polygon(draw, [(0.0, 0.06), (1.0, 0.06), (0.5, 0.94)], RED)
    _polygon(draw, [(0.17, 0.16), (0.83, 0.16), (0.5, 0.74)], WHITE)
    return image


def warning(symbol: str) -> Callable[[], Image.Image]:
    """A red triangle with a symbol: '!', 'cross' or 'walk'."""

    def make() -> Image.Image:
        image, draw = _canvas()
        _polygon(draw, [(0.0, 0.94), (0.5, 0.06), (1.0, 0.94)], RED)
        _polygon(draw, [(0.17, 0.84), (0.5, 0.26), (0.83, 0.84)], WHITE)
        if symbol == "!":
            _text(draw, "!", 0.46, BLACK, 0.62)
        elif symbol == "cross":
            _polygon(draw, [(0.47, 0.42), (0.53, 0.42), (0.53, 0.8), (0.47, 0.8)], BLACK)
            _polygon(draw, [(0.36, 0.6), (0.64, 0.6), (0.64, 0.65), (0.36, 0.65)], BLACK)
        else:
            _walker(draw, 0.5, 0.6, 0.42, BLACK)
        return image

    return make


def _walker(draw: Drawing, x: float, y: float, size: float, colour: str) -> None:
    """A walking figure of a height."""
    pixels = SIZE * _SCALE

    def line(points: list[tuple[float, float]], width: float) -> None:
        draw.line(
            [((x + a * size) * pixels, (y + b * size) * pixels) for a, b in points],
            fill=colour,
            width=int(width * size * pixels),
            joint="curve",
        )

    head = 0.085 * size
    draw.ellipse(
        (
            (x - head) * pixels,
            (y - 0.5 * size) * pixels,
            (x + head) * pixels,
            (y - 0.5 * size + 2 * head) * pixels,
        ),
        fill=colour,
    )
    line([(0.0, -0.3), (-0.02, 0.08)], 0.17)
    line([(-0.02, 0.05), (0.14, 0.28), (0.2, 0.5)], 0.09)
    line([(-0.02, 0.05), (-0.1, 0.28), (-0.26, 0.48)], 0.09)
    line([(0.0, -0.26), (0.2, -0.02)], 0.07)
    line([(0.0, -0.26), (-0.2, -0.02)], 0.07)


def crossing() -> Image.Image:
    """A pedestrian crossing: blue square, white triangle, walker."""
    image, draw = _canvas()
    _polygon(draw, [(0, 0), (1, 0), (1, 1), (0, 1)], WHITE)
    _polygon(draw, [(0.03, 0.03), (0.97, 0.03), (0.97, 0.97), (0.03, 0.97)], BLUE)
    _polygon(draw, [(0.12, 0.84), (0.5, 0.12), (0.88, 0.84)], WHITE)
    _walker(draw, 0.5, 0.6, 0.4, BLACK)
    return image


def priority() -> Image.Image:
    """A yellow diamond."""
    image, draw = _canvas()
    for inset, colour in ((0.0, BLACK), (0.02, WHITE), (0.16, YELLOW)):
        _polygon(draw, [(0.5, inset), (1 - inset, 0.5), (0.5, 1 - inset), (inset, 0.5)], colour)
    return image


def parking() -> Image.Image:
    """A blue square with P."""
    image, draw = _canvas()
    _polygon(draw, [(0, 0), (1, 0), (1, 1), (0, 1)], WHITE)
    _polygon(draw, [(0.03, 0.03), (0.97, 0.03), (0.97, 0.97), (0.03, 0.97)], BLUE)
    _text(draw, "P", 0.72, WHITE)
    return image


def board(text: str, ground: str, letters: str, second: str = "") -> Callable[[], Image.Image]:
    """A street name or a direction, twice or more as wide as high."""

    def make() -> Image.Image:
        image, draw = _canvas(2 * SIZE, SIZE // 2 if not second else SIZE)
        width, height = image.size
        draw.rectangle((0, 0, width, height), fill=letters)
        draw.rectangle((10, 10, width - 11, height - 11), fill=ground)
        lines = [text] + ([second] if second else [])
        for i, line in enumerate(lines):
            size = height * (0.52 if not second else 0.26)
            font = ImageFont.load_default(size)
            while font.getlength(line) > width * 0.88:
                size *= 0.94
                font = ImageFont.load_default(size)
            y = (
                height
                * (i + 0.5 + (0.08 if second and i == 0 else -0.08 if second else 0))
                / len(lines)
            )
            draw.text(
                (width / 2, y),
                line,
                fill=letters,
                font=font,
                anchor="mm",
                stroke_width=3,
                stroke_fill=letters,
            )
        return image

    return make


def shop_face(text: str, ground: str, letters: str) -> Callable[[], Image.Image]:
    """The face of a shop sign: one word on plain paint, with a thin frame."""

    def make() -> Image.Image:
        image, draw = _canvas(SIZE, SIZE * 2 // 3)
        width, height = image.size
        draw.rectangle((0, 0, width, height), fill=ground)
        draw.rectangle((14, 14, width - 15, height - 15), outline=letters, width=6)
        size = height * 0.5
        while ImageFont.load_default(size).getlength(text) > width * 0.8:
            size *= 0.95
        font = ImageFont.load_default(size)
        draw.text((width / 2, height / 2), text, fill=letters, font=font, anchor="mm")
        return image

    return make


def poster(seed: int, words: tuple[str, str]) -> Callable[[], Image.Image]:
    """An advertisement: colour fields and two invented words."""

    def make() -> Image.Image:
        random = np.random.default_rng(seed)
        image, draw = _canvas(SIZE, SIZE * 3 // 2)
        width, height = image.size
        tones = [
            ["#c9d4d6", "#d97c3b", "#27353f"],
            ["#e4d7bd", "#7c2d3a", "#2b2a2a"],
            ["#bcd0e0", "#2d5d86", "#f0ede4"],
        ][seed % 3]
        draw.rectangle((0, 0, width, height), fill=tones[0])
        for _ in range(5):
            x, y = random.random() * width, random.random() * height * 0.7
            r = width * random.uniform(0.12, 0.42)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=tones[int(random.integers(1, 3))])
        draw.rectangle((0, height * 0.74, width, height), fill=tones[2])
        light = tones[0]
        draw.text(
            (width / 2, height * 0.82),
            words[0],
            fill=light,
            font=ImageFont.load_default(height * 0.1),
            anchor="mm",
        )
        draw.text(
            (width / 2, height * 0.93),
            words[1],
            fill=light,
            font=ImageFont.load_default(height * 0.05),
            anchor="mm",
        )
        return image

    return make


SIGNS: dict[str, tuple[str, Callable[[], Image.Image]]] = {
    "speed_30": ("disc", speed(30)),
    "speed_50": ("disc", speed(50)),
    "no_entry": ("disc", no_entry),
    "no_parking": ("disc", no_parking),
    "ahead": ("disc", arrow(0)),
    "turn_right": ("disc", arrow(90)),
    "keep_right": ("disc", arrow(135)),
    "stop": ("octagon", stop),
    "give_way": ("triangle_down", give_way),
    "warning": ("triangle", warning("!")),
    "junction": ("triangle", warning("cross")),
    "walkers": ("triangle", warning("walk")),
    "crossing": ("board", crossing),
    "parking": ("board", parking),
    "priority": ("diamond", priority),
    "street_blue": ("street", board("Lindenweg", BLUE, WHITE)),
    "street_white": ("street", board("MILL LANE", WHITE, BLACK)),
    "street_green": ("street", board("Alder Street", GREEN, WHITE)),
    "directions_blue": ("directions", board("Norvik  7", BLUE, WHITE, "Aldam  12")),
    "directions_yellow": ("directions", board("Brenau  4", YELLOW, BLACK, "Selmar  19")),
    "shop_green": ("shop", shop_face("Flowers", "#35503f", "#e6dfcc")),
    "shop_red": ("shop", shop_face("BAKERY", "#7a2d28", "#ece4d2")),
    "shop_blue": ("shop", shop_face("Lumeda", "#28435e", "#e9e8e3")),
    "shop_cream": ("shop", shop_face("Cafe Lindo", "#d9cfb6", "#4a2f22")),
    "shop_black": ("shop", shop_face("NORVO", "#25272a", "#cdb47c")),
    "shop_yellow": ("shop", shop_face("Optika", "#cfa94a", "#2a2b2c")),
    "poster_sea": ("poster", poster(2, ("Lumeda", "fresh every day"))),
    "poster_warm": ("poster", poster(0, ("NORVO", "since now"))),
    "poster_wine": ("poster", poster(1, ("Alma", "festival in June"))),
}  # fmt: skip


def weathered(image: Image.Image, random: Random) -> tuple[Floats, Floats]:
    """Reduces a drawing, with uneven light, dust and faint scratches."""
    width, height = image.width // _SCALE, image.height // _SCALE
    rgba = np.asarray(image, dtype=np.float32) / 255
    alpha = resize(np.ascontiguousarray(rgba[..., 3]), width, height)
    colour = resize(to_linear(rgba[..., :3]) * rgba[..., 3:], width, height)
    colour = colour / np.maximum(alpha, 1e-3)[..., None]
    light = np.linspace(1.08, 0.86, height, dtype=np.float32)[:, None]
    light = light * (1 + 0.05 * octaves(random, height, width, 40, 4))
    dust = np.clip(0.08 + 0.05 * noise(random, height, width, 18), 0, 0.25)
    colour = colour * light[..., None]
    return colour + (0.25 - colour) * dust[..., None], alpha


def all_signs(random: Random) -> Iterator[Texture]:
    """Faces of signs; meta: shape and whether the back is bare metal."""
    for name, (shape, make) in SIGNS.items():
        colour, alpha = weathered(make(), random)
        meta = {"shape": shape}
        yield Texture(f"sign_{name}", "sign", to_bytes(colour, alpha), 0.0, (False, False), meta)
    metal = (
        np.full((64, 64, 3), 0.32, np.float32)
        * np.exp(0.06 * octaves(random, 64, 64, 30, 4))[..., None]
    )
    yield Texture("sign_back", "sign", to_bytes(metal), 0.0, (False, False), {"shape": "back"})


def weave(random: Random, kind: str, size: int = 128) -> Floats:
    """Grey cloth of mean 0.5, to be multiplied by a colour: folds and threads."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    folds = octaves(random, size, size, 46, 4) * 0.2 + noise(random, size, size, 10) * 0.05
    base = np.exp(folds)
    if kind == "denim":
        base *= 1 + 0.1 * np.sin((x + y) * np.pi / 2) + 0.12 * noise(random, size, size, 1.2)
    elif kind == "knit":
        base *= 1 + 0.22 * np.sin(x * np.pi / 4) * np.sin(y * np.pi / 4 + (x // 4) * np.pi)
    elif kind == "stripes":
        base *= np.where((y // 8) % 2 > 0, 1.3, 0.62)
    elif kind == "check":
        base *= np.where((y // 16) % 2 > 0, 1.2, 0.75) * np.where((x // 16) % 2 > 0, 1.2, 0.75)
    else:
        base *= 1 + 0.06 * noise(random, size, size, 1.5)
    return np.repeat((base * (0.5 / base.mean()))[..., None], 3, axis=2).astype(np.float32)


def all_cloth(random: Random) -> Iterator[Texture]:
    """Cloths for people; placement multiplies them by a colour."""
    for kind in ("plain", "cotton", "denim", "knit", "stripes", "check"):
        picture = to_bytes(np.clip(weave(random, kind), 0, 1))
        meta = {"mean_linear": 0.5}
        yield Texture(f"cloth_{kind}", "person_cloth", picture, 160.0, (True, True), meta)


def all_fences(tiles: Tiles, random: Random) -> Iterator[Texture]:
    """Fences 1.6 m high as seen from the front, repeating in x, with gaps."""
    size = 128
    wood = resize(tiles.get("Planks_002"), size, size)
    wood = wood * (0.17 / wood.mean())
    x = np.arange(size)
    gaps = ((x % 16) > 2).astype(np.float32)
    edge = 1 - 0.35 * ((x % 16) == 3) - 0.45 * ((x % 16) == 15)
    alpha = np.broadcast_to(gaps, (size, size)).copy()
    alpha[:6] *= 0
    yield Texture(
        "fence_planks",
        "fence",
        to_bytes(wood * edge[None, :, None].astype(np.float32), alpha),
        size / 1.6,
        (True, False),
    )
    alpha = np.zeros((size, size), np.float32)
    alpha[:, (x % 11) < 2] = 1
    alpha[12:16], alpha[-16:-12] = 1, 1
    iron = hex_colour("#2f3231") * np.exp(0.15 * octaves(random, size, size, 20, 3))[..., None]
    yield Texture(
        "fence_iron", "fence", to_bytes(iron.astype(np.float32), alpha), size / 1.6, (True, False)
    )
    mesh = ((np.add.outer(x, x) % 9) < 1) | ((np.subtract.outer(x, x) % 9) < 1)
    wire = blur(mesh.astype(np.float32), 0.4)
    yield Texture(
        "fence_wire",
        "fence",
        to_bytes(np.full((size, size, 3), 0.2, np.float32), np.clip(wire * 1.3, 0, 1)),
        size / 1.6,
        (True, False),
    )
