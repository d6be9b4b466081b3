"""SPADE with per-pixel normalisation and style-generated weights.

Spatially-adaptive normalisation (Park et al., CVPR 2019, eq. 1) with gamma and beta from
single 1x1 convolutions on embedded maps, as in few-shot vid2vid (Wang et al., NeurIPS
2019). Two deviations:

* The normalisation divides every pixel by the root mean square of its own channels. Batch
  statistics would make training and serving differ, instance statistics change the whole
  picture when a bus enters it; this does neither.
* The paper's weight generator E_P emits whole weight tensors. Here it emits one factor of a
  rank-8 residual on learned weights, behind a zero-initialised gain: a handful of drives
  cannot train a free hypernetwork.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

STYLE_RANK = 8

Padding = Literal["zeros", "replicate"]


def padding_at(level: int) -> Padding:
    """Zeros tell coarse levels where the frame ends, over half of a training picture: on larger
    ones, streaks lay across the road where that ended."""
    return "replicate" if level >= 2 else "zeros"


def rms_norm(x: Tensor, eps: float = 1e-4) -> Tensor:
    """Divide each pixel by the root mean square over its channels; x (B, C, H, W)."""
    c = x.shape[1]
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True).float()
    return x * torch.rsqrt(norm.square() / c + eps).to(x.dtype)


@dataclass(frozen=True)
class ModulationWeights:
    """One SPADE's for B styles: weight (B, 2C, M) and bias (B, 2C), gamma's before beta's."""

    weight: Tensor
    bias: Tensor


class Spade(nn.Module):
    """Weights of `norm(x) * (1 + gamma(maps)) + beta(maps)`, partly from the style."""

    def __init__(self, channels: int, map_channels: int, code_channels: int) -> None:
        super().__init__()
        self.modulation = nn.Conv2d(map_channels, 2 * channels, 1)
        self.down = nn.Conv2d(map_channels, STYLE_RANK, 1, bias=False)
        self.generate = nn.Linear(code_channels, 2 * channels * STYLE_RANK)
        self.gain = nn.Parameter(torch.zeros(()))

    def weights(self, code: Tensor) -> ModulationWeights:
        """E_P: modulation weights for style codes (B, S).

        The 1 of (1 + gamma) is part of the bias.
        """
        up = (self.gain * self.generate(code)).unflatten(1, (-1, STYLE_RANK))
        residual = torch.matmul(up, self.down.weight.flatten(1))
        assert self.modulation.bias is not None
        one = torch.zeros_like(self.modulation.bias)
        one[: len(one) // 2] = 1.0
        bias = (self.modulation.bias + one).expand(code.shape[0], -1)
        return ModulationWeights(self.modulation.weight.flatten(1) + residual, bias)


def modulate(x: Tensor, maps: Tensor, weights: ModulationWeights) -> Tensor:
    """SPADE: x (B, C, H, W), maps (B, M, H, W)."""
    gamma, beta = _per_sample_conv(maps, weights).chunk(2, dim=1)
    return torch.addcmul(beta, rms_norm(x), gamma)


def _per_sample_conv(maps: Tensor, weights: ModulationWeights) -> Tensor:
    """1x1 convolution with weights of each sample's own: (B, 2C, H, W)."""
    b, _, h, w = maps.shape
    if b == 1:
        return functional.conv2d(maps, weights.weight[0, :, :, None, None], weights.bias[0])
    pixels = maps.permute(0, 2, 3, 1).reshape(b, h * w, -1)
    bias, weight = weights.bias[:, None].to(maps.dtype), weights.weight.to(maps.dtype)
    both = torch.baddbmm(bias, pixels, weight.transpose(1, 2))
    return both.view(b, h, w, -1).permute(0, 3, 1, 2)


class SpadeBlock(nn.Module):
    """Residual block: twice (SPADE, leaky ReLU, 3x3 convolution).

    Args:
        padding: of the convolutions, see `nn.Conv2d`.
    """

    def __init__(
        self, channels: int, map_channels: int, code_channels: int, padding: Padding = "zeros"
    ) -> None:
        super().__init__()
        self.spade_0 = Spade(channels, map_channels, code_channels)
        self.spade_1 = Spade(channels, map_channels, code_channels)
        self.conv_0 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode=padding)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode=padding)

    def weights(self, code: Tensor) -> tuple[ModulationWeights, ModulationWeights]:
        """Modulation weights of both SPADEs for a style."""
        return self.spade_0.weights(code), self.spade_1.weights(code)

    def forward(self, x: Tensor, maps: Tensor, weights: tuple[ModulationWeights, ...]) -> Tensor:
        """x (B, C, H, W), maps (B, M, H, W) -> (B, C, H, W)."""
        dx = self.conv_0(functional.leaky_relu_(modulate(x, maps, weights[0]), 0.2))
        dx = self.conv_1(functional.leaky_relu_(modulate(dx, maps, weights[1]), 0.2))
        return dx.add_(x)


def doubled(x: Tensor) -> Tensor:
    """Twice as high and wide, bilinear. Copied cells end in straight lines, which the
    convolutions behind left on roads, one every 16 pixels."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear")


def halved(coverage: Tensor) -> Tensor:
    """Means over 2x2 pixels; as a convolution, three times as fast as pooling on CPUs."""
    groups = coverage.shape[1]
    quarter = torch.eye(groups, device=coverage.device, dtype=coverage.dtype) / 4.0
    weight = quarter[:, :, None, None].expand(-1, -1, 2, 2)
    return functional.conv2d(
        coverage, weight.contiguous(memory_format=torch.channels_last), stride=2
    )


def spread(cells: Tensor) -> Tensor:
    """`pixel_shuffle(cells, 2)` as planes in float32: one pass where the library's takes three."""
    sub = cells.unflatten(1, (-1, 2, 2))
    rows = [torch.stack([sub[:, :, y, 0], sub[:, :, y, 1]], dim=-1) for y in range(2)]
    return torch.stack(rows, dim=3).flatten(4).flatten(2, 3).float()
