"""Sample sheets: images of the averaged generator beside the photographs of the same labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sim2street.bridge.frame import ByteArray
from sim2street.bridge.labels import PALETTE
from sim2street.neural_renderer.data.batch import Batch, to_device
from sim2street.neural_renderer.images import to_uint8
from sim2street.neural_renderer.training.objective import still_input
from sim2street.neural_renderer.training.sources import BatchSource
from sim2street.neural_renderer.training.state import TrainState
from sim2street.neural_renderer.training.targets import exemplars_of, style_of

ROWS = 6


class SheetMaker:
    """Writes `samples/step_N.png`, always of the same photographs."""

    def __init__(self, source: BatchSource, out_dir: Path) -> None:
        self._source = source
        self._folder = out_dir / "samples"

    def write(self, state: TrainState) -> ByteArray:
        """Write one sheet for the current step, at the current phase's image size; returns it."""
        self._folder.mkdir(exist_ok=True)
        batch = self._source.samples(ROWS, state.step)
        return write_sheet(state, batch, self._folder / f"step_{state.step:06d}.png")


def write_sheet(state: TrainState, batch: Batch, path: Path) -> ByteArray:
    """One row for each sample: labels, rendered image, photograph, first exemplar.

    Returns the sheet, uint8 (H, W, 3).
    """
    columns = [
        label_colours(batch.tags),
        render_batch(state, batch).cpu(),
        batch.rgb,
        batch.exemplar_rgb[:, 0],
    ]
    stacked = [to_uint8(column.transpose(0, 1).flatten(1, 2)) for column in columns]
    sheet: ByteArray = np.concatenate(stacked, axis=1)
    Image.fromarray(sheet).save(path)
    return sheet


def label_colours(tags: Tensor) -> Tensor:
    """Multi-hot tags uint8 (B, 29, H, W) as colours, (B, 3, H, W) in [-1, 1].

    A pixel that may have several tags gets the colour of the tag with the lowest number.
    """
    palette = torch.from_numpy(PALETTE.astype(np.float32)) / 127.5 - 1.0
    return palette.to(tags.device)[tags.argmax(dim=1)].permute(0, 3, 1, 2)


def render_batch(state: TrainState, batch: Batch) -> Tensor:
    """The averaged generator's images of a batch, (B, 3, H, W) in [-1, 1]."""
    rng = torch.Generator().manual_seed(0)
    batch = to_device(batch, state.device)
    groups = state.class_map.groups_from_multihot(batch.tags)
    with torch.no_grad(), state.autocast():
        style = style_of(state.ema, exemplars_of(state, batch))
        rgb: Tensor = state.ema(still_input(groups, batch, rng), style).rgb.float()
    return rgb
