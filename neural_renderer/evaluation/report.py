"""Measured numbers: rows of a table, and the same as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sim2street.bridge.frame import ByteArray


@dataclass(frozen=True, slots=True)
class Row:
    """One measured number.

    Attributes:
        measure: what. value: how much.
        beside: what it is to be read beside, and conditions.
        better: "up" or "down".
        details: further numbers, for the JSON.
    """

    measure: str
    value: float
    beside: str
    better: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Attributes:
        facts: weights, conditions, networks that scored. rows: measures.
        left_out: measures that were not taken, and why.
        pictures: rows of the sheet, name to uint8 (H, W', 3).
        failures: the worst pictures by label agreement, uint8 (H, W', 3), if asked for.
    """

    facts: Mapping[str, Any]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]
    pictures: Mapping[str, ByteArray]
    failures: ByteArray | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data; numbers that could not be taken are null."""
        measures = {
            row.measure: {
                "value": _plain(row.value),
                "beside": row.beside,
                "better": row.better,
                **{key: _plain(value) for key, value in row.details.items()},
            }
            for row in self.rows
        }
        return {**self.facts, "measures": measures, "left_out": list(self.left_out)}

    def sheet(self) -> ByteArray:
        """All pictures one below the other, uint8."""
        width = max(picture.shape[1] for picture in self.pictures.values())
        padded = [
            np.pad(picture, ((0, 4), (0, width - picture.shape[1]), (0, 0)), constant_values=24)
            for picture in self.pictures.values()
        ]
        return np.concatenate(padded)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
