"""One bay of a facade as a picture under construction: walls, relief, stains, pasted windows."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from sim2street.neural_renderer.canvas.atlas import Part
from tools.atlas.images import Bytes, Floats, Random, blur, noise, octaves, resize, tile_to

DRAW_PX_PER_M = 96
"""Bays are drawn at this scale and halved at the end."""


def px(metres: float) -> int:
    """Metres in texels of the drawing."""
    return round(metres * DRAW_PX_PER_M)


class Bay:
    """A picture with its origin at the bottom left; lengths in metres.

    Attributes:
        rgb: linear light, (H, W, 3).
        parts: values of `Part`, (H, W).
    """

    def __init__(self, wall: Floats, width_m: float, height_m: float, random: Random) -> None:
        self.width_m, self.height_m, self.random = width_m, height_m, random
        height, width = px(height_m), px(width_m)
        # Bricks start at the bottom, so that storeys join.
        self.rgb = tile_to(wall, width, height, 0, -height % wall.shape[0]).copy()
        self.parts = np.zeros((height, width), np.float32)

    def stain(self, strength: float, size_m: float = 0.9) -> None:
        """Broad tone variation that fades towards the bay's borders, so that bays join."""
        height, width = self.parts.shape
        y = np.minimum(np.arange(height), np.arange(height)[::-1])[:, None]
        x = np.minimum(np.arange(width), np.arange(width)[::-1])[None]
        inside = np.clip(np.minimum(y, x) / px(0.35), 0, 1)
        broad = octaves(self.random, height, width, px(size_m), 4)
        self.rgb *= np.exp(strength * broad * inside)[..., None]

    def tone(
        self, mask: Floats, factor: float, tint: tuple[float, float, float] = (1, 1, 1)
    ) -> None:
        """Multiplies colour by a factor where the mask is 1."""
        scale = 1 + (np.array(tint, np.float32) * factor - 1) * mask[..., None]
        self.rgb *= scale.astype(np.float32)

    def _rows(self, bottom_m: float, top_m: float) -> slice:
        height = self.parts.shape[0]
        return slice(max(height - px(top_m), 0), max(height - px(bottom_m), 0))

    def shadow(
        self, left_m: float, bottom_m: float, right_m: float, top_m: float,
        drop_m: float, strength: float,
    ) -> None:  # fmt: skip
        """A soft shadow that a raised rectangle throws below and to the right."""
        mask = np.zeros(self.parts.shape, np.float32)
        rows = self._rows(bottom_m - drop_m, top_m - drop_m)
        mask[rows, px(max(left_m, 0) + drop_m * 0.5) : px(right_m + drop_m * 0.5)] = 1
        self.tone(blur(mask, max(px(drop_m) / 3, 1)), 1 - strength)

    def block(
        self, left_m: float, bottom_m: float, right_m: float, top_m: float,
        colour: Floats, relief_m: float = 0.04,
    ) -> None:  # fmt: skip
        """A raised rectangle of stone, plaster or wood; colour is (3,) or a texture."""
        self.shadow(left_m, bottom_m, right_m, top_m, relief_m * 1.4, 0.55)
        rows = self._rows(bottom_m, top_m)
        columns = slice(max(px(left_m), 0), px(right_m))
        target = self.rgb[rows, columns]
        height, width = target.shape[:2]
        if height == 0 or width == 0:
            return
        face = (
            tile_to(colour, width, height)
            if colour.ndim == 3
            else np.broadcast_to(colour, target.shape)
        )
        grain = 0.05 * octaves(self.random, height, width, 24, 4)
        grain += 0.03 * noise(self.random, height, width, 1.5)
        if left_m <= 0 and right_m >= self.width_m:
            x = np.minimum(np.arange(width), np.arange(width)[::-1])
            grain *= np.clip(x / px(0.3), 0, 1)[None]
        face = face * (1 + grain)[..., None]
        edge = max(px(min(relief_m, 0.02)), 1)
        light = np.ones((height, width), np.float32)
        light[:edge] *= 1.22
        light[-edge:] *= 0.62
        if left_m > 0:
            light[:, :1] *= 1.08
        if right_m < self.width_m:
            light[:, -1:] *= 0.8
        self.rgb[rows, columns] = face * light[..., None]
        self.parts[rows, columns] = 0

    def paste(
        self, left_m: float, bottom_m: float, colour: Floats, alpha: Floats, glass: Floats,
        recess_m: float = 0.1,
    ) -> None:  # fmt: skip
        """Sets a window or door into the wall, with the shadow of its reveal."""
        height, width = alpha.shape
        top = self.parts.shape[0] - px(bottom_m) - height
        left = px(left_m)
        window = (slice(max(top, 0), top + height), slice(left, left + width))
        cut = slice(max(-top, 0), height)
        shift = max(px(recess_m * 0.55), 1)
        solid = np.pad(alpha, shift)
        lit = ndimage.shift(solid, (shift, shift * 0.6), order=1, mode="constant")
        lit = blur(lit, shift / 2.5)[shift:-shift, shift:-shift]
        shaded = colour * (0.42 + 0.58 * np.clip(lit, 0, 1))[..., None]
        joint = alpha * (1 - ndimage.grey_erosion(alpha, 3))
        shaded = shaded * (1 - 0.45 * joint)[..., None]
        region = self.rgb[window]
        mask = alpha[cut]
        self.rgb[window] = region + (shaded[cut] - region) * mask[..., None]
        self.parts[window] = np.where(mask > 0.5, glass[cut], self.parts[window])

    def streaks(
        self, left_m: float, right_m: float, top_m: float, length_m: float, amount: float
    ) -> None:
        """Dirt that runs down the wall below a sill or a cornice."""
        rows = self._rows(top_m - length_m, top_m)
        columns = slice(max(px(left_m), 0), px(right_m))
        height, width = self.parts[rows, columns].shape
        if height < 2 or width < 2:
            return
        line = (
            noise(self.random, 1, width, 5, False)[0]
            + 0.8 * noise(self.random, 1, width, 22, False)[0]
        )
        run = np.clip(line + 0.35, 0, 2.2)
        fade = np.linspace(1, 0, height, dtype=np.float32)[:, None] ** 1.4
        side = np.clip(np.minimum(np.arange(width), np.arange(width)[::-1]) / 6, 0, 1)
        mask = np.clip(run[None] * fade * side[None] * amount, 0, 0.6)
        free = self.parts[rows, columns] < 0.5
        self.rgb[rows, columns] *= (1 - mask * free)[..., None] * np.array(
            [1, 0.985, 0.96], np.float32
        ) ** mask[..., None]

    def ground_dirt(self, height_m: float, amount: float) -> None:
        """Splashes and soot at the foot of the wall."""
        rows = self._rows(0, height_m)
        height, width = self.parts[rows].shape
        y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
        rough = (
            noise(self.random, height, width, 14) * 0.25
            + noise(self.random, height, width, 3) * 0.12
        )
        mask = np.clip(y**2.2 * (1 + rough), 0, 1) * amount
        scale = 1 - mask[..., None] * np.array([0.55, 0.6, 0.66], np.float32)
        self.rgb[rows] *= scale

    def finished(self) -> tuple[Floats, Bytes]:
        """Colour and parts at half the drawing's scale."""
        height, width = self.parts.shape
        rgb = resize(np.clip(self.rgb, 0, 1), width // 2, height // 2)
        glass = resize(self.parts, width // 2, height // 2)
        return rgb, np.where(glass > 0.5, int(Part.PANE), 0).astype(np.uint8)
