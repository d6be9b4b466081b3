"""Discriminators: what a street photograph looks like, judged in two ways.

* `FeatureDiscriminator`: heads on the maps of a frozen pretrained network (projected GAN,
  Sauer et al., NeurIPS 2021), one real/fake logit map per scale and one segmentation head
  with N + 1 classes, the last one "fake" (OASIS, Schoenfeld et al., ICLR 2021).
* `PatchDiscriminator`: raw pixels, unconditional, with blurred down-sampling. It sees the
  lattices a feature network overlooks, and also judges town frames, for which a conditional
  one would only learn that the town's geometry is fake. A second one may judge a frame with
  its predecessor moved onto it (six channels): flicker, and texture that does not move with
  its street.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm


@dataclass(frozen=True)
class Judgement:
    """Logits of one picture batch.

    Attributes:
        scores: per scale (B, 1, h, w), > 0 = looks real.
        segmentation: (B, G + 1, H / 4, W / 4) or None; class G is "fake".
        features: hidden maps, for feature matching.
    """

    scores: tuple[Tensor, ...]
    segmentation: Tensor | None
    features: tuple[Tensor, ...]


class FeatureDiscriminator(nn.Module):
    """Heads on frozen feature maps; the feature network itself is not part of it."""

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

    def forward(self, maps: list[Tensor]) -> Judgement:
        """Feature maps, finest first (strides 4, 8, 16, 32)."""
        projected = [
            functional.leaky_relu(projection(_scale_free(x)), 0.2)
            for projection, x in zip(self.projections, maps, strict=True)
        ]
        scores = tuple(score(x) for score, x in zip(self.scores, projected, strict=True))
        h = functional.leaky_relu(self.merge[-1](projected[-1]), 0.2)
        for level in reversed(range(len(projected) - 1)):
            h = functional.interpolate(h, size=projected[level].shape[-2:]) + projected[level]
            h = functional.leaky_relu(self.merge[level](h), 0.2)
        return Judgement(scores, self.segment(h).float(), ())


class PatchDiscriminator(nn.Module):
    """Raw-pixel patch discriminator, receptive field 46 px, blurred down-sampling.

    Held back by R1 alone (Mescheder et al., ICML 2018): with spectral normalisation as well its
    loss stayed at 1.8 of 2.0, and lattices that anyone sees went through.
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

    def forward(self, rgb: Tensor) -> Judgement:
        """rgb (B, 3, H, W) in [-1, 1]."""
        h, features = rgb, []
        for i, layer in enumerate(self.layers):
            h = functional.leaky_relu(layer(h), 0.2)
            features.append(h)
            if i < len(self.layers) - 1:
                h = self._half(h)
        return Judgement((self.score(h),), None, tuple(features))

    def _half(self, x: Tensor) -> Tensor:
        kernel = self.blur.to(x.dtype).expand(x.shape[1], 1, 4, 4)
        x = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        return functional.conv2d(x, kernel, stride=2, groups=x.shape[1])


def _scale_free(x: Tensor) -> Tensor:
    """Frozen features differ by an order of magnitude between stages: bring them to 1."""
    return x / (x.float().square().mean(dim=(1, 2, 3), keepdim=True).sqrt() + 1e-6).to(x.dtype)
