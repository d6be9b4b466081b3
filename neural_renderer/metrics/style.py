"""Style retrieval: does a picture look like the photographs of its own drive?

Brightness alone must not win, so every picture is brought to the same mean and deviation per
channel first. What then describes a look (`look_features`): AlexNet's channels over the
picture, its second map and the colours inside regions (road, sky, what stands, vehicles).

Two things stand between such numbers and an answer, and photographs alone settle both. What
varies within a drive must not count: linear discriminant analysis of the gallery weighs it
down. And some drives do not look like themselves (several scenes under one name):
`recognisable` drops them until photographs find their own drive, by cross-validation; a
measure that real photographs fail says nothing about rendered ones.

A rendered picture shows the content of its label map and the hand of its renderer, whatever
the style. So the same label maps are painted in every style, and what counts is how a picture
differs from the mean of its label map's pictures (`Queries`): a renderer without styles scores
chance, and one whose styles differ in brightness alone scores no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError

FEWEST_STYLES = 10
RECOGNISED = 0.9
"""Share of photographs that must find their own drive."""

FOLDS = 6
COMPONENTS = 100
SHRINKAGE = 0.3
"""Of the scatter within drives towards a sphere: there are fewer pictures than features."""

REGIONS: tuple[tuple[Tag, ...], ...] = (
    (Tag.ROAD, Tag.ROAD_LINES),
    (Tag.SKY,),
    (Tag.BUILDING, Tag.WALL, Tag.VEGETATION, Tag.TERRAIN, Tag.FENCE, Tag.BRIDGE),
    (Tag.CAR, Tag.TRUCK, Tag.BUS),
)
"""Coarse enough for the coarsest data sets; a label that is a set counts with any member."""

COVERED = 0.8
FEWEST_CELLS, FEWEST_PIXELS = 20, 300

Array = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Share of queries whose nearest style is their own; chance is 1 / styles."""

    accuracy: float
    styles: int
    queries: int


@dataclass(frozen=True)
class Queries:
    """Pictures that ask: looks float (N, F), the styles they were painted in, their label maps.

    Every label map should occur in every style.
    """

    looks: Array
    styles: Sequence[str]
    label_maps: Sequence[int]


@dataclass(frozen=True)
class StyleSpace:
    """Where pictures of one drive lie together; made by `fit`.

    Attributes:
        names: of the drives. means: float (D, k), each drive's photographs in the space, less
            the mean of all drives.
        centre: float (F,). scale: float (F,). basis: float (F, k).
        origin: float (k,), the mean of all drives.
    """

    names: tuple[str, ...]
    means: Array
    centre: Array
    scale: Array
    basis: Array
    origin: Array

    def offsets(self, looks: Array) -> Array:
        """Looks float (N, F) in the space, less the mean of all drives: (N, k)."""
        filled = np.where(np.isnan(looks), self.centre, looks)
        moved: Array = (filled - self.centre) / self.scale @ self.basis - self.origin
        return moved

    def nearest(self, offsets: Array) -> list[str]:
        """The drive in whose direction each offset (N, k) points; how far does not matter."""
        lengths = np.linalg.norm(self.means, axis=1)
        cosines = offsets @ self.means.T / np.maximum(lengths, 1e-9)
        return [self.names[i] for i in cosines.argmax(axis=1)]


def match_moments(rgb: Tensor, mean: float = 0.0, deviation: float = 0.5) -> Tensor:
    """The pictures (B, 3, H, W) with the same mean and deviation in every channel."""
    own_mean = rgb.mean(dim=(2, 3), keepdim=True)
    own_deviation = rgb.std(dim=(2, 3), keepdim=True).clamp_min(1e-4)
    return ((rgb - own_mean) / own_deviation * deviation + mean).clamp(-1.0, 1.0)


def look_features(net: nn.Module, rgb: Tensor, tags: Tensor) -> Array:
    """What a picture looks like after `match_moments`: float64 (F,), NaN in absent regions.

    net: (1, 3, H, W) in [-1, 1] to a list of maps. rgb: (3, H, W). tags: multi-hot (29, H, W).
    """
    with torch.inference_mode():
        x = match_moments(rgb[None])
        maps = net(x)
        hot = tags.float()
        masks = [hot[list(region)].amax(dim=0) for region in REGIONS]
        regions = torch.stack([torch.ones_like(masks[0]), *masks])
        small = functional.adaptive_avg_pool2d(regions[None], maps[1].shape[-2:])[0]
        pooled = [part for m in maps for part in (m.mean(dim=(2, 3)), m.std(dim=(2, 3)))]
        blocks = (
            torch.cat(pooled, dim=1)[0],
            _statistics(maps[1][0], small > COVERED, FEWEST_CELLS),
            _statistics(x[0], regions > COVERED, FEWEST_PIXELS),
        )
    # Each block weighs the same, however many numbers it has: see `_standardised`.
    return np.concatenate([block.double().numpy() for block in blocks])


def block_sizes(channels: Sequence[int]) -> tuple[int, int, int]:
    """Lengths of the three blocks of `look_features`, for maps of so many channels."""
    regions = 1 + len(REGIONS)
    return 2 * sum(channels), 2 * channels[1] * regions, 2 * 3 * regions


