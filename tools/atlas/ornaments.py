"""What surrounds windows: sills, lintels, shutters, balconies, cornices."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from tools.atlas.bay import Bay, px
from tools.atlas.facade_style import Facade
from tools.atlas.images import Floats, blur, hex_colour, noise
from tools.atlas.kit import Kit


def surround(
    bay: Bay, style: Facade, trim: Floats, left: float, bottom: float, width: float, height: float
) -> None:
    """A raised frame around a window: plaster band or stone blocks."""
    if style.surround == "none":
        return
    if style.surround == "stone":
        size = 0.32
        step = 0
        y = bottom - 0.05
        while y < bottom + height:
            reach = 0.22 if step % 2 else 0.14
            end = min(y + size, bottom + height)
            bay.block(left - reach, y, left + 0.02, end, trim, 0.02)
            bay.block(left + width - 0.02, y, left + width + reach, end, trim, 0.02)
            y, step = y + size, step + 1
        bay.block(
            left - 0.18,
            bottom + height - 0.02,
            left + width + 0.18,
            bottom + height + 0.2,
            trim,
            0.03,
        )
        return
    bay.block(left - 0.11, bottom - 0.02, left + width + 0.11, bottom + height + 0.11, trim, 0.03)


def arch(bay: Bay, trim: Floats | None, left: float, bottom: float, alpha: Floats) -> None:
    """A band that follows an arched window; bricks in the wall's colour without a trim."""
    reach = px(0.13)
    height = len(alpha)
    solid = np.pad(alpha, reach)
    grown = cv2.dilate(solid, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2))
    ring = np.clip(grown - solid, 0, 1)
    if trim is None:
        ring[int(height * 0.45) :] = 0
        trim = np.median(bay.rgb.reshape(-1, 3), axis=0)
        y, x = np.mgrid[: ring.shape[0], : ring.shape[1]]
        angle = np.arctan2(y - height * 0.5, x - ring.shape[1] / 2)
        joint = (np.abs(np.sin(angle * 24)) < 0.16)[..., None]
        face = np.where(joint, trim * 1.4, trim * 0.86)
    else:
        face = np.broadcast_to(trim, (*ring.shape, 3))
    shade = 1 + 0.35 * (ring - np.roll(ring, (2, 1), (0, 1)))
    top = bay.parts.shape[0] - px(bottom) - height - reach
    start = px(left) - reach
    rows = slice(max(top, 0), top + ring.shape[0])
    cut = slice(max(-top, 0), ring.shape[0])
    columns = slice(max(start, 0), start + ring.shape[1])
    across = slice(max(-start, 0), ring.shape[1])
    target = bay.rgb[rows, columns]
    piece = (face * shade[..., None])[cut, across][: target.shape[0], : target.shape[1]]
    mask = ring[cut, across][: target.shape[0], : target.shape[1], None]
    target += (piece - target) * mask


def _sprite(bay: Bay, colour: Floats, alpha: Floats, left_px: int, bottom_px: int) -> None:
    """Puts a picture with coverage into a bay, cut off at its borders, with a soft shadow."""
    height, width = alpha.shape
    rows_all, columns_all = bay.parts.shape
    top = rows_all - bottom_px - height
    r0, r1 = max(top, 0), min(top + height, rows_all)
    c0, c1 = max(left_px, 0), min(left_px + width, columns_all)
    if r0 >= r1 or c0 >= c1:
        return
    cut = (slice(r0 - top, r1 - top), slice(c0 - left_px, c1 - left_px))
    shade = np.zeros(bay.parts.shape, np.float32)
    shade[r0:r1, c0:c1] = alpha[cut]
    moved = ndimage.shift(shade, (px(0.05), px(0.04)), order=0)
    bay.tone(blur(moved, px(0.04)), 0.55)
    target = bay.rgb[r0:r1, c0:c1]
    target += (colour[cut] - target) * alpha[cut][..., None]
    bay.parts[r0:r1, c0:c1][alpha[cut] > 0.5] = 0


