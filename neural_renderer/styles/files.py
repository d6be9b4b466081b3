"""Style files: what exemplars became, compiled once, shipped and sent as bytes.

A style belongs to the generator whose encoder made it; the file says which, and is refused
by any other.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from sim2street.bridge.labels import Tag
from sim2street.bridge.renderer import StyleBlob
from sim2street.configs import Sim2StreetError
from sim2street.neural_renderer.conditions.generator_input import ClassMap
from sim2street.neural_renderer.networks.generator import FrameGenerator
from sim2street.neural_renderer.networks.style import StyleCode
from sim2street.neural_renderer.styles.colours import in_exemplars_colours

FORMAT = "sim2street-style/1"

UNSTYLED = "these weights paint without styles: there is nothing to fit, leave --fit out"

StyleFit = Callable[[FrameGenerator, ClassMap, StyleCode, Tensor, Tensor], StyleCode]
"""A style of exemplars (K, 3, H, W) with tags (K, 29, H, W), changed to suit them better."""


class StyleError(Sim2StreetError):
    """A style cannot be made, read, or used with this generator."""


def compile_style(
    generator: FrameGenerator,
    class_map: ClassMap,
    rgb: Sequence[Tensor],
    tags: Sequence[Tensor],
    fit: StyleFit | None = None,
) -> StyleCode:
    """E_F on K exemplars, and how their colours are met: batch of one style.

    Args:
        rgb: K tensors (3, H, W) in [-1, 1], one size, divisible by 16.
        tags: K uint8 tensors (29, H, W), multi-hot.
        fit: betters what E_F says before the colours are measured.
    """
    if not rgb or len(rgb) != len(tags):
        raise StyleError(f"a style needs K >= 1 exemplars with labels, got {len(rgb)}")
    groups = torch.stack([class_map.groups_from_multihot(t) for t in tags])[None]
    if fit is not None and not generator.styled:
        raise StyleError(UNSTYLED)
    if not (groups[:, :, 1:].sum() > 0):
        raise StyleError("none of the exemplars' labels is a known class: check the label naming")
    pictures = torch.stack(list(rgb)).float()
    with torch.inference_mode():
        style = generator.encode_style(pictures[None], groups)
    if not generator.styled:
        return style
    style = _grass_as_foliage(class_map, style, groups)
    labels = torch.stack(list(tags))
    if fit is not None:
        style = fit(generator, class_map, style, pictures, labels)
    return in_exemplars_colours(generator, class_map, style, pictures, labels)


def _grass_as_foliage(class_map: ClassMap, style: StyleCode, groups: Tensor) -> StyleCode:
    """Grass that no exemplar shows looks like their foliage.

    What E_F falls back on for it was learnt from few pictures, and glows in other light.
    """
    grass, foliage = (class_map.group_of[tag] for tag in (Tag.TERRAIN, Tag.VEGETATION))
    shown = groups.sum(dim=(0, 1, 3, 4)) > 0
    if shown[grass] or not shown[foliage]:
        return style
    classes = style.classes.clone()
    classes[:, grass] = classes[:, foliage]
    return replace(style, classes=classes)


def style_to_bytes(style: StyleCode, name: str, weights_sha256: str) -> bytes:
    """Serialise (safetensors, float16)."""
    tensors = {f.name: getattr(style, f.name).half().contiguous() for f in fields(style)}
    metadata = {"format": FORMAT, "name": name, "weights": weights_sha256}
    return save(tensors, metadata=metadata)


def blob(data: bytes, name: str) -> StyleBlob:
    """A style as it travels."""
    return StyleBlob(name, data, hashlib.sha256(data).hexdigest())


def style_from_bytes(data: bytes, weights_sha256: str, source: str) -> StyleCode:
    """Parse and check against the generator in use, or StyleError."""
    try:
        header = int.from_bytes(data[:8], "little")
        tensors = load(data)
        names = {f.name for f in fields(StyleCode)}
        if tensors.keys() != names:
            raise StyleError(
                f"style {source}: expected tensors {sorted(names)}, got {sorted(tensors)}: make it "
                "again with `sim2street style make`"
            )
    except (SafetensorError, ValueError) as error:
        raise StyleError(f"style {source} cannot be read ({error}): make it again") from error
    if weights_sha256.encode() not in data[: 8 + header]:
        raise StyleError(
            f"style {source} was made with other weights: make it again with "
            "`sim2street style make` for the weights in use"
        )
    return StyleCode(**{key: value.float() for key, value in tensors.items()})


def write_style(path: Path, style: StyleCode, weights_sha256: str) -> None:
    """Write a style file atomically; its name is the file's stem."""
    part = path.with_suffix(".part")
    part.write_bytes(style_to_bytes(style, path.stem, weights_sha256))
    os.replace(part, path)


def style_name(path: Path) -> str:
    """The name a style file carries, or StyleError."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise StyleError(f"{path} is not a style file ({error})") from error
    if metadata.get("format") != FORMAT:
        raise StyleError(f"{path}: expected format {FORMAT}, got {metadata.get('format', 'none')}")
    return metadata["name"]


def read_styles(folder: Path, weights_sha256: str) -> dict[str, StyleCode]:
    """All styles of a folder by name, or StyleError: none there, or one of other weights."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise StyleError(f"no style files in {folder}: make one with `sim2street style make`")
    return {
        style_name(file): style_from_bytes(file.read_bytes(), weights_sha256, str(file))
        for file in files
    }
