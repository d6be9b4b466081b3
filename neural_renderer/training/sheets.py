"""Sample sheets: what the averaged generator paints of fixed label maps, beside the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sim2street.bridge.labels import PALETTE
from sim2street.neural_renderer.data.batch import Batch, to_device
from sim2street.neural_renderer.training.objective import still_input
from sim2street.neural_renderer.training.sources import Source
from sim2street.neural_renderer.training.state import TrainState
from sim2street.neural_renderer.training.targets import exemplars_of, style_of


def paint_tags(tags: Tensor) -> Tensor:
    """Multi-hot tags uint8 (B, 29, H, W) to colours in [-1, 1] (B, 3, H, W).

    Where a set has several tags, the first one's colour is shown, thin ones on top.
    """
    palette = torch.from_numpy(PALETTE.astype(np.float32)) / 127.5 - 1.0
    shown = palette.to(tags.device)[tags.argmax(dim=1)]
    return shown.permute(0, 3, 1, 2)


def to_uint8(rgb: Tensor) -> np.ndarray:
    """(3, H, W) or (B, 3, H, W) in [-1, 1] to uint8 with channels last."""
    scaled = ((rgb.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    return scaled.movedim(-3, -1).cpu().numpy()


def render_batch(state: TrainState, batch: Batch) -> Tensor:
    """The averaged generator's pictures of a batch, (B, 3, H, W) in [-1, 1]."""
    rng = torch.Generator().manual_seed(0)
    batch = to_device(batch, state.device)
    groups = state.class_map.groups_from_multihot(batch.tags)
    with torch.no_grad(), state.autocast():
        style = style_of(state.ema, exemplars_of(state, batch))
        return state.ema(still_input(groups, batch, rng), style).rgb.float()


def write_sheet(state: TrainState, batch: Batch, path: Path) -> None:
    """One row a sample: labels, rendered, photograph, first exemplar."""
    columns = [
        paint_tags(batch.tags),
        render_batch(state, batch).cpu(),
        batch.rgb,
        batch.exemplar_rgb[:, 0],
    ]
    rows = np.concatenate([to_uint8(column) for column in columns], axis=2)
    Image.fromarray(rows.reshape(-1, *rows.shape[2:])).save(path)


class SheetMaker:
    """Writes `samples/step_N.png` of the same photographs again and again."""

    def __init__(self, source: Source, out_dir: Path, count: int = 6) -> None:
        self._source, self._count = source, count
        self._folder = out_dir / "samples"

    def write(self, state: TrainState) -> None:
        """One sheet for the current step, at the current phase's size."""
        self._folder.mkdir(exist_ok=True)
        batch = self._source.samples(self._count, state.step)
        write_sheet(state, batch, self._folder / f"step_{state.step:06d}.png")
