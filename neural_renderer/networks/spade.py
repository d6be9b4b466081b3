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

import torch
from torch import Tensor, nn
from torch.nn import functional

STYLE_RANK = 8


def rms_norm(x: Tensor, eps: float = 1e-4) -> Tensor:
    """Divide each pixel by the root mean square over its channels; x (B, C, H, W)."""
    mean_square = x.float().square().mean(dim=1, keepdim=True)
    return x * torch.rsqrt(mean_square + eps).to(x.dtype)


class Spade(nn.Module):
    """`norm(x) * (1 + gamma(maps)) + beta(maps)`, gamma and beta partly from the style."""

    def __init__(self, channels: int, map_channels: int, code_channels: int) -> None:
        super().__init__()
        self.modulation = nn.Conv2d(map_channels, 2 * channels, 1)
        self.down = nn.Conv2d(map_channels, STYLE_RANK, 1, bias=False)
        self.generate = nn.Linear(code_channels, 2 * channels * STYLE_RANK)
        self.gain = nn.Parameter(torch.zeros(()))
        nn.init.normal_(self.modulation.weight, std=0.5 / map_channels**0.5)

    def up_weights(self, code: Tensor) -> Tensor:
        """E_P: style code (B, S) to the residual's factor (B, 2C, rank)."""
        return self.gain * self.generate(code).unflatten(1, (-1, STYLE_RANK))

    def forward(self, x: Tensor, maps: Tensor, up: Tensor) -> Tensor:
        """x (B, C, H, W), maps (B, M, H, W), up (B, 2C, rank) -> (B, C, H, W)."""
        b, _, h, w = maps.shape
        residual = torch.bmm(up.to(maps.dtype), self.down(maps).flatten(2)).view(b, -1, h, w)
        gamma, beta = (self.modulation(maps) + residual).chunk(2, dim=1)
        return rms_norm(x) * (1.0 + gamma) + beta


class SpadeBlock(nn.Module):
    """Residual block: twice (SPADE, leaky ReLU, 3x3 convolution)."""

    def __init__(self, channels: int, map_channels: int, code_channels: int) -> None:
        super().__init__()
        self.spade_0 = Spade(channels, map_channels, code_channels)
        self.spade_1 = Spade(channels, map_channels, code_channels)
        self.conv_0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)

    def up_weights(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Generated factors of both SPADEs."""
        return self.spade_0.up_weights(code), self.spade_1.up_weights(code)

    def forward(self, x: Tensor, maps: Tensor, ups: tuple[Tensor, Tensor]) -> Tensor:
        """x (B, C, H, W), maps (B, M, H, W) -> (B, C, H, W)."""
        dx = self.conv_0(functional.leaky_relu(self.spade_0(x, maps, ups[0]), 0.2))
        dx = self.conv_1(functional.leaky_relu(self.spade_1(dx, maps, ups[1]), 0.2))
        return x + dx
