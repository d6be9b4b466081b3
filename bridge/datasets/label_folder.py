"""A folder of label images, as data sets and simulators store them, as views to render."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from sim2street.bridge.datasets.depth_images import (
    AUTO_UNIT,
    DEPTH_SUFFIXES,
    DEPTH_UNITS,
    DepthImage,
    read_depth,
)
from sim2street.bridge.datasets.depth_scale import DepthCheck
from sim2street.bridge.datasets.files import (
    check_folder,
    evenly_spaced,
    find_images,
    normal_name,
    shown,
    suffix_counts,
)
from sim2street.bridge.datasets.images import size_text
from sim2street.bridge.datasets.label_images import LabelReader
from sim2street.bridge.datasets.naming import check_name, choose_labels, find_map, frame_name
from sim2street.bridge.datasets.plausibility import SAMPLES, check_naming
from sim2street.bridge.errors import DatasetError
from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, Camera, View
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError, did_you_mean

THIN_TAGS = (Tag.POLE, Tag.TRAFFIC_LIGHT, Tag.TRAFFIC_SIGN, Tag.ROAD_LINES, Tag.GUARD_RAIL)
THIN_WEIGHT = 3.0
"""Weight of thin objects in the vote when label images are shrunk; without it they vanish."""


@dataclass(frozen=True)
class LabelFolder:
    """A folder of label images and how to read them.

    Attributes:
        path: a folder (searched with its subfolders) or one file.
        naming: meaning of the ids, one of `naming_names`.
        depth: folder with a depth image per label image, or None; or, for a single label image,
            its depth image.
        depth_unit: unit of the numbers in depth images, as for `read_depth`.
        fov_deg: horizontal field of view of the camera.
        max_width_px: wider label images are shrunk to this width; thin objects are kept.
        trust_naming: do not check whether the ids look like those of the naming.
    """

    path: Path
    naming: str
    depth: Path | None = None
    depth_unit: str = AUTO_UNIT
    fov_deg: float = 62.0
    max_width_px: int = 1024
    trust_naming: bool = False

    def files(self) -> list[Path]:
        """The label images in order, at least one.

        Raises:
            ConfigError: an unknown naming or unit.
            DatasetError: no label images, or they are named as those of another naming.
        """
        source_map = self._reader.source_map
        if self.depth_unit not in (AUTO_UNIT, *DEPTH_UNITS):
            raise ConfigError(
                f"--depth-unit: unknown unit '{self.depth_unit}'"
                f"{did_you_mean(self.depth_unit, [AUTO_UNIT, *DEPTH_UNITS])}"
            )
        if self.path.is_file():
            check_name(self.path, source_map)
            return [self.path]
        if not self.path.exists() and not self.path.is_symlink():
            raise DatasetError(f"no such file or folder: {shown(self.path)}")
        found = find_images(self.path)
        if not found:
            raise DatasetError(
                f"no label images in {shown(self.path)}: expected PNG files, found "
                f"{suffix_counts(self.path)}"
            )
        return choose_labels(found, source_map, self.path)

    def views(self) -> Iterator[tuple[str, View]]:
        """Name and View of every label image, in order. Checks some of them before the first.

        Raises:
            DatasetError: a file cannot be used, or the naming or the depth cannot be right.
            LabelError: an id or colour that the naming does not have.
        """
        files = self.files()
        names = _distinct_names(files, self._base)
        self._check(evenly_spaced(files, SAMPLES))
        for file, name in zip(files, names, strict=True):
            yield name, self._read(file)

    @cached_property
    def _reader(self) -> LabelReader:
        return LabelReader(find_map(self.naming))

    @property
    def _base(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def _check(self, files: Sequence[Path]) -> None:
        """Look at some files before work is spent on all."""
        where = shown(self.path)
        images = [self._reader.read(file) for file in files]
        if not self.trust_naming:
            check_naming(images, self._reader.source_map, where)
        if self.depth is None:
            return
        check = DepthCheck(shown(self.depth), self.depth_unit)
        for file, image in zip(files, images, strict=True):
            depth = self._read_depth(file, image.ids.shape)
            height, width = image.ids.shape
            focal_px = Camera.from_fov(width, height, self.fov_deg).fx_px
            check.add(depth, self._reader.source_map.primary[image.ids], focal_px)
        check.conclude()

    def _read(self, file: Path) -> View:
        labels = self._reader.source_map.primary[self._reader.read(file).ids]
        depth_m = None
        if self.depth is not None:
            depth_m = np.minimum(self._read_depth(file, labels.shape).depth_m, SKY_DEPTH_M)
        height, width = labels.shape
        if width > self.max_width_px:
            size = (self.max_width_px, max(1, round(height * self.max_width_px / width)))
            labels = shrink_labels(labels, *size)
            if depth_m is not None:
                nearest = Image.fromarray(depth_m).resize(size, Image.Resampling.NEAREST)
                depth_m = np.array(nearest, np.float32)
        camera = Camera.from_fov(labels.shape[1], labels.shape[0], self.fov_deg)
        return View(camera, level_pose(), labels, depth_m)

    def _read_depth(self, file: Path, shape: tuple[int, ...]) -> DepthImage:
        found = self._depth_file(file)
        depth = read_depth(found, self.depth_unit)
        if depth.depth_m.shape != shape:
            raise DatasetError(
                f"{shown(found)}: depth is {size_text(depth.depth_m.shape)}, its labels are "
                f"{size_text(shape)}"
            )
        return depth

    def _depth_file(self, file: Path) -> Path:
        assert self.depth is not None
        if self.depth.is_file() and self.path.is_file():
            return self.depth
        folder = file.parent.relative_to(self._base)
        names = dict.fromkeys((frame_name(file), file.stem))
        for name in names:
            found = self._depth_files.get((folder, normal_name(name)))
            if found is not None:
                return found
        expected = " or ".join(shown(self.depth / folder / f"{name}.png") for name in names)
        raise DatasetError(
            f"no depth for {shown(file)}: expected {expected} (or .npy); leave out --depth to "
            "render without"
        )

    @cached_property
    def _depth_files(self) -> dict[tuple[Path, str], Path]:
        """Depth images by subfolder and name, the latter with and without its data set's ending."""
        assert self.depth is not None
        check_folder(self.depth)
        by_name: dict[tuple[Path, str], Path] = {}
        for path in find_images(self.depth, DEPTH_SUFFIXES):
            folder = path.parent.relative_to(self.depth)
            for name in {path.stem, path.stem.removesuffix("_depth")}:
                other = by_name.setdefault((folder, normal_name(name)), path)
                if other != path:
                    raise DatasetError(
                        f"two depth images for one name: {shown(other)} and {shown(path)}; keep one"
                    )
        return by_name


def shrink_labels(labels: ByteArray, width_px: int, height_px: int) -> ByteArray:
    """Shrink labels by a vote over areas in which thin objects count more: uint8 (h, w)."""
    tags = np.unique(labels)
    votes = []
    for tag in tags.tolist():
        mask = Image.fromarray((labels == tag).astype(np.float32))
        share = np.asarray(mask.resize((width_px, height_px), Image.Resampling.BOX))
        votes.append(share * (THIN_WEIGHT if tag in THIN_TAGS else 1.0))
    shrunk: ByteArray = tags[np.argmax(votes, axis=0)]
    return shrunk


def _distinct_names(files: Sequence[Path], base: Path) -> list[str]:
    """Names of frames, relative to `base` and without suffix; DatasetError if two are equal."""
    by_name: dict[str, Path] = {}
    for file in files:
        name = str(file.relative_to(base).with_name(frame_name(file)))
        other = by_name.setdefault(name, file)
        if other != file:
            raise DatasetError(
                f"two label images would give one frame: {shown(other)} and {shown(file)}; keep one"
            )
    return list(by_name)
