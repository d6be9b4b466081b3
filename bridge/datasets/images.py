"""Opens image files: photographs as sRGB, with the orientation that the camera noted."""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from sim2street.bridge.datasets.files import shown
from sim2street.bridge.errors import DatasetError
from sim2street.bridge.frame import ByteArray

_log = logging.getLogger(__name__)

MIN_16_BIT_PEAK = 16384
"""A 16-bit photograph whose brightest value is lower holds 14 bits or fewer, and would be dark."""

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_LOSSY_FORMATS = ("JPEG", "MPO", "JPEG2000", "AVIF")


@dataclass(frozen=True)
class OpenedImage:
    """A decoded image.

    Attributes:
        path: of the file.
        pixels: upright, in the mode of the file.
        stored_as: how the file stores values, in Pillow's words, such as "L;4" for grey in 4 bits.
        is_lossy: the file's format changes values (JPEG and others).
    """

    path: Path
    pixels: Image.Image
    stored_as: str
    is_lossy: bool


def open_image(path: Path) -> OpenedImage:
    """Decode an image file and turn it upright as its EXIF orientation says.

    Raises:
        DatasetError: the file cannot be read, is damaged, or holds several images.
    """
    try:
        with Image.open(path) as image:
            stored_as = _stored_as(image)
            is_lossy = image.format in _LOSSY_FORMATS or _is_lossy_webp(path, image)
            _check_single(path, image)
            image.load()
            return OpenedImage(path, _upright(path, image), stored_as, is_lossy)
    except UnidentifiedImageError as error:
        raise DatasetError(f"{shown(path)} is not an image that can be read{_why(path)}") from error
    except Image.DecompressionBombError as error:
        raise DatasetError(f"{shown(path)} is too large for an image: {error}") from error
    except PermissionError as error:
        raise DatasetError(f"{shown(path)} may not be read (permission denied)") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        # what Pillow raises for damaged files
        raise DatasetError(
            f"{shown(path)} cannot be read, it may be damaged: {error}{_why(path)}"
        ) from error


def read_rgb(path: Path) -> ByteArray:
    """A photograph, uint8 (H, W, 3) sRGB, upright.

    Grey, palette, CMYK and 16-bit photographs are converted; transparency is dropped.

    Raises:
        DatasetError: the file cannot be read, or its values have no certain meaning.
    """
    pixels = open_image(path).pixels
    if pixels.mode in _SIXTEEN_BIT:
        grey = _grey_of_16_bits(path, np.asarray(pixels))
        return np.repeat(grey[..., None], 3, axis=2)
    if pixels.mode in ("1", "F", "LAB", "HSV"):
        raise DatasetError(
            f"{shown(path)}: expected a photograph in colour or grey, got Pillow's mode "
            f"'{pixels.mode}'; convert it to an 8-bit RGB image"
        )
    if pixels.mode == "CMYK":
        _log.warning("%s: CMYK is converted without its colour profile; RGB is exact", shown(path))
    return np.array(pixels.convert("RGB"))


def size_text(shape: tuple[int, ...]) -> str:
    """`WIDTHxHEIGHT` of an array of shape (H, W, ...)."""
    return f"{shape[1]}x{shape[0]}"


def _grey_of_16_bits(path: Path, values: np.ndarray) -> ByteArray:
    peak = int(values.max(initial=0))
    if values.min(initial=0) < 0 or peak > 65535:
        raise DatasetError(f"{shown(path)}: expected at most 16 bits, got values up to {peak}")
    if peak < MIN_16_BIT_PEAK:
        raise DatasetError(
            f"{shown(path)}: a 16-bit image whose brightest value is {peak} of 65535. Is it depth "
            "or labels? If it is a photograph of fewer bits, convert it to 8 bits"
        )
    return (values.astype(np.uint32) // 257).astype(np.uint8)


def _upright(path: Path, image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error) as error:
        _log.warning("%s: its EXIF data is damaged, taken as upright (%s)", shown(path), error)
        return image.copy()  # `image` is closed by the caller


def _stored_as(image: ImageFile.ImageFile) -> str:
    """The raw mode of the decoder; "" if the format has none."""
    if not image.tile:
        return ""
    arguments = image.tile[0][3]
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw if isinstance(raw, str) else ""


def _check_single(path: Path, image: Image.Image) -> None:
    """Refuse animations and pages; a phone's MPO holds the photograph first, then previews."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise DatasetError(f"{shown(path)} holds {frames} images, expected a file for each image")


def _is_lossy_webp(path: Path, image: Image.Image) -> bool:
    """Whether a WebP file has a chunk `VP8 `; lossless ones have `VP8L`."""
    if image.format != "WEBP":
        return False
    data = path.read_bytes()
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8 "
        at += 8 + size + size % 2
    return True


def _why(path: Path) -> str:
    """End of a message: what an unreadable file is, as far as its first bytes tell."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        return ""
    if not start:
        return ": it is empty; copy or download it again"
    if start.startswith(b"version https://git-lfs"):
        return ": it is a pointer of Git LFS; run `git lfs pull`"
    if start.startswith(b"PK\x03\x04"):
        return ": it is a ZIP archive; unpack it"
    if start.lstrip()[:1] == b"<":
        return ": it is a web page or XML; download it again"
    if start[4:8] == b"ftyp":
        return ": it is HEIC or a video; convert it to JPEG"
    if start[:4] in (b"II*\0", b"MM\0*"):
        return ": it is a TIFF of a rare kind, such as 16-bit colour; convert it to PNG"
    return ""
