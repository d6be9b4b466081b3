"""Canvases for photographs in training: textures that do not fit, as in serving, or spoilt pixels.

In serving the canvas always comes from an atlas, so most regions of a photograph get the atlas's
textures, placed by pseudo-depth. They show other bricks and leaves than the photograph: such
regions are "foreign", and the losses that compare with the photograph count little there. Other
regions get the photograph's own pixels, shifted, blurred and in other light, from which the
generator learns to keep what the canvas shows. Some get nothing, so that it can still paint alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import ByteArray, Camera, FloatArray, View
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.canvas.source import CanvasSource
from sim2street.neural_renderer.conditions.layout import WINDOW
from sim2street.neural_renderer.data.augment import elastic_offsets

WARP_PX = 2.0
BLUR_PX = (0.5, 2.2)
EXPOSURE, BALANCE = 0.32, 0.1
"""Standard deviations of the logarithm of a region's brightness, and of its channels."""

RECOLOURED_SHARE = 0.5
"""Share of the vehicles with their own pixels whose colours are changed: foreign, too."""


@dataclass(frozen=True, slots=True)
class Region:
    """Tags that get their canvas from the same source.

    Attributes:
        tags: of its pixels.
        atlas: probability of the atlas's textures.
        own: probability of the photograph's own pixels; otherwise it gets no canvas.
    """

    tags: tuple[Tag, ...]
    atlas: float
    own: float


VEHICLES = (Tag.CAR, Tag.TRUCK, Tag.BUS, Tag.TRAIN)
REGIONS = (
    Region((Tag.SKY,), 0.55, 0.35),
    Region((Tag.ROAD, Tag.ROAD_LINES), 0.68, 0.22),
    Region((Tag.SIDEWALK, Tag.TERRAIN, Tag.GROUND, Tag.RAIL_TRACK), 0.68, 0.22),
    Region((Tag.VEGETATION,), 0.68, 0.20),
    Region(VEHICLES, 0.0, 0.75),
    Region((Tag.PEDESTRIAN, Tag.RIDER), 0.0, 0.5),
    Region((Tag.TRAFFIC_SIGN, Tag.TRAFFIC_LIGHT), 0.0, 0.5),
)
FACADES = Region((Tag.BUILDING, Tag.WALL, Tag.FENCE), 0.62, 0.26)
"""Drawn for each facade of its own."""


class PhotoCanvas:
    """Makes the canvases of crops of photographs."""

    def __init__(self, source: CanvasSource) -> None:
        self._source = source

    def still(
        self, view: View, rgb: FloatArray, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """The canvas of a crop, and where it is foreign.

        Args:
            view: of the crop, see `crop_view`.
            rgb: float32 (3, H, W) in [-1, 1], the crop.

        Returns:
            float32 (4, H, W) as `CanvasSource.planes`, and float32 (1, H, W), 1 where it is
            foreign.
        """
        assert view.labels is not None
        assert view.instances is not None
        canvas = self._source.planes(view, int(rng.integers(1 << 20)))
        foreign = canvas[3] > 0.0
        for region in REGIONS:
            mask = np.isin(view.labels, region.tags)
            if mask.any():
                self._fill(canvas, foreign, mask, region, rgb, rng)
        walls = np.isin(view.labels, FACADES.tags)
        for number in np.unique(view.instances[walls]):
            mask = walls & (view.instances == number)
            self._fill(canvas, foreign, mask, FACADES, rgb, rng)
        return canvas, foreign[None].astype(np.float32)

    def frames(self, views: list[View], rng: np.random.Generator) -> list[FloatArray]:
        """Canvases of a clip's frames, from the atlas alone: float32 (4, H, W) each.

        What gets no canvas is drawn once for the whole clip.
        """
        seed = int(rng.integers(1 << 20))
        kept = [tag for region in (*REGIONS, FACADES) for tag in region.tags if region.atlas]
        dropped = [region.tags for region in (*REGIONS, FACADES) if rng.random() < 0.15]
        left_out = [tag for tags in dropped for tag in tags]
        canvases = []
        for view in views:
            assert view.labels is not None
            canvas = self._source.planes(view, seed)
            canvas *= np.isin(view.labels, kept) & ~np.isin(view.labels, left_out)
            canvases.append(canvas)
        return canvases

    def _fill(
        self,
        canvas: FloatArray,
        foreign: npt.NDArray[np.bool_],
        mask: npt.NDArray[np.bool_],
        region: Region,
        rgb: FloatArray,
        rng: np.random.Generator,
    ) -> None:
        """Draw the source of a region and write it into canvas and foreign."""
        draw = rng.random()
        if draw < region.atlas:
            return
        foreign[mask] = False
        if draw >= region.atlas + region.own:
            canvas[:, mask] = 0.0
            return
        recoloured = region.tags == VEHICLES and rng.random() < RECOLOURED_SHARE
        canvas[:3, mask] = spoilt(rgb, rng, recoloured)[:, mask]
        canvas[3, mask] = 1.0
        foreign[mask] = recoloured


def spoilt(rgb: FloatArray, rng: np.random.Generator, recoloured: bool = False) -> FloatArray:
    """An image shifted a little, blurred and in other light: float32 (3, H, W) in [-1, 1].

    recoloured: in other colours, too, as if another car stood there.
    """
    height, width = rgb.shape[1:]
    dy, dx = elastic_offsets(rng, (width, height), float(rng.uniform(0.0, WARP_PX)))
    image: npt.NDArray[Any] = np.ascontiguousarray(rgb.transpose(1, 2, 0))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    image = cv2.remap(
        image, columns + dx, rows + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(*BLUR_PX)))
    value = (image.transpose(2, 0, 1) + np.float32(1.0)) * np.float32(0.5)
    if recoloured:
        value = value[rng.permutation(3)]
        tint = np.exp(0.35 * rng.standard_normal(3))
        value = value * tint.astype(np.float32)[:, None, None]
    gain = np.exp(EXPOSURE * rng.standard_normal() + BALANCE * rng.standard_normal(3))
    value = np.clip(value * gain.astype(np.float32)[:, None, None], 0.0, 1.0)
    out: FloatArray = value * np.float32(2.0) - np.float32(1.0)
    return out


def crop_view(
    labels: ByteArray,
    depth_m: FloatArray,
    facades: ByteArray,
    camera: npt.NDArray[np.floating],
    pose: FloatArray,
) -> View:
    """The view of a crop; the instances of buildings are their facades.

    Args:
        labels: uint8 (H, W), tags.
        depth_m: float32 (H, W), planar z.
        facades: uint8 (H, W), see `PreparedPhoto.facades`.
        camera: fx, fy, cx, cy in pixels.
        pose: float32 (4, 4), camera to world.
    """
    height, width = labels.shape
    fx, fy, cx, cy = (float(value) for value in camera)
    instances = np.where(labels == Tag.BUILDING, facades & ~WINDOW, 0).astype(np.uint32)
    return View(Camera(width, height, fx, fy, cx, cy), pose, labels, depth_m, instances)
