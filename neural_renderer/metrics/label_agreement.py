"""Label agreement: does a segmenter read the simulator's labels back from the picture?"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping
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
"""rgb float32 (B, 3, H, W) in [-1, 1] to tags uint8 (B, H, W)."""

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
"""The coarsest grouping of the data sets (CamVid's eleven classes): all can be scored in it.
Other tags (unknown, ground, static, ...) are not scored."""

NOT_SCORED = len(SCORED_GROUPS)


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Mean IoU over the groups that occur, pixel accuracy, IoU per group that occurs."""

    mean_iou: float
    accuracy: float
    iou: Mapping[str, float]


def group_of_tags() -> ByteArray:
    """Uint8 (29,): index into SCORED_GROUPS per tag, NOT_SCORED where there is none."""
    table = np.full(29, NOT_SCORED, dtype=np.uint8)
    for index, tags in enumerate(SCORED_GROUPS.values()):
        table[list(tags)] = index
    return table


def truth_groups(multihot: Tensor) -> ByteArray:
    """Groups uint8 (B, H, W) of multi-hot tags uint8 (B, 29, H, W).

    A pixel whose tags lie in several groups, or in none, is not scored.
    """
    hot = multihot.numpy().astype(bool)
    table = group_of_tags()
    hits = np.stack([hot[:, table == g].any(axis=1) for g in range(NOT_SCORED)], axis=1)
    single = (hits.sum(axis=1) == 1) & ~hot[:, table == NOT_SCORED].any(axis=1)
    return np.where(single, hits.argmax(axis=1), NOT_SCORED).astype(np.uint8)


def confusion(predicted_tags: ByteArray, truth: ByteArray) -> Confusion:
    """Counts int64 (G, G + 1): truth group by predicted group, last column: none of them.

    predicted_tags and truth (`truth_groups`) are uint8 of the same shape.
    """
    predicted = group_of_tags()[predicted_tags]
    scored = truth != NOT_SCORED
    pairs = truth[scored].astype(np.int64) * (NOT_SCORED + 1) + predicted[scored]
    counts = np.bincount(pairs, minlength=NOT_SCORED * (NOT_SCORED + 1))
    return counts.reshape(NOT_SCORED, NOT_SCORED + 1).astype(np.int64)


def score(counts: Confusion) -> LabelScore:
    """IoU and accuracy of summed confusions. Groups that never occur are left out."""
    hits = np.diag(counts[:, :NOT_SCORED]).astype(np.float64)
    truth = counts.sum(axis=1)
    predicted = counts[:, :NOT_SCORED].sum(axis=0)
    iou = {
        name: float(hits[g] / (truth[g] + predicted[g] - hits[g]))
        for g, name in enumerate(SCORED_GROUPS)
        if truth[g]
    }
    if not iou:
        raise ConfigError("label agreement: no pixel of these pictures has a scored label")
    return LabelScore(float(np.mean(list(iou.values()))), float(hits.sum() / truth.sum()), iou)


def label_agreement(segmenter: Segmenter, pictures: Iterable[tuple[Tensor, Tensor]]) -> LabelScore:
    """Score of a segmenter on batches of (rgb in [-1, 1], multi-hot tags uint8).

    Run it on rendered frames and on the photographs with the same labels: the ratio of the
    two mean IoUs says how much of what can be read in a photograph can be read here.
    """
    counts: Confusion = np.zeros((NOT_SCORED, NOT_SCORED + 1), dtype=np.int64)
    with torch.inference_mode():
        for rgb, tags in pictures:
            counts += confusion(segmenter(rgb).cpu().numpy(), truth_groups(tags.cpu()))
    return score(counts)


def load_segmenter(path: Path) -> Segmenter:
    """A segmenter exported with `torch.export.save` (.pt2), for pictures of its own size.

    It takes ImageNet-normalised RGB (B, 3, H, W) and gives logits (B, >= 19, H, W), the first
    19 of which are the Cityscapes trainIds (tag = trainId + 1).
    """
    if not path.is_file():
        raise ConfigError(f"no segmenter at {path}: export one with torch.export.save")
    if not zipfile.is_zipfile(path):
        raise ConfigError(f"{path} is not a program saved by torch.export")
    try:
        network = torch.export.load(path).module()
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise ConfigError(f"{path} is not a program saved by torch.export: {error}") from error
    normalise = ImageNetInput()

    def segment(rgb: Tensor) -> Tensor:
        logits: Tensor = network(normalise(rgb))
        return (logits[:, :19].argmax(dim=1) + 1).to(torch.uint8)

    return segment
