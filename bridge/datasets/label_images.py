"""Reads label images of every coding (ids, indexed, colours, CARLA's red channel) as label ids."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sim2street.bridge.datasets.files import shown
from sim2street.bridge.datasets.images import OpenedImage, open_image
from sim2street.bridge.errors import DatasetError, LabelError
from sim2street.bridge.frame import ByteArray
from sim2street.bridge.label_maps import (
    Color,
    LabelMap,
    color_codes,
    id_ranges,
    label_map,
    label_map_names,
)

_log = logging.getLogger(__name__)

MAX_STRAY_SHARE = 0.002
"""Share of pixels of unknown colour up to which a label image is read, with them as Void.

CamVid's own labels have up to 0.025 %. Interpolated labels have several percent."""

CERTAIN_COLORS = 3
"""Number of different colours from which a match with a published palette is no coincidence."""

Coding = Literal["ids", "colours"]

_PACKED_GREY = {"L;2": 85, "L;4": 17}
"""How PNGs of 2 and 4 bits store grey, and the factor by which Pillow scales their values."""

_WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


@dataclass(frozen=True)
class LabelImage:
    """A label image.

    Attributes:
        ids: label ids of the label map, uint8 (H, W).
        coding: whether the file stores ids, or colours that identify them without doubt.
    """

    ids: ByteArray
    coding: Coding


class LabelReader:
    """Reads the label images of one source. Warns once about stray pixels, not for every file."""

    def __init__(self, source_map: LabelMap) -> None:
        """`source_map`: what the ids and colours mean."""
        self.source_map = source_map
        self._has_warned = False

    def read(self, path: Path) -> LabelImage:
        """The ids of a label image, all of them in the label map.

        Raises:
            DatasetError: the file cannot be read, or its values have no certain meaning.
            LabelError: an id or colour that the label map does not have.
        """
        opened = open_image(path)
        if opened.is_lossy:
            raise DatasetError(
                f"{shown(path)}: labels in a format that changes values ({path.suffix}), so that "
                "classes get wrong at their edges; save them as PNG from the original"
            )
        mode = opened.pixels.mode
        if mode == "P":
            image = self._read_indexed(opened)
        elif mode in ("RGB", "RGBA", "PA", "RGBX"):
            image = self._read_colors(opened)
        else:
            image = LabelImage(_grey_ids(opened), "ids")
        self.source_map.check_ids(image.ids, shown(path))
        return image

    def _read_indexed(self, opened: OpenedImage) -> LabelImage:
        """Indices of a palette: ids, if the palette paints ids; else only its colours count."""
        indices = np.asarray(opened.pixels)
        palette = _palette(opened)
        used = {int(i): palette[int(i)] for i in np.unique(indices)}
        source_map = self.source_map
        if all(source_map.colors.get(index) == color for index, color in used.items()):
            return LabelImage(indices, "ids")
        is_grey = all(color == (index, index, index) for index, color in used.items())
        if is_grey and not source_map.missing_ids(indices):
            return LabelImage(indices, "ids")
        rgb = np.array(palette, np.uint8)[indices]
        ids, known = source_map.ids_of_colors(rgb)
        is_one_color = len(used) > 1 and len(set(used.values())) == 1
        if not is_one_color and np.count_nonzero(~known) <= MAX_STRAY_SHARE * known.size:
            self._warn_of_stray(opened.path, rgb, known)
            return LabelImage(ids, "colours")
        if not is_grey:
            self._check_indices_are_ids(opened.path, used, len(palette))
        return LabelImage(indices, "ids")

    def _check_indices_are_ids(self, path: Path, used: dict[int, Color], entries: int) -> None:
        """Refuse indices whose palette gives them another meaning, or none that is certain."""
        name = self.source_map.name
        hint = _palette_hint(set(used.values()), name)
        if any(index not in self.source_map.tags_by_id for index in used):
            raise LabelError(
                f"{shown(path)}: an indexed image with the numbers {id_ranges(used)}, which are "
                f"not all ids of the label map '{name}' ({id_ranges(self.source_map.tags_by_id)}), "
                f"and with colours that are not all its colours{hint}"
            )
        if hint and not _agrees(used, self.source_map):
            raise DatasetError(
                f"{shown(path)}: the numbers of this indexed image are ids of the label map "
                f"'{name}', but its colours say something else{hint}"
            )
        if not hint and _is_numbered_by_a_program(used, entries):
            raise DatasetError(
                f"{shown(path)}: an indexed image with unknown colours and no more palette entries "
                f"than its numbers {id_ranges(used)} need, as programs write that number colours "
                "as they find them. If the numbers are label ids, save them as 8-bit grey"
            )

    def _read_colors(self, opened: OpenedImage) -> LabelImage:
        """Colours of the label map, or ids in the red channel (CARLA) or in all three."""
        path = opened.path
        if ";16" in opened.stored_as:
            raise DatasetError(f"{shown(path)}: labels in 16-bit colour; save them with 8 bits")
        rgb = np.asarray(opened.pixels.convert("RGB"))
        grey = _ids_in_channels(rgb)
        has_ids = grey is not None and (grey.any() or not self.source_map.ids_by_color)
        if grey is not None and has_ids and not self.source_map.missing_ids(grey):
            return LabelImage(grey, "ids")
        ids, known = self.source_map.ids_of_colors(rgb)
        stray = int((~known).sum())
        if stray > MAX_STRAY_SHARE * known.size:
            if grey is not None:
                return LabelImage(grey, "ids")  # the caller names the unknown ids
            raise _unknown_colors(path, rgb, known, self.source_map)
        self._warn_of_stray(path, rgb, known)
        return LabelImage(ids, "colours")

    def _warn_of_stray(self, path: Path, rgb: ByteArray, known: npt.NDArray[np.bool_]) -> None:
        stray = int((~known).sum())
        if stray and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "%s: %d pixels (%.3f %%) have colours that the label map '%s' does not have, such "
                "as %s; they are taken as Void. Other files with such pixels are not mentioned",
                shown(path), stray, 100 * stray / known.size, self.source_map.name,
                _first(rgb, ~known),
            )  # fmt: skip


