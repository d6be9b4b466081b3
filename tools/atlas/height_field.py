"""A picture of a surface by its height towards the viewer, for drawing vehicles."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from sim2street.neural_renderer.canvas.atlas import Part
from tools.atlas.images import Bytes, Floats, Random, blur, noise, resize
from tools.atlas.vehicles import SHEET_PX_PER_M, lit

SAMPLES = 3
SCALE = SHEET_PX_PER_M * SAMPLES
"""Texels per metre while drawing; sheets have a third of it."""


class Field:
    """A view under construction: height towards the viewer, colour, kind and coverage.

    Pixels are addressed in metres: `u` to the right from the middle, `z` upwards from the ground
    (for the top view: forwards from the middle of the car).
    """

    def __init__(self, width_m: float, height_m: float, middle: bool = False) -> None:
        self.width = round(width_m * SHEET_PX_PER_M) * SAMPLES
        self.rows = round(height_m * SHEET_PX_PER_M) * SAMPLES
        self.u = ((np.arange(self.width) + 0.5) / SCALE - width_m / 2)[None, :]
        self.z = (height_m - (np.arange(self.rows) + 0.5) / SCALE)[:, None]
        if middle:
            self.z = self.z - height_m / 2
        shape = (self.rows, self.width)
        self.height = np.zeros(shape, np.float32)
        self.colour = np.full((*shape, 3), 0.72, np.float32)
        self.kind = np.full(shape, int(Part.PAINT), np.int64)
        self.cover = np.zeros(shape, bool)

    def polygon(self, points: list[tuple[float, float]]) -> np.ndarray:
        """Mask of a polygon of (u, z)."""
        mask = np.zeros(self.cover.shape, np.uint8)
        column = [(u - self.u[0, 0]) * SCALE for u, _ in points]
        row = [(self.z[0, 0] - z) * SCALE for _, z in points]
        cv2.fillPoly(mask, [np.array([column, row]).T.round().astype(np.int32)], 1)
        return mask > 0

    def box(
        self, left: float, bottom: float, right: float, top: float, round_m: float = 0.02
    ) -> np.ndarray:
        """Mask of a rectangle with round corners."""
        du = np.maximum(np.maximum(left + round_m - self.u, self.u - right + round_m), 0)
        dz = np.maximum(np.maximum(bottom + round_m - self.z, self.z - top + round_m), 0)
        return du**2 + dz**2 <= round_m**2

    def paint(
        self,
        mask: np.ndarray,
        colour: float | tuple[float, float, float],
        kind: Part,
        raise_m: float = 0.0,
    ) -> None:
        """Sets colour and kind where the mask is set, and raises or lowers the surface there."""
        self.colour[mask] = colour
        self.kind[mask] = int(kind)
        self.height[mask] += raise_m

    def groove(self, mask: np.ndarray) -> None:
        """A seam between panels."""
        self.height[mask] -= 0.012
        self.colour[mask] *= 0.25

    def interior(self, pane: np.ndarray, belt: float, seats: tuple[float, ...]) -> None:
        """What is seen through side windows: daylight from the other side, and headrests."""
        depth = ndimage.distance_transform_edt(pane) / SCALE
        light = np.clip((depth - 0.05) / 0.05, 0, 1)
        for u in seats:
            rest = np.hypot((self.u - u) / 0.12, (self.z - belt - 0.13) / 0.17)
            back = np.hypot((self.u - u - 0.03) / 0.2, (self.z - belt + 0.1) / 0.26)
            light *= np.clip((np.minimum(rest, back) - 0.95) * 6, 0, 1)
        wheel = np.abs(np.hypot(self.u - seats[0] + 0.5, (self.z - belt - 0.02) * 1.2) - 0.13)
        light *= np.clip(wheel * 60 - 0.6, 0, 1)
        self.colour[pane] = (0.012 + 0.085 * light[pane])[:, None]

    def glass(self, mask: np.ndarray, rim_m: float = 0.02) -> None:
        """A pane in a black seal."""
        rim = ndimage.binary_dilation(mask, iterations=max(int(rim_m * SCALE), 1)) & self.cover
        self.paint(rim & ~mask, 0.012, Part.NONE, -0.006)
        self.paint(mask, 0.02, Part.PANE, -0.012)

    def lamp(self, mask: np.ndarray, colour: tuple[float, float, float]) -> None:
        """A lamp with a dark edge and a brighter core."""
        edge = mask & ~ndimage.binary_erosion(mask, iterations=2)
        distance = ndimage.distance_transform_edt(mask)
        core = np.clip(distance / max(float(distance.max()), 1), 0, 1) ** 0.7
        ribs = 1 + 0.18 * np.sin(self.u * 190 + 0 * self.z)
        tone = (0.45 + 0.75 * core) * ribs
        self.colour[mask] = (np.array(colour) * tone[..., None])[mask]
        self.kind[mask] = int(Part.LAMP)
        self.height[mask] += 0.01 * core[mask]
        self.colour[edge] *= 0.4

    def rounded(self, radius_m: float, depth_m: float) -> None:
        """Rounds the surface off towards the outline."""
        distance = ndimage.distance_transform_edt(np.pad(self.cover, 1))[1:-1, 1:-1] / SCALE
        inside = np.clip(1 - distance / radius_m, 0, 1)
        self.height -= (depth_m * (1 - np.sqrt(1 - inside**2))).astype(np.float32)

    def shaded(self, panorama: Floats, view: str, random: Random) -> tuple[Floats, Floats, Bytes]:
        """Colour, coverage and parts at the sheet's scale."""
        soft = blur(self.height, 1.0) * SCALE
        slope_row, slope_column = np.gradient(soft)
        normal = np.dstack([-slope_column, slope_row, np.ones_like(soft)])
        normal /= np.linalg.norm(normal, axis=2, keepdims=True)
        grain = 1 + 0.02 * noise(random, self.rows, self.width, 40, False)
        picture = lit(self.colour * grain[..., None], self.kind, normal, soft, panorama, view)
        if view != "top":
            low = np.clip((0.42 - self.z) / 0.42, 0, 1)
            dust = low**1.5 * (0.6 + 0.25 * noise(random, self.rows, self.width, 30, False))
            mud = np.array([0.13, 0.12, 0.105], np.float32)
            picture = picture + (mud - picture) * np.clip(dust, 0, 0.7)[..., None] * 0.55
            picture *= np.clip(0.5 + self.z / 0.35, 0, 1)[..., None]
        width, rows = self.width // SAMPLES, self.rows // SAMPLES
        cover = self.cover.astype(np.float32)
        weight = resize(cover, width, rows)
        rgb = resize(picture.astype(np.float32) * cover[..., None], width, rows)
        parts = np.where(self.cover, self.kind, 0)[1::SAMPLES, 1::SAMPLES].astype(np.uint8)
        return rgb / np.maximum(weight, 1e-3)[..., None], weight, parts
