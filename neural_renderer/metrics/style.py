"""Style retrieval: is a picture nearer to the photographs of its own style than to others?

Brightness alone must not win, so every picture is brought to the same mean and deviation per
channel before its features are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from configs import ConfigError

FEWEST_STYLES = 10


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Share of queries whose nearest style is their own; chance is 1 / styles."""

    accuracy: float
    styles: int
    queries: int


def match_moments(rgb: Tensor, mean: float = 0.0, deviation: float = 0.5) -> Tensor:
    """The pictures (B, 3, H, W) with the same mean and deviation in every channel."""
    own_mean = rgb.mean(dim=(2, 3), keepdim=True)
    own_deviation = rgb.std(dim=(2, 3), keepdim=True).clamp_min(1e-4)
    return ((rgb - own_mean) / own_deviation * deviation + mean).clamp(-1.0, 1.0)


def style_features(net: nn.Module, rgb: Tensor) -> Tensor:
    """Mean and deviation of every channel of a network's maps, after `match_moments`.

    net: (B, 3, H, W) in [-1, 1] to a list of maps. Returns (B, F).
    """
    with torch.inference_mode():
        maps = net(match_moments(rgb))
        parts = [part for x in maps for part in (x.mean(dim=(2, 3)), x.std(dim=(2, 3)))]
        return torch.cat(parts, dim=1)


def retrieve(
    queries: npt.NDArray[np.floating],
    query_styles: Sequence[str],
    gallery: npt.NDArray[np.floating],
    gallery_styles: Sequence[str],
    fewest: int = FEWEST_STYLES,
) -> Retrieval:
    """Nearest style by the mean of its gallery, features float (N, F) scaled by the gallery's.

    Raises:
        ConfigError: fewer than `fewest` styles, or a query's style is not in the gallery.
    """
    names = sorted(set(gallery_styles))
    if len(names) < fewest:
        raise ConfigError(f"style retrieval needs at least {fewest} styles, got {len(names)}")
    unknown = sorted(set(query_styles) - set(names))
    if unknown:
        raise ConfigError(f"style retrieval: no photographs of style '{unknown[0]}'")
    labels = np.array(gallery_styles)
    centre, spread = gallery.mean(axis=0), gallery.std(axis=0) + 1e-6
    means = np.stack([((gallery - centre) / spread)[labels == name].mean(axis=0) for name in names])
    scaled = (queries - centre) / spread
    distances = np.square(scaled[:, None] - means[None]).sum(axis=2)
    found = [names[i] for i in distances.argmin(axis=1)]
    hits = [a == b for a, b in zip(found, query_styles, strict=True)]
    return Retrieval(float(np.mean(hits)), len(names), len(hits))