def _is_numbered_by_a_program(used: dict[int, Color], entries: int) -> bool:
    """Whether the numbers are 0..n-1, and the palette has at most the next power of two entries."""
    count = len(used)
    return sorted(used) == list(range(count)) and entries <= 1 << (count - 1).bit_length()


def _grey_ids(opened: OpenedImage) -> ByteArray:
    """Ids of an image with one channel; an opacity channel is dropped."""
    path, mode = opened.path, opened.pixels.mode
    values = np.asarray(opened.pixels)
    if mode == "LA":
        return np.ascontiguousarray(values[..., 0])
    if mode == "1":
        return values.astype(np.uint8)
    if mode == "L":
        return values // np.uint8(_PACKED_GREY.get(opened.stored_as, 1))
    if mode in _WIDE_MODES:
        return _narrowed(path, values)
    raise DatasetError(
        f"{shown(path)}: expected label ids or colours in 8 bits, got Pillow's mode '{mode}'; save "
        "ids as 8-bit grey PNG"
    )


def _narrowed(path: Path, values: np.ndarray) -> ByteArray:
    """16- or 32-bit ids as uint8; -1, or 65535, is 255."""
    wide = values.astype(np.int64)
    wide[(wide == -1) | (wide == 65535)] = 255
    if wide.min(initial=0) < 0 or wide.max(initial=0) > 255:
        what = "instance numbers (CLASS * 1000 + N) or depth"
        if not (wide % 257).any():
            what = "8-bit ids that were scaled to 16 bits (times 257)"
        raise DatasetError(
            f"{shown(path)}: ids from {wide.min()} to {wide.max()}, expected 0 to 255. They look "
            f"like {what}; give label ids in 8 bits"
        )
    return wide.astype(np.uint8)


