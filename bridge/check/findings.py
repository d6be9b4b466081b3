"""The result type of the world check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a world.

    Attributes:
        code: short and stable identifier, such as "depth_euclidean".
        severity: "error" breaks the contract; "warning" limits what works.
        message: what was observed.
        hint: what to do about it.
    """

    code: str
    severity: Literal["error", "warning"]
    message: str
    hint: str
