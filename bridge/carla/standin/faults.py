"""Faults that the stand-in can produce, to test how a client handles them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from sim2street.bridge.errors import WorldError

FREEZE_AT_SPAWN_S = 2.5
FAULT_CALL = "standin_fault"
"""Name of the call that switches faults on; no CARLA server has it."""

Fault = Literal[
    "drop",
    "stop",
    "mixed",
    "delay",
    "garble",
    "freeze",
    "freeze_at_spawn",
    "die",
    "version",
    "reload",
    "none",
]
"""Faults by name, with the value that some take.

- `drop` (camera type): its next image is lost.
- `stop` (camera type): it sends nothing any more.
- `mixed` (camera type): once, it sends the image of the frame before instead of its next one.
- `delay` (seconds): every image comes this much later.
- `garble`: the next tick brings a collision message that cannot be read.
- `freeze` (seconds): the server does nothing for this time. `die`: it exits at once.
- `freeze_at_spawn` (count): when this many actors are to be spawned, the server first does nothing
  for 2.5 s, and then spawns the last of them.
- `version` (version): the server says that it has this version.
- `reload`: the map is loaded again.
- `none`: all faults off.
"""


@dataclass(slots=True)
class Faults:
    """The lasting faults that are on; see `Fault`.

    Attributes:
        drop: camera type to the number of its next images that are lost.
        version: what the server says its version is; None is the true one.
        spawns_until_freeze: the server freezes when this becomes 0; less than 0: never.
    """

    drop: dict[str, int] = field(default_factory=dict)
    stop: set[str] = field(default_factory=set)
    mixed: set[str] = field(default_factory=set)
    garble: bool = False
    delay_s: float = 0.0
    version: str | None = None
    spawns_until_freeze: int = -1

    def set(self, kind: str, value: Any) -> None:
        """Switch a lasting fault on.

        Raises:
            WorldError: there is no such fault.
        """
        if kind == "drop":
            self.drop[value] = 1
        elif kind in ("stop", "mixed"):
            getattr(self, kind).add(value)
        elif kind == "delay":
            self.delay_s = float(value)
        elif kind == "garble":
            self.garble = True
        elif kind == "version":
            self.version = value
        elif kind == "freeze_at_spawn":
            self.spawns_until_freeze = int(value)
        else:
            raise WorldError(f"no fault '{kind}'")

    def loses(self, type_id: str) -> bool:
        """Whether the next image of this camera type is lost. Counts a `drop` down."""
        if type_id in self.stop:
            return True
        left = self.drop.get(type_id, 0)
        self.drop[type_id] = max(0, left - 1)
        return left > 0

    def freezes_at_spawn(self) -> bool:
        """Whether the server freezes before this spawn. Counts `freeze_at_spawn` down."""
        self.spawns_until_freeze = max(-1, self.spawns_until_freeze - 1)
        return self.spawns_until_freeze == 0
