"""What can be made to go wrong in the stand-in, to try how a client takes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

FAULT_CALL = "standin_fault"
"""RPC name of the switches: no CARLA server has it."""

Fault = Literal[
    "drop", "stop", "mixed", "delay", "garble", "freeze", "die", "version", "reload", "none"
]
"""`Faults` below; and freeze (seconds), die, reload (the map), none (all off)."""


@dataclass(slots=True)
class Faults:
    """Switches that are on.

    Attributes:
        drop: camera type -> how many of its next pictures are lost.
        stop: camera types that send nothing any more.
        mixed: camera types that send the picture of the frame before once more, next time.
        garble: the next tick brings a collision that cannot be read.
    delay_s: every picture comes this much later.
        version: what the server says it is, None for the truth.
    """

    drop: dict[str, int] = field(default_factory=dict)
    stop: set[str] = field(default_factory=set)
    mixed: set[str] = field(default_factory=set)
    garble: bool = False
    delay_s: float = 0.0
    version: str | None = None

    def loses(self, type_id: str) -> bool:
        """Whether this camera's next picture is lost."""
        if type_id in self.stop:
            return True
        left = self.drop.get(type_id, 0)
        self.drop[type_id] = max(0, left - 1)
        return left > 0
