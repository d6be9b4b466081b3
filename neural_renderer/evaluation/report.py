"""The result of an evaluation, as a table and as JSON."""

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
        measure: its name.
        value: the number itself; nan if it could not be measured.
        beside: reference values to read it beside, and conditions.
        better: "up" if higher is better, else "down".
        details: further numbers for the JSON file.
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
        facts: weights, conditions and scoring networks.
        rows: the measures.
        left_out: measures that were not taken, and why.
        images: rows of the sheet by name, uint8 (H, W, 3) of any width.
        failures: sheet of the images with the worst label agreement, uint8 (H, W, 3), or None.
    """

    facts: Mapping[str, Any]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]
    images: Mapping[str, ByteArray]
    failures: ByteArray | None = None

    def to_json(self) -> dict[str, Any]:
        """The report without images; numbers that could not be measured are null."""
        measures = {
            row.measure: {
                "value": _to_json(row.value),
                "beside": row.beside,
                "better": row.better,
                **{key: _to_json(value) for key, value in row.details.items()},
            }
            for row in self.rows
        }
        return {**self.facts, "measures": measures, "left_out": list(self.left_out)}

    def sheet(self) -> ByteArray:
        """All images below one another: uint8 (H, W, 3)."""
        width = max(image.shape[1] for image in self.images.values())
        padded = [
            np.pad(image, ((0, 4), (0, width - image.shape[1]), (0, 0)), constant_values=24)
            for image in self.images.values()
        ]
        return np.concatenate(padded)


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _to_json(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
