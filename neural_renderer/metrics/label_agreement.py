"""Label agreement: how well a segmenter recovers the input labels from a rendered image."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sim2street.bridge.frame import ByteArray
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError
from sim2street.neural_renderer.networks.features import ImageNetInput

Confusion = npt.NDArray[np.int64]
Segmenter = Callable[[Tensor], Tensor]
"""From RGB float32 (B, 3, H, W) in [-1, 1] to label tags uint8 (B, H, W)."""

SCORED_GROUPS: Mapping[str, tuple[Tag, ...]] = {
    "road": (Tag.ROAD, Tag.ROAD_LINES),
    "sidewalk": (Tag.SIDEWALK,),
    "building": (Tag.BUILDING, Tag.WALL, Tag.BRIDGE),
    "fence": (Tag.FENCE, Tag.GUARD_RAIL),
    "pole": (Tag.POLE,),
    "sign": (Tag.TRAFFIC_SIGN, Tag.TRAFFIC_LIGHT),
    "vegetation": (Tag.VEGETATION, Tag.TERRAIN),
    "sky": (Tag.SKY,),
    "person": (Tag.PEDESTRIAN,),
    "cyclist": (Tag.RIDER, Tag.BICYCLE, Tag.MOTORCYCLE),
    "vehicle": (Tag.CAR, Tag.TRUCK, Tag.BUS, Tag.TRAIN),
}
"""The eleven classes of CamVid, the coarsest data set, so that all data sets can be scored in them.
Other tags (unknown, ground, static, ...) are not scored."""

NOT_SCORED = len(SCORED_GROUPS)
"""Group index of pixels and tags outside `SCORED_GROUPS`."""


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Agreement of predicted with true groups.

    Attributes:
        mean_iou: mean intersection over union of the groups that occur.
        accuracy: share of scored pixels whose group is predicted.
        iou: intersection over union of each group that occurs, by name.
    """

    mean_iou: float
    accuracy: float
    iou: Mapping[str, float]


def group_of_tags() -> ByteArray:
    """For each of the 29 tags, its index in `SCORED_GROUPS` or `NOT_SCORED`: uint8 (29,)."""
    table = np.full(29, NOT_SCORED, dtype=np.uint8)
    for index, tags in enumerate(SCORED_GROUPS.values()):
        table[list(tags)] = index
    return table


def truth_groups(multihot: Tensor) -> ByteArray:
    """From multi-hot tags uint8 (B, 29, H, W) to group indices uint8 (B, H, W).

    Pixels with tags of several groups or of no group get `NOT_SCORED`.
    """
    hot = multihot.numpy().astype(bool)
    table = group_of_tags()
    hits = np.stack([hot[:, table == g].any(axis=1) for g in range(NOT_SCORED)], axis=1)
    single = (hits.sum(axis=1) == 1) & ~hot[:, table == NOT_SCORED].any(axis=1)
    return np.where(single, hits.argmax(axis=1), NOT_SCORED).astype(np.uint8)


def confusion(predicted_tags: ByteArray, truth: ByteArray) -> Confusion:
    """Pixel counts int64 (G, G + 1) by true and predicted group.

    The last column counts predictions outside the groups.

    Args:
        predicted_tags: uint8, label tags.
        truth: uint8 of the same shape, see `truth_groups`.
    """
    predicted = group_of_tags()[predicted_tags]
    scored = truth != NOT_SCORED
    pairs = truth[scored].astype(np.int64) * (NOT_SCORED + 1) + predicted[scored]
    counts = np.bincount(pairs, minlength=NOT_SCORED * (NOT_SCORED + 1))
    return counts.reshape(NOT_SCORED, NOT_SCORED + 1).astype(np.int64)


def score(counts: Confusion) -> LabelScore:
    """IoU and accuracy from summed confusion counts; groups that never occur are left out.

    Raises:
        ConfigError: no pixel has a scored group.
    """
    hits = np.diag(counts[:, :NOT_SCORED]).astype(np.float64)
    truth = counts.sum(axis=1)
    predicted = counts[:, :NOT_SCORED].sum(axis=0)
    iou = {
        name: float(hits[g] / (truth[g] + predicted[g] - hits[g]))
        for g, name in enumerate(SCORED_GROUPS)
        if truth[g]
    }
    if not iou:
        raise ConfigError(
            "label agreement: no pixel of these images has a scored label; check the label naming "
            "of the photographs"
        )
    return LabelScore(float(np.mean(list(iou.values()))), float(hits.sum() / truth.sum()), iou)


def load_segmenter(path: Path) -> Segmenter:
    """Load a segmenter exported with `torch.export.save` (.pt2); it takes images of one size only.

    The exported program takes ImageNet-normalised RGB (B, 3, H, W) and returns logits
    (B, >= 19, H, W). The first 19 channels are Cityscapes trainIds; tag = trainId + 1.

    Raises:
        ConfigError: there is no file, or it is not an exported program.
    """
    if not path.is_file():
        raise ConfigError(f"no segmenter at {path}: export one with torch.export.save")
    if not zipfile.is_zipfile(path):
        raise ConfigError(
            f"{path} is not a program saved by torch.export: export the segmenter with "
            "torch.export.save"
        )
    try:
        network = torch.export.load(path).module()
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise ConfigError(f"{path} is not a program saved by torch.export: {error}") from error
    normalise = ImageNetInput()

    def segment(rgb: Tensor) -> Tensor:
        logits: Tensor = network(normalise(rgb))
        return (logits[:, :19].argmax(dim=1) + 1).to(torch.uint8)

    return segment
