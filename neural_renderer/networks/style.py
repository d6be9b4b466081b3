"""Few-shot style: K exemplar photographs are encoded once as a `StyleCode`.

A small version of few-shot vid2vid (Wang et al., NeurIPS 2019, section 3), for training on a few
drives. A style consists of one feature vector per label group (with a learned fallback for groups
that the exemplars do not show), one global code, and tokens that attention looks up by label at
1/16 of the resolution. Any K >= 1 works. Only the query of the attention depends on the frame.
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
from sim2street.neural_renderer.networks.resampling import upsample2x

CLASS_CHANNELS = 64
CODE_CHANNELS = 64
KEY_CHANNELS = 32
VALUE_CHANNELS = 64
COLOUR_CHANNELS = 3
MASKED_LOGIT = -1e4
"""Logit of padding tokens: its exponential is 0, and it is finite in half precision."""


@dataclass(frozen=True)
class StyleCode:
    """The encoding of K exemplars; batch dimension first.

    Attributes:
        classes: float32 (B, G, 64), features of each label group.
        code: float32 (B, 64), global code.
        keys: float32 (B, N, 32), of the exemplars' tokens at 1/16 of the resolution; N = K * (H/16)
            * (W/16).
        values: float32 (B, N, 64), of the same tokens.
        log_weight: float32 (B, N), added to the logits of the attention: 0; in a blend, the log of
            the weight of each token; -inf for padding.
        colour: float32 (B, G, 3) in [-1, 1], strength of the tone curve on red, green and blue of
            each label group, see `apply_colours`; 0 changes nothing.
    """

    classes: Tensor
    code: Tensor
    keys: Tensor
    values: Tensor
    log_weight: Tensor
    colour: Tensor

    def to(self, device: torch.device | str) -> StyleCode:
        """A copy on `device`."""
        return StyleCode(*(getattr(self, f.name).to(device) for f in fields(self)))


def stack_styles(styles: Sequence[StyleCode]) -> StyleCode:
    """Concatenate styles to one batch; missing tokens are padded."""
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
    """Weighted mean of codes, class features and colours; all tokens are kept, with log weights.

    Args:
        weights: positive, one per style; they need not sum to 1.

    Raises:
        RendererError: there is no style, or a weight is not positive and finite.
    """
    valid = all(0.0 < weight < math.inf for weight in weights)
    if len(styles) != len(weights) or not styles or not valid:
        raise RendererError(
            f"blending {len(styles)} styles needs one positive weight per style, "
            f"got {list(weights)}"
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
    """Encodes exemplar photographs and their labels (E_F of the paper)."""

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
        """Encode K exemplars.

        Args:
            rgb: (B, K, 3, H, W) in [-1, 1]; H and W divisible by 16.
            groups: (B, K, G, H, W), multi-hot label groups.
        """
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
        colours = functional.avg_pool2d(images.float(), 8)
        moments = torch.cat([colours, colours.square()], dim=1)
        means, present = _class_means(torch.cat([eighth, moments], dim=1), masks, b, k)
        global_features = torch.cat([sixteenth.float(), functional.avg_pool2d(moments, 2)], dim=1)
        code = self.to_code(global_features.mean(dim=(2, 3)).unflatten(0, (b, k)).mean(dim=1))
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
    """Embeds labels as keys and queries of the attention, at 1/16 of the resolution."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(groups, KEY_CHANNELS, 1)
        self.conv = nn.Conv2d(KEY_CHANNELS, KEY_CHANNELS, 3, padding=1)

    def forward(self, coverage: Tensor) -> Tensor:
        """From the share of each label group (B, G, H/16, W/16) to (B, 32, H/16, W/16)."""
        out: Tensor = self.conv(functional.leaky_relu(self.embed(coverage), 0.2))
        return out


def attention_tokens(style: StyleCode) -> tuple[Tensor, Tensor]:
    """Keys and values, both (B, N, 64), for `attend`; computed once per style.

    The log weights become one more channel of the keys, which `attend` multiplies by 1, and keys
    are padded to the width of values. Fused attention kernels need this: equal widths and no mask.
    """
    log_weight = style.log_weight.clamp_min(MASKED_LOGIT)[..., None] * KEY_CHANNELS**0.5
    keys = torch.cat([style.keys, log_weight.to(style.keys.dtype)], dim=-1)
    return functional.pad(keys, (0, VALUE_CHANNELS - keys.shape[-1])), style.values


def attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention from labels (B, 32, h, w) to the tokens of exemplars (E_A of the paper).

    Args:
        query: (B, 32, h, w), see `LabelKey`.
        keys, values: see `attention_tokens`.

    Returns:
        (B, 64, h, w).
    """
    h, w = query.shape[-2:]
    q = functional.pad(query.flatten(2).transpose(1, 2), (0, 1), value=1.0)
    q = functional.pad(q, (0, VALUE_CHANNELS - q.shape[-1]))
    out = functional.scaled_dot_product_attention(
        q[:, None], keys[:, None].to(q.dtype), values[:, None].to(q.dtype),
        scale=KEY_CHANNELS**-0.5,
    )  # fmt: skip
    read: Tensor = out[:, 0].transpose(1, 2).unflatten(2, (h, w))
    return read


def colour_table(style: StyleCode) -> Tensor:
    """Tone curve strengths of red, green and blue per label group, then 1: float32 (B, 4, G)."""
    ones = torch.ones_like(style.colour[..., :1])
    return torch.cat([style.colour, ones], dim=-1).transpose(1, 2).float()


def apply_colours(rgb: Tensor, coverage: Tensor, colour: Tensor) -> Tensor:
    """Apply the tone curve `x + a (1 - x^2)`, whose strength a depends on label and channel.

    Black and white stay fixed, so edges get no halos. Strengths are interpolated over a pixel or
    two where label groups meet.

    Args:
        rgb: (B, 3, H, W) in [-1, 1].
        coverage: (B, G, H / 2, W / 2), share of each label group.
        colour: see `colour_table`.
    """
    maps = (colour @ coverage.float().flatten(2)).unflatten(2, coverage.shape[-2:])
    strength = maps[:, :COLOUR_CHANNELS] / maps[:, COLOUR_CHANNELS:].clamp_min(1e-3)
    return (rgb + upsample2x(strength) * (1.0 - rgb.square())).clamp(-1.0, 1.0)


def _class_means(features: Tensor, masks: Tensor, b: int, k: int) -> tuple[Tensor, Tensor]:
    """Mean feature of each label group over K exemplars, (B, G, C).

    The second value is presence (B, G, 1): 0 where no exemplar shows the group, rising to 1 at one
    cell of 8x8 pixels.
    """
    sums = torch.einsum("nchw,nghw->ngc", features, masks).unflatten(0, (b, k)).sum(dim=1)
    weight = masks.sum(dim=(2, 3)).unflatten(0, (b, k)).sum(dim=1)[..., None]
    return sums / weight.clamp_min(1e-3), weight.clamp(0.0, 1.0)
