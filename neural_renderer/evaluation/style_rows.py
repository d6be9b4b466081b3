"""Style retrieval: the same label maps painted in the styles of many drives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from torch import nn

from sim2street.neural_renderer.data.photos import spread
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.evaluation.feature_cache import FeatureCache
from sim2street.neural_renderer.evaluation.painter import Painter, StyleBook
from sim2street.neural_renderer.evaluation.report import Row
from sim2street.neural_renderer.evaluation.scenes import Still, as_tensor, still_of
from sim2street.neural_renderer.metrics.perceptual import ALEXNET_PLAN
from sim2street.neural_renderer.metrics.style import (
    FEWEST_STYLES,
    Queries,
    block_sizes,
    fit,
    look_features,
    recognisable,
    retrieve,
)

MOST_PHOTOS = 12
"""Of a drive, evenly spread: no drive is described much better than others."""

BLOCKS = block_sizes([plan[0] for plan in ALEXNET_PLAN])


@dataclass(frozen=True)
class StyleTest:
    """How style retrieval is done.

    Attributes:
        size_px: of pictures and photographs.
        pictures: label maps painted in each style.
        photos: drives with fewer photographs are not asked for.
        name: of the measure.
    """

    size_px: tuple[int, int]
    pictures: int
    photos: int
    name: str = "style retrieval"


def style_row(
    net: nn.Module,
    painter: Painter,
    book: StyleBook,
    stills: Sequence[Still],
    test: StyleTest,
    cache: FeatureCache,
) -> Row | str:
    """Style retrieval, or why there is none.

    The gallery: drives with photographs enough that look like themselves. Each style is made
    of a few of its drive's photographs, which are in the gallery too.
    """
    shown = {
        drive: spread(photos, MOST_PHOTOS)
        for drive, photos in sorted(book.drives.items())
        if len(photos) >= test.photos
    }
    if len(shown) < FEWEST_STYLES:
        return (
            f"{test.name}: {len(shown)} drives of at least {test.photos} photographs, "
            f"{FEWEST_STYLES} needed"
        )
    owners = [drive for drive, photos in shown.items() for _ in photos]
    gallery = [photo for photos in shown.values() for photo in photos]
    looks = np.stack([_look_of_photo(net, photo, test, cache) for photo in gallery])
    kept, ceiling = recognisable(looks, owners, BLOCKS)
    inside = np.isin(owners, kept)
    space = fit(looks[inside], np.array(owners)[inside].tolist(), BLOCKS)
    found = retrieve(space, _queries(net, painter, book, spread(stills, test.pictures), kept))
    return Row(
        test.name, found.accuracy,
        f"photographs find their own drive in {ceiling:.0%}, chance {1.0 / found.styles:.0%}; "
        f"{found.styles} of {len(shown)} drives, {found.queries} pictures, mean and deviation "
        "matched", "up",
        asdict(found) | {"photographs": ceiling, "drives": list(kept)},
    )  # fmt: skip


def _queries(
    net: nn.Module,
    painter: Painter,
    book: StyleBook,
    stills: Sequence[Still],
    drives: Sequence[str],
) -> Queries:
    """Every label map in every style."""
    looks, styles, label_maps = [], [], []
    for drive in drives:
        style = book.style(drive)
        assert style is not None
        for number, still in enumerate(stills):
            rgb = as_tensor(painter.still(still.view, style))
            looks.append(look_features(net, rgb, still.tags))
            styles.append(drive)
            label_maps.append(number)
    return Queries(np.stack(looks), styles, label_maps)


def _look_of_photo(
    net: nn.Module, photo: PreparedPhoto, test: StyleTest, cache: FeatureCache
) -> np.ndarray:
    still = still_of(photo, test.size_px)
    return cache.of((still.rgb, still.tags), lambda: look_features(net, still.rgb, still.tags))
