"""Reads folders of label maps, as data sets and simulators store them, as Views."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from sim2street.bridge.frame import MAX_TAG, SKY_DEPTH_M, ByteArray, Camera, FloatArray, View
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.label_maps import LabelMap, label_map, label_map_names
from sim2street.bridge.labels import PALETTE, Tag
from sim2street.configs import ConfigError, Sim2StreetError, did_you_mean

ALIASES: Mapping[str, str] = {"cityscapes": "cityscapes-ids", "camvid": "camvid11"}
"""Short names that `--naming` takes, and the label map that each one stands for."""

PATTERNS: Mapping[str, tuple[str, ...]] = {
    "cityscapes-ids": ("*_labelIds.png", "*.png"),
    "cityscapes-train": ("*_labelTrainIds.png", "*.png"),
    "camvid32": ("*_L.png", "*.png"),
}
"""File patterns of label maps, by label map; the first pattern that finds any file is used."""

SUFFIXES = ("_gtFine_labelIds", "_gtFine_labelTrainIds", "_labelIds", "_labelTrainIds", "_L")
"""Endings of label files' names that are not part of the frame's name."""

THIN_TAGS = (Tag.POLE, Tag.TRAFFIC_LIGHT, Tag.TRAFFIC_SIGN, Tag.ROAD_LINES, Tag.GUARD_RAIL)
THIN_WEIGHT = 3.0
"""Weight of thin objects in the vote when label maps are shrunk; without it they vanish."""

CARLA_DEPTH_FAR_M = 1000.0
KITTI_DEPTH_UNITS_PER_M = 256.0


class ImageError(Sim2StreetError):
    """An image file cannot be used as labels or depth."""


@dataclass(frozen=True)
class LabelFolder:
    """A folder of label maps and how to read them.

    Attributes:
        path: a folder (searched with its subfolders) or one file.
        naming: meaning of the ids, one of `naming_names`.
        depth: folder with a depth image per label map, or None. `.npy` holds metres, 16-bit PNGs
            hold metres * 256 (KITTI), colour PNGs hold CARLA's 24-bit depth.
        fov_deg: horizontal field of view of the camera.
        max_width_px: wider maps are shrunk to this width; thin objects are kept.
    """

    path: Path
    naming: str
    depth: Path | None = None
    fov_deg: float = 62.0
    max_width_px: int = 1024

    def files(self) -> list[Path]:
        """The label maps in order, at least one. Raises ImageError."""
        if self.path.is_file():
            return [self.path]
        if not self.path.is_dir():
            raise ImageError(f"no such file or folder: {self.path}")
        patterns = PATTERNS.get(self._map.name, ("*.png",))
        for pattern in patterns:
            found = sorted(self.path.rglob(pattern))
            if found:
                return found
        raise ImageError(f"no label maps in {self.path}: expected {' or '.join(patterns)}")

    def views(self) -> Iterator[tuple[str, View]]:
        """Name and View of every label map, in order."""
        base = self.path if self.path.is_dir() else self.path.parent
        for file in self.files():
            yield str(file.relative_to(base).with_name(_stem(file))), self._read(file, base)

    @property
    def _map(self) -> LabelMap:
        return find_map(self.naming)

    def _read(self, file: Path, base: Path) -> View:
        labels = read_labels(file, self._map)
        depth_m = self._read_depth(file, base, labels.shape) if self.depth else None
        height, width = labels.shape
        if width > self.max_width_px:
            size = (self.max_width_px, max(1, round(height * self.max_width_px / width)))
            labels = shrink_labels(labels, *size)
            if depth_m is not None:
                nearest = Image.fromarray(depth_m).resize(size, Image.Resampling.NEAREST)
                depth_m = np.array(nearest, np.float32)
        camera = Camera.from_fov(labels.shape[1], labels.shape[0], self.fov_deg)
        return View(camera, level_pose(), labels, depth_m)

    def _read_depth(self, file: Path, base: Path, shape: tuple[int, ...]) -> FloatArray:
        assert self.depth is not None
        folder = self.depth / file.parent.relative_to(base)
        candidates = [
            folder / f"{stem}{suffix}" for stem in (_stem(file), file.stem) for suffix in _DEPTH
        ]
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            raise ImageError(
                f"no depth for {file}: expected {candidates[0]} or {candidates[1].name}; "
                "leave out --depth to render without"
            )
        depth_m = read_depth_m(found)
        if depth_m.shape != shape:
            raise ImageError(
                f"{found}: depth is {_size(depth_m.shape)}, its labels are {_size(shape)}"
            )
        return depth_m


def naming_names() -> tuple[str, ...]:
    """All values that `--naming` takes."""
    return (*ALIASES, *label_map_names())


def read_labels(path: Path, source_map: LabelMap) -> ByteArray:
    """Tags, uint8 (H, W), of a label map stored as ids, colours, or CARLA's red channel."""
    pixels = _open(path)
    if pixels.ndim == 2:
        if pixels.max(initial=0) > 255:
            raise ImageError(f"{path}: ids above 255; expected an 8-bit label map")
        return source_map.to_tags(pixels.astype(np.uint8), str(path))
    rgb = pixels[..., :3].astype(np.uint8)
    if source_map.colors is None and not rgb[..., 1:].any():
        return source_map.to_tags(rgb[..., 0], str(path))  # CARLA's raw semantic image
    if source_map.name == "carla":
        colors = {tag: tuple(PALETTE[tag].tolist()) for tag in range(MAX_TAG + 1)}
        source_map = dataclasses.replace(source_map, colors=colors)
    return source_map.to_tags(source_map.ids_from_colors(rgb, str(path)), str(path))


