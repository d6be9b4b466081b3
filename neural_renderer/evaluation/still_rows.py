"""Measures of single pictures: labels read back, distances to photographs, style."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bridge.renderer import StyleBlob
from configs import ConfigError
from neural_renderer.data.prepare import PreparedPhoto
from neural_renderer.evaluation.painter import Painter, StyleBook
from neural_renderer.evaluation.report import Row
from neural_renderer.evaluation.scenes import Still, as_tensor, still_of
from neural_renderer.metrics.distances import fid, kid
from neural_renderer.metrics.label_agreement import Segmenter, label_agreement
from neural_renderer.metrics.perceptual import Lpips, pooled_features
from neural_renderer.metrics.style import FEWEST_STYLES, retrieve, style_features

FeatureNet = Callable[[Tensor], Tensor]
"""Pictures (B, 3, H, W) in [-1, 1] to features (B, F)."""

INCEPTION_PX = 299


@dataclass(frozen=True, slots=True)
class Painted:
    """A photograph, what was rendered from its labels, and the style it was rendered in."""

    still: Still
    rgb: Tensor
    style: StyleBlob


def label_rows(
    segmenter: Segmenter, painted: Sequence[Painted], read_at_px: tuple[int, int] | None = None
) -> list[Row]:
    """What a segmenter reads in rendered pictures beside what it reads in the photographs.

    read_at_px: (width, height) that pictures and photographs are resized to for it.
    """

    def read(pictures: Iterable[Tensor]) -> Iterable[tuple[Tensor, Tensor]]:
        for x, p in zip(pictures, painted, strict=True):
            yield resized(x[None], p.still.tags[None], read_at_px)

    try:
        fake = label_agreement(segmenter, read(p.rgb for p in painted))
        real = label_agreement(segmenter, read(p.still.rgb for p in painted))
    except (RuntimeError, AssertionError) as error:  # what an exported program raises on sizes
        size = read_at_px or tuple(painted[0].rgb.shape[:0:-1])
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"the segmenter does not take pictures of {size[0]}x{size[1]} ({reason}): export one "
            "for this size, or change the evaluation's size_px or read_at_px"
        ) from error
    return [
        Row(
            "label agreement, mIoU", fake.mean_iou,
            f"photographs {real.mean_iou:.3f}: {fake.mean_iou / real.mean_iou:.0%} of it; "
            f"{len(painted)} pictures", "up",
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
    features: FeatureNet, name: str, painted: Sequence[Painted], seed: int
) -> list[Row]:
    """KID with its bootstrap interval, and FID where there are pictures enough."""
    fake = torch.cat([features(p.rgb[None]) for p in painted]).numpy()
    real = torch.cat([features(p.still.rgb[None]) for p in painted]).numpy()
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


def lpips_row(net: Lpips, painted: Sequence[Painted]) -> Row:
    """Distance of rendered pictures to the photographs of the same labels."""
    with torch.inference_mode():
        values = [float(net(p.rgb[None], p.still.rgb[None])) for p in painted]
        # Another photograph of the source: what LPIPS says of pictures that only look alike.
        others = [*painted[len(painted) // 2 :], *painted[: len(painted) // 2]]
        apart = [
            float(net(p.still.rgb[None], q.still.rgb[None]))
            for p, q in zip(painted, others, strict=True)
        ]
    mean, unrelated = float(np.mean(values)), float(np.mean(apart))
    return Row(
        "LPIPS (alex)", mean, f"photographs of other labels {unrelated:.3f}", "down",
        {"unrelated": unrelated},
    )  # fmt: skip


def style_row(
    net: nn.Module,
    painter: Painter,
    book: StyleBook,
    stills: Sequence[Still],
    size_px: tuple[int, int],
    pictures: int,
) -> Row | str:
    """Style retrieval, or why there is none.

    The same label maps are painted in the style of every drive that has photographs beyond
    its exemplars; each picture must find those among the photographs of all drives.
    """
    left = {drive: _beyond(book, drive) for drive in sorted(book.drives)}
    left = {drive: photos for drive, photos in left.items() if photos}
    if len(left) < FEWEST_STYLES:
        return (
            f"style retrieval: {len(left)} drives with photographs enough, {FEWEST_STYLES} needed"
        )
    step = max(1, len(stills) // pictures)
    queries, asked, gallery, owners = [], [], [], []
    shown, showers = [], []
    for drive, photos in left.items():
        style = book.style(drive)
        assert style is not None
        for still in stills[::step][:pictures]:
            rgb = as_tensor(painter.still(still.view, style))
            queries.append(style_features(net, rgb[None]))
            asked.append(drive)
        for photo in book.exemplars(drive):
            shown.append(style_features(net, still_of(photo, size_px).rgb[None]))
            showers.append(drive)
        for photo in photos:
            gallery.append(style_features(net, still_of(photo, size_px).rgb[None]))
            owners.append(drive)
    among = torch.cat(gallery).numpy()
    found = retrieve(torch.cat(queries).numpy(), asked, among, owners)
    real = retrieve(torch.cat(shown).numpy(), showers, among, owners)
    return Row(
        "style retrieval", found.accuracy,
        f"the exemplars themselves {real.accuracy:.0%}, chance {1.0 / found.styles:.0%}; "
        f"{found.styles} drives, {found.queries} pictures, mean and deviation matched", "up",
        {"styles": found.styles, "queries": found.queries, "exemplars": real.accuracy},
    )  # fmt: skip


def _beyond(book: StyleBook, drive: str) -> list[PreparedPhoto]:
    """Photographs of a drive that are none of its exemplars."""
    used = {photo.frame for photo in book.exemplars(drive)}
    return [photo for photo in book.drives[drive] if photo.frame not in used]


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
