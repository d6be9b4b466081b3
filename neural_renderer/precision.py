"""Where bfloat16 pays."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import torch

from neural_renderer.networks.generator import FrameGenerator

WARM_UP_FRAMES = 4

_log = logging.getLogger(__name__)


def bfloat16_pays(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 can be faster than in float32 on this device.

    On CPUs that takes AVX-512: without it every product is emulated, and a frame takes five
    times as long as in float32 (measured on AVX2).
    """
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def faster(generator: FrameGenerator, frame_s: Callable[[FrameGenerator], float]) -> FrameGenerator:
    """The generator in float32 or bfloat16, whichever has the quickest frame of a few.

    Args:
        frame_s: draws a frame with a generator and returns how long it took.
    """
    best_s = {
        net: min(frame_s(net) for _ in range(WARM_UP_FRAMES))
        for net in (generator, copy.deepcopy(generator).to(torch.bfloat16))
    }
    _log.info("a frame: %s", {str(net.dtype): f"{s * 1e3:.0f} ms" for net, s in best_s.items()})
    return min(best_s, key=lambda net: best_s[net])
