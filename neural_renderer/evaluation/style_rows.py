"""Style retrieval: the same label maps rendered in the styles of many drives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from sim2street.bridge.datasets.files import evenly_spaced
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.evaluation.feature_cache import FeatureCache
from sim2street.neural_renderer.evaluation.rendering import CheckpointRenderer, DriveStyles
from sim2street.neural_renderer.evaluation.report import Row
from sim2street.neural_renderer.evaluation.scenes import Still, still_from_photo
from sim2street.neural_renderer.images import to_tensor
from sim2street.neural_renderer.metrics.perceptual import ALEXNET_PLAN
from sim2street.neural_renderer.metrics.style import (
    MIN_STYLES,
    Queries,
    block_sizes,
    fit_style_space,
    look_features,
    recognisable_drives,
    retrieve,
)

MAX_PHOTOS = 12
"""Photographs per drive, so that no drive is described much better than others."""

BLOCKS = block_sizes([plan[0] for plan in ALEXNET_PLAN])


@dataclass(frozen=True)
class StyleTest:
    """Settings of style retrieval.

    Attributes:
        size_px: (width, height) of images and photographs.
        label_maps: number of label maps rendered in each style.
        min_photos: drives with fewer photographs are left out.
        name: of the measure.
    """

    size_px: tuple[int, int]
    label_maps: int
    min_photos: int
    name: str = "style retrieval"


def style_row(
    net: nn.Module,
    renderer: CheckpointRenderer,
    styles: DriveStyles,
    stills: Sequence[Still],
    test: StyleTest,
    cache: FeatureCache,
) -> Row | str:
    """Measure style retrieval, see `metrics.style`; returns the reason if it cannot be measured.

    Args:
        net: AlexNet.
    """
    drives = {
        drive: evenly_spaced(photos, MAX_PHOTOS)
        for drive, photos in sorted(styles.drives.items())
        if len(photos) >= test.min_photos
    }
    if len(drives) < MIN_STYLES:
        return (
            f"{test.name}: needs {MIN_STYLES} drives with at least {test.min_photos} photographs, "
            f"got {len(drives)}"
        )
    owners = [drive for drive, photos in drives.items() for _ in photos]
    gallery = [photo for photos in drives.values() for photo in photos]
    looks = np.stack([_photo_look(net, photo, test, cache) for photo in gallery])
    kept, photo_accuracy = recognisable_drives(looks, owners, BLOCKS)
    inside = np.isin(owners, kept)
    space = fit_style_space(looks[inside], np.array(owners)[inside].tolist(), BLOCKS)
    label_maps = evenly_spaced(stills, test.label_maps)
    result = retrieve(space, _queries(net, renderer, styles, label_maps, kept))
    return Row(
        test.name, result.accuracy,
        f"photographs {photo_accuracy:.0%}, chance {1.0 / result.styles:.0%}; "
        f"{result.styles} of {len(drives)} drives, {result.queries} images, normalised channels",
        "up",
        asdict(result) | {"photographs": photo_accuracy, "drives": list(kept)},
    )  # fmt: skip


def _queries(
    net: nn.Module,
    renderer: CheckpointRenderer,
    styles: DriveStyles,
    stills: Sequence[Still],
    drives: Sequence[str],
) -> Queries:
    """Render every label map in every style."""
    looks, names, label_maps = [], [], []
    for drive in drives:
        style = styles.style(drive)
        assert style is not None
        for number, still in enumerate(stills):
            rgb = to_tensor(renderer.still(still.view, style))
            looks.append(look_features(net, rgb, still.tags))
            names.append(drive)
            label_maps.append(number)
    return Queries(np.stack(looks), names, label_maps)


def _photo_look(
    net: nn.Module, photo: PreparedPhoto, test: StyleTest, cache: FeatureCache
) -> npt.NDArray[np.float64]:
    still = still_from_photo(photo, test.size_px)
    look = cache.get((still.rgb, still.tags), lambda: look_features(net, still.rgb, still.tags))
    return look.astype(np.float64)
