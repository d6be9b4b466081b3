"""Two discriminators that tell photographs from generated images.

* `FeatureDiscriminator`: heads on the maps of a frozen pretrained network (projected GAN, Sauer
  et al., NeurIPS 2021). It has one real/fake logit map per scale, and a segmentation head with
  G + 1 classes, the last of which is "fake" (OASIS, Schoenfeld et al., ICLR 2021).
* `PatchDiscriminator`: works on raw pixels without labels, so it sees lattices that a feature
  network misses. It also scores frames of the simulated town, for which a discriminator with labels
  would only learn that the town's geometry is fake. With six channels it scores a frame together
  with its warped predecessor, and so flicker and texture that does not move with the street.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm


@dataclass(frozen=True)
class DiscriminatorOutput:
    """Logits for one batch of images.

    Attributes:
        scores: (B, 1, h, w) for each scale; positive means real.
        segmentation: (B, G + 1, H / 4, W / 4), or None without a segmentation head; class G is
            "fake".
        features: hidden maps, for feature matching.
    """

    scores: tuple[Tensor, ...]
    segmentation: Tensor | None
    features: tuple[Tensor, ...]


class FeatureDiscriminator(nn.Module):
    """Heads on the maps of a frozen feature network, which is not part of this module."""

    def __init__(self, feature_channels: tuple[int, ...], groups: int, width: int = 96) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(c, width, 1) for c in feature_channels)
        self.scores = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(width, width // 2, 3, padding=1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width // 2, 1, 1)),
            )
            for _ in feature_channels
        )
        self.merge = nn.ModuleList(
            spectral_norm(nn.Conv2d(width, width, 3, padding=1)) for _ in feature_channels
        )
        self.segment = nn.Conv2d(width, groups + 1, 1)

    def forward(self, maps: list[Tensor]) -> DiscriminatorOutput:
        """Score feature maps, finest first (strides 4, 8, 16, 32)."""
        projected = [
            functional.leaky_relu(projection(_unit_rms(x)), 0.2)
            for projection, x in zip(self.projections, maps, strict=True)
        ]
        scores = tuple(score(x) for score, x in zip(self.scores, projected, strict=True))
        h = functional.leaky_relu(self.merge[-1](projected[-1]), 0.2)
        for level in reversed(range(len(projected) - 1)):
            h = functional.interpolate(h, size=projected[level].shape[-2:]) + projected[level]
            h = functional.leaky_relu(self.merge[level](h), 0.2)
        return DiscriminatorOutput(scores, self.segment(h).float(), ())


class PatchDiscriminator(nn.Module):
    """Patch discriminator on pixels: receptive field 46 px, downsampling after a blur.

    Regularised by R1 alone (Mescheder et al., ICML 2018). Spectral normalisation on top makes it
    too weak to notice visible lattices.
    """

    blur: Tensor

    def __init__(self, channels: int = 3, widths: tuple[int, ...] = (32, 64, 128, 128)) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1)
            for a, b in zip((channels, *widths[:-1]), widths, strict=True)
        )
        for layer in self.layers:
            nn.init.kaiming_normal_(cast(nn.Conv2d, layer).weight, a=0.2)
        self.score = nn.Conv2d(widths[-1], 1, 3, padding=1)
        kernel = torch.tensor([1.0, 3.0, 3.0, 1.0])
        kernel = kernel[:, None] * kernel[None, :]
        self.register_buffer("blur", kernel / kernel.sum())

    def forward(self, rgb: Tensor) -> DiscriminatorOutput:
        """Score images (B, 3, H, W), or pairs of them (B, 6, H, W), in [-1, 1]."""
        h, features = rgb, []
        for i, layer in enumerate(self.layers):
            h = functional.leaky_relu(layer(h), 0.2)
            features.append(h)
            if i < len(self.layers) - 1:
                h = self._downsample(h)
        return DiscriminatorOutput((self.score(h),), None, tuple(features))

    def _downsample(self, x: Tensor) -> Tensor:
        kernel = self.blur.to(x.dtype).expand(x.shape[1], 1, 4, 4)
        x = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        return functional.conv2d(x, kernel, stride=2, groups=x.shape[1])


def _unit_rms(x: Tensor) -> Tensor:
    """Scale each sample to RMS 1; stages of frozen networks differ by an order of magnitude."""
    return x / (x.float().square().mean(dim=(1, 2, 3), keepdim=True).sqrt() + 1e-6).to(x.dtype)
