"""Augmentation of photographs: random colours, and labels made as coarse as a simulator's.

All functions draw from a NumPy generator that the caller seeds. They work on NumPy arrays because
small torch operations would wait for the threads that training keeps busy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import ByteArray, FloatArray
from sim2street.bridge.labels import Tag
from sim2street.configs import StrictModel
from sim2street.neural_renderer.images import LUMA

THIN_RANK = np.zeros(29, dtype=np.uint8)
"""Rank of each tag, 0 unless it is thin or small. Where several pixels are reduced to one, the
highest rank wins."""
for _rank, _tag in enumerate(
    (
        Tag.ROAD_LINES, Tag.FENCE, Tag.BICYCLE, Tag.MOTORCYCLE, Tag.RIDER, Tag.PEDESTRIAN,
        Tag.POLE, Tag.TRAFFIC_SIGN, Tag.TRAFFIC_LIGHT,
    ),
    start=1,
):  # fmt: skip
    THIN_RANK[_tag] = _rank
THIN_RANK.setflags(write=False)


ROUGHENED_SHARE = 0.7
"""Probability that a photograph's labels are roughened."""

ELASTIC_PX = 1.6
"""Largest amplitude of the smooth displacement of label edges, in an image 256 pixels wide."""


class RoughenConfig(StrictModel):
    """How hand-drawn labels are made as coarse as a simulator's.

    Attributes:
        smooth_px: largest radius of the majority filter that rounds outlines, in an image 256
            pixels wide.
        merge_trees_px: largest gap of sky between leaves that is closed, on the same scale.
        drop: name of a tag to the probability that an image loses it.
    """

    smooth_px: int = 2
    merge_trees_px: int = 4
    drop: dict[str, float] = {  # noqa: RUF012  (pydantic copies defaults)
        "POLE": 0.06,
        "TRAFFIC_SIGN": 0.06,
        "TRAFFIC_LIGHT": 0.06,
        "FENCE": 0.04,
        "ROAD_LINES": 0.02,
    }


@dataclass(frozen=True, slots=True)
class Tone:
    """A random change of colours; the same for a photograph and its exemplars.

    Attributes:
        gain: of red, green and blue (exposure and white balance).
        mix: float32 (3, 3), mixes the channels; rows add up to 1.
        gamma: exponent.
        saturation, contrast: factors.
        lift: added to black, in [0, 1].
    """

    gain: tuple[float, float, float]
    mix: npt.NDArray[np.float32]
    gamma: float
    saturation: float
    contrast: float
    lift: float


def draw_tone(rng: np.random.Generator, strength: float) -> Tone | None:
    """A random tone; None (no change) in a quarter of the draws.

    strength: scales all changes; 1 is usual, 0 always gives None.
    """
    if strength <= 0.0 or rng.random() < 0.25:
        return None
    exposure = 2.0 ** (0.30 * strength * rng.standard_normal())
    balance = np.exp(0.10 * strength * rng.standard_normal(3))
    mix = np.eye(3) + 0.05 * strength * rng.standard_normal((3, 3))
    mix /= mix.sum(axis=1, keepdims=True)  # Mixing leaves grey unchanged.
    gain = exposure * balance
    return Tone(
        (float(gain[0]), float(gain[1]), float(gain[2])),
        mix.astype(np.float32),
        float(np.exp(0.25 * strength * rng.standard_normal())),
        float(np.exp(0.25 * strength * rng.standard_normal())),
        float(np.exp(0.12 * strength * rng.standard_normal())),
        float(rng.uniform(0.0, 0.06) * strength),
    )


def apply_tone(rgb: FloatArray, tone: Tone | None) -> FloatArray:
    """Apply a tone to an image, float32 (3, H, W) in [0, 1]."""
    if tone is None:
        return rgb
    mix = tone.mix * np.array(tone.gain, dtype=np.float32)[:, None]
    red, green, blue = rgb
    # The power comes from a table; its 2048 levels are finer than the images' 8 bits.
    levels = (np.arange(2048, dtype=np.float32) / 2047.0) ** np.float32(tone.gamma)
    toned = np.empty_like(rgb)
    for channel, (r, g, b) in zip(toned, mix, strict=True):
        mixed = np.clip(red * r + green * g + blue * b, 0.0, 1.0)
        levels.take((mixed * 2047.0 + 0.5).astype(np.intp), out=channel, mode="clip")
    grey = toned[0] * LUMA[0] + toned[1] * LUMA[1] + toned[2] * LUMA[2]
    # Saturation, contrast (around 0.45) and lift together are one affine map.
    slope = tone.contrast * (1.0 - tone.lift)
    toned *= np.float32(tone.saturation * slope)
    offset = (0.45 - 0.45 * tone.contrast) * (1.0 - tone.lift) + tone.lift
    toned += grey * np.float32((1.0 - tone.saturation) * slope) + np.float32(offset)
    np.clip(toned, 0.0, 1.0, out=toned)
    return toned


