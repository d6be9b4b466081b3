"""What differs between the versions of CARLA's protocol that the stand-in speaks.

Sources: the sensor registries, attribute types, batch commands and `CityObjectLabel` of
each client library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sim2street.bridge.carla.frames import map_for
from sim2street.bridge.frame import ByteArray
from sim2street.bridge.label_maps import label_map
from sim2street.bridge.labels import Tag

Version = Literal["0.9.16", "0.9.15", "0.9.14", "0.9.13"]
Kind = Literal["collision", "depth", "rgb", "semantic", "instance", "world"]

_ACKERMANN = 3
_SINCE_0_9_14: Mapping[Kind, int] = {
    "collision": 0,
    "depth": 1,
    "rgb": 13,
    "semantic": 14,
    "instance": 15,
}
_0_9_13: Mapping[Kind, int] = {
    "collision": 0,
    "depth": 1,
    "rgb": 12,
    "semantic": 13,
    "instance": 14,
    "world": 15,
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """One version's way to put things.

    Attributes:
        kinds: of data to its index in the version's sensor registry.
        first_type: number of the first type of attributes.
        actor_ids: instance pictures carry actors' ids, and not Unreal's own.
        ackermann: batches have a command for it, and count it.
        tags: uint8 (29,): our tag to the version's.
    """

    version: str
    kinds: Mapping[Kind, int]
    first_type: int = 0
    actor_ids: bool = False
    ackermann: bool = True
    tags: ByteArray = field(default_factory=lambda: np.arange(len(Tag), dtype=np.uint8))

    def command(self, index: int) -> int:
        """The number since 0.9.14 of a batch command."""
        return index if self.ackermann or index < _ACKERMANN else index + 1


def dialect(version: Version) -> Dialect:
    """Of this version."""
    if version == "0.9.16":
        return Dialect(version, {**_SINCE_0_9_14, "world": 17}, first_type=1, actor_ids=True)
    if version in ("0.9.15", "0.9.14"):
        return Dialect(version, {**_SINCE_0_9_14, "world": 16})
    return Dialect(version, _0_9_13, ackermann=False, tags=_old_tags(version))


def _old_tags(version: str) -> ByteArray:
    """The likeliest tag of an older version for each of ours, 0 where it has none."""
    tags = np.zeros(len(Tag), np.uint8)
    sets = label_map(map_for(version)).sets
    for old, ours in sets.items():
        tags[list(ours)] = old
    for old, ours in sets.items():  # what an id means first counts most
        tags[ours[0]] = old
    return tags
