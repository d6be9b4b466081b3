"""Skies: panoramas with everything below their horizon's outline removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from sim2street.neural_renderer.canvas.atlas import Texture
from tools.atlas.images import Floats, blur, luminance, resize, to_bytes

HEIGHT_PX = 128
WIDTH_PX = 512


@dataclass(frozen=True)
class Panorama:
    """What to do with one panorama.

    Attributes:
        free: nothing hides the sky above the horizon.
        low: rows above the horizon (0.7 degrees each) that are replaced whatever they show.
        chroma: factor on saturation; cameras and dawns are bluer than a street's usual sky.
        name: of the texture.
    """

    name: str
    free: bool = False
    low: int = 8
    chroma: float = 0.8


PANORAMAS = {
    "sky": Panorama("cumulus", free=True, low=3),
    "city": Panorama("overcast", low=10),
    "park": Panorama("clear_afternoon", low=9),
    "venice": Panorama("veiled", low=10, chroma=0.55),
    "sunrise": Panorama("clear_morning", low=22),
    "sunset": Panorama("evening", low=16),
    "dawn": Panorama("dawn", low=9, chroma=0.45),
    "night": Panorama("night", low=12),
}


def sky_mask(radiance: Floats) -> Floats:
    """1 where an equirectangular upper half shows sky, 0 on houses and trees, (H, W).

    Sky is bright, bluish or grey, smooth and connected to the zenith.
    """
    light = luminance(radiance)
    red, blue = radiance[..., 0], radiance[..., 2]
    relative = light / np.quantile(light[: len(light) // 3], 0.5)
    rough = np.abs(np.log(light + 1e-3) - blur(np.log(light + 1e-3), 2.0))
    sky = (relative > 0.42) & (blue > red * 0.72) & (blur(rough, 1.0) < 0.2) | (relative > 3)
    labels, _ = ndimage.label(sky)
    top = np.unique(labels[0])
    sky = np.isin(labels, top[top > 0])
    sky = np.logical_and.accumulate(ndimage.binary_closing(sky, iterations=2) | sky, axis=0)
    return blur(ndimage.binary_erosion(sky, iterations=2, border_value=1).astype(np.float32), 1.5)


def without_block(radiance: Floats) -> Floats:
    """Replaces the dark or blue block that the source's compression left at the sun."""
    light = luminance(radiance)
    bright = ndimage.maximum_filter(light, 15) > 25 * np.median(light)
    near = ndimage.median_filter(light, 21)
    broken = bright & ((light < near * 0.5) | (radiance[..., 2] > 4 * radiance[..., 0] + 1))
    broken = ndimage.binary_dilation(broken, iterations=2)
    glow = float(np.quantile(light[bright], 0.9)) if bright.any() else 1.0
    return np.where(broken[..., None], glow, radiance).astype(np.float32)


def filled(radiance: Floats, mask: Floats) -> Floats:
    """The sky continued down to the horizon where something hid it."""
    height = len(mask)
    weight = np.clip(mask, 1e-4, 1)
    row = (radiance * weight[..., None]).sum(1) / weight.sum(1)[:, None]
    known = mask.mean(1) > 0.04
    last = int(np.flatnonzero(known)[-1]) if known.any() else height // 2
    row[last:] = row[last]
    row = ndimage.gaussian_filter1d(row, 4, axis=0, mode="nearest")
    wide = np.broadcast_to(row[:, None], radiance.shape)
    near = ndimage.gaussian_filter(
        radiance * weight[..., None], (14, 24, 0), mode=("nearest", "wrap", "nearest")
    )
    amount = ndimage.gaussian_filter(weight, (14, 24), mode=("nearest", "wrap"))
    local = near / np.maximum(amount, 1e-4)[..., None]
    trust = np.clip(amount * 3, 0, 1)[..., None]
    fill = local * trust + wide * (1 - trust)
    return (fill + (radiance - fill) * mask[..., None]).astype(np.float32)


def sun(radiance: Floats) -> tuple[float, float, float]:
    """Unit vector to the brightest place: x = middle of the picture, y = left of it, z = up."""
    light = blur(luminance(radiance), 2)
    y, x = np.unravel_index(int(light.argmax()), light.shape)
    height, width = light.shape
    elevation = (1 - (y + 0.5) / height) * np.pi / 2
    azimuth = (0.5 - (x + 0.5) / width) * 2 * np.pi
    across = np.cos(elevation)
    return (
        float(across * np.cos(azimuth)),
        float(across * np.sin(azimuth)),
        float(np.sin(elevation)),
    )


def all_skies(data: Path) -> Iterator[Texture]:
    """One texture per panorama: the upper half, 360 degrees wide."""
    for source, panorama in PANORAMAS.items():
        path = data / "hdri_polyhaven_cc0" / f"{source}.npz"
        radiance = np.load(path)["rgb"].astype(np.float32)
        upper = np.clip(radiance[: len(radiance) // 2], 0, 400)
        if source != "night":
            upper = without_block(upper)
        mask = np.ones(upper.shape[:2], np.float32) if panorama.free else sky_mask(upper)
        rows = np.arange(len(mask))[::-1, None]
        mask = mask * np.clip((rows - panorama.low) / 4, 0, 1).astype(np.float32)
        whole = filled(upper, mask)
        grey = luminance(whole)[..., None]
        whole = grey + (whole - grey) * panorama.chroma
        exposure = 0.55 / float(np.quantile(luminance(whole), 0.6))
        if source == "night":
            exposure *= 0.12
        shown = whole * exposure
        light = luminance(shown)
        # Rolls highlights off, so that clouds keep their shape around the sun.
        rolled = np.where(light > 0.6, 0.6 + 0.4 * (1 - np.exp(-(light - 0.6) / 0.7)), light)
        shown = shown * (rolled / np.maximum(light, 1e-5))[..., None]
        picture = resize(np.clip(shown, 0, 1), WIDTH_PX, HEIGHT_PX)
        meta = {
            "projection": "equirectangular, upper half: row 0 is the zenith, last row the horizon",
            "mean_linear": [round(float(x), 4) for x in picture.mean(axis=(0, 1))],
            "horizon_linear": [round(float(x), 4) for x in picture[-12:].mean(axis=(0, 1))],
            "sun_direction": [round(x, 4) for x in sun(upper)],
            "exposure": round(exposure, 5),
            "visible_sky": round(float(mask.mean()), 3),
        }
        yield Texture(f"sky_{panorama.name}", "sky", to_bytes(picture), 0.0, (True, False), meta)
