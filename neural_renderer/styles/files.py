"""Style files (safetensors, float16), written, read and sent to a renderer.

A style works only with the generator whose encoder made it. The file holds the sha256 of those
weights and is refused by any other generator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from sim2street.bridge.renderer import StyleBlob
from sim2street.bridge.style_files import STYLE_FORMAT, style_name
from sim2street.bridge.style_files import StyleError as StyleError  # raised here: re-exported
from sim2street.neural_renderer.networks.style import (
    CLASS_CHANNELS,
    CODE_CHANNELS,
    COLOUR_CHANNELS,
    KEY_CHANNELS,
    VALUE_CHANNELS,
    StyleCode,
)
from sim2street.neural_renderer.weight_files import write_bytes


def style_to_bytes(style: StyleCode, name: str, weights_sha256: str) -> bytes:
    """The content of a style file."""
    tensors = {f.name: getattr(style, f.name).half().contiguous() for f in fields(style)}
    metadata = {"format": STYLE_FORMAT, "name": name, "weights": weights_sha256}
    return save(tensors, metadata=metadata)


def style_blob(data: bytes, name: str) -> StyleBlob:
    """The content of a style file as it is sent to a renderer."""
    return StyleBlob(name, data, hashlib.sha256(data).hexdigest())


def style_from_bytes(
    data: bytes, weights_sha256: str, source: str, groups: int | None = None
) -> StyleCode:
    """Parse the content of a style file, as float32.

    Args:
        weights_sha256: of the weights in use.
        source: name for error messages.
        groups: number of label groups of these weights; None: as many as the style has.

    Raises:
        StyleError: the data is no style, was made with other weights, or its numbers are not
            finite.
    """
    try:
        header_bytes = int.from_bytes(data[:8], "little")
        tensors = load(data)
        names = {f.name for f in fields(StyleCode)}
        if tensors.keys() != names:
            raise StyleError(
                f"style {source}: expected tensors {sorted(names)}, got {sorted(tensors)}: make it "
                "again with `sim2street style make`"
            )
    except (SafetensorError, ValueError) as error:
        raise StyleError(f"style {source} cannot be read ({error}): make it again") from error
    if weights_sha256.encode() not in data[: 8 + header_bytes]:
        raise StyleError(
            f"style {source} was made with other weights: make it again with "
            "`sim2street style make` for the weights in use"
        )
    _check_tensors(tensors, source, groups)
    return StyleCode(**{key: value.float() for key, value in tensors.items()})


def _check_tensors(tensors: Mapping[str, Tensor], source: str, groups: int | None) -> None:
    """Raise StyleError unless every tensor has the shape that generators expect, and numbers."""
    size = {name: tensors[name].shape for name in ("classes", "keys")}
    groups = groups or (size["classes"][1] if len(size["classes"]) > 1 else 1)
    tokens = max(1, size["keys"][1] if len(size["keys"]) > 1 else 1)
    expected = {
        "classes": (1, groups, CLASS_CHANNELS),
        "code": (1, CODE_CHANNELS),
        "keys": (1, tokens, KEY_CHANNELS),
        "values": (1, tokens, VALUE_CHANNELS),
        "log_weight": (1, tokens),
        "colour": (1, groups, COLOUR_CHANNELS),
    }
    for name, shape in expected.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != shape or tensor.dtype != torch.float16:
            raise StyleError(
                f"style {source}: expected '{name}' to be float16 {shape}, got "
                f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}: make it again "
                "with `sim2street style make`"
            )
        if not bool(tensor.isfinite().all()):
            raise StyleError(
                f"style {source}: '{name}' has numbers that are not finite: make it again with "
                "`sim2street style make`"
            )


def write_style(path: Path, style: StyleCode, weights_sha256: str) -> None:
    """Write a style file atomically, named after the file."""
    write_bytes(path, style_to_bytes(style, path.stem, weights_sha256))


def style_files(folders: Sequence[Path]) -> list[Path]:
    """The style files of some folders, those that exist, in the order of their names."""
    files = (file for folder in folders for file in sorted(folder.glob("*.safetensors")))
    return [file for file in files if file.is_file()]


def read_styles(folders: Sequence[Path], weights_sha256: str) -> dict[str, StyleCode]:
    """All styles of some folders by name.

    Raises:
        StyleError: a file is no style or was made with other weights, or two have the same name.
    """
    found: dict[str, Path] = {}
    styles: dict[str, StyleCode] = {}
    for file in style_files(folders):
        name = style_name(file)
        if name in found:
            raise StyleError(
                f"two styles are named '{name}': {found[name]} and {file}; move one away"
            )
        found[name] = file
        styles[name] = style_from_bytes(file.read_bytes(), weights_sha256, str(file))
    return styles