def read_depth_m(path: Path) -> FloatArray:
    """Depth in metres, float32 (H, W), in [0, 1000]; missing values become the sky's 1000."""
    if path.suffix == ".npy":
        depth_m = _load_array(path)
    else:
        pixels = _open(path)
        if pixels.ndim == 3:  # docs of CARLA's depth camera: R + G * 256 + B * 256²
            code = pixels[..., :3].astype(np.float64) @ np.array([1.0, 256.0, 65536.0])
            depth_m = (code / (2.0**24 - 1.0) * CARLA_DEPTH_FAR_M).astype(np.float32)
        elif pixels.dtype == np.uint8:
            raise ImageError(
                f"{path}: expected depth as 16-bit PNG, 24-bit RGB or .npy, got 8 bits"
            )
        else:
            depth_m = (pixels / KITTI_DEPTH_UNITS_PER_M).astype(np.float32)
            depth_m[pixels == 0] = SKY_DEPTH_M
    if depth_m.ndim != 2:
        raise ImageError(f"{path}: expected depth of shape (H, W), got {depth_m.shape}")
    return np.clip(np.nan_to_num(depth_m, nan=SKY_DEPTH_M), 0.0, SKY_DEPTH_M)


def shrink_labels(labels: ByteArray, width_px: int, height_px: int) -> ByteArray:
    """Shrink a label map by a vote over areas in which thin objects count more: uint8 (h, w)."""
    tags = np.unique(labels)
    votes = []
    for tag in tags.tolist():
        mask = Image.fromarray((labels == tag).astype(np.float32))
        share = np.asarray(mask.resize((width_px, height_px), Image.Resampling.BOX))
        votes.append(share * (THIN_WEIGHT if tag in THIN_TAGS else 1.0))
    shrunk: ByteArray = tags[np.argmax(votes, axis=0)]
    return shrunk


_DEPTH = (".png", ".npy")


def find_map(naming: str) -> LabelMap:
    """The label map that `--naming` stands for. Raises ConfigError."""
    known = naming_names()
    if naming not in known:
        raise ConfigError(
            f"--naming: unknown data set '{naming}'{did_you_mean(naming, list(known))}"
        )
    return label_map(ALIASES.get(naming, naming))


def _open(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
            return pixels[..., 0] if image.mode == "LA" else pixels  # without the alpha channel
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not an image that can be read") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} is too large for an image: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on damaged files
        raise ImageError(f"{path} cannot be read, it may be damaged: {error}") from error


def _load_array(path: Path) -> FloatArray:
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ImageError(f"{path} is not a plain array of depths: {error}") from error
    if array.dtype.kind not in "fiu":
        raise ImageError(f"{path}: expected depths in metres, got {array.dtype}")
    depth_m: FloatArray = array.astype(np.float32)
    return depth_m


def _stem(file: Path) -> str:
    for suffix in SUFFIXES:
        if file.stem.endswith(suffix):
            return file.stem.removesuffix(suffix)
    return file.stem


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
