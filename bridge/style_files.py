"""Style files as bytes, checked without torch, so that any client can send one to a renderer."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sim2street.bridge.errors import RendererError
from sim2street.bridge.render_request import StyleBlob
from sim2street.bridge.safetensors_header import UnreadableFileError, read_metadata

STYLE_FORMAT = "sim2street-style/1"
STYLE_SUFFIX = ".safetensors"
"""A style whose name ends like this is the path of a style file."""


class StyleError(RendererError):
    """A style cannot be made, read, or used with this generator."""


def read_style_file(path: Path) -> StyleBlob:
    """The content of a style file. Raises StyleError where it is none."""
    name = style_name(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StyleError(f"{path} cannot be read: {error.strerror}") from error
    return StyleBlob(name, data, hashlib.sha256(data).hexdigest())


def style_name(path: Path) -> str:
    """The name stored in a style file. Raises StyleError where it is none."""
    try:
        metadata = read_metadata(path)
    except UnreadableFileError as error:
        raise StyleError(
            f"{path} is not a style file: {error}. Expected a file of `sim2street style make`"
        ) from error
    found = metadata.get("format")
    if found != STYLE_FORMAT:
        raise StyleError(
            f"{path} is not a style file: expected format {STYLE_FORMAT}, got "
            f"{found or 'a safetensors file of something else'}"
        )
    return metadata.get("name", path.stem)
