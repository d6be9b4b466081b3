"""Which label tags share an input plane of the networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sim2street.bridge.errors import LabelError
from sim2street.bridge.frame import MAX_TAG
from sim2street.bridge.labels import Tag, taxonomy_fingerprint

DEFAULT_GROUPS: dict[str, tuple[Tag, ...]] = {
    "unknown": (Tag.UNKNOWN,),
    "road": (Tag.ROAD,),
    "road_lines": (Tag.ROAD_LINES,),
    "sidewalk": (Tag.SIDEWALK,),
    "building": (Tag.BUILDING, Tag.BRIDGE),
    "wall": (Tag.WALL, Tag.FENCE, Tag.GUARD_RAIL),
    "pole": (Tag.POLE,),
    "sign": (Tag.TRAFFIC_SIGN, Tag.TRAFFIC_LIGHT),
    "vegetation": (Tag.VEGETATION,),
    "terrain": (Tag.TERRAIN, Tag.GROUND, Tag.RAIL_TRACK),
    "sky": (Tag.SKY,),
    "person": (Tag.PEDESTRIAN,),
    "cyclist": (Tag.RIDER, Tag.BICYCLE, Tag.MOTORCYCLE),
    "car": (Tag.CAR,),
    "truck": (Tag.TRUCK, Tag.BUS, Tag.TRAIN),
    "object": (Tag.STATIC, Tag.DYNAMIC, Tag.OTHER, Tag.WATER),
}
"""Tags that look alike share one input plane. A checkpoint stores its own map from tag to group."""


@dataclass(frozen=True)
class ClassMap:
    """Maps the 29 label tags to the G groups that a network sees.

    Attributes:
        names: of the G groups.
        group_of: for each tag, the index of its group in `names`.
    """

    names: tuple[str, ...]
    group_of: tuple[int, ...]

    @classmethod
    def from_groups(cls, groups: Mapping[str, tuple[Tag, ...]]) -> ClassMap:
        """From group name to tags. Raises LabelError unless every tag is in exactly one group."""
        seen = [int(tag) for tags in groups.values() for tag in tags]
        wrong = [t for t in range(MAX_TAG + 1) if seen.count(t) != 1]
        if wrong:
            raise LabelError(f"class map: tags {wrong} are not in exactly one group")
        names = tuple(groups)
        by_tag = {int(tag): i for i, name in enumerate(names) for tag in groups[name]}
        return cls(names, tuple(by_tag[t] for t in range(MAX_TAG + 1)))

    @classmethod
    def default(cls) -> ClassMap:
        """The map made from `DEFAULT_GROUPS`."""
        return cls.from_groups(DEFAULT_GROUPS)

    @property
    def matrix(self) -> Tensor:
        """float32 (G, 29), 1 where the tag belongs to the group."""
        matrix = torch.zeros(len(self.names), MAX_TAG + 1)
        matrix[list(self.group_of), range(MAX_TAG + 1)] = 1.0
        return matrix

    def to_json(self) -> dict[str, object]:
        """The form that a checkpoint stores."""
        return {
            "names": list(self.names),
            "group_of": list(self.group_of),
            "taxonomy": taxonomy_fingerprint(),
        }

    def groups_from_tags(self, tags: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """One-hot groups (..., G, H, W) of uint8 tags (..., H, W), in channels-last memory."""
        rows = self.matrix.t().contiguous().to(tags.device, dtype)
        return functional.embedding(tags.int(), rows).movedim(-1, -3)

    def groups_from_multihot(self, multihot: Tensor) -> Tensor:
        """Sets of tags, uint8 (..., 29, H, W), to sets of groups, float32 (..., G, H, W)."""
        matrix = self.matrix.to(multihot.device)
        return torch.einsum("gt,...thw->...ghw", matrix, multihot.float()).clamp_max_(1.0)
