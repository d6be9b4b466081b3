"""Few-shot style: exemplars become a `StyleCode` once, every frame reads it.

E_F, E_A and E_P of few-shot vid2vid (Wang et al., NeurIPS 2019, section 3), reduced to what
a few drives can teach: features averaged per class (with a learned fallback for classes the
exemplars do not show), one global code, and attention from the current labels to the
exemplars' at 1/16 of the resolution. All of it works for any K >= 1 and is independent of
the current frame except the attention's query.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim2street.bridge.errors import RendererError
from sim2street.neural_renderer.networks.spade import doubled

CLASS_CHANNELS = 64
CODE_CHANNELS = 64
KEY_CHANNELS = 32
VALUE_CHANNELS = 64
COLOUR_CHANNELS = 3
NO_TOKEN = -1e4
"""Logit of a token that is none: exp of it is 0, and it stays finite in half precision."""


@dataclass(frozen=True)
class StyleCode:
    """What K exemplars became; batch dimension first.

    Attributes:
        classes: float32 (B, G, 64) features per label group.
        code: float32 (B, 64) global code.
        keys: float32 (B, N, 32) and values float32 (B, N, 64): the exemplars' tokens at
            1/16 resolution, N = K * (H/16) * (W/16).
        log_weight: float32 (B, N) added to the attention's logits (0, or log of the share
            of this token's style in a blend; -inf = no token).
        colour: float32 (B, G, 3) in [-1, 1], how far the red, green and blue of each label
            group are bent up; zeros change nothing. See `style_colours`.
    """

    classes: Tensor
    code: Tensor
    keys: Tensor
    values: Tensor
    log_weight: Tensor
    colour: Tensor

    def to(self, device: torch.device | str) -> StyleCode:
        """The same style on another device."""
        return StyleCode(*(getattr(self, f.name).to(device) for f in fields(self)))


def stack_styles(styles: Sequence[StyleCode]) -> StyleCode:
    """One batch out of several styles, whatever their number of tokens."""
    tokens = max(style.keys.shape[1] for style in styles)

    def padded(x: Tensor, value: float) -> Tensor:
        missing = tokens - x.shape[1]
        pad = (0, 0, 0, missing) if x.dim() == 3 else (0, missing)
        return functional.pad(x, pad, value=value)

    return StyleCode(
        torch.cat([s.classes for s in styles]),
        torch.cat([s.code for s in styles]),
        torch.cat([padded(s.keys, 0.0) for s in styles]),
        torch.cat([padded(s.values, 0.0) for s in styles]),
        torch.cat([padded(s.log_weight, -torch.inf) for s in styles]),
        torch.cat([s.colour for s in styles]),
    )


def blend_styles(styles: Sequence[StyleCode], weights: Sequence[float]) -> StyleCode:
    """Weighted mean of codes, class features and colours; tokens are pooled with log weights.

    Args:
        weights: positive, one per style; normalised here.

    Raises:
        RendererError: no style, or a weight that is not positive and finite.
    """
    fit = all(0.0 < weight < math.inf for weight in weights)
    if len(styles) != len(weights) or not styles or not fit:
        raise RendererError(
            f"a blend of styles takes one positive weight for each, got {list(weights)}"
        )
    shares = [weight / sum(weights) for weight in weights]

    def mean(name: str) -> Tensor:
        parts = (s * getattr(x, name) for s, x in zip(shares, styles, strict=True))
        return torch.stack(list(parts)).sum(dim=0)

    logs = [
        x.log_weight + torch.log(torch.tensor(s / x.keys.shape[1]))
        for s, x in zip(shares, styles, strict=True)
    ]
    return StyleCode(
        mean("classes"),
        mean("code"),
        torch.cat([x.keys for x in styles], dim=1),
        torch.cat([x.values for x in styles], dim=1),
        torch.cat(logs, dim=1),
        mean("colour"),
    )


class StyleEncoder(nn.Module):
    """E_F: exemplars (image and labels) to a StyleCode."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        widths = (32, 64, 96, 128)
        self.stem = nn.Conv2d(4 * (3 + groups), widths[0], 1)
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.to_class = nn.Linear(widths[2] + 6, CLASS_CHANNELS)
        self.fallback = nn.Parameter(0.1 * torch.randn(groups, CLASS_CHANNELS))
        self.fallback_from_code = nn.Linear(CODE_CHANNELS, CLASS_CHANNELS)
        self.to_code = nn.Sequential(
            nn.Linear(widths[3] + 6, CODE_CHANNELS), nn.LeakyReLU(0.2),
            nn.Linear(CODE_CHANNELS, CODE_CHANNELS),
        )  # fmt: skip
        self.to_key = LabelKey(groups)
        self.to_value = nn.Conv2d(widths[3], VALUE_CHANNELS, 1)

    def forward(self, rgb: Tensor, groups: Tensor) -> StyleCode:
        """rgb (B, K, 3, H, W) in [-1, 1], groups (B, K, G, H, W) multi-hot; H, W % 16 == 0."""
        b, k = rgb.shape[:2]
        images, labels = rgb.flatten(0, 1), groups.flatten(0, 1)
        x = torch.cat([images, labels], dim=1)
        x = functional.leaky_relu(self.stem(functional.pixel_unshuffle(x, 2)), 0.2)
        features = []
        for down in self.downs:
            x = functional.leaky_relu(down(x), 0.2)
            features.append(x)
        eighth, sixteenth = features[1].float(), features[2]
        masks = functional.avg_pool2d(labels.float(), 8)
        small = functional.avg_pool2d(images.float(), 8)
        means, present = _class_means(torch.cat([eighth, small, small.square()], 1), masks, b, k)
        whole = torch.cat([sixteenth.float(), _pool(small, 2), _pool(small.square(), 2)], dim=1)
        code = self.to_code(whole.mean(dim=(2, 3)).unflatten(0, (b, k)).mean(dim=1))
        fallback = self.fallback + self.fallback_from_code(code)[:, None]
        classes = present * self.to_class(means) + (1.0 - present) * fallback
        pooled = functional.avg_pool2d(masks, 2).to(labels.dtype)
        keys = self.to_key(pooled).flatten(2).unflatten(0, (b, k))
        values = self.to_value(sixteenth).flatten(2).unflatten(0, (b, k))
        tokens = keys.permute(0, 1, 3, 2).flatten(1, 2)
        log_weight = torch.zeros(tokens.shape[:2], device=rgb.device)
        return StyleCode(
            classes, code, tokens, values.permute(0, 1, 3, 2).flatten(1, 2), log_weight,
            classes.new_zeros(*classes.shape[:2], COLOUR_CHANNELS),
        )  # fmt: skip


