"""The images with the worst label agreement, drawn for a model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw

from sim2street.bridge.frame import ByteArray
from sim2street.bridge.labels import PALETTE
from sim2street.bridge.palette import paint_labels
from sim2street.neural_renderer.evaluation.still_rows import (
    LabelConfusions,
    RenderedStill,
    resize,
)
from sim2street.neural_renderer.images import to_uint8
from sim2street.neural_renderer.metrics.label_agreement import (
    NOT_SCORED,
    SCORED_GROUPS,
    Confusion,
    Segmenter,
)

MIN_PIXELS = 400
"""A class is ignored in images where it has fewer pixels."""

TITLE_PX = 14
"""Height of the title above each strip."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A class in one image.

    Attributes:
        index: of the still.
        group: name of the class, see `SCORED_GROUPS`.
        iou: intersection over union in the rendered image.
        iou_photograph: the same in the photograph.
    """

    index: int
    group: str
    iou: float
    iou_photograph: float


def worst_failures(confusions: LabelConfusions, count: int) -> list[Failure]:
    """The worst image of every class, worst class first, then the second worst image, ...

    The measure is the loss of IoU against the photograph with the same labels, because the renderer
    is not to blame for classes that the segmenter misses in the photograph, too.
    """
    ranked: list[list[Failure]] = []
    for group, name in enumerate(SCORED_GROUPS):
        found = [
            Failure(index, name, _iou(fake, group), _iou(real, group))
            for index, (fake, real) in enumerate(
                zip(confusions.rendered, confusions.photographs, strict=True)
            )
            if fake[group].sum() >= MIN_PIXELS
        ]
        ranked.append(sorted((f for f in found if _iou_loss(f) > 0.0), key=_iou_loss, reverse=True))
    chosen: list[Failure] = []
    for rank in range(max(map(len, ranked))):
        same_rank = [failures[rank] for failures in ranked if rank < len(failures)]
        chosen += sorted(same_rank, key=_iou_loss, reverse=True)
    return chosen[:count]


def draw_failures(
    failures: Sequence[Failure],
    stills: Sequence[RenderedStill],
    segmenter: Segmenter,
    read_at_px: tuple[int, int] | None = None,
) -> ByteArray:
    """A titled strip for each failure: labels, image, predicted labels, photograph; uint8 RGB."""
    strips = []
    for failure in failures:
        shown = stills[failure.index]
        rgb, _ = resize(shown.rgb[None], shown.still.tags[None], read_at_px)
        with torch.inference_mode():
            predicted = PALETTE[segmenter(rgb)[0].numpy()]
        labels = paint_labels(shown.still.view)
        height, width = labels.shape[:2]
        predicted = np.asarray(
            Image.fromarray(predicted).resize((width, height), Image.Resampling.NEAREST)
        )
        parts = (labels, to_uint8(shown.rgb), predicted, to_uint8(shown.still.rgb))
        title = (
            f"{failure.group}: IoU {failure.iou:.2f}, in the photograph "
            f"{failure.iou_photograph:.2f}   {shown.still.drive}, {shown.still.frame}"
        )
        strips += [_title(title, 4 * width), np.concatenate(parts, axis=1)]
    return np.concatenate(strips)


def _iou_loss(failure: Failure) -> float:
    return failure.iou_photograph - failure.iou


def _iou(counts: Confusion, group: int) -> float:
    hits = float(counts[group, group])
    union = float(counts[group].sum() + counts[:, :NOT_SCORED][:, group].sum()) - hits
    return hits / union if union else 0.0


def _title(text: str, width: int) -> ByteArray:
    image = Image.new("RGB", (width, TITLE_PX), (24, 24, 24))
    ImageDraw.Draw(image).text((4, 1), text, fill=(240, 240, 240))
    return np.asarray(image)
