"""Views to network inputs: the only preprocessing, used by the trainer and the session alike.

Everything here is a pure function on torch tensors, batch dimension first, so that it runs
on the device of the network. Motion is the torch twin of `sim2street.bridge.geometry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sim2street.bridge.errors import LabelError
from sim2street.bridge.frame import MAX_TAG, SKY_DEPTH_M
from sim2street.bridge.labels import Tag, taxonomy_fingerprint
from sim2street.neural_renderer.networks.generator import (
    LAYOUT_CHANNELS,
    NOISE_CHANNELS,
    GeneratorInput,
)

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

HEIGHT_SPAN_M = 8.0
"""About two floors."""


SIZE_SPAN_PX = (256, 128)
"""Things as wide and high as this, or larger, are of size 1: the picture of most training."""


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

    def groups_from_tags(self, tags: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """uint8 tags (..., H, W) to multi-hot (..., G, H, W), one group a pixel, channels last."""
        rows = self.matrix.t().contiguous().to(tags.device, dtype)
        return functional.embedding(tags.int(), rows).movedim(-1, -3)

    def groups_from_multihot(self, multihot: Tensor) -> Tensor:
        """uint8 (..., 29, H, W) sets of tags to float32 (..., G, H, W) sets of groups."""
        matrix = self.matrix.to(multihot.device)
        return torch.einsum("gt,...thw->...ghw", matrix, multihot.float()).clamp_max_(1.0)


def inverse_depth(depth_m: Tensor) -> Tensor:
    """Depth (m) to [0, 1]: 4 m and nearer = 1, sky = 0, quantised to 64 levels.

    Quantised so that a photograph's pseudo-depth and a simulator's exact depth look alike.
    """
    levels = depth_m.clamp_min(4.0).reciprocal_().mul_(4.0).sqrt_().mul_(63.0).round_()
    return levels.mul_((depth_m < 0.999 * SKY_DEPTH_M).float()).div_(63.0)


def height_over_camera(depth_m: Tensor, camera: Tensor, up: Tensor) -> Tensor:
    """How far a point is above the lens, as a share of `HEIGHT_SPAN_M`, in [-0.5, 1.5].

    Tells trunks from crowns and shop fronts from upper floors, which look alike in labels;
    a network without a pixel's row cannot know it from depth.

    depth_m (B, H, W), camera (B, 4) fx, fy, cx, cy in pixels, up (B, 3) the world's z axis in
    the camera's (OpenCV axes): the third row of its pose.
    """
    up = (up / HEIGHT_SPAN_M).to(depth_m.dtype)
    scaled = up[:, :2] / camera[:, :2]
    y, x = (torch.arange(n, device=depth_m.device, dtype=depth_m.dtype) for n in depth_m.shape[1:])
    along_x = (x - camera[:, 2:3]) * scaled[:, :1]
    along_y = (y - camera[:, 3:]) * scaled[:, 1:] + up[:, 2:]
    return (along_x[:, None] + along_y[:, :, None]).mul_(depth_m).clamp_(-0.5, 1.5)


def anchored_noise(points_m: Tensor, depth_m: Tensor, focal_px: Tensor, seed: Tensor) -> Tensor:
    """Noise in [-1, 1] that sticks to geometry: (B, 3, H, W).

    Each octave hashes the point's cell in a world grid; the cell's size is the power of two
    that covers about `NOISE_FOOTPRINTS_PX` pixels at this depth.

    Args:
        points_m: (B, 3, H, W) in the world, or in an actor's own frame on its pixels
            (`reprojection.surface_points`); the sky's are directions times 1000 m.
        depth_m: (B, H, W).
        focal_px: (B,). seed: int64 (B,).
    """
    # sqrt(2): the power of two below is then the one nearest in ratio.
    metres_per_pixel = depth_m * (2.0**0.5 / focal_px)[:, None, None]
    octaves = []
    for octave, footprint_px in enumerate(NOISE_FOOTPRINTS_PX):
        # The exponent field of a float32 is log2, rounded down, plus 127: no logarithms.
        exponent = (metres_per_pixel * footprint_px).view(torch.int32) >> 23
        cells_per_m = (254 - exponent).mul_(1 << 23).view(torch.float32)
        # The offset keeps flat ground (z = 0) and axis-aligned walls off the cells' borders.
        cells = (points_m * cells_per_m[:, None]).add_(0.37).floor_().to(torch.int32)
        salt = (seed * 31 + (octave - 127 * 101)).to(torch.int32)[:, None, None] + exponent * 101
        octaves.append(_hash_to_unit(cells, salt))
    return torch.stack(octaves, dim=1)


def _hash_to_unit(cells: Tensor, salt: Tensor) -> Tensor:
    """Integer hash (multiply-xorshift) of int32 cells (B, 3, ...) and salt to [-1, 1]."""
    x, y, z = cells.unbind(dim=1)
    h = x.mul_(73856093).bitwise_xor_(y.mul_(19349663)).bitwise_xor_(z.mul_(83492791))
    h.add_(salt.mul_(374761393)).mul_(668265263)
    h.bitwise_xor_(h >> 13).mul_(1274126177)
    h.bitwise_xor_(h >> 16).bitwise_and_(0xFFFF)
    return h.float().div_(32767.5).sub_(1.0)


def sizes_in_pixels(sizes: Tensor) -> Tensor:
    """Width and height of things as shares of `SIZE_SPAN_PX` instead of their picture, at most 1.

    A network paints a car by its pixels. As a share of the picture, a car on a frame of 512x256
    looked half as large to it as the same pixels did in training, on pictures of 256x128.
    """
    height, width = sizes.shape[-2:]
    spans = sizes.new_tensor([width / SIZE_SPAN_PX[0], height / SIZE_SPAN_PX[1]])
    return (sizes * spans[:, None, None]).clamp_max_(1.0)


def generator_input(
    groups: Tensor,
    layout: Tensor,
    depth_m: Tensor,
    camera: Tensor,
    up: Tensor,
    has_depth: Tensor,
    noise: Tensor,
) -> GeneratorInput:
    """Assemble a GeneratorInput; depth is hidden where `has_depth` is false, and so are
    windows, which no world without depth can place.

    groups (B, G, H, W), layout (B, 8, H, W) as `layout.layout` gives it, depth_m (B, H, W),
    camera (B, 4) fx, fy, cx, cy in pixels, up (B, 3) see `height_over_camera`, has_depth bool
    (B,), noise (B, 3, H, W).
    """
    flag = has_depth.to(groups.dtype)[:, None, None, None]
    geometry = torch.stack([inverse_depth(depth_m), height_over_camera(depth_m, camera, up)], dim=1)
    edges, places, sizes, windows = layout.split([1, LAYOUT_CHANNELS - 4, 2, 1], dim=1)
    layout = torch.cat([edges, places, sizes_in_pixels(sizes), windows * flag], dim=1)
    return GeneratorInput(groups, layout, geometry * flag, flag, noise)


def pad_to_multiple(x: Tensor, multiple: int = 32) -> Tensor:
    """Replicate the border on the right and bottom until H and W divide by `multiple`."""
    h, w = x.shape[-2:]
    missing_h, missing_w = -h % multiple, -w % multiple
    if not missing_h and not missing_w:
        return x
    return functional.pad(x, (0, missing_w, 0, missing_h), mode="replicate")


assert len(NOISE_FOOTPRINTS_PX) == NOISE_CHANNELS
