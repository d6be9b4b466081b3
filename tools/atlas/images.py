"""Pictures as float32 arrays in linear light: reading, colour, noise, blending."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Random = np.random.Generator


def to_linear(srgb: npt.ArrayLike) -> Floats:
    """SRGB in [0, 1] to linear light."""
    value = np.asarray(srgb, dtype=np.float32)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def to_srgb(linear: npt.ArrayLike) -> Floats:
    """Linear light to sRGB in [0, 1], clipped."""
    value = np.clip(np.asarray(linear, dtype=np.float32), 0.0, 1.0)
    root = 1.055 * np.maximum(value, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(value <= 0.0031308, value * 12.92, root).astype(np.float32)


def to_bytes(linear: Floats, alpha: Floats | None = None) -> Bytes:
    """Linear (H, W, 3) and alpha (H, W) to uint8 (H, W, 4)."""
    rgb = np.rint(to_srgb(linear) * 255).astype(np.uint8)
    opaque = np.ones(rgb.shape[:2], np.float32)
    channel = np.rint(np.clip(opaque if alpha is None else alpha, 0, 1) * 255).astype(np.uint8)
    return np.dstack([rgb, channel])


def read(path: Path) -> Floats:
    """A picture file in linear light, (H, W, 3)."""
    return to_linear(np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 255)


def hex_colour(text: str) -> Floats:
    """'#aabbcc' in linear light, (3,)."""
    return to_linear([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def luminance(linear: Floats) -> Floats:
    """(H, W) of (H, W, 3)."""
    return (linear @ np.array([0.2126, 0.7152, 0.0722], np.float32)).astype(np.float32)


def resize(image: Floats, width: int, height: int) -> Floats:
    """Area-averaged down, cubic up; values stay within the picture's own range."""
    shrinks = width * height < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    out = cv2.resize(image, (width, height), interpolation=method)
    return np.clip(out, image.min(), image.max()).astype(np.float32)


def tile_to(image: Floats, width: int, height: int, x: int = 0, y: int = 0) -> Floats:
    """The picture repeated to a size, starting at (x, y)."""
    rows = (np.arange(height) + y) % image.shape[0]
    columns = (np.arange(width) + x) % image.shape[1]
    return image[rows[:, None], columns[None]]


def resize_tile(image: Floats, width: int, height: int) -> Floats:
    """Resizes a picture that repeats in x and y, so that it still does."""
    big = np.tile(image, (3, 3) + (1,) * (image.ndim - 2))
    return resize(big, 3 * width, 3 * height)[height : 2 * height, width : 2 * width]


def blur(image: Floats, sigma: float, wrap: bool = False) -> Floats:
    """Gaussian blur of (H, W) or (H, W, C)."""
    sigmas = (sigma, sigma) + (0,) * (image.ndim - 2)
    return ndimage.gaussian_filter(image, sigmas, mode="wrap" if wrap else "nearest").astype(
        np.float32
    )


def noise(random: Random, height: int, width: int, px: float, wrap: bool = True) -> Floats:
    """Smooth noise of mean 0 and deviation 1 with features of about `px` texels, (H, W)."""
    white = random.standard_normal((height, width)).astype(np.float32)
    soft = blur(white, px / 2, wrap)
    return (soft - soft.mean()) / max(float(soft.std()), 1e-6)


def octaves(random: Random, height: int, width: int, px: float, count: int = 4) -> Floats:
    """Fractal noise that repeats: features from `px` texels downwards, mean 0, deviation 1."""
    total = np.zeros((height, width), np.float32)
    for i in range(count):
        total += noise(random, height, width, max(px / 2**i, 1.0)) / 1.7**i
    return (total / total.std()).astype(np.float32)


def streaks(random: Random, height: int, width: int, length_px: float, px: float = 1.5) -> Floats:
    """Noise that runs down a wall, mean 0 and deviation 1, repeating in x."""
    white = random.standard_normal((height, width)).astype(np.float32)
    soft = ndimage.gaussian_filter(white, (length_px, px), mode=("nearest", "wrap"))
    return ((soft - soft.mean()) / soft.std()).astype(np.float32)


def seamless(image: Floats, margin: int, axes: tuple[bool, bool] = (True, True)) -> Floats:
    """Makes a picture repeat by blending its borders over `margin` texels; it shrinks by that."""
    for axis, wanted in enumerate(axes[::-1]):
        if not wanted:
            continue
        moved = np.moveaxis(image, axis, 0)
        ramp = np.linspace(0, 1, margin, dtype=np.float32).reshape(-1, *(1,) * (image.ndim - 1))
        head, tail = moved[:margin], moved[-margin:]
        # Keeps the variance where two unrelated textures mix.
        mean = moved.mean(axis=(0, 1), keepdims=True)
        gain = 1 / np.sqrt(ramp**2 + (1 - ramp) ** 2)
        mixed = mean + gain * (ramp * (head - mean) + (1 - ramp) * (tail - mean))
        moved = np.concatenate([mixed, moved[margin:-margin]])
        image = np.clip(np.moveaxis(moved, 0, axis), 0, None).astype(np.float32)
    return image


def flatten(image: Floats, sigma: float, amount: float = 1.0, wrap: bool = True) -> Floats:
    """Divides broad light and dark out of a texture, so that repeats do not show."""
    light = luminance(image)
    broad = blur(light, sigma, wrap)
    return (image * ((broad.mean() / np.maximum(broad, 1e-4)) ** amount)[..., None]).astype(
        np.float32
    )


def recolour(image: Floats, colour: Floats, keep: float = 0.35) -> Floats:
    """Gives a texture a mean colour; `keep` is how much of its own hue variation remains."""
    light = luminance(image)
    mean = max(float(light.mean()), 1e-4)
    own = image / np.maximum(light, 1e-4)[..., None]
    tint = colour / max(float(luminance(colour[None, None])[0, 0]), 1e-4)
    hue = tint * (own / own.mean(axis=(0, 1))) ** keep
    target = float(luminance(colour[None, None])[0, 0])
    return (hue * (light / mean * target)[..., None]).astype(np.float32)


def toned(image: Floats, target: float, contrast: float = 1.0) -> Floats:
    """Scales a texture to a mean luminance and changes its contrast around it."""
    light = np.maximum(luminance(image), 1e-5)
    mean = float(np.exp(np.log(light).mean()))
    return (image * ((light / mean) ** (contrast - 1) * (target / mean))[..., None]).astype(
        np.float32
    )


def over(base: Floats, colour: Floats, alpha: Floats) -> Floats:
    """Blends a colour or picture over another by alpha (H, W)."""
    return (base + (colour - base) * alpha[..., None]).astype(np.float32)
