"""Harmonising: a canvas of photographic textures takes on the light and colours of the style.

The canvas (see `sim2street.neural_renderer.canvas`) brings the content, the generator fits it in:

    image = take * (gain * canvas + offset) + (1 - take) * painted

in sRGB values, where a gain is one in linear light too, because sRGB is close to a power law. Gain
and offset lie on a grid of an eighth of the image's size, one pair for each slot of label groups,
and each pixel uses the pair of its own slot: the grid is too coarse to paint on, and nothing spills
over the outline of an object. `take` is the share of the canvas at each pixel, 0 where there is
none. The previous image never enters: the canvas is sampled afresh for each frame, so it does not
blur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim2street.neural_renderer.networks.resampling import unshuffle_weight

CANVAS_CHANNELS = 4
"""RGB in [-1, 1] times coverage, and coverage in [0, 1]."""

SLOTS: tuple[tuple[str, ...], ...] = (
    ("sky",),
    ("road",),
    ("road_lines",),
    ("sidewalk", "terrain"),
    ("building", "wall"),
    ("vegetation",),
    ("car", "truck", "person", "cyclist"),
)
"""Names of the label groups in each slot; all other groups share a last one."""

SLOT_COUNT = len(SLOTS) + 1
LOG_GAIN_LIMIT = 0.9
OFFSET_LIMIT = 0.2
"""Largest change of an sRGB value in [0, 1]. With wider limits, markings and kerbs glow."""

TAKE_BIAS = 2.2
"""Of the logit of `take`: training starts at a share of 0.9 of the canvas."""


@dataclass(frozen=True)
class Harmonised:
    """What harmonising made.

    Attributes:
        rgb: float (B, 3, H, W) in [-1, 1].
        take: float (B, 1, H, W) in [0, 1], share of the canvas.
        grid: float (B, slots, 6, H / 8, W / 8), log gain and offset for each of R, G, B, between
            -1 and 1 as shares of their limits.
    """

    rgb: Tensor
    take: Tensor
    grid: Tensor


def slot_of_groups(names: Sequence[str]) -> list[int]:
    """The slot of each label group, by its name."""
    slots = {name: index for index, members in enumerate(SLOTS) for name in members}
    return [slots.get(name, len(SLOTS)) for name in names]


class Harmoniser(nn.Module):
    """The layers that read the canvas, and those that decide gain, offset and take.

    All start at zero: gain 1, offset 0, and a generator that does not look at the canvas.

    Args:
        slots: the slot of each label group.
        embedding: channels of the generator's first embedding, to which the canvas adds.
        coarse: channels of its features at 1/8.
        fine: channels of its features at 1/2.
    """

    def __init__(self, slots: Sequence[int], embedding: int, coarse: int, fine: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4 * CANVAS_CHANNELS, embedding, 1, bias=False)
        self.to_grid = nn.Conv2d(coarse, SLOT_COUNT * 6, 1)
        self.to_take = nn.Conv2d(fine, 1, 3, padding=1)
        members = torch.zeros(SLOT_COUNT, len(slots))
        members[list(slots), range(len(slots))] = 1.0
        self.members: Tensor
        self.register_buffer("members", members, persistent=False)
        self.start_at_zero()

    def start_at_zero(self) -> None:
        """Reset all weights to the values they have at the start of training."""
        for conv in (self.stem, self.to_grid, self.to_take):
            nn.init.zeros_(conv.weight)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def embed(self, canvas: Tensor) -> Tensor:
        """What the canvas adds to the first embedding: (B, C, H / 2, W / 2)."""
        weight = unshuffle_weight(self.stem)
        return functional.conv2d(canvas.to(weight.dtype), weight, stride=2)

    def forward(
        self, canvas: Tensor, groups: Tensor, coarse: Tensor, fine: Tensor, painted: Tensor
    ) -> Harmonised:
        """Put the canvas into a painted image.

        Args:
            canvas: (B, 4, H, W), see `CANVAS_CHANNELS`.
            groups: label groups (B, G, H, W).
            coarse, fine: the generator's features at 1/8 and at 1/2.
            painted: float (B, 3, H, W) in [-1, 1], the image that the generator painted.
        """
        grid = torch.tanh(self.to_grid(coarse).float()).unflatten(1, (SLOT_COUNT, 6))
        gain, offset = self._at_pixels(grid, groups)
        canvas = canvas.float()
        rgb, coverage = canvas[:, :3], canvas[:, 3:]
        rgb = rgb / coverage.clamp_min(0.05)  # where there is less, take is as small
        # From [-1, 1] to [0, 1] and back, in one step.
        fitted = rgb * gain + (gain + 2.0 * offset - 1.0)
        logit = functional.interpolate(
            self.to_take(fine).float(), scale_factor=2.0, mode="bilinear"
        )
        take = torch.sigmoid(logit + TAKE_BIAS) * coverage
        mixed = torch.lerp(painted.float(), fitted.clamp(-1.0, 1.0), take)
        return Harmonised(mixed, take, grid)

    def _at_pixels(self, grid: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and offset of each pixel's slot: (B, 3, H, W) each.

        The grid is bilinear down to 1/2; the four pixels of a cell differ in their slots only.
        """
        cells = functional.interpolate(grid.flatten(1, 2), scale_factor=4.0, mode="bilinear")
        cells = cells.unflatten(1, (SLOT_COUNT, 6))
        log_gain, offset = cells.split(3, dim=2)
        values = torch.cat([(log_gain * LOG_GAIN_LIMIT).exp(), offset * OFFSET_LIMIT], dim=2)
        shares = functional.conv2d(groups.float(), self.members.float()[:, :, None, None])
        shares = functional.pixel_unshuffle(shares, 2).unflatten(1, (SLOT_COUNT, 4))
        total = shares.sum(dim=1).clamp_min(1e-3)
        chosen = torch.einsum("bsqhw,bskhw->bkqhw", shares / total[:, None], values)
        pixels = functional.pixel_shuffle(chosen.flatten(1, 2), 2)
        return pixels[:, :3], pixels[:, 3:]
