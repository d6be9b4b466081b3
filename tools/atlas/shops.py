"""Shop fronts: painted frames, lit windows with goods, sign boards, awnings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools.atlas.bay import Bay, px
from tools.atlas.facade_style import Facade
from tools.atlas.images import Floats, Random, blur, hex_colour, noise, resize
from tools.atlas.kit import Kit

WORDS = (
    "BAKERY", "Flowers", "BOOKS", "Cafe Lindo", "Tea & Co", "CYCLES", "Pharmacy", "OPTIKA",
    "Norvo", "Lumeda", "Pasteria", "TAILOR", "Kiosk", "Bistro Alma", "HAIR", "Antiques",
    "Brodek", "FRUIT", "Salon Mirela", "Shoes",
)  # fmt: skip
"""Sign texts: plain words and invented names."""


GOODS = ("#8c3b2e", "#3a5a78", "#c2a35a", "#4f6b45", "#d8d2c4", "#5d4a3c", "#202326", "#a88e7c")


def muted(colour: Floats) -> Floats:
    """A weathered paint: less saturated."""
    return (colour + (colour.mean() - colour) * 0.3).astype(np.float32)


def lettering(text: str, width: int, height: int) -> Floats:
    """Coverage of a line of text, centred, (H, W)."""
    scale = 3
    image = Image.new("L", (width * scale, height * scale))
    draw = ImageDraw.Draw(image)
    size = int(height * scale * 0.62)
    while size > 6:
        font = ImageFont.load_default(size)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        if right - left < width * scale * 0.86:
            break
        size -= 2
    x = (width * scale - right - left) / 2
    y = (height * scale - bottom - top) / 2
    draw.text((x, y), text, fill=255, font=font)
    return resize(np.asarray(image, dtype=np.float32) / 255, width, height)


def goods(random: Random, height: int, width: int) -> Floats:
    """A lit shop interior: shelves with goods, lamps, a bright back wall, (H, W, 3)."""
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    glow = float(np.exp(random.normal() * 0.35)) * 0.1
    wall = hex_colour(str(random.choice(["#cdb894", "#c9c5ba", "#b6a78f", "#a8b0ae"])))
    scene = np.broadcast_to(wall, (height, width, 3)) * (glow * (1.6 - 1.2 * y))[..., None]
    scene = scene * (1 + 0.3 * noise(random, height, width, width / 3, False))[..., None]
    kind = str(random.choice(["shelves", "display", "display", "posters", "plain"]))
    palette = [hex_colour(c) for c in GOODS]
    if kind == "shelves":
        shelf = int(random.integers(height // 7, height // 4))
        for bottom in range(height - shelf // 3, height // 4, -shelf):
            x = 0
            while x < width:
                w = int(random.integers(3, max(width // 12, 5)))
                h = int(random.integers(shelf // 4, max(int(shelf * 0.85), shelf // 4 + 1)))
                tone = glow * float(random.uniform(1.2, 4))
                if random.random() < 0.8:
                    colour = palette[int(random.integers(len(palette)))] * tone
                    scene[max(bottom - h, 0) : bottom, x : x + w] = colour
                x += w + int(random.integers(0, 4))
            scene[bottom : bottom + 3] = wall * glow * 0.5
    elif kind != "plain":
        count = int(random.integers(3, 7))
        for i in range(count):
            w, h = int(width * random.uniform(0.1, 0.24)), int(height * random.uniform(0.12, 0.5))
            x = int((i + random.random() * 0.6) * width / count)
            base = height - int(height * random.uniform(0.0, 0.12))
            if kind == "posters":
                base = int(height * random.uniform(0.5, 0.95))
            tone = glow * float(random.uniform(1.5, 6 if kind == "posters" else 4))
            body = scene[max(base - h, 0) : base, x : x + w]
            body[:] = palette[int(random.integers(len(palette)))] * tone
            body[: body.shape[0] // 3] *= float(random.uniform(0.5, 1.5))
    counter = slice(int(height * 0.72), int(height * 0.76))
    scene[counter] = scene[counter] * 0.5 + wall * glow * 0.6
    scene = blur(scene.astype(np.float32), 2.2)
    for _ in range(int(random.integers(1, 5))):
        cx, cy = random.random() * width, height * random.uniform(0.04, 0.22)
        yy, xx = np.mgrid[:height, :width]
        lamp = np.exp(-(((xx - cx) / 7) ** 2) - ((yy - cy) / 4) ** 2)
        scene += lamp[..., None].astype(np.float32) * np.array([0.9, 0.75, 0.5], np.float32) * 0.8
    return np.clip(scene, 0, 1).astype(np.float32)


def _pane(
    bay: Bay, kit: Kit, random: Random, style: Facade, box: tuple[float, float, float, float]
) -> None:
    """One display window from (left, bottom) to (right, top)."""
    left, bottom, right, top = box
    width, height = px(right) - px(left), px(top) - px(bottom)
    inside = goods(random, height, width)
    seen = kit.reflection(random, height, width, np.ones((height, width), int))
    strength = float(np.clip(style.mirror * np.exp(random.normal() * 0.4), 0.05, 0.4))
    colour = inside * (1 - strength) + seen * strength
    shade = np.clip(np.linspace(0.45, 1.15, height, dtype=np.float32), 0, 1)[:, None, None]
    one = np.ones((height, width), np.float32)
    bay.paste(left, bottom, (colour * shade).astype(np.float32), one, one, 0.08)


PAINTS = ("#26313d", "#4a2a26", "#37422c", "#6d2a24", "#203a52", "#1f2a24", "#8a8578", "#c9c3b4",
          "#5a4630", "#3a3d40", "#7c8a80", "#2f2f31")  # fmt: skip


def shop_bay(bay: Bay, kit: Kit, random: Random, style: Facade, index: int, word: str) -> None:
    """Draws a shop front over a ground floor bay; the first one has the style's paint."""
    width, top = bay.width_m, bay.height_m - 0.35
    shop = style.shop if index == 0 else str(random.choice(PAINTS))
    style = replace(style, shop=shop)
    paint = muted(hex_colour(shop)) * float(np.exp(random.normal() * 0.1))
    board = 0.55
    bay.block(0.08, 0, width - 0.08, top, paint, 0.06)
    bay.block(0.08, 0, width - 0.08, 0.4, paint * 0.8, 0.03)
    for x in (0.08, width - 0.26):
        bay.block(x, 0, x + 0.18, top - board, paint * 1.1, 0.05)
    if index % 2 == 0:
        door = 0.95
        side = 0.34 if index % 4 == 0 else width - 0.34 - door
        _pane(bay, kit, random, style, (side + 0.08, 0.35, side + door - 0.08, 2.15))
        _pane(bay, kit, random, style, (side + 0.08, 2.25, side + door - 0.08, top - board - 0.08))
        bay.block(side + door - 0.2, 1.0, side + door - 0.15, 1.3, hex_colour("#b5a26a"), 0.03)
        free = (side + door + 0.08, width - 0.34) if side < 1 else (0.34, side - 0.08)
    else:
        free = (0.34, width - 0.34)
    middle = (free[0] + free[1]) / 2
    for left, right in ((free[0], middle - 0.03), (middle + 0.03, free[1])):
        _pane(bay, kit, random, style, (left, 0.5, right, top - board - 0.08))
    _board(bay, random, style, top, board, word)
    if random.random() < 0.55:
        _awning(bay, random, top - board)


