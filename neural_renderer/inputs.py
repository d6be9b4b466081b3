"""Views to network inputs: the only preprocessing, used by the trainer and the session alike.

Everything here is a pure function on torch tensors, batch dimension first, so that it runs
on the device of the network. Motion is the torch twin of `bridge.geometry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bridge.errors import LabelError
from bridge.frame import MAX_TAG, SKY_DEPTH_M
from bridge.labels import Tag, taxonomy_fingerprint
from neural_renderer.networks.generator import NOISE_CHANNELS, GeneratorInput

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
"""Groups of tags that look alike; what a tag's group is, a checkpoint carries with it."""

NOISE_FOOTPRINTS_PX = (2.0, 6.0, 18.0)
"""About how many pixels a cell of each noise octave covers."""


@dataclass(frozen=True)
class ClassMap:
    """29 tags to G groups: `names` and `group_of` (29 indices into names)."""

    names: tuple[str, ...]
    group_of: tuple[int, ...]

    @classmethod
    def from_groups(cls, groups: Mapping[str, tuple[Tag, ...]]) -> ClassMap:
        """Every tag must be in exactly one group, or LabelError names the ones that are not."""
        seen = [int(tag) for tags in groups.values() for tag in tags]
        wrong = [t for t in range(MAX_TAG + 1) if seen.count(t) != 1]
        if wrong:
            raise LabelError(f"class map: tags {wrong} are not in exactly one group")
        names = tuple(groups)
        by_tag = {int(tag): i for i, name in enumerate(names) for tag in groups[name]}
        return cls(names, tuple(by_tag[t] for t in range(MAX_TAG + 1)))

    @classmethod
    def default(cls) -> ClassMap:
        """`DEFAULT_GROUPS`."""
        return cls.from_groups(DEFAULT_GROUPS)

    @property
    def matrix(self) -> Tensor:
        """float32 (G, 29), 1 where the tag belongs to the group."""
        matrix = torch.zeros(len(self.names), MAX_TAG + 1)
        matrix[list(self.group_of), range(MAX_TAG + 1)] = 1.0
        return matrix

    def to_json(self) -> dict[str, object]:
        """What a checkpoint stores."""
        return {
            "names": list(self.names),
            "group_of": list(self.group_of),
            "taxonomy": taxonomy_fingerprint(),
        }

    def groups_from_tags(self, tags: Tensor) -> Tensor:
        """uint8 tags (..., H, W) to float32 multi-hot (..., G, H, W), one group a pixel."""
        return functional.embedding(tags.int(), self.matrix.t().to(tags.device)).movedim(-1, -3)

    def groups_from_multihot(self, multihot: Tensor) -> Tensor:
        """uint8 (..., 29, H, W) sets of tags to float32 (..., G, H, W) sets of groups."""
        matrix = self.matrix.to(multihot.device)
        return torch.einsum("gt,...thw->...ghw", matrix, multihot.float()).clamp_max_(1.0)


def inverse_depth(depth_m: Tensor) -> Tensor:
    """Depth (m) to [0, 1]: 4 m and nearer = 1, sky = 0, quantised to 64 levels.

    Quantised so that a photograph's pseudo-depth and a simulator's exact depth look alike.
    """
    inverse = (4.0 / depth_m.clamp_min(4.0)).sqrt()
    inverse = torch.where(depth_m >= 0.999 * SKY_DEPTH_M, torch.zeros_like(inverse), inverse)
    return torch.round(inverse * 63.0) / 63.0


def pixel_rays(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """Rays with z = 1 in camera axes: (B, H, W, 3) from fx, fy, cx, cy (B, 4)."""
    fx, fy, cx, cy = intrinsics.to(torch.float32).unbind(dim=1)
    u = torch.arange(width, device=intrinsics.device, dtype=torch.float32)
    v = torch.arange(height, device=intrinsics.device, dtype=torch.float32)
    x = (u[None, :] - cx[:, None]) / fx[:, None]
    y = (v[None, :] - cy[:, None]) / fy[:, None]
    b = intrinsics.shape[0]
    x, y = x[:, None, :].expand(b, height, width), y[:, :, None].expand(b, height, width)
    return torch.stack([x, y, torch.ones_like(x)], dim=-1)


def anchored_noise(points_m: Tensor, depth_m: Tensor, focal_px: Tensor, seed: Tensor) -> Tensor:
    """Noise in [-1, 1] that sticks to geometry: (B, 3, H, W).

    Each octave hashes the point's cell in a world grid; the cell's size is the power of two
    that covers about `NOISE_FOOTPRINTS_PX` pixels at this depth.

    Args:
        points_m: (B, H, W, 3) in the world, or in an actor's own frame on its pixels
            (`reprojection.move_points`); the sky's are directions times 1000 m.
        depth_m: (B, H, W).
        focal_px: (B,). seed: int64 (B,).
    """
    metres_per_pixel = depth_m / focal_px[:, None, None]
    octaves = []
    for octave, footprint_px in enumerate(NOISE_FOOTPRINTS_PX):
        level = torch.log2(metres_per_pixel * footprint_px).round()
        cell_m = torch.exp2(level)[..., None]
        # The offset keeps flat ground (z = 0) and axis-aligned walls off the cells' borders.
        cells = torch.floor(points_m / cell_m + 0.37).to(torch.int32)
        salt = (seed[:, None, None] * 31 + octave).to(torch.int32) + level.to(torch.int32) * 101
        octaves.append(_hash_to_unit(cells, salt))
    return torch.stack(octaves, dim=1)


def _hash_to_unit(cells: Tensor, salt: Tensor) -> Tensor:
    """Integer hash (multiply-xorshift) of int32 cells (..., 3) and salt to [-1, 1]."""
    h = cells[..., 0] * 73856093 ^ cells[..., 1] * 19349663 ^ cells[..., 2] * 83492791
    h = (h + salt * 374761393) * 668265263
    h = (h ^ (h >> 13)) * 1274126177
    h = h ^ (h >> 16)
    return (h & 0xFFFF).to(torch.float32) / 32767.5 - 1.0


def generator_input(
    groups: Tensor, boundaries: Tensor, depth_m: Tensor, has_depth: Tensor, noise: Tensor
) -> GeneratorInput:
    """Assemble a GeneratorInput; depth is hidden where `has_depth` is false.

    groups (B, G, H, W), boundaries (B, 1, H, W), depth_m (B, H, W), has_depth bool (B,),
    noise (B, 3, H, W).
    """
    flag = has_depth.to(groups.dtype)[:, None, None, None]
    return GeneratorInput(groups, boundaries, inverse_depth(depth_m)[:, None] * flag, flag, noise)


def pad_to_multiple(x: Tensor, multiple: int = 32) -> Tensor:
    """Replicate the border on the right and bottom until H and W divide by `multiple`."""
    h, w = x.shape[-2:]
    missing_h, missing_w = -h % multiple, -w % multiple
    if not missing_h and not missing_w:
        return x
    return functional.pad(x, (0, missing_w, 0, missing_h), mode="replicate")


assert len(NOISE_FOOTPRINTS_PX) == NOISE_CHANNELS
