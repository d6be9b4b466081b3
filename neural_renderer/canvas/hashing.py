"""Choices that are the same for the same place and seed, without any state."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint32]


def mixed(*numbers: npt.NDArray[np.integer] | int) -> Hashes:
    """One hash, uint32, of several arrays of integers of one shape (or single integers).

    The finaliser of MurmurHash3 (Appleby 2011), applied to each number in turn.
    """
    state = np.uint32(0x9E3779B9)
    with np.errstate(over="ignore"):
        out: Hashes = np.asarray(state, np.uint32)
        for number in numbers:
            out = out * np.uint32(31) + np.asarray(number).astype(np.int64).astype(np.uint32)
            out = (out ^ (out >> np.uint32(16))) * np.uint32(0x85EBCA6B)
            out = (out ^ (out >> np.uint32(13))) * np.uint32(0xC2B2AE35)
            out = out ^ (out >> np.uint32(16))
    return out


def unit(hashes: Hashes) -> npt.NDArray[np.float32]:
    """Hashes as float32 in [0, 1)."""
    return (hashes >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
