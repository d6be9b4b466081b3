"""LPIPS with AlexNet (Zhang et al., CVPR 2018), and AlexNet features for other measures."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from sim2street.neural_renderer.networks.features import (
    ImageNetInput,
    load_torchvision_weights,
    read_tensors,
    select_tensors,
)

ALEXNET_PLAN = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
"""Width, kernel, stride and padding of each convolution (Krizhevsky 2014, as in torchvision)."""


class AlexNetFeatures(nn.Module):
    """The five ReLU maps of AlexNet, with 64, 192, 384, 256 and 256 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = ImageNetInput()
        layers: list[nn.Module] = []
        channels = 3
        for index, (width, kernel, stride, padding) in enumerate(ALEXNET_PLAN):
            if index in (1, 2):
                layers.append(nn.MaxPool2d(3, 2))
            layers += [nn.Conv2d(channels, width, kernel, stride, padding), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """From RGB (B, 3, H, W) in [-1, 1] to five maps."""
        x, maps = self.normalise(rgb), []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps.append(x)
        return maps


class Lpips(nn.Module):
    """Perceptual distance between two images.

    Args:
        alexnet: feature network.
        heads: five tensors of non-negative weights, one weight per channel of each map.
    """

    def __init__(self, alexnet: AlexNetFeatures, heads: list[Tensor]) -> None:
        super().__init__()
        self.alexnet = alexnet
        self.heads = nn.ParameterList(
            nn.Parameter(head.reshape(1, -1, 1, 1), requires_grad=False) for head in heads
        )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance (B,) between images float32 (B, 3, H, W) in [-1, 1]; 0 for equal ones."""
        total = torch.zeros(a.shape[0], device=a.device)
        for head, x, y in zip(self.heads, self.alexnet(a), self.alexnet(b), strict=True):
            gap = (_unit_length(x) - _unit_length(y)).square() * head
            total = total + gap.sum(dim=1).mean(dim=(1, 2))
        return total


def load_alexnet(path: Path) -> AlexNetFeatures:
    """Frozen AlexNet from a .pth or .safetensors file with torchvision's keys."""
    return load_torchvision_weights(AlexNetFeatures(), path)


def load_lpips(alexnet: Path, heads: Path) -> Lpips:
    """LPIPS v0.1 from AlexNet's weights and the linear heads (`lin0.model.1.weight`, ...)."""
    shapes = {
        f"lin{k}.model.1.weight": torch.Size([1, plan[0], 1, 1])
        for k, plan in enumerate(ALEXNET_PLAN)
    }
    own = select_tensors(heads, read_tensors(heads), shapes)
    return Lpips(load_alexnet(alexnet), list(own.values())).eval()


def pooled_features(net: nn.Module, rgb: Tensor) -> Tensor:
    """Spatial mean of each channel of all maps of a feature network: (B, F)."""
    with torch.inference_mode():
        return torch.cat([feature.mean(dim=(2, 3)) for feature in net(rgb)], dim=1)


def _unit_length(x: Tensor) -> Tensor:
    return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