def flower_box(bay: Bay, kit: Kit, left: float, bottom: float, width: float) -> None:
    """A planted box on the sill."""
    random = bay.random
    bay.block(left - 0.02, bottom, left + width + 0.02, bottom + 0.15, hex_colour("#6b4a38"), 0.1)
    leaves, cover = kit.greens[int(random.integers(len(kit.greens)))]
    height, span = px(0.34), px(width + 0.1)
    start = int(random.integers(max(leaves.shape[1] - span, 1)))
    row = int(random.integers(max(leaves.shape[0] - height, 1)))
    colour = leaves[row : row + height, start : start + span].copy()
    alpha = cover[row : row + height, start : start + span].copy()
    height, span = alpha.shape
    y = np.linspace(1, 0, height)[:, None]
    ragged = 0.72 + 0.16 * noise(random, height, span, 12, False)
    alpha *= np.clip((ragged - y) * 8, 0, 1) * np.clip((y - 0.1) * 8 + 0.5, 0, 1)
    x = np.linspace(-1, 1, span)[None]
    alpha *= np.clip((1.02 - np.abs(x) - 0.05 * noise(random, height, span, 8, False)) * 12, 0, 1)
    spots = noise(random, height, span, 5, False) > 1.15
    bloom = hex_colour(str(random.choice(["#b3262f", "#c65a86", "#e0d9d2", "#c9832c"])))
    colour[spots] = bloom * (0.7 + 0.5 * random.random((int(spots.sum()), 1)))
    _sprite(bay, colour, alpha.astype(np.float32), px(left) - px(0.05), px(bottom + 0.08))


def plants(bay: Bay, kit: Kit) -> None:
    """A bush or a climber at the foot of the wall."""
    random = bay.random
    leaves, cover = kit.greens[int(random.integers(len(kit.greens)))]
    height, width = px(random.uniform(0.6, 1.3)), px(random.uniform(0.7, 1.2))
    height, width = min(height, leaves.shape[0]), min(width, leaves.shape[1])
    y = np.linspace(1, 0, height)[:, None]
    x = np.linspace(-1, 1, width)[None]
    blob = np.sqrt(x**2 + np.clip((y - 0.35) / 0.65, 0, 1) ** 2)
    edge = 0.14 * noise(random, height, width, 16, False) + 0.1 * noise(
        random, height, width, 5, False
    )
    alpha = cover[:height, :width] * np.clip((0.86 + edge - blob) * 9, 0, 1)
    shade = np.clip(0.35 + 0.75 * y + 0.1 * x, 0.3, 1.1)[..., None]
    left = int(random.integers(0, max(bay.parts.shape[1] - width, 1)))
    _sprite(bay, leaves[:height, :width] * shade, alpha.astype(np.float32), left, 0)


def lintel(bay: Bay, style: Facade, trim: Floats, left: float, top: float, width: float) -> None:
    """What is above a window."""
    right = left + width
    if style.lintel in ("stone", "flat"):
        bay.block(left - 0.14, top, right + 0.14, top + 0.2, trim, 0.03)
    elif style.lintel == "hood":
        bay.block(left - 0.12, top + 0.1, right + 0.12, top + 0.22, trim, 0.03)
        bay.block(left - 0.2, top + 0.22, right + 0.2, top + 0.3, trim, 0.12)
    elif style.lintel == "key":
        bay.block(left - 0.12, top, right + 0.12, top + 0.16, trim, 0.03)
        bay.block(
            left + width / 2 - 0.1, top - 0.03, left + width / 2 + 0.1, top + 0.26, trim, 0.06
        )
    elif style.lintel == "brick":
        _soldiers(bay, left - 0.1, right + 0.1, top, top + 0.22)


def _soldiers(bay: Bay, left: float, right: float, bottom: float, top: float) -> None:
    """A course of upright bricks in the wall's own colour."""
    random = bay.random
    rows = slice(max(bay.parts.shape[0] - px(top), 0), bay.parts.shape[0] - px(bottom))
    mean = np.median(bay.rgb.reshape(-1, 3), axis=0)
    x = left
    while x < right - 0.03:
        tone = float(np.exp(random.normal() * 0.16))
        columns = slice(max(px(x), 0), px(x + 0.068))
        shape = bay.rgb[rows, columns].shape
        if min(shape) > 0:
            bay.rgb[rows, columns] = (
                mean * tone * (1 + 0.07 * random.standard_normal(shape[:2])[..., None])
            )
            bay.rgb[rows, px(x + 0.068) : px(x + 0.076)] = mean * 1.35
        x += 0.076


def sill(bay: Bay, style: Facade, trim: Floats, left: float, bottom: float, width: float) -> None:
    """The sill, its shadow and the dirt that runs from its ends."""
    if bottom < 0.3:
        return
    stone = trim if style.surround != "none" else hex_colour("#a7a39a")
    bay.block(left - 0.1, bottom - 0.07, left + width + 0.1, bottom, stone, 0.07)
    bay.streaks(left - 0.12, left + width + 0.12, bottom - 0.07, 0.7, 0.2)


