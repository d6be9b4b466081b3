"""Style retrieval: can the drive whose style an image was rendered in be told from its look?

Method:

1. All images are normalised to the same mean and deviation per channel, so that brightness alone
   does not help. `look_features` then describes an image by AlexNet maps, over the whole image and
   within coarse regions (road, sky, buildings and plants, vehicles).
2. Photographs of all drives train a linear discriminant analysis (`fit_style_space`), which
   suppresses features that vary within a drive.
3. Drives whose own photographs cannot be told from other drives' are left out
   (`recognisable_drives`, by cross-validation): rendered images cannot do better.
4. The same label maps are rendered in every style, and each image is described by its difference
   from the mean over the styles (`Queries`). This removes content and the renderer's own look, so
   that a renderer without styles scores at chance.
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

MIN_STYLES = 10
MIN_RECOGNITION = 0.9
"""Share of photographs that must be assigned to their own drive."""

FOLDS = 6
COMPONENTS = 100
SHRINKAGE = 0.3
"""Shrinks the within-drive scatter towards a multiple of the identity, because there are fewer
images than features."""

REGIONS: tuple[tuple[Tag, ...], ...] = (
    (Tag.ROAD, Tag.ROAD_LINES),
    (Tag.SKY,),
    (Tag.BUILDING, Tag.WALL, Tag.VEGETATION, Tag.TERRAIN, Tag.FENCE, Tag.BRIDGE),
    (Tag.CAR, Tag.TRUCK, Tag.BUS),
)
"""Coarse enough for the coarsest label sets. A pixel with several tags belongs to the regions of
all of them."""

MIN_COVERAGE = 0.8
"""Share of a cell that a region must cover for the cell to count."""
MIN_CELLS = 20
MIN_PIXELS = 300
"""Regions with fewer cells (AlexNet map) or pixels (colours) count as absent."""

Array = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Result of style retrieval.

    Attributes:
        accuracy: share of queries whose nearest style is their own; chance is 1 / styles.
        styles: number of styles.
        queries: number of rendered images.
    """

    accuracy: float
    styles: int
    queries: int


@dataclass(frozen=True)
class Queries:
    """Rendered images to be assigned to styles; every label map should occur in every style.

    Attributes:
        looks: float (N, F), features of the images.
        styles: the style that each image was rendered in.
        label_maps: the number of the label map of each image.
    """

    looks: Array
    styles: Sequence[str]
    label_maps: Sequence[int]


@dataclass(frozen=True)
class StyleSpace:
    """A linear projection in which images of one drive lie close together.

    Attributes:
        names: of the D drives.
        means: float (D, k), projected mean of each drive minus `origin`.
        centre: float (F,), mean of each feature.
        scale: float (F,), divisor of each feature.
        basis: float (F, k), projection of centred and scaled features.
        origin: float (k,), projected mean over all drives.
    """

    names: tuple[str, ...]
    means: Array
    centre: Array
    scale: Array
    basis: Array
    origin: Array

    def offsets(self, looks: Array) -> Array:
        """Project features float (N, F) and subtract the mean of all drives: (N, k)."""
        filled = np.where(np.isnan(looks), self.centre, looks)
        projected: Array = (filled - self.centre) / self.scale @ self.basis - self.origin
        return projected

    def nearest(self, offsets: Array) -> list[str]:
        """The drive with the highest cosine similarity to each offset (N, k)."""
        lengths = np.linalg.norm(self.means, axis=1)
        cosines = offsets @ self.means.T / np.maximum(lengths, 1e-9)
        return [self.names[i] for i in cosines.argmax(axis=1)]


def normalise_channels(rgb: Tensor, mean: float = 0.0, deviation: float = 0.5) -> Tensor:
    """Images (B, 3, H, W) with the given mean and standard deviation in every channel."""
    own_mean = rgb.mean(dim=(2, 3), keepdim=True)
    own_deviation = rgb.std(dim=(2, 3), keepdim=True).clamp_min(1e-4)
    return ((rgb - own_mean) / own_deviation * deviation + mean).clamp(-1.0, 1.0)


def look_features(net: nn.Module, rgb: Tensor, tags: Tensor) -> Array:
    """Features that describe the look of an image: float64 (F,), NaN for absent regions.

    Args:
        net: from (1, 3, H, W) in [-1, 1] to a list of maps, such as AlexNet.
        rgb: (3, H, W) in [-1, 1].
        tags: (29, H, W), multi-hot label tags.
    """
    with torch.inference_mode():
        x = normalise_channels(rgb[None])
        maps = net(x)
        hot = tags.float()
        masks = [hot[list(region)].amax(dim=0) for region in REGIONS]
        regions = torch.stack([torch.ones_like(masks[0]), *masks])
        small = functional.adaptive_avg_pool2d(regions[None], maps[1].shape[-2:])[0]
        pooled = [part for m in maps for part in (m.mean(dim=(2, 3)), m.std(dim=(2, 3)))]
        blocks = (
            torch.cat(pooled, dim=1)[0],
            _region_statistics(maps[1][0], small > MIN_COVERAGE, MIN_CELLS),
            _region_statistics(x[0], regions > MIN_COVERAGE, MIN_PIXELS),
        )
    return np.concatenate([block.double().numpy() for block in blocks])