def fit(looks: Array, styles: Sequence[str], blocks: Sequence[int] = ()) -> StyleSpace:
    """Principal components, then discriminants of the photographs' looks float (N, F).

    blocks: lengths of groups of features that weigh the same; none: one group.
    """
    names = tuple(sorted(set(styles)))
    labels = np.array(styles)
    centre = np.array([column[~np.isnan(column)].mean() if not np.isnan(column).all() else 0.0
                       for column in looks.T])  # fmt: skip
    filled = np.where(np.isnan(looks), centre, looks)
    weights = np.concatenate([np.full(n, np.sqrt(n)) for n in blocks or (looks.shape[1],)])
    scale = (filled.std(axis=0) + 1e-6) * weights
    scaled = (filled - centre) / scale
    _, values, axes = np.linalg.svd(scaled, full_matrices=False)
    rank = min(COMPONENTS, int((values > 1e-5 * values[0]).sum()))
    components = axes[:rank].T
    points = scaled @ components
    within = np.concatenate([points[labels == n] - points[labels == n].mean(0) for n in names])
    scatter = within.T @ within / max(len(points) - len(names), 1)
    sphere = np.trace(scatter) / rank * np.eye(rank)
    whitening = np.linalg.cholesky(
        np.linalg.inv((1 - SHRINKAGE) * scatter + SHRINKAGE * sphere + 1e-9 * np.eye(rank))
    )
    basis = components @ whitening
    moved = scaled @ basis
    means = np.stack([moved[labels == name].mean(axis=0) for name in names])
    origin = means.mean(axis=0)
    return StyleSpace(names, means - origin, centre, scale, basis, origin)


def photographs_found(
    looks: Array, styles: Sequence[str], blocks: Sequence[int] = ()
) -> dict[str, list[bool]]:
    """For each drive, which of its photographs find it by the others, six folds.

    Folds are stretches of a drive: photographs are given in their order, and neighbours are
    nearly the same picture.
    """
    labels = np.array(styles)
    folds = np.zeros(len(labels), dtype=int)
    for name in set(styles):
        own = np.flatnonzero(labels == name)
        folds[own] = np.arange(len(own)) * FOLDS // max(len(own), FOLDS)
    found: dict[str, list[bool]] = {name: [] for name in sorted(set(styles))}
    for fold in range(FOLDS):
        asked = folds == fold
        space = fit(looks[~asked], labels[~asked].tolist(), blocks)
        nearest = space.nearest(space.offsets(looks[asked]))
        for own, got in zip(labels[asked].tolist(), nearest, strict=True):
            found[own].append(own == got)
    return found


def recognisable(
    looks: Array,
    styles: Sequence[str],
    blocks: Sequence[int] = (),
    fewest: int = FEWEST_STYLES,
) -> tuple[tuple[str, ...], float]:
    """Drives that look like themselves, and the share of their photographs that find them.

    The least found drive is dropped until `RECOGNISED` of the photographs find their own, or
    `fewest` are left.

    Raises:
        ConfigError: fewer than `fewest` drives.
    """
    kept = sorted(set(styles))
    if len(kept) < fewest:
        raise ConfigError(f"style retrieval needs at least {fewest} styles, got {len(kept)}")
    labels = np.array(styles)
    while True:
        inside = np.isin(labels, kept)
        found = photographs_found(looks[inside], labels[inside].tolist(), blocks)
        share = float(np.mean([hit for hits in found.values() for hit in hits]))
        if share >= RECOGNISED or len(kept) <= fewest:
            return tuple(kept), share
        kept.remove(min(kept, key=lambda name: float(np.mean(found[name]))))


def retrieve(space: StyleSpace, queries: Queries) -> Retrieval:
    """How many pictures differ from their label map's others as their drive does from others.

    Raises:
        ConfigError: a query's style is not in the space.
    """
    unknown = sorted(set(queries.styles) - set(space.names))
    if unknown:
        raise ConfigError(f"style retrieval: no photographs of style '{unknown[0]}'")
    offsets = space.offsets(queries.looks)
    label_maps = np.array(queries.label_maps)
    for label_map in set(queries.label_maps):
        same = label_maps == label_map
        offsets[same] -= offsets[same].mean(axis=0)
    hits = [a == b for a, b in zip(space.nearest(offsets), queries.styles, strict=True)]
    return Retrieval(float(np.mean(hits)), len(space.names), len(hits))


def _statistics(values: Tensor, regions: Tensor, fewest: int) -> Tensor:
    """Mean and deviation of (C, h, w) in each of bool (R, h, w): (R * 2C), NaN where few."""
    flat, masks = values.flatten(1), regions.flatten(1).float()
    counts = masks.sum(dim=1)
    mean = masks @ flat.T / counts[:, None].clamp_min(1.0)
    square = masks @ flat.square().T / counts[:, None].clamp_min(1.0)
    found = torch.cat([mean, (square - mean.square()).clamp_min(0.0).sqrt()], dim=1)
    found[counts < fewest] = float("nan")
    return found.flatten()