def shutters(
    bay: Bay, kit: Kit, colour: Floats, left: float, bottom: float, width: float, height: float
) -> None:
    """Open shutters on both sides, as wide as there is room."""
    half = min(width / 2, 0.5)
    for start in (left - half - 0.02, left + width + 0.02):
        if start < 0 or start + half > bay.width_m:
            continue
        w, h = px(half), px(height)
        bay.shadow(start, bottom, start + half, bottom + height, 0.05, 0.5)
        rows = np.arange(h)
        slats = 0.82 + 0.3 * ((rows % 6) / 6.0)
        slats[(rows % 6) == 5] = 0.5
        light = np.repeat(slats[:, None], w, axis=1).astype(np.float32)
        rim = max(px(0.045), 2)
        light[:rim], light[-rim:], light[:, :rim], light[:, -rim:] = 1.05, 0.9, 1.0, 0.92
        light[h // 2 - rim // 2 : h // 2 + rim // 2] = 1.0
        light[0], light[-1], light[:, -1] = 1.2, 0.5, 0.6
        wear = 1 + 0.06 * noise(bay.random, h, w, 16, False)
        picture = colour * (light * wear)[..., None]
        top = bay.parts.shape[0] - px(bottom) - h
        bay.rgb[max(top, 0) : top + h, px(start) : px(start) + w] = picture[max(-top, 0) :]


def balcony(bay: Bay, kind: str, left: float, bottom: float, width: float) -> None:
    """A railing in front of the lower part of a window; 'rail' has a slab below."""
    height, columns = bay.parts.shape
    rail_m = 0.95 if kind == "rail" else 0.55
    extra = 0.3 if kind == "rail" else 0.08
    x0, x1 = max(px(left - extra), 0), min(px(left + width + extra), columns)
    base = max(bottom - 0.02, 0.04)
    y0, y1 = height - px(base + rail_m), height - px(base)
    mask = np.zeros((height, columns), np.float32)
    step = px(0.11)
    for x in range(x0, x1, step):
        mask[y0:y1, x : x + 2] = 1
    mask[y0 : y0 + 4, x0:x1] = 1
    mask[y1 - 6 : y1 - 2, x0:x1] = 1
    if kind == "french":
        mask[y0 + (y1 - y0) // 3 : y0 + (y1 - y0) // 3 + 2, x0:x1] = 1
    shade = blur(np.roll(mask, (3, 4), (0, 1)), 1.6)
    bay.tone(shade, 0.62)
    iron = hex_colour("#2b2c2d")
    bay.rgb += (iron * (0.8 + 0.5 * mask[..., None]) - bay.rgb) * mask[..., None]
    bay.parts[mask > 0.5] = 0
    if kind == "rail":
        bay.block(
            left - extra - 0.05,
            base - 0.14,
            left + width + extra + 0.05,
            base,
            hex_colour("#a19d95"),
            0.22,
        )


def cornice(bay: Bay, style: Facade, trim: Floats) -> None:
    """The strip below the eaves: mouldings, dentils, a gutter."""
    width, top = style.bay_m, style.cornice_m
    metal = hex_colour("#7c7f7d")
    if style.cornice == "plain":
        bay.block(-0.1, top - 0.12, width + 0.1, top, hex_colour("#8b8c8a"), 0.04)
        bay.streaks(0, width, top - 0.12, 0.38, 0.25)
        return
    if style.cornice == "wood":
        bay.block(-0.1, top - 0.22, width + 0.1, top - 0.1, trim, 0.03)
        bay.block(-0.1, top - 0.1, width + 0.1, top, metal, 0.12)
        return
    if style.cornice == "dentils":
        bay.block(-0.1, top - 0.38, width + 0.1, top - 0.12, trim, 0.03)
        count = round(width / 0.16)
        for i in range(count):
            x = width * i / count
            bay.block(x + 0.03, top - 0.26, x + 0.11, top - 0.15, trim, 0.05)
        bay.block(-0.1, top - 0.15, width + 0.1, top - 0.08, trim, 0.08)
    else:
        bay.shadow(-0.2, top - 0.12, width + 0.2, top + 0.1, 0.14, 0.6)
    bay.block(-0.1, top - 0.1, width + 0.1, top, metal, 0.1)
    rows = px(0.1)
    bend = 0.6 + 0.7 * np.sin(np.linspace(0.4, 3.0, rows))
    bay.rgb[:rows] *= bend[:, None, None].astype(np.float32)
