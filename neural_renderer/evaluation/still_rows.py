"""Measures of single images: label agreement, and distances to photographs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sim2street.bridge.frame import FloatArray
from sim2street.bridge.renderer import StyleBlob
from sim2street.configs import ConfigError
from sim2street.neural_renderer.evaluation.feature_cache import FeatureCache
from sim2street.neural_renderer.evaluation.report import Row
from sim2street.neural_renderer.evaluation.scenes import Still
from sim2street.neural_renderer.metrics.distances import fid, kid
from sim2street.neural_renderer.metrics.label_agreement import (
    Confusion,
    Segmenter,
    confusion,
    score,
    truth_groups,
)
from sim2street.neural_renderer.metrics.perceptual import Lpips, pooled_features

FeatureNet = Callable[[Tensor], Tensor]
"""From images (B, 3, H, W) in [-1, 1] to features (B, F)."""

INCEPTION_PX = 299


@dataclass(frozen=True, slots=True)
class RenderedStill:
    """A photograph and the image rendered from its labels.

    Attributes:
        still: the photograph.
        rgb: float32 (3, H, W) in [-1, 1], the rendered image.
        style: the style that it was rendered in.
    """

    still: Still
    rgb: Tensor
    style: StyleBlob


@dataclass(frozen=True)
class LabelConfusions:
    """Confusion counts of a segmenter, one per still.

    Attributes:
        rendered: in the rendered images.
        photographs: in the photographs with the same labels.
    """

    rendered: list[Confusion]
    photographs: list[Confusion]


def label_confusions(
    segmenter: Segmenter,
    stills: Sequence[RenderedStill],
    cache: FeatureCache,
    read_at_px: tuple[int, int] | None = None,
) -> LabelConfusions:
    """Segment all images, and the photographs that are not in the cache.

    Args:
        read_at_px: (width, height) that images and photographs are resized to for the segmenter.

    Raises:
        ConfigError: the segmenter does not take images of this size.
    """

    def count(rgb: Tensor, tags: Tensor) -> Confusion:
        image, truth = resize(rgb[None], tags[None], read_at_px)
        with torch.inference_mode():
            return confusion(segmenter(image).numpy(), truth_groups(truth))

    def count_photo(still: Still) -> Confusion:
        size = torch.tensor(read_at_px or (0, 0))
        counts = cache.get((still.rgb, still.tags, size), lambda: count(still.rgb, still.tags))
        return counts.astype(np.int64)

    try:
        rendered = [count(s.rgb, s.still.tags) for s in stills]
        return LabelConfusions(rendered, [count_photo(s.still) for s in stills])
    except (RuntimeError, AssertionError) as error:  # raised by exported programs for other sizes
        size = read_at_px or tuple(stills[0].rgb.shape[:0:-1])
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"the segmenter does not take images of {size[0]}x{size[1]} ({reason}): export one "
            "for this size, or change `read_at_px` or `size_px` of the evaluation"
        ) from error


def label_rows(confusions: LabelConfusions) -> list[Row]:
    """Label agreement of rendered images, beside that of photographs with the same labels."""
    fake = score(np.sum(confusions.rendered, axis=0))
    real = score(np.sum(confusions.photographs, axis=0))
    return [
        Row(
            "label agreement, mIoU", fake.mean_iou,
            f"photographs {real.mean_iou:.3f}, ratio {fake.mean_iou / real.mean_iou:.0%}; "
            f"{len(confusions.rendered)} images", "up",
            {"photographs": real.mean_iou, "iou": fake.iou, "iou_photographs": real.iou},
        ),
        Row(
            "label agreement, accuracy", fake.accuracy, f"photographs {real.accuracy:.3f}", "up",
            {"photographs": real.accuracy},
        ),
    ]  # fmt: skip


def resize(rgb: Tensor, tags: Tensor, size_px: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """Resize images (bilinear) and multi-hot tags (nearest) to (width, height) if it is given."""
    if size_px is None:
        return rgb, tags
    size = size_px[::-1]
    rgb = functional.interpolate(rgb, size=size, mode="bilinear", align_corners=False)
    return rgb, functional.interpolate(tags, size=size)


def distance_rows(
    features: FeatureNet, name: str, stills: Sequence[RenderedStill], cache: FeatureCache
) -> list[Row]:
    """KID with its bootstrap interval, and FID if there are more images than features.

    Images are compared with the photographs whose labels they were rendered from.

    Args:
        name: of the feature network.
    """

    def photo_features(rgb: Tensor) -> FloatArray:
        return cache.get((rgb,), lambda: features(rgb[None]).numpy()[0]).astype(np.float32)

    fake = torch.cat([features(s.rgb[None]) for s in stills]).numpy()
    real = np.stack([photo_features(s.still.rgb) for s in stills])
    result = kid(real, fake)
    rows = [
        Row(
            f"KID ({name})", result.value,
            f"95 % in [{result.low:.4g}, {result.high:.4g}], {result.n} images in each set", "down",
            asdict(result),
        )
    ]  # fmt: skip
    if len(stills) > fake.shape[1]:
        rows.append(Row(f"FID ({name})", fid(real, fake), f"{len(stills)} images", "down"))
    return rows


def lpips_row(net: Lpips, stills: Sequence[RenderedStill], cache: FeatureCache) -> Row:
    """LPIPS between rendered images and the photographs with the same labels."""

    def distance(a: Tensor, b: Tensor) -> FloatArray:
        with torch.inference_mode():
            out: FloatArray = net(a[None], b[None]).numpy()
            return out

    values = [float(distance(s.rgb, s.still.rgb)[0]) for s in stills]
    # For reference, the distance between photographs that show different places.
    others = [*stills[len(stills) // 2 :], *stills[: len(stills) // 2]]
    pairs = [(s.still.rgb, other.still.rgb) for s, other in zip(stills, others, strict=True)]
    reference = [float(cache.get(pair, partial(distance, *pair))[0]) for pair in pairs]
    mean, unrelated = float(np.mean(values)), float(np.mean(reference))
    return Row(
        "LPIPS (alex)", mean, f"between photographs of different places {unrelated:.3f}", "down",
        {"unrelated": unrelated},
    )  # fmt: skip


def alexnet_features(net: nn.Module) -> FeatureNet:
    """Spatial mean of each channel of all AlexNet maps."""
    return lambda rgb: pooled_features(net, rgb)


def load_script_features(path: Path) -> FeatureNet:
    """Load a TorchScript network from (B, 3, 299, 299) in [-1, 1] to (B, F).

    Images are resized to its input size.

    Raises:
        ConfigError: there is no file, or it is not a TorchScript network.
    """
    if not path.is_file():
        raise ConfigError(f"no feature network at {path}: give the path of a TorchScript file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is deprecated
            network = torch.jit.load(path, map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"{path} is not a TorchScript network ({error}): save it with torch.jit.save"
        ) from error

    def features(rgb: Tensor) -> Tensor:
        size = (INCEPTION_PX, INCEPTION_PX)
        resized = functional.interpolate(
            rgb, size=size, mode="bilinear", align_corners=False, antialias=True
        )
        with torch.inference_mode():
            out: Tensor = network(resized)
        return out.flatten(1)

    return features
