"""The TensorBoard log of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from sim2street.bridge.closing import Closing
from sim2street.bridge.frame import ByteArray

WRITE_EVERY = 25
"""Steps that one point of a curve averages."""


class RunLog(Closing):
    """Writes to `tensorboard/`: scalars, each as its mean over `WRITE_EVERY` steps, and images."""

    def __init__(self, out_dir: Path) -> None:
        self._writer = SummaryWriter(str(out_dir / "tensorboard"))
        self._sums: dict[str, list[float]] = {}

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one step's values."""
        for name, value in values.items():
            self._sums.setdefault(name, []).append(value)
        if step % WRITE_EVERY == 0:
            for name, seen in self._sums.items():
                self._writer.add_scalar(name, sum(seen) / len(seen), step)
            self._sums.clear()

    def show(self, step: int, name: str, rgb: ByteArray) -> None:
        """Add an image, uint8 (H, W, 3)."""
        self._writer.add_image(name, rgb, step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()
