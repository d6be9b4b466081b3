"""Bit-exact comparison of frames in tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sim2street.bridge.frame import SensorFrame


def differences(
    a: Any, b: Any, ignore: tuple[str, ...] = ("stamps",), where: str = ""
) -> list[str]:
    """Paths at which two values differ. Arrays must agree in dtype, shape and every bit."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        same = type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
        return [] if same and a.tobytes() == b.tobytes() else [where]
    if type(a) is not type(b):
        return [f"{where}: {type(a).__name__} != {type(b).__name__}"]
    if dataclasses.is_dataclass(a):
        names = [f.name for f in dataclasses.fields(a) if f.name not in ignore]
        pairs = [(n, getattr(a, n), getattr(b, n)) for n in names]
    elif isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{where}: keys {sorted(a)} != {sorted(b)}"]
        pairs = [(str(key), a[key], b[key]) for key in a]
    elif isinstance(a, tuple | list):
        if len(a) != len(b):
            return [f"{where}: {len(a)} != {len(b)} items"]
        pairs = [(str(i), x, y) for i, (x, y) in enumerate(zip(a, b, strict=True))]
    else:
        return [] if a == b else [f"{where}: {a!r} != {b!r}"]
    return [line for name, x, y in pairs for line in differences(x, y, ignore, f"{where}.{name}")]


def assert_same_frame(
    a: SensorFrame, b: SensorFrame, ignore: tuple[str, ...] = ("stamps",)
) -> None:
    found = differences(a, b, ignore)
    assert not found, f"frames differ at {found[:5]}"