def _board(bay: Bay, random: Random, style: Facade, top: float, board: float, text: str) -> None:
    """The sign board with its lettering."""
    ground = muted(hex_colour(style.shop)) * float(random.choice([0.6, 1.0, 1.4]))
    letters = hex_colour(str(random.choice(["#e9e2cf", "#f1efe8", "#cdb47c", "#e4e0d4"])))
    if random.random() < 0.3:
        ground, letters = letters, muted(hex_colour(style.shop))
    left, right = 0.05, bay.width_m - 0.05
    bay.block(left, top - board + 0.06, right, top, ground, 0.08)
    width, height = px(right) - px(left), px(board - 0.06)
    mask = lettering(text, width, height)
    row = bay.parts.shape[0] - px(top)
    window = (slice(row, row + height), slice(px(left), px(left) + width))
    raised = blur(np.roll(mask, (2, 2), (0, 1)), 1.2)
    area = bay.rgb[window]
    area *= (1 - 0.4 * raised)[..., None]
    area += (letters - area) * mask[..., None]
    bay.block(left, top - 0.02, right, top + 0.06, ground * 1.15, 0.12)


def _awning(bay: Bay, random: Random, bottom: float) -> None:
    """A sloping striped or plain cloth above the window."""
    drop, width = 0.62, bay.width_m - 0.2
    columns, rows = px(width), px(drop)
    pairs = (
        ("#8e2f2a", "#d9d3c4"),
        ("#2f5a48", "#d9d3c4"),
        ("#2c4466", "#cfd0cc"),
        ("#8a7a54", "#8a7a54"),
        ("#5e2630", "#5e2630"),
    )
    first, second = pairs[int(random.integers(len(pairs)))]
    x = np.arange(columns)
    stripes = ((x // px(0.17)) % 2).astype(np.float32)[None, :, None]
    cloth = hex_colour(first) + (hex_colour(second) - hex_colour(first)) * stripes
    y = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    light = 1.15 - 0.3 * y
    valance = y > 0.78
    light = np.where(valance, 0.72 - 0.1 * np.sin(x * 0.12)[None, :, None], light)
    sag = 1 + 0.05 * noise(random, rows, columns, 40, False)[..., None]
    picture = np.broadcast_to(cloth, (rows, columns, 3)) * light * sag
    top = bay.parts.shape[0] - px(bottom) - px(0.06)
    bay.shadow(0.1, bottom - drop, 0.1 + width, bottom, 0.35, 0.6)
    window = (slice(top, top + rows), slice(px(0.1), px(0.1) + columns))
    target = bay.rgb[window]
    bay.rgb[window] = picture[: target.shape[0], : target.shape[1]]
    bay.parts[window] = 0
