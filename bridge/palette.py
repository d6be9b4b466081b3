"""The palette renderer: label colours shaded by depth, without a neural network."""

from __future__ import annotations

import numpy as np

from sim2street.bridge.errors import RendererError
from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, View
from sim2street.bridge.frame_by_frame import FrameByFrameRenderer
from sim2street.bridge.labels import PALETTE
from sim2street.bridge.renderer import RenderRequest

STYLE = "palette"
"""Name of the palette renderer's only style."""

_SHADE_RANGE_M = 40.0
"""Distance at which half of the darkening is reached."""

_DARKEST = 0.55
"""Factor on the colours of very distant surfaces."""


class PaletteRenderer(FrameByFrameRenderer):
    """Paints every label in its palette colour, darker with distance.

    Needs only numpy, so it is always available. It serves previews, tests and agents that learn
    from label colours.
    """

    def styles(self) -> tuple[str, ...]:
        return (STYLE,)

    def paint(self, request: RenderRequest, scale: int, seed: int) -> ByteArray:
        rgb = paint_labels(request.view)
        return rgb if scale == 1 else rgb.repeat(scale, axis=0).repeat(scale, axis=1)


def paint_labels(view: View) -> ByteArray:
    """Palette colours of `view.labels`, darker with distance if there is depth: uint8 (H, W, 3).

    Raises:
        RendererError: the view has no labels.
    """
    if view.labels is None:
        raise RendererError("view.labels is missing: configure a label camera in the world")
    if view.depth_m is None:
        return PALETTE[view.labels]
    shade = _DARKEST + (1.0 - _DARKEST) / (1.0 + view.depth_m / _SHADE_RANGE_M)
    shade[view.depth_m >= SKY_DEPTH_M - 1.0] = 1.0  # the sky is not darkened
    rgb = np.empty((*view.labels.shape, 3), np.uint8)
    # Channel by channel: numpy is slow on a last axis of length 3.
    for channel, values in enumerate(PALETTE.T.astype(np.float32)):
        rgb[..., channel] = values[view.labels] * shade
    return rgb
