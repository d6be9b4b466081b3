"""SPADE with per-pixel normalisation and weights that depend on the style.

Spatially-adaptive normalisation (Park et al., CVPR 2019, eq. 1) whose gamma and beta come from
single 1x1 convolutions on embedded maps, as in few-shot vid2vid (Wang et al., NeurIPS 2019).
Two deviations:

* Each pixel is divided by the root mean square of its own channels. With batch statistics,
  training and serving would differ; with instance statistics, a bus that enters the frame would
  change all of it.
* The paper's weight generator E_P predicts whole weight tensors. Here it predicts one factor of a
  rank-8 residual on learned weights, scaled by a gain that starts at zero, because a handful of
  drives cannot train a full hypernetwork.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

STYLE_RANK = 8
"""Rank of the residual that the style adds to the modulation weights."""

Padding = Literal["zeros", "replicate"]


def rms_norm(x: Tensor, eps: float = 1e-4) -> Tensor:
    """Divide each pixel by the root mean square over its channels; x (B, C, H, W)."""
    c = x.shape[1]
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True).float()
    return x * torch.rsqrt(norm.square() / c + eps).to(x.dtype)


@dataclass(frozen=True)
class ModulationWeights:
    """Weights of one SPADE layer for B styles; the C rows of gamma come before those of beta.

    Attributes:
        weight: (B, 2C, M), for maps with M channels.
        bias: (B, 2C).
    """

    weight: Tensor
    bias: Tensor


class Spade(nn.Module):
    """Weights of `norm(x) * (1 + gamma(maps)) + beta(maps)`, in part predicted from the style."""

    def __init__(self, channels: int, map_channels: int, code_channels: int) -> None:
        super().__init__()
        self.modulation = nn.Conv2d(map_channels, 2 * channels, 1)
        self.down = nn.Conv2d(map_channels, STYLE_RANK, 1, bias=False)
        self.generate = nn.Linear(code_channels, 2 * channels * STYLE_RANK)
        self.gain = nn.Parameter(torch.zeros(()))

    def weights(self, code: Tensor) -> ModulationWeights:
        """Modulation weights for style codes (B, S); the bias includes the 1 of (1 + gamma)."""
        up = (self.gain * self.generate(code)).unflatten(1, (-1, STYLE_RANK))
        residual = torch.matmul(up, self.down.weight.flatten(1))
        assert self.modulation.bias is not None
        one = torch.zeros_like(self.modulation.bias)
        one[: len(one) // 2] = 1.0
        bias = (self.modulation.bias + one).expand(code.shape[0], -1)
        return ModulationWeights(self.modulation.weight.flatten(1) + residual, bias)


def coverage_weights(weights: ModulationWeights, features: Tensor, width: int) -> ModulationWeights:
    """Fold the class features of a style into the modulation weights.

    The maps of the paper hold class features, looked up per pixel by label. That lookup and the
    1x1 convolution are both linear, so the result applies to label coverage directly.

    Args:
        weights: for maps of `width` embedding channels, F feature channels, and any others.
        features: (B, G, F), of each label group.

    Returns:
        Weights for maps of `width` embedding channels, G coverage channels, and the others.
    """
    after = weights.weight.shape[2] - width - features.shape[2]
    embedding, style, rest = weights.weight.split([width, features.shape[2], after], dim=2)
    coverage = style @ features.to(style.dtype).transpose(1, 2)
    return ModulationWeights(torch.cat([embedding, coverage, rest], dim=2), weights.bias)


def modulate(x: Tensor, maps: Tensor, weights: ModulationWeights) -> Tensor:
    """Apply SPADE to x (B, C, H, W) with maps (B, M, H, W)."""
    gamma, beta = _per_sample_conv(maps, weights).chunk(2, dim=1)
    return torch.addcmul(beta, rms_norm(x), gamma)


def _per_sample_conv(maps: Tensor, weights: ModulationWeights) -> Tensor:
    """1x1 convolution with different weights for each sample: (B, 2C, H, W)."""
    b, _, h, w = maps.shape
    if b == 1:
        return functional.conv2d(maps, weights.weight[0, :, :, None, None], weights.bias[0])
    pixels = maps.permute(0, 2, 3, 1).reshape(b, h * w, -1)
    bias, weight = weights.bias[:, None].to(maps.dtype), weights.weight.to(maps.dtype)
    out: Tensor = torch.baddbmm(bias, pixels, weight.transpose(1, 2))
    return out.view(b, h, w, -1).permute(0, 3, 1, 2)


class SpadeBlock(nn.Module):
    """Residual block: twice SPADE, leaky ReLU and a 3x3 convolution.

    Args:
        padding: `padding_mode` of the convolutions.
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
        """Modulation weights of both SPADE layers for style codes (B, S)."""
        return self.spade_0.weights(code), self.spade_1.weights(code)

    def forward(self, x: Tensor, maps: Tensor, weights: tuple[ModulationWeights, ...]) -> Tensor:
        """x (B, C, H, W), maps (B, M, H, W) -> (B, C, H, W)."""
        dx = self.conv_0(functional.leaky_relu_(modulate(x, maps, weights[0]), 0.2))
        dx = self.conv_1(functional.leaky_relu_(modulate(dx, maps, weights[1]), 0.2))
        out: Tensor = dx.add_(x)
        return out
