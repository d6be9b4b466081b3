"""What a check found wrong with a world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: short and stable, for machines ("depth_euclidean").
        message: what was seen. hint: what to do about it.
    """

    code: str
    severity: Literal["error", "warning"]
    message: str
    hint: str
