"""Style files (safetensors, float16), written, read and sent to a renderer.

A style works only with the generator whose encoder made it. The file holds the sha256 of those
weights and is refused by any other generator.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import fields
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from sim2street.bridge.renderer import StyleBlob
from sim2street.configs import Sim2StreetError
from sim2street.neural_renderer.networks.style import StyleCode

FORMAT = "sim2street-style/1"


class StyleError(Sim2StreetError):
    """A style cannot be made, read, or used with this generator."""


def style_to_bytes(style: StyleCode, name: str, weights_sha256: str) -> bytes:
    """The content of a style file."""
    tensors = {f.name: getattr(style, f.name).half().contiguous() for f in fields(style)}
    metadata = {"format": FORMAT, "name": name, "weights": weights_sha256}
    return save(tensors, metadata=metadata)


def style_blob(data: bytes, name: str) -> StyleBlob:
    """The content of a style file as it is sent to a renderer."""
    return StyleBlob(name, data, hashlib.sha256(data).hexdigest())


def style_from_bytes(data: bytes, weights_sha256: str, source: str) -> StyleCode:
    """Parse the content of a style file, as float32.

    Args:
        weights_sha256: of the weights in use.
        source: name for error messages.

    Raises:
        StyleError: the data is no style, or was made with other weights.
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
    return StyleCode(**{key: value.float() for key, value in tensors.items()})


def write_style(path: Path, style: StyleCode, weights_sha256: str) -> None:
    """Write a style file atomically, named after the file."""
    part = path.with_suffix(".part")
    part.write_bytes(style_to_bytes(style, path.stem, weights_sha256))
    os.replace(part, path)


def style_name(path: Path) -> str:
    """The name stored in a style file. Raises StyleError if it is not one."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise StyleError(f"{path} is not a style file ({error})") from error
    if metadata.get("format") != FORMAT:
        raise StyleError(f"{path}: expected format {FORMAT}, got {metadata.get('format', 'none')}")
    return metadata["name"]


def read_style_blob(path: Path) -> StyleBlob:
    """The content of a style file, to be sent to any renderer. Raises StyleError."""
    name = style_name(path)
    return style_blob(path.read_bytes(), name)


def read_styles(folder: Path, weights_sha256: str) -> dict[str, StyleCode]:
    """All styles of a folder by name.

    Raises:
        StyleError: the folder has no style, or one that was made with other weights.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise StyleError(f"no style files in {folder}: make one with `sim2street style make`")
    return {
        style_name(file): style_from_bytes(file.read_bytes(), weights_sha256, str(file))
        for file in files
    }
