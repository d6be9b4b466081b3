"""Files of tensors: written whole with the permissions of the umask, read with clear errors."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from sim2street.bridge.safetensors_header import (
    ZIP_START,
    is_text,
    metadata_of,
    what_else,
    why_not_opened,
)
from sim2street.bridge.safetensors_header import (
    UnreadableFileError as UnreadableFileError,  # raised here: re-exported
)

_TORCH_ERRORS = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    UnpicklingError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    ImportError,
    struct.error,
)
"""Exceptions that `torch.load` raises for files that are something else."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file under a temporary name, then rename it.

    `safetensors.torch.save_file` makes files that only their owner can read; this function leaves
    the permissions to the umask.
    """
    write_bytes(path, save(dict(tensors), metadata=dict(metadata)))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, then rename it; a failure leaves no part behind."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises UnreadableFileError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(why_not_opened(path, error)) from error
    reason = what_else(data)
    if reason:
        raise UnreadableFileError(reason)
    try:
        return load(data), metadata_of(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UnreadableFileError(f"it is damaged: {error}") from error


def read_torch_file(path: Path, device: torch.device) -> Any:
    """The content of a file of `torch.save`, tensors on `device`. Raises UnreadableFileError."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise UnreadableFileError(why_not_opened(path, error)) from error
    is_zip = start.startswith(ZIP_START)
    if not start:
        raise UnreadableFileError("it is empty")
    if is_zip and not zipfile.is_zipfile(path):
        raise UnreadableFileError("it is cut off: its end is missing")
    if is_text(start):
        raise UnreadableFileError("it is a text file")
    if not is_zip and start[8:9] == b"{":
        raise UnreadableFileError("it is a safetensors file")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except _TORCH_ERRORS as error:
        raise UnreadableFileError(
            "it is damaged, or not a PyTorch file of tensors alone"
        ) from error