def _ids_in_channels(rgb: ByteArray) -> ByteArray | None:
    """Ids in red (or blue, if exchanged) where the other channels are 0, or in all three alike."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)
    if not green.any() and not blue.any():
        return np.ascontiguousarray(red)
    if not green.any() and not red.any():
        return np.ascontiguousarray(blue)
    return None


def _palette(opened: OpenedImage) -> list[Color]:
    values = opened.pixels.getpalette("RGB") or []
    colors = [(values[i], values[i + 1], values[i + 2]) for i in range(0, len(values) - 2, 3)]
    beyond = int(np.asarray(opened.pixels).max(initial=0)) - len(colors) + 1
    return colors + [(0, 0, 0)] * max(0, beyond)


def _known(source_map: LabelMap) -> set[Color]:
    return set(source_map.ids_by_color)


def _agrees(used: dict[int, Color], source_map: LabelMap) -> bool:
    """Whether a palette that is known elsewhere gives every id a colour with one of its tags."""
    for name in _maps_with(set(used.values())):
        other = label_map(name)
        if all(
            set(other.tags_by_id[other.ids_by_color[color]]) & set(source_map.tags_by_id[index])
            for index, color in used.items()
        ):
            return True
    return False


def _maps_with(colors: set[Color]) -> list[str]:
    """Label maps that have all of these colours, if they are enough to be sure."""
    if len(colors) < CERTAIN_COLORS:
        return []
    return [name for name in label_map_names() if colors <= _known(label_map(name))]


def _palette_hint(colors: set[Color], but: str) -> str:
    names = [name for name in _maps_with(colors) if name != but]
    return f"; its colours are those of {' or '.join(names)}: choose this naming" if names else ""


def _unknown_colors(
    path: Path, rgb: ByteArray, known: npt.NDArray[np.bool_], source_map: LabelMap
) -> Exception:
    """The error for colours that the map lacks, with what they are, as far as it can be told."""
    colors = _frequent_colors(rgb)
    lacks = f"is not in the label map '{source_map.name}'"
    if not source_map.ids_by_color:
        lacks = f"{lacks}, which has no colours, only ids"
    start = f"{shown(path)}: colour {_first(rgb, ~known)} {lacks}"
    hint = _palette_hint(colors, source_map.name)
    if hint:
        return LabelError(f"{start}{hint}")
    swapped = {(blue, green, red) for red, green, blue in colors}
    if source_map.name in _maps_with(swapped) or _palette_hint(swapped, source_map.name):
        return LabelError(
            f"{start}, but the colours are those of labels with red and blue exchanged, as OpenCV "
            "writes RGB arrays: exchange the two channels"
        )
    largest_id = max(label_id for label_id in source_map.tags_by_id if label_id < 255)
    if rgb[..., 0].max() <= largest_id < int(rgb[..., 1:].max()):
        return LabelError(
            f"{start}. It looks like an instance segmentation (of CARLA or BDD100K), with classes "
            "in its red channel: use the semantic segmentation"
        )
    return LabelError(
        f"{start} ({int((~known).sum())} of {known.size} pixels have unknown colours; were the "
        "labels resized with interpolation or saved as JPEG, or are they photographs?)"
    )


def _frequent_colors(rgb: ByteArray) -> set[Color]:
    """The colours of an image but for the rarest, which may be stray; none of a photograph."""
    codes, counts = np.unique(color_codes(rgb), return_counts=True)
    if len(codes) > 1000:
        return set()
    order = counts.argsort()
    frequent = codes[order][counts[order].cumsum() > MAX_STRAY_SHARE * counts.sum()]
    return {(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in frequent}


def _first(rgb: ByteArray, where: npt.NDArray[np.bool_]) -> Color:
    red, green, blue = (int(value) for value in rgb[where][0])
    return red, green, blue
