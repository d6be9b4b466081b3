"""Colour images: luminance, and conversion between uint8 arrays and tensors in [-1, 1]."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sim2street.bridge.frame import ByteArray

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in the luminance (ITU-R BT.601)."""


def to_uint8(rgb: Tensor) -> ByteArray:
    """(3, H, W) in [-1, 1] to uint8 (H, W, 3)."""
    scaled = ((rgb.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).numpy())


def to_tensor(rgb: ByteArray) -> Tensor:
    """Uint8 (H, W, 3) to float32 (3, H, W) in [-1, 1]."""
    return torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1.0
