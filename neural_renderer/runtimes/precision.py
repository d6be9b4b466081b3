"""Where bfloat16 pays."""

from __future__ import annotations

import copy
import functools
import logging
import time
from collections.abc import Callable

import torch
from torch import nn

from sim2street.neural_renderer.networks.generator import FrameGenerator

TRIES = 4
"""Of each kind, the quickest of which counts: the first ones warm up."""

CLEARLY = 1.2
"""How many times as fast bfloat16 must be to be trained in: noise must not switch it."""

_log = logging.getLogger(__name__)


def bfloat16_may_pay(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 can be faster than in float32 on this device.

    On CPUs that takes AVX-512: without it every product is emulated, and a frame takes five
    times as long as in float32 (measured on AVX2).
    """
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


@functools.cache
def bfloat16_pays(device: torch.device) -> bool:
    """Whether training in bfloat16 is faster than in float32 on this device; timed on CPUs.

    AVX-512 and its bfloat16 instructions are not enough: on a CPU that has them, but no AMX, a
    convolution took 1.7 times as long in bfloat16.
    """
    if device.type != "cpu":
        return True
    if not bfloat16_may_pay(device):
        return False
    seconds = {kind: _convolution_s(kind) for kind in (torch.float32, torch.bfloat16)}
    _log.info("a convolution: %s", {str(k): f"{s * 1e3:.1f} ms" for k, s in seconds.items()})
    return seconds[torch.float32] > CLEARLY * seconds[torch.bfloat16]


def _convolution_s(kind: torch.dtype) -> float:
    """Of a convolution forward and back on the CPU: the quickest of a few."""
    seconds = []
    with (
        torch.random.fork_rng(devices=()),  # who asks draws as if nobody had
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
    ):
        convolution = nn.Conv2d(64, 64, 3, padding=1).to(kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = torch.randn(4, 64, 32, 64).to(kind, memory_format=torch.channels_last)
        x.requires_grad_(True)
        for _ in range(TRIES):
            start_s = time.perf_counter()
            convolution(x).sum().backward()
            seconds.append(time.perf_counter() - start_s)
    return min(seconds)


def faster(generator: FrameGenerator, frame_s: Callable[[FrameGenerator], float]) -> FrameGenerator:
    """The generator in float32 or bfloat16, whichever has the quickest frame of a few.

    Args:
        frame_s: draws a frame with a generator and returns how long it took.
    """
    best_s = {
        net: min(frame_s(net) for _ in range(TRIES))
        for net in (generator, copy.deepcopy(generator).to(torch.bfloat16))
    }
    _log.info("a frame: %s", {str(net.dtype): f"{s * 1e3:.0f} ms" for net, s in best_s.items()})
    return min(best_s, key=lambda net: best_s[net])
