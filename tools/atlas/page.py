"""Draws an atlas as one picture with names: `python -m tools.atlas.page free.atlas page.png`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from sim2street.neural_renderer.canvas.atlas import Texture, load_atlas

_CAPTION_PX = 13
_CHECKER = (205, 235)


def picture(texture: Texture) -> Image.Image:
    """The texture over a checkerboard, so that transparency shows."""
    height, width = texture.image.shape[:2]
    odd = (np.arange(height)[:, None] // 8 + np.arange(width) // 8) % 2
    checker = np.take(np.array(_CHECKER, np.float32), odd)[..., None]
    alpha = texture.image[..., 3:].astype(np.float32) / 255
    rgb = texture.image[..., :3] * alpha + checker * (1 - alpha)
    return Image.fromarray(rgb.astype(np.uint8))


def page(textures: Sequence[Texture], width: int, largest: int) -> Image.Image:
    """All textures in rows; larger ones are scaled down to `largest` pixels a side."""
    cells = []
    for texture in textures:
        cell = picture(texture)
        cell.thumbnail((largest, largest))
        cells.append((cell, texture.name))
    x = y = row = 0
    places = []
    for cell, _ in cells:
        if x + cell.width > width:
            x, y, row = 0, y + row + _CAPTION_PX, 0
        places.append((x, y))
        x, row = x + max(cell.width, 90) + 4, max(row, cell.height)
    out = Image.new("RGB", (width, y + row + _CAPTION_PX), "white")
    draw = ImageDraw.Draw(out)
    for (cell, name), place in zip(cells, places, strict=True):
        out.paste(cell, place)
        draw.text((place[0] + 1, place[1] + cell.height), name[:40], fill="black")
    return out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--group", default="", help="groups to draw, separated by commas")
    parser.add_argument("--name", default="", help="only names that contain this")
    parser.add_argument("--width", type=int, default=1600)
    parser.add_argument("--largest", type=int, default=256)
    options = parser.parse_args()
    wanted = set(options.group.split(",")) - {""}
    textures = [
        texture
        for texture in load_atlas(options.atlas).textures
        if (not wanted or texture.group in wanted) and options.name in texture.name
    ]
    page(textures, options.width, options.largest).save(options.out)


if __name__ == "__main__":
    main()
