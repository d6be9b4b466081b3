"""Measures of single pictures: labels read back, distances to photographs."""

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
"""Pictures (B, 3, H, W) in [-1, 1] to features (B, F)."""

INCEPTION_PX = 299


@dataclass(frozen=True, slots=True)
class Painted:
    """A photograph, what was rendered from its labels, and the style it was rendered in."""

    still: Still
    rgb: Tensor
    style: StyleBlob


@dataclass(frozen=True)
class Readings:
    """What a segmenter read, a confusion a picture: in rendered ones and in the photographs."""

    rendered: list[Confusion]
    photographs: list[Confusion]


def read_labels(
    segmenter: Segmenter,
    painted: Sequence[Painted],
    cache: FeatureCache,
    read_at_px: tuple[int, int] | None = None,
) -> Readings:
    """Read all pictures; the photographs only where they were never read.

    read_at_px: (width, height) that pictures and photographs are resized to for it.
    """

    def read(rgb: Tensor, tags: Tensor) -> Confusion:
        picture, truth = resized(rgb[None], tags[None], read_at_px)
        with torch.inference_mode():
            return confusion(segmenter(picture).numpy(), truth_groups(truth))

    def read_photo(still: Still) -> Confusion:
        size = torch.tensor(read_at_px or (0, 0))
        found = cache.of((still.rgb, still.tags, size), lambda: read(still.rgb, still.tags))
        return found.astype(np.int64)

    try:
        rendered = [read(p.rgb, p.still.tags) for p in painted]
        return Readings(rendered, [read_photo(p.still) for p in painted])
    except (RuntimeError, AssertionError) as error:  # what an exported program raises on sizes
        size = read_at_px or tuple(painted[0].rgb.shape[:0:-1])
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"the segmenter does not take pictures of {size[0]}x{size[1]} ({reason}): export one "
            "for this size, or change the evaluation's size_px or read_at_px"
        ) from error


def label_rows(readings: Readings) -> list[Row]:
    """What a segmenter reads in rendered pictures beside what it reads in the photographs."""
    fake = score(np.sum(readings.rendered, axis=0))
    real = score(np.sum(readings.photographs, axis=0))
    return [
        Row(
            "label agreement, mIoU", fake.mean_iou,
            f"photographs {real.mean_iou:.3f}: {fake.mean_iou / real.mean_iou:.0%} of it; "
            f"{len(readings.rendered)} pictures", "up",
            {"photographs": real.mean_iou, "iou": fake.iou, "iou_photographs": real.iou},
        ),
        Row(
            "label agreement, accuracy", fake.accuracy, f"photographs {real.accuracy:.3f}", "up",
            {"photographs": real.accuracy},
        ),
    ]  # fmt: skip


def resized(rgb: Tensor, tags: Tensor, size_px: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """Pictures (bilinear) and their multi-hot tags (nearest) at another size, if one is given."""
    if size_px is None:
        return rgb, tags
    size = size_px[::-1]
    rgb = functional.interpolate(rgb, size=size, mode="bilinear", align_corners=False)
    return rgb, functional.interpolate(tags, size=size)


def distance_rows(
    features: FeatureNet, name: str, painted: Sequence[Painted], seed: int, cache: FeatureCache
) -> list[Row]:
    """KID with its bootstrap interval, and FID where there are pictures enough.

    As many photographs as rendered pictures, those whose labels were rendered.
    """

    def of_photo(rgb: Tensor) -> FloatArray:
        return cache.of((rgb,), lambda: features(rgb[None]).numpy()[0]).astype(np.float32)

    fake = torch.cat([features(p.rgb[None]) for p in painted]).numpy()
    real = np.stack([of_photo(p.still.rgb) for p in painted])
    found = kid(real, fake, seed)
    rows = [
        Row(
            f"KID ({name})", found.value,
            f"95 % in [{found.low:.4g}, {found.high:.4g}], {found.n} pictures a side", "down",
            asdict(found),
        )
    ]  # fmt: skip
    if len(painted) > fake.shape[1]:
        rows.append(Row(f"FID ({name})", fid(real, fake), f"{len(painted)} pictures", "down"))
    return rows


def lpips_row(net: Lpips, painted: Sequence[Painted], cache: FeatureCache) -> Row:
    """Distance of rendered pictures to the photographs of the same labels."""

    def distance(a: Tensor, b: Tensor) -> np.ndarray:
        with torch.inference_mode():
            return net(a[None], b[None]).numpy()

    values = [float(distance(p.rgb, p.still.rgb)[0]) for p in painted]
    # Another photograph of the source: what LPIPS says of pictures that only look alike.
    others = [*painted[len(painted) // 2 :], *painted[: len(painted) // 2]]
    pairs = [(p.still.rgb, q.still.rgb) for p, q in zip(painted, others, strict=True)]
    apart = [float(cache.of(pair, partial(distance, *pair))[0]) for pair in pairs]
    mean, unrelated = float(np.mean(values)), float(np.mean(apart))
    return Row(
        "LPIPS (alex)", mean, f"photographs of other labels {unrelated:.3f}", "down",
        {"unrelated": unrelated},
    )  # fmt: skip


def alexnet_features(net: nn.Module) -> FeatureNet:
    """Mean of every channel of every map."""
    return lambda rgb: pooled_features(net, rgb)


def load_script_features(path: Path) -> FeatureNet:
    """A TorchScript network (B, 3, 299, 299) in [-1, 1] to (B, F); pictures are resized to it."""
    if not path.is_file():
        raise ConfigError(f"no feature network at {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
            network = torch.jit.load(path, map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{path} is not a TorchScript network ({error})") from error

    def features(rgb: Tensor) -> Tensor:
        size = (INCEPTION_PX, INCEPTION_PX)
        resized = functional.interpolate(
            rgb, size=size, mode="bilinear", align_corners=False, antialias=True
        )
        with torch.inference_mode():
            found: Tensor = network(resized)
        return found.flatten(1)

    return features
