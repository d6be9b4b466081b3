"""Whether label ids look as they should in a street: the wrong naming shows in where things are.

In a street scene the sky is above and the road below. A wrong naming gives other images, such as
sky at the bottom. Each label map predicts how often each of its ids occurs in the four quarters of
an image's height; the map that predicts the given ids best is most likely the right one. The
statistics are those of CamVid, Cityscapes, BDD100K, IDD and CARLA, rounded.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable
from functools import cache

import numpy as np
import numpy.typing as npt

from sim2street.bridge.datasets.label_images import LabelImage
from sim2street.bridge.errors import DatasetError
from sim2street.bridge.frame import ByteArray
from sim2street.bridge.label_maps import LabelMap, label_map, label_map_names
from sim2street.bridge.labels import Tag

_log = logging.getLogger(__name__)

SAMPLES = 8
"""Number of images of a data set that are looked at; evenly spread."""

REFUSE_GAP = 1.0
WARN_GAP = 0.6
"""How much better another map may predict the ids, in nats per pixel.

On 400 images of nine data sets no wrong map was better than the right one by more than 0.35 on a
single image, and wrong maps were worse than the right one by 2 to 3 on average."""

STRANGE_SCORE = -4.2
"""Below this mean log-likelihood per pixel there is a warning; the right map reaches -3.3."""

_QUARTERS = 4
_FLOOR = 0.002
_Floats = npt.NDArray[np.float64]

# Percent of the pixels in each quarter of the image's height, from the top.
_PERCENT: dict[str, tuple[float, float, float, float]] = {
    "UNKNOWN": (3, 4, 5, 6),
    "ROAD": (0.1, 2, 40, 65),
    "SIDEWALK": (0.1, 1, 8, 6),
    "BUILDING": (20, 28, 10, 1),
    "WALL": (0.5, 1, 2, 1),
    "FENCE": (0.3, 1.5, 3, 1),
    "POLE": (1, 1.5, 1, 0.3),
    "TRAFFIC_LIGHT": (0.3, 0.4, 0.1, 0.05),
    "TRAFFIC_SIGN": (0.5, 1, 0.3, 0.1),
    "VEGETATION": (22, 27, 10, 2),
    "TERRAIN": (0.1, 1, 4, 3),
    "SKY": (50, 20, 1, 0.2),
    "PEDESTRIAN": (0.1, 0.8, 1.5, 0.5),
    "RIDER": (0.1, 0.4, 0.7, 0.3),
    "CAR": (0.5, 6, 13, 6),
    "TRUCK": (0.6, 1.5, 1.5, 0.3),
    "BUS": (0.4, 1, 0.8, 0.2),
    "TRAIN": (0.1, 0.3, 0.3, 0.1),
    "MOTORCYCLE": (0.05, 0.3, 0.6, 0.3),
    "BICYCLE": (0.05, 0.3, 0.6, 0.3),
    "STATIC": (0.2, 0.5, 0.7, 0.5),
    "DYNAMIC": (0.1, 0.3, 0.5, 0.3),
    "OTHER": (0.2, 0.5, 0.5, 0.3),
    "WATER": (0.05, 0.2, 0.3, 0.2),
    "ROAD_LINES": (0.05, 0.3, 2, 3),
    "GROUND": (0.1, 0.3, 1.5, 2),
    "BRIDGE": (0.7, 0.5, 0.2, 0.1),
    "RAIL_TRACK": (0.05, 0.1, 0.4, 0.4),
    "GUARD_RAIL": (0.1, 0.4, 0.5, 0.2),
}


def check_naming(images: Iterable[LabelImage], source_map: LabelMap, source: str) -> None:
    """Raise or warn if label ids look like those of another label map, or upside down.

    Colours identify classes without doubt; they are only checked for being upside down.

    Args:
        images: some label images of one data set.
        source_map: what the ids are said to mean.
        source: start of the message.

    Raises:
        DatasetError: another map explains the ids far better.
    """
    shares = np.zeros((_QUARTERS, 256))
    has_ids = False
    for image in images:
        shares += id_shares(image.ids)
        has_ids |= image.coding == "ids"
    used = np.flatnonzero(shares.any(axis=0))
    if len(used) < 2:  # no images, or one class everywhere: nothing to tell them apart
        return
    own = _score(shares, source_map.name)
    others = {
        name: _score(shares, name)
        for name in label_map_names()
        if has_ids
        and not label_map(name).missing_ids(used)
        and not _means_the_same(used, name, source_map)
    }
    flipped = _score(shares[::-1], source_map.name)
    if flipped - own > REFUSE_GAP and flipped > max(others.values(), default=-math.inf):
        raise DatasetError(
            f"{source}: the labels look upside down ({_lowest(shares, source_map)} at the bottom): "
            "turn them, or choose --trust-naming (trust_naming: true in a configuration)"
        )
    best = max(others, key=lambda name: others[name], default=None)
    if best is not None and others[best] - own > WARN_GAP:
        message = (
            f"{source}: with the naming '{source_map.name}' the labels do not look like a street "
            f"({_lowest(shares, source_map)} at the bottom), but with '{best}' they do "
            f"({_lowest(shares, label_map(best))} at the bottom)"
        )
        if others[best] - own > REFUSE_GAP:
            raise DatasetError(
                f"{message}: choose that naming, or --trust-naming (trust_naming: true in a "
                "configuration) if the ids do mean this"
            )
        _log.warning("%s; is it the right naming?", message)
    elif own < STRANGE_SCORE:
        _log.warning(
            "%s: with the naming '%s' the labels do not look like a street (%s at the bottom); is "
            "it the right naming?", source, source_map.name, _lowest(shares, source_map),
        )  # fmt: skip


def id_shares(ids: ByteArray) -> _Floats:
    """Share of each id in each quarter of the height, float64 (4, 256)."""
    rows = np.linspace(0, len(ids), _QUARTERS + 1).astype(int)
    counts = [
        np.bincount(ids[start:end].ravel(), minlength=256)
        for start, end in itertools.pairwise(rows)
    ]
    shares: _Floats = np.array([count / max(1, count.sum()) for count in counts])
    return shares


def _score(shares: _Floats, name: str) -> float:
    """Mean log-likelihood of the ids under a label map, in nats per pixel."""
    return float((shares * np.log(_likelihood(name) + _FLOOR)).sum() / shares.sum())


@cache
def _likelihood(name: str) -> _Floats:
    """How likely each id is in each quarter, float64 (4, 256); ids share the tags they have."""
    percent = np.array([_PERCENT[tag.name] for tag in Tag]).T
    by_tag = percent / percent.sum(axis=1, keepdims=True)
    tags_by_id = label_map(name).tags_by_id
    count = np.zeros(len(Tag))
    for tags in tags_by_id.values():
        count[list(tags)] += 1
    table = np.zeros((_QUARTERS, 256))
    for label_id, tags in tags_by_id.items():
        table[:, label_id] = sum(by_tag[:, tag] / count[tag] for tag in tags)
    return table


def _means_the_same(used: npt.NDArray[np.intp], name: str, source_map: LabelMap) -> bool:
    return np.array_equal(label_map(name).primary[used], source_map.primary[used])


def _lowest(shares: _Floats, source_map: LabelMap) -> str:
    """The most frequent class of the lowest quarter, such as "83 % SKY"."""
    by_tag = np.bincount(source_map.primary, weights=shares[-1], minlength=len(Tag))
    tag = Tag(int(by_tag.argmax()))
    return f"{100 * by_tag[tag] / by_tag.sum():.0f} % {tag.name}"
