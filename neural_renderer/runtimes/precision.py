"""Which dtype the network runs in: chosen by what the processor has, never by timing.

A stopwatch would choose differently under load, and the same inputs would give other images.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")

BFLOAT16_CPU_FLAG = "amx_bf16"
"""CPU feature that makes bfloat16 convolutions clearly faster than float32. The bfloat16
instructions of AVX-512 alone do not: a convolution takes up to 1.7 times as long with them."""

BFLOAT16_GPU_CAPABILITY = (8, 0)
"""Least CUDA compute capability with bfloat16 tensor cores (Ampere)."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def chosen_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of a precision "float32", "bfloat16" or "auto"."""
    return preferred_dtype(device) if precision == "auto" else DTYPES[precision]


def preferred_dtype(device: torch.device) -> torch.dtype:
    """The faster of float32 and bfloat16 on this kind of device."""
    if device.type == "cuda":
        capable = torch.cuda.get_device_capability(device) >= BFLOAT16_GPU_CAPABILITY
    else:
        capable = device.type == "cpu" and BFLOAT16_CPU_FLAG in cpu_flags()
    return torch.bfloat16 if capable else torch.float32


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Features of the CPU as Linux names them; empty on other systems."""
    try:
        text = CPU_INFO.read_text()
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return frozenset(line.partition(":")[2].split())