def elastic_offsets(
    rng: np.random.Generator, size_px: tuple[int, int], amplitude_px: float
) -> FloatArray:
    """A smooth random displacement, float32 (2, H, W), of rows and of columns, in pixels.

    size_px: (width, height).
    """
    width, height = size_px
    knots = (max(2, height // 12), max(2, width // 12))
    coarse = rng.uniform(-amplitude_px, amplitude_px, (2, *knots)).astype(np.float32)
    return _interpolated(_interpolated(coarse, height, 1), width, 2)


def _interpolated(values: FloatArray, size: int, axis: int) -> FloatArray:
    """Linear interpolation of a 3D array to `size` samples along an axis."""
    shape = [1, 1, 1]
    shape[axis] = size
    at = np.linspace(0.0, values.shape[axis] - 1.0, size, dtype=np.float32)
    low = np.minimum(at.astype(np.intp), values.shape[axis] - 2)
    share = (at - low).astype(np.float32).reshape(shape)
    interpolated: FloatArray = values.take(low, axis) * (1.0 - share)
    interpolated += values.take(low + 1, axis) * share
    return interpolated


def roughen(
    ids: ByteArray,
    primary: ByteArray,
    rng: np.random.Generator,
    config: RoughenConfig,
) -> ByteArray:
    """Coarser labels: rounded outlines, no sky inside trees, some thin classes lost.

    Thin classes that are not lost keep their pixels.

    Args:
        ids: label ids, uint8 (H, W).
        primary: tag of each id, uint8 (256,).
        rng: decides how much is changed.
        config: bounds of the changes.
    """
    scale = ids.shape[1] / 256.0
    ranks = THIN_RANK[primary]
    dropped = {Tag[name] for name, p in config.drop.items() if rng.random() < p}
    keep_thin = ranks.copy()
    keep_thin[np.isin(primary, list(dropped))] = 0
    radius = round(float(rng.uniform(0, config.smooth_px)) * scale)
    gap = round(float(rng.uniform(0, config.merge_trees_px)) * scale)
    thin = keep_thin[ids] > 0
    rough = ids
    if radius or dropped:
        rough = _majority_filter(ids, ranks, max(radius, 1))
    if gap:
        rough = _close_trees(rough, primary, gap)
    return np.where(thin, ids, rough)


def _majority_filter(ids: ByteArray, ranks: ByteArray, radius: int) -> ByteArray:
    """Replace each pixel by the most frequent id around it; thin classes do not count."""
    present = [int(i) for i in np.flatnonzero(np.bincount(ids.ravel())) if ranks[i] == 0]
    if not present:
        return ids
    winner = ids.copy()  # Stays where only thin classes are around.
    most = np.zeros(ids.shape, dtype=np.uint8)
    for label_id in present:
        plane = (ids == label_id).astype(np.uint8)
        votes = _box_filter(plane, min(radius, 5), np.add)  # (2*5+1)^2 * 2 + 1 fits uint8
        votes = votes * np.uint8(2) + plane  # In a tie, the pixel keeps its id.
        np.copyto(winner, np.uint8(label_id), where=votes > most)
        np.maximum(most, votes, out=most)
    return winner


def _close_trees(ids: ByteArray, primary: ByteArray, gap: int) -> ByteArray:
    """Morphological closing of vegetation, applied to sky pixels only."""
    tags = primary[ids]
    trees = tags == Tag.VEGETATION
    if not trees.any():
        return ids
    grown = _box_filter(trees.astype(np.uint8), gap, np.maximum)
    closed = _box_filter(grown, gap, np.minimum)
    leaf = ids[trees][0]
    return np.where((closed > 0) & (tags == Tag.SKY), leaf, ids)


def _box_filter(plane: ByteArray, radius: int, combine: Callable[..., ByteArray]) -> ByteArray:
    """Combine (add, maximum, minimum) the pixels of a square around each pixel; uint8 (H, W).

    Borders are repeated. Two passes of byte operations are ten times faster than pooling floats.
    """
    height, width = plane.shape
    padded = np.pad(plane, radius, mode="edge")
    rows = padded[:height].copy()
    for shift in range(1, 2 * radius + 1):
        combine(rows, padded[shift : shift + height], out=rows)
    out = rows[:, :width].copy()
    for shift in range(1, 2 * radius + 1):
        combine(out, rows[:, shift : shift + width], out=out)
    return out
