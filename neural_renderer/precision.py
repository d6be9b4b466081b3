"""Where bfloat16 pays."""

from __future__ import annotations

import torch


def bfloat16_pays(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 can be faster than in float32 on this device.

    On CPUs that takes AVX-512: without it every product is emulated, and a frame takes five
    times as long as in float32 (measured on AVX2).
    """
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")
