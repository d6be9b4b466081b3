"""What differs between the versions of CARLA's protocol that the stand-in can speak.

Sources: the sensor registries, attribute types, batch commands and `CityObjectLabel` of
each client library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sim2street.bridge.carla.frames import label_map_name
from sim2street.bridge.carla.standin.geolocation import mercator, transverse_mercator
from sim2street.bridge.frame import ByteArray
from sim2street.bridge.label_maps import label_map
from sim2street.bridge.labels import Tag

Version = Literal["0.9.16", "0.9.15", "0.9.14", "0.9.13"]
SensorKind = Literal[
    "collision", "depth", "flow", "gnss", "imu", "rgb", "semantic", "instance", "world"
]

_ACKERMANN_INDEX = 3
_SENSOR_TYPES_0_9_14: Mapping[SensorKind, int] = {
    "collision": 0,
    "depth": 1,
    "gnss": 4,
    "imu": 5,
    "flow": 8,
    "rgb": 13,
    "semantic": 14,
    "instance": 15,
}
_SENSOR_TYPES_0_9_13: Mapping[SensorKind, int] = {
    "collision": 0,
    "depth": 1,
    "gnss": 3,
    "imu": 4,
    "flow": 7,
    "rgb": 12,
    "semantic": 13,
    "instance": 14,
    "world": 15,
}


@dataclass(frozen=True, slots=True)
class Protocol:
    """The numbers of one protocol version.

    Attributes:
        sensor_types: index of each kind of data in the version's sensor registry.
        first_type: number of the attribute type BOOL.
        actor_ids: instance images carry actor ids, not ids of Unreal.
        ackermann: batches have a command for Ackermann control, so later ones count one more.
        geolocation: latitude and longitude of a point.
        tags: uint8 (29,), the version's semantic tag for each of our tags.
    """

    sensor_types: Mapping[SensorKind, int]
    first_type: int = 0
    actor_ids: bool = False
    ackermann: bool = True
    geolocation: Callable[[float, float], tuple[float, float]] = mercator
    tags: ByteArray = field(default_factory=lambda: np.arange(len(Tag), dtype=np.uint8))

    def command_index(self, index: int) -> int:
        """The index in 0.9.14 and later of a batch command of this version."""
        return index if self.ackermann or index < _ACKERMANN_INDEX else index + 1


def protocol_for(version: Version) -> Protocol:
    """The protocol of a CARLA version."""
    if version == "0.9.16":
        return Protocol(
            {**_SENSOR_TYPES_0_9_14, "world": 17},
            first_type=1,
            actor_ids=True,
            geolocation=transverse_mercator,
        )
    if version in ("0.9.15", "0.9.14"):
        return Protocol({**_SENSOR_TYPES_0_9_14, "world": 16})
    return Protocol(_SENSOR_TYPES_0_9_13, ackermann=False, tags=_old_tags(version))


def _old_tags(version: str) -> ByteArray:
    """The best tag of an older version for each of ours; 0 if it has none."""
    tags = np.zeros(len(Tag), np.uint8)
    tags_by_id = label_map(label_map_name(version)).tags_by_id
    for old_tag, meanings in tags_by_id.items():
        tags[list(meanings)] = old_tag
    for old_tag, meanings in tags_by_id.items():  # the first meaning takes precedence
        tags[meanings[0]] = old_tag
    return tags
