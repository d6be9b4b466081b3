"""The header of safetensors files, read without torch: metadata, and what a wrong file is instead.

Format: 8 bytes with the length of the header (little endian), the header as JSON, the tensors
(https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ZIP_START = b"PK\x03\x04"
"""First bytes of a zip file, and so of a file of `torch.save`."""

_MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""


class UnreadableFileError(Exception):
    """A file cannot be read as tensors; the message is the reason, such as "it is empty".

    Callers turn it into an error of their own that names the file and says what to do.
    """


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, without reading its tensors.

    Raises:
        UnreadableFileError: the file is no safetensors file, or is cut off.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = min(int.from_bytes(start, "little"), _MAX_HEADER_BYTES)
            data = start + file.read(size)
        size = path.stat().st_size
    except OSError as error:
        raise UnreadableFileError(why_not_opened(path, error)) from error
    reason = what_else(data, size)
    if reason:
        raise UnreadableFileError(reason)
    return metadata_of(data)


def metadata_of(data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file that starts with `data`; empty where it has none."""
    metadata = (_header(data) or {}).get("__metadata__")
    return {str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {}


def what_else(data: bytes, file_bytes: int | None = None) -> str:
    """Why a file that starts with `data` is no whole safetensors file; "" if it may be one.

    file_bytes: length of the file, if `data` is not all of it.
    """
    size = len(data) if file_bytes is None else file_bytes
    if not size:
        return "it is empty"
    if data.startswith(ZIP_START):
        return "it is a PyTorch file (.pt, .pth), not a safetensors file"
    header = _header(data)
    if header is None:
        if data[8:9] == b"{":
            return "it is cut off, or its header is damaged"
        return "it is a text file" if is_text(data[:4096]) else "it is no safetensors file"
    entries = (entry for name, entry in header.items() if name != "__metadata__")
    try:
        end = max((int(entry["data_offsets"][1]) for entry in entries), default=0)
    except (KeyError, IndexError, TypeError, ValueError):
        return "it is damaged: its header has no offsets"
    expected = 8 + int.from_bytes(data[:8], "little") + end
    return f"it is cut off: {size} of {expected} bytes" if size < expected else ""


def why_not_opened(path: Path, error: OSError) -> str:
    """Why a file could not be opened."""
    if path.is_dir():
        return "it is a folder"
    if not path.exists():
        return "there is no such file"
    return (error.strerror or str(error)).lower()


def is_text(data: bytes) -> bool:
    """Whether `data` is printable text in UTF-8."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)


def _header(data: bytes) -> dict[str, Any] | None:
    """The header of a safetensors file that starts with `data`; None where there is none."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 + size or data[8:9] != b"{":
        return None
    try:
        header = json.loads(data[8 : 8 + size])
    except ValueError:
        return None
    return header if isinstance(header, dict) else None