def block_sizes(channels: Sequence[int]) -> tuple[int, int, int]:
    """Lengths of the three blocks of `look_features`: whole image, regions of a map, colours.

    Args:
        channels: of each map of the network.
    """
    regions = 1 + len(REGIONS)
    return 2 * sum(channels), 2 * channels[1] * regions, 2 * 3 * regions


def fit_style_space(looks: Array, styles: Sequence[str], blocks: Sequence[int] = ()) -> StyleSpace:
    """Fit principal components, then linear discriminants, to features of photographs.

    Args:
        looks: float (N, F), see `look_features`.
        styles: the drive of each photograph.
        blocks: lengths of consecutive blocks of features; each block gets the same total weight.
            Empty: one block.
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
    projected = scaled @ basis
    means = np.stack([projected[labels == name].mean(axis=0) for name in names])
    origin = means.mean(axis=0)
    return StyleSpace(names, means - origin, centre, scale, basis, origin)


def cross_validate(
    looks: Array, styles: Sequence[str], blocks: Sequence[int] = ()
) -> dict[str, list[bool]]:
    """For each drive, which of its photographs are assigned to it by a space fitted to the others.

    Photographs must be in the order of the drive. Folds are contiguous, because neighbouring
    photographs are nearly equal.
    """
    labels = np.array(styles)
    folds = np.zeros(len(labels), dtype=int)
    for name in set(styles):
        own = np.flatnonzero(labels == name)
        folds[own] = np.arange(len(own)) * FOLDS // max(len(own), FOLDS)
    hits: dict[str, list[bool]] = {name: [] for name in sorted(set(styles))}
    for fold in range(FOLDS):
        held_out = folds == fold
        space = fit_style_space(looks[~held_out], labels[~held_out].tolist(), blocks)
        nearest = space.nearest(space.offsets(looks[held_out]))
        for truth, prediction in zip(labels[held_out].tolist(), nearest, strict=True):
            hits[truth].append(truth == prediction)
    return hits


def recognisable_drives(
    looks: Array, styles: Sequence[str], blocks: Sequence[int] = ()
) -> tuple[tuple[str, ...], float]:
    """Drives whose photographs can be told from others', and their recognition rate.

    The least recognised drive is dropped until `MIN_RECOGNITION` of the photographs are assigned
    to their own drive, or `MIN_STYLES` drives are left.

    Raises:
        ConfigError: there are fewer than `MIN_STYLES` drives.
    """
    kept = sorted(set(styles))
    if len(kept) < MIN_STYLES:
        raise ConfigError(f"style retrieval needs at least {MIN_STYLES} styles, got {len(kept)}")
    labels = np.array(styles)
    while True:
        inside = np.isin(labels, kept)
        hits = cross_validate(looks[inside], labels[inside].tolist(), blocks)
        share = float(np.mean([hit for drive_hits in hits.values() for hit in drive_hits]))
        if share >= MIN_RECOGNITION or len(kept) <= MIN_STYLES:
            return tuple(kept), share
        kept.remove(min(kept, key=lambda name: float(np.mean(hits[name]))))


def retrieve(space: StyleSpace, queries: Queries) -> Retrieval:
    """Assign each rendered image to a style by its difference from the mean of its label map.

    Raises:
        ConfigError: the style of a query is not in the space.
    """
    unknown = sorted(set(queries.styles) - set(space.names))
    if unknown:
        raise ConfigError(
            f"style retrieval: no photographs of style '{unknown[0]}', only of {list(space.names)}"
        )
    offsets = space.offsets(queries.looks)
    label_maps = np.array(queries.label_maps)
    for label_map in set(queries.label_maps):
        same = label_maps == label_map
        offsets[same] -= offsets[same].mean(axis=0)
    hits = [a == b for a, b in zip(space.nearest(offsets), queries.styles, strict=True)]
    return Retrieval(float(np.mean(hits)), len(space.names), len(hits))


def _region_statistics(values: Tensor, regions: Tensor, min_count: int) -> Tensor:
    """Mean and standard deviation of each channel in each region: (R * 2C,).

    Args:
        values: (C, h, w).
        regions: bool (R, h, w).
        min_count: regions with fewer pixels give NaN.
    """
    flat, masks = values.flatten(1), regions.flatten(1).float()
    counts = masks.sum(dim=1)
    mean = masks @ flat.T / counts[:, None].clamp_min(1.0)
    square = masks @ flat.square().T / counts[:, None].clamp_min(1.0)
    statistics = torch.cat([mean, (square - mean.square()).clamp_min(0.0).sqrt()], dim=1)
    statistics[counts < min_count] = float("nan")
    return statistics.flatten()
