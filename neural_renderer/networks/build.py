"""Generators by kind and size."""

from __future__ import annotations

from collections.abc import Sequence

from sim2street.neural_renderer.networks.baselines import PlainGenerator, UnstyledGenerator
from sim2street.neural_renderer.networks.generator import Generator
from sim2street.neural_renderer.networks.harmonise import slot_of_groups
from sim2street.neural_renderer.networks.interface import FrameGenerator

KINDS = ("few-shot", "spade", "plain")
"""`Generator`, `UnstyledGenerator` and `PlainGenerator`."""

SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "tiny": ((24, 48, 88, 160, 160), (1, 1, 1, 1, 1)),
    "small": ((32, 64, 128, 256, 256), (1, 1, 1, 1, 1)),
    "base": ((56, 112, 208, 288, 288), (1, 2, 2, 1, 1)),
}
"""For each size, the channels at 1/2, 1/4, 1/8, 1/16, 1/32 and the SPADE blocks at each."""

PLAIN_SIZES: dict[str, tuple[tuple[int, ...], int]] = {
    "tiny": ((24, 48, 96, 144), 3),
    "small": ((32, 64, 128, 192), 5),
    "base": ((56, 112, 208, 288), 9),
}
"""The same for `PlainGenerator`: channels at 1/2, 1/4, 1/8, 1/16, and residual blocks at 1/16."""


def build_frame_generator(
    kind: str, size: str, groups: Sequence[str], canvas: bool = False
) -> FrameGenerator:
    """An untrained generator; all kinds of a size cost about the same.

    Args:
        kind: one of `KINDS`.
        size: one of `SIZES`.
        groups: names of the label groups.
        canvas: whether it uses a canvas; the plain one cannot.
    """
    if kind == "plain":
        widths, blocks = PLAIN_SIZES[size]
        return PlainGenerator(len(groups), widths, blocks)
    cls = UnstyledGenerator if kind == "spade" else Generator
    return cls(len(groups), *SIZES[size], slot_of_groups(groups) if canvas else None)
