"""Noise that is fixed to the world, so that texture made from it moves with the surfaces."""

from __future__ import annotations

import torch
from torch import Tensor

from sim2street.neural_renderer.networks.interface import NOISE_CHANNELS

NOISE_FOOTPRINTS_PX = (2.0, 6.0, 18.0)
"""Approximate size in pixels of a noise cell, one per channel."""

assert len(NOISE_FOOTPRINTS_PX) == NOISE_CHANNELS


def anchored_noise(points_m: Tensor, depth_m: Tensor, focal_px: Tensor, seed: Tensor) -> Tensor:
    """Noise that moves with the surfaces it lies on: float32 (B, 3, H, W) in [-1, 1].

    Space is divided into cubic cells, and every cell has one random value: a hash of its
    coordinates. Each of the three channels uses another cell size, the power of two (in metres)
    that covers about `NOISE_FOOTPRINTS_PX` pixels at the pixel's depth.

    Args:
        points_m: float32 (B, 3, H, W), the surface point of each pixel: in world coordinates,
            on an actor's pixels in the actor's own frame, for the sky a direction times 1000 m
            (`reprojection.surface_points`).
        depth_m: float32 (B, H, W).
        focal_px: float32 (B,).
        seed: int64 (B,), another one gives other noise.
    """
    # Rounding log2 down after a factor of sqrt(2) rounds it to the nearest integer.
    metres_per_pixel = depth_m * (2.0**0.5 / focal_px)[:, None, None]
    octaves = []
    for octave, footprint_px in enumerate(NOISE_FOOTPRINTS_PX):
        # The exponent field of a float32 is floor(log2) + 127.
        exponent = (metres_per_pixel * footprint_px).view(torch.int32) >> 23
        cells_per_m = (254 - exponent).mul_(1 << 23).view(torch.float32)
        # The offset keeps flat ground (z = 0) and axis-aligned walls away from cell borders.
        cells = (points_m * cells_per_m[:, None]).add_(0.37).floor_().to(torch.int32)
        salt = (seed * 31 + (octave - 127 * 101)).to(torch.int32)[:, None, None] + exponent * 101
        octaves.append(_hash_to_unit(cells, salt))
    return torch.stack(octaves, dim=1)


def _hash_to_unit(cells: Tensor, salt: Tensor) -> Tensor:
    """Multiply-xorshift hash of int32 cells (B, 3, ...) and salt, scaled to [-1, 1]."""
    x, y, z = cells.unbind(dim=1)
    h = x.mul_(73856093).bitwise_xor_(y.mul_(19349663)).bitwise_xor_(z.mul_(83492791))
    h.add_(salt.mul_(374761393)).mul_(668265263)
    h.bitwise_xor_(h >> 13).mul_(1274126177)
    h.bitwise_xor_(h >> 16).bitwise_and_(0xFFFF)
    return h.float().div_(32767.5).sub_(1.0)
