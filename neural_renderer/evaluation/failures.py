"""Known failures: the pictures in which a class is read worst, drawn for a model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw

from sim2street.bridge.frame import ByteArray
from sim2street.bridge.labels import PALETTE
from sim2street.bridge.palette import paint_labels
from sim2street.neural_renderer.evaluation.scenes import as_uint8
from sim2street.neural_renderer.evaluation.still_rows import Painted, Readings, resized
from sim2street.neural_renderer.metrics.label_agreement import (
    NOT_SCORED,
    SCORED_GROUPS,
    Confusion,
    Segmenter,
)

FEWEST_PIXELS = 400
"""A class that covers less of a picture is not looked for in it."""

TITLE_PX = 14


@dataclass(frozen=True, slots=True)
class Failure:
    """A class in a picture: its IoU as rendered and in the photograph; `index` of the picture."""

    index: int
    group: str
    iou: float
    iou_photograph: float


def worst(readings: Readings, count: int) -> list[Failure]:
    """The worst picture of every class, worst class first, then the second worst, ...

    Worst is what loses most against the photograph with the same labels: what the segmenter
    cannot read in the photograph either is not the renderer's failure.
    """
    ranked: list[list[Failure]] = []
    for group, name in enumerate(SCORED_GROUPS):
        found = [
            Failure(index, name, _iou(fake, group), _iou(real, group))
            for index, (fake, real) in enumerate(
                zip(readings.rendered, readings.photographs, strict=True)
            )
            if fake[group].sum() >= FEWEST_PIXELS
        ]
        ranked.append(sorted((f for f in found if _loss(f) > 0.0), key=_loss, reverse=True))
    chosen: list[Failure] = []
    for place in range(max(map(len, ranked))):
        row = [failures[place] for failures in ranked if place < len(failures)]
        chosen += sorted(row, key=_loss, reverse=True)
    return chosen[:count]


def draw(
    failures: Sequence[Failure],
    painted: Sequence[Painted],
    segmenter: Segmenter,
    read_at_px: tuple[int, int] | None = None,
) -> ByteArray:
    """Labels | rendered | what was read in it | photograph, a titled strip each, uint8."""
    strips = []
    for failure in failures:
        shown = painted[failure.index]
        rgb, _ = resized(shown.rgb[None], shown.still.tags[None], read_at_px)
        with torch.inference_mode():
            read = PALETTE[segmenter(rgb)[0].numpy()]
        labels = paint_labels(shown.still.view)
        height, width = labels.shape[:2]
        read = np.asarray(Image.fromarray(read).resize((width, height), Image.Resampling.NEAREST))
        parts = (labels, as_uint8(shown.rgb), read, as_uint8(shown.still.rgb))
        title = (
            f"{failure.group}: IoU {failure.iou:.2f}, in the photograph "
            f"{failure.iou_photograph:.2f}   {shown.still.drive}, {shown.still.frame}"
        )
        strips += [_title(title, 4 * width), np.concatenate(parts, axis=1)]
    return np.concatenate(strips)


def _loss(failure: Failure) -> float:
    return failure.iou_photograph - failure.iou


def _iou(counts: Confusion, group: int) -> float:
    hits = float(counts[group, group])
    union = float(counts[group].sum() + counts[:, :NOT_SCORED][:, group].sum()) - hits
    return hits / union if union else 0.0


def _title(text: str, width: int) -> ByteArray:
    image = Image.new("RGB", (width, TITLE_PX), (24, 24, 24))
    ImageDraw.Draw(image).text((4, 1), text, fill=(240, 240, 240))
    return np.asarray(image)
