"""The generator's input, put together in one place for training, evaluation and serving.

Everything here is a pure function of torch tensors, batch dimension first, on any device.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from sim2street.bridge.frame import SKY_DEPTH_M
from sim2street.neural_renderer.conditions.noise import anchored_noise
from sim2street.neural_renderer.conditions.reprojection import Movers, surface_points
from sim2street.neural_renderer.networks.interface import LAYOUT_CHANNELS, GeneratorInput

HEIGHT_SPAN_M = 8.0
"""Unit of the height input; about two storeys."""

SIZE_SPAN_PX = (256, 128)
"""Width and height in pixels from which on an object counts as full size (1)."""

SIZE_MULTIPLE = 32
"""The generator halves its input five times, so H and W must divide by 2^5."""


def assemble(
    groups: Tensor,
    layout: Tensor,
    depth_m: Tensor,
    intrinsics: Tensor,
    camera_to_anchors: Tensor,
    has_depth: Tensor,
    noise_seed: Tensor,
    movers: Movers | None = None,
    canvas: Tensor | None = None,
) -> GeneratorInput:
    """All inputs of the generator from labels, layout and geometry.

    Where `has_depth` is false, the depth, height and window inputs are zero; `depth_m` is then
    only used to place the noise, and may be a guess.

    Args:
        groups: (B, G, H, W), label groups (`ClassMap`).
        layout: float32 (B, 8, H, W), see `layout.layout`.
        depth_m: float32 (B, H, W), planar z.
        intrinsics: float32 (B, 4): fx, fy, cx, cy in pixels.
        camera_to_anchors: float32 (B, A + 1, 4, 4). Index 0 is the camera-to-world pose; index
            i > 0 takes camera axes to the own frame of the actor in slot i.
        has_depth: bool (B,).
        noise_seed: int64 (B,).
        movers: the pixels that belong to actors; None: nothing moves on its own.
        canvas: float32 (B, 4, H, W), see `GeneratorInput.canvas`.
    """
    points_m = surface_points(depth_m, intrinsics, camera_to_anchors, movers)
    noise = anchored_noise(points_m, depth_m, intrinsics[:, 0], noise_seed)
    up = camera_to_anchors[:, 0, 2, :3]
    shown = has_depth.to(groups.dtype)[:, None, None, None]
    height = height_over_camera(depth_m, intrinsics, up)
    geometry = torch.stack([inverse_depth(depth_m), height], dim=1) * shown
    edges, places, sizes, windows = layout.split([1, LAYOUT_CHANNELS - 4, 2, 1], dim=1)
    planes = torch.cat([edges, places, sizes_in_pixels(sizes), windows * shown], dim=1)
    return GeneratorInput(groups, planes, geometry, shown, noise, canvas)


def inverse_depth(depth_m: Tensor) -> Tensor:
    """Depth in metres to [0, 1]: 1 at 4 m and nearer, falling with 1 / sqrt(depth), sky 0.

    Rounded to 64 levels, so that the network cannot tell a simulator's exact depth from a
    photograph's pseudo-depth by its precision.
    """
    levels = depth_m.clamp_min(4.0).reciprocal_().mul_(4.0).sqrt_().mul_(63.0).round_()
    return levels.mul_((depth_m < 0.999 * SKY_DEPTH_M).float()).div_(63.0)


def height_over_camera(depth_m: Tensor, camera: Tensor, up: Tensor) -> Tensor:
    """Height of each pixel's surface point above the camera: float32 (B, H, W).

    In units of `HEIGHT_SPAN_M`, clipped to [-0.5, 1.5]. It separates trunks from crowns and shop
    fronts from upper floors, which share a label; a convolutional network does not know a
    pixel's row, so it cannot derive this from depth.

    Args:
        depth_m: float32 (B, H, W).
        camera: float32 (B, 4): fx, fy, cx, cy in pixels.
        up: float32 (B, 3), the world's z axis in camera axes (OpenCV): the third row of the
            camera-to-world pose.
    """
    up = (up / HEIGHT_SPAN_M).to(depth_m.dtype)
    scaled = up[:, :2] / camera[:, :2]
    y, x = (torch.arange(n, device=depth_m.device, dtype=depth_m.dtype) for n in depth_m.shape[1:])
    along_x = (x - camera[:, 2:3]) * scaled[:, :1]
    along_y = (y - camera[:, 3:]) * scaled[:, 1:] + up[:, 2:]
    return (along_x[:, None] + along_y[:, :, None]).mul_(depth_m).clamp_(-0.5, 1.5)


def sizes_in_pixels(sizes: Tensor) -> Tensor:
    """Rescale object sizes from shares of the image to shares of `SIZE_SPAN_PX`, at most 1.

    How much detail an object needs depends on how many pixels it covers. As shares of the
    image, the same pixels would look half as large at 512x256 as at 256x128.

    Args:
        sizes: (B, 2, H, W), width and height as shares of the image's.
    """
    height, width = sizes.shape[-2:]
    spans = sizes.new_tensor([width / SIZE_SPAN_PX[0], height / SIZE_SPAN_PX[1]])
    return (sizes * spans[:, None, None]).clamp_max_(1.0)


def pad_to_multiple(x: Tensor, multiple: int = SIZE_MULTIPLE) -> Tensor:
    """Replicate the right and bottom border of (..., H, W) until `multiple` divides H and W."""
    h, w = x.shape[-2:]
    missing_h, missing_w = -h % multiple, -w % multiple
    if not missing_h and not missing_w:
        return x
    return functional.pad(x, (0, missing_w, 0, missing_h), mode="replicate")


def padded(x: GeneratorInput) -> GeneratorInput:
    """The input with every plane padded to a size that the generator accepts."""
    return replace(
        x,
        groups=pad_to_multiple(x.groups),
        layout=pad_to_multiple(x.layout),
        geometry=pad_to_multiple(x.geometry),
        noise=pad_to_multiple(x.noise),
        canvas=None if x.canvas is None else pad_to_multiple(x.canvas),
    )