class LabelKey(nn.Module):
    """E_A's embedding of labels for keys and queries, at 1/16 resolution."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(groups, KEY_CHANNELS, 1)
        self.conv = nn.Conv2d(KEY_CHANNELS, KEY_CHANNELS, 3, padding=1)

    def forward(self, coverage: Tensor) -> Tensor:
        """Share of each group, (B, G, H/16, W/16), to (B, 32, H/16, W/16)."""
        return self.conv(functional.leaky_relu(self.embed(coverage), 0.2))


def attention_tokens(style: StyleCode) -> tuple[Tensor, Tensor]:
    """Keys and values (B, N, 64) as `attend` wants them, made once per style.

    The logits' weights become one more channel of the keys (the query's is 1), and keys get
    as wide as values: so no mask, and the fused kernels take them.
    """
    log_weight = style.log_weight.clamp_min(NO_TOKEN)[..., None] * KEY_CHANNELS**0.5
    keys = torch.cat([style.keys, log_weight.to(style.keys.dtype)], dim=-1)
    return functional.pad(keys, (0, VALUE_CHANNELS - keys.shape[-1])), style.values


def attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """E_A: query (B, 32, h, w) reads the exemplars' values: (B, 64, h, w).

    Keys and values: `attention_tokens`.
    """
    h, w = query.shape[-2:]
    q = functional.pad(query.flatten(2).transpose(1, 2), (0, 1), value=1.0)
    q = functional.pad(q, (0, VALUE_CHANNELS - q.shape[-1]))
    out = functional.scaled_dot_product_attention(
        q[:, None], keys[:, None].to(q.dtype), values[:, None].to(q.dtype),
        scale=KEY_CHANNELS**-0.5,
    )  # fmt: skip
    return out[:, 0].transpose(1, 2).unflatten(2, (h, w))


def colour_table(style: StyleCode) -> Tensor:
    """How far each channel is bent in a label group, and 1: float32 (B, 4, G)."""
    ones = torch.ones_like(style.colour[..., :1])
    return torch.cat([style.colour, ones], dim=-1).transpose(1, 2).float()


def in_colours(rgb: Tensor, coverage: Tensor, colour: Tensor) -> Tensor:
    """Channels bent by label group, soft over a pixel or two where groups meet.

    `x + a (1 - x^2)` leaves black and white where they are, and so edges without halos.
    rgb (B, 3, H, W) in [-1, 1], coverage (B, G, H / 2, W / 2), colour: a
    `colour_table`.
    """
    maps = (colour @ coverage.float().flatten(2)).unflatten(2, coverage.shape[-2:])
    bend = maps[:, :COLOUR_CHANNELS] / maps[:, COLOUR_CHANNELS:].clamp_min(1e-3)
    return (rgb + doubled(bend) * (1.0 - rgb.square())).clamp(-1.0, 1.0)


def _class_means(features: Tensor, masks: Tensor, b: int, k: int) -> tuple[Tensor, Tensor]:
    """Mean feature per class over all K exemplars: (B, G, C), and presence (B, G, 1)."""
    sums = torch.einsum("nchw,nghw->ngc", features, masks).unflatten(0, (b, k)).sum(dim=1)
    weight = masks.sum(dim=(2, 3)).unflatten(0, (b, k)).sum(dim=1)[..., None]
    return sums / weight.clamp_min(1e-3), weight.clamp(0.0, 1.0)


def _pool(x: Tensor, factor: int) -> Tensor:
    return functional.avg_pool2d(x, factor)
