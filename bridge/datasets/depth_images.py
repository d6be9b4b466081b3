"""Reads depth images of CARLA, KITTI and others in metres, and refuses what is no depth in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sim2street.bridge.datasets.files import shown
from sim2street.bridge.datasets.images import OpenedImage, open_image
from sim2street.bridge.errors import DatasetError
from sim2street.bridge.frame import SKY_DEPTH_M, FloatArray

DEPTH_SUFFIXES = (".png", ".npy", ".tif", ".tiff")

AUTO_UNIT = "auto"
DEPTH_UNITS: Mapping[str, float] = {
    "m": 1.0,
    "cm": 0.01,
    "mm": 0.001,
    "km": 1000.0,
    "m/256": 1.0 / 256.0,
}
"""Units that stored numbers may have, and their length in metres. KITTI stores metres * 256."""

CARLA_FAR_M = 1000.0
"""Depth that CARLA's 24-bit code ends with."""

Coding = Literal["24-bit", "16-bit", "float"]

_WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DepthImage:
    """A depth image.

    Attributes:
        depth_m: planar depth in metres, float32 (H, W), >= 0; 1000 where it is missing. Values in
            another unit than was assumed may be beyond 1000.
        missing: bool (H, W), where the file has no depth.
        coding: how the file stores it.
    """

    depth_m: FloatArray
    missing: npt.NDArray[np.bool_]
    coding: Coding


def read_depth(path: Path, unit: str = AUTO_UNIT) -> DepthImage:
    """Depth of a file: CARLA's 24-bit colours, 16-bit integers, or numbers in floating point.

    Missing values (0 in 16-bit images, NaN and infinity) become the sky's 1000 m.

    Args:
        path: a PNG, a TIFF, or a NumPy array of shape (H, W).
        unit: of the stored numbers, one of `DEPTH_UNITS`; "auto": 16-bit images hold metres * 256,
            floating-point numbers are metres. CARLA's colours have no unit.

    Raises:
        DatasetError: the file cannot be read, or is certainly not depth in this coding.
    """
    if path.suffix.lower() == ".npy":
        return _from_array(path, _load_array(path), unit)
    opened = open_image(path)
    mode = opened.pixels.mode
    if opened.is_lossy:
        raise DatasetError(f"{shown(path)}: depth in a format that changes values; save it as PNG")
    if mode in ("RGB", "RGBA"):
        return _from_colors(opened, unit)
    if mode in _WIDE_MODES:
        return _from_integers(path, np.asarray(opened.pixels).astype(np.float64), unit)
    if mode == "F":
        return _from_array(path, np.asarray(opened.pixels), unit)
    raise DatasetError(
        f"{shown(path)}: expected depth as 16-bit PNG, 24-bit RGB or .npy, got 8 bits (Pillow's "
        f"mode '{mode}'). CARLA's logarithmic images are for viewing: save the raw image "
        "(`carla.ColorConverter.Raw`)"
    )


def _from_colors(opened: OpenedImage, unit: str) -> DepthImage:
    """CARLA's code: (R + 256 G + 65536 B) / (2^24 - 1) of 1000 m (docs of its depth camera)."""
    path = opened.path
    if unit != AUTO_UNIT:
        raise DatasetError(
            f"{shown(path)}: CARLA's 24-bit depth has no unit to choose; leave out --depth-unit"
        )
    if ";16" in opened.stored_as:
        raise DatasetError(
            f"{shown(path)}: depth in 16-bit colour; expected CARLA's 8 bits a channel"
        )
    rgb = np.asarray(opened.pixels.convert("RGB"))
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    is_sky = bool((rgb == 255).all())
    if np.array_equal(red, green) and np.array_equal(red, blue) and not is_sky:
        raise DatasetError(
            f"{shown(path)}: red, green and blue are equal, as in CARLA's logarithmic or grey "
            "depth, which is for viewing: save the raw image (`carla.ColorConverter.Raw`)"
        )
    if _steadiness(red) > _steadiness(blue) + 0.2:
        raise DatasetError(
            f"{shown(path)}: red and blue are exchanged: CARLA's red channel holds the fine steps, "
            "here blue does. OpenCV writes RGB arrays like this; exchange the two channels"
        )
    code = rgb.astype(np.float64) @ np.array([1.0, 256.0, 65536.0])
    depth_m = code / (2.0**24 - 1.0) * CARLA_FAR_M
    return _depth_image(path, depth_m, np.zeros(depth_m.shape, bool), "24-bit")


def _from_integers(path: Path, values: _Values, unit: str) -> DepthImage:
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise DatasetError(
            f"{shown(path)}: expected depth in 16 bits, got values from {values.min():.0f} to "
            f"{values.max():.0f}"
        )
    unit_m = DEPTH_UNITS["m/256" if unit == AUTO_UNIT else unit]
    return _depth_image(path, values * unit_m, values == 0, "16-bit")


def _from_array(path: Path, array: np.ndarray, unit: str) -> DepthImage:
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array.reshape([length for length in array.shape if length != 1] or [1, 1])
    if array.ndim != 2:
        raise DatasetError(f"{shown(path)}: expected depth of shape (H, W), got {array.shape}")
    if array.dtype.kind != "f" and unit == AUTO_UNIT:
        raise DatasetError(
            f"{shown(path)}: whole numbers ({array.dtype}) may be millimetres or something else: "
            f"choose --depth-unit, one of {', '.join(DEPTH_UNITS)}"
        )
    missing = ~np.isfinite(array.astype(np.float64))
    values = np.where(missing, 0.0, array.astype(np.float64))
    if (values < 0.0).any():
        raise DatasetError(
            f"{shown(path)}: depth down to {values.min():.4g}; expected positive numbers, and NaN "
            "where it is missing"
        )
    if unit == AUTO_UNIT and not missing.all() and values.max() <= 1.0:
        raise DatasetError(
            f"{shown(path)}: no depth is above {values.max():.4g}; expected metres. If 1 stands "
            "for 1000 m, as in CARLA's normalised depth, choose --depth-unit km; else multiply it"
        )
    unit_m = DEPTH_UNITS["m" if unit == AUTO_UNIT else unit]
    return _depth_image(path, values * unit_m, missing, "float")


def _depth_image(
    path: Path, depth_m: _Values, missing: npt.NDArray[np.bool_], coding: Coding
) -> DepthImage:
    """Refuses images without anything beyond a metre: no street is that near."""
    depth_m = np.where(missing, SKY_DEPTH_M, depth_m)
    if depth_m.max(initial=0.0) < 1.0:
        raise DatasetError(
            f"{shown(path)}: nothing is farther than {depth_m.max(initial=0.0):.3g} m; is it "
            "depth, and in the unit that was chosen?"
        )
    return DepthImage(depth_m.astype(np.float32), missing, coding)


def _steadiness(channel: npt.NDArray[np.uint8]) -> float:
    """Share of pixels that equal the one below: near 1 in the channel of the coarsest steps."""
    same = channel[1:] == channel[:-1]
    changing = channel[1:] < 255  # the sky, all 255, says nothing
    return float(same[changing].mean()) if changing.any() else 1.0


def _load_array(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise DatasetError(f"{shown(path)} cannot be read: {error.strerror}") from error
    except (EOFError, ValueError) as error:
        raise DatasetError(f"{shown(path)} is not a plain array of depths: {error}") from error
    if array.dtype.kind not in "fiu":
        raise DatasetError(f"{shown(path)}: expected depths in metres, got {array.dtype}")
    return array
