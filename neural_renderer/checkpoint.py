"""Checkpoints for serving: one safetensors file with weights and everything needed to use them.

Loading is strict: a file that does not fit exactly is refused. The trainer keeps its own state
(optimisers, discriminators) in another file, see `training/state.py`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from sim2street.bridge.labels import taxonomy_fingerprint
from sim2street.configs import Sim2StreetError
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.networks.build import KINDS, SIZES, build_frame_generator
from sim2street.neural_renderer.networks.interface import FrameGenerator
from sim2street.neural_renderer.weight_files import (
    UnreadableFileError,
    read_tensors,
    write_tensors,
)

FORMAT = "sim2street-generator/1"

OTHER_FILES = {
    "sim2street-style/": "a style, not weights: `sim2street demo --style FILE` uses it, with the "
    "weights that it was made for",
    "sim2street-seed/": "part of a seed, not weights to render with: `sim2street train "
    "--init-from` takes its folder",
}
"""What files of sim2street in other formats are, by the start of their format."""


class CheckpointError(Sim2StreetError):
    """A checkpoint is unreadable, truncated, or made for another version."""


@dataclass(frozen=True)
class CheckpointInfo:
    """Metadata of a checkpoint.

    Attributes:
        size: key of `networks.build.SIZES`.
        step: number of training steps.
        class_map: from label tags to the label groups of the generator.
        seen_tags: label tags that occur in the training data.
        license: printed when the command line loads the checkpoint.
        sha256: of the file; empty before it is saved.
        loss_networks: sha256 of the files of pretrained networks used in training losses; an
            evaluation must not score with them.
        kind: one of `networks.build.KINDS`.
        canvas: whether the generator uses a canvas.
    """

    size: str
    step: int
    class_map: ClassMap
    seen_tags: tuple[int, ...]
    license: str
    sha256: str = ""
    loss_networks: tuple[str, ...] = ()
    kind: str = "few-shot"
    canvas: bool = False


def save_generator(path: Path, generator: FrameGenerator, info: CheckpointInfo) -> None:
    """Write weights as float16; atomically, under a temporary name until complete."""
    tensors = {k: v.detach().half().contiguous().cpu() for k, v in generator.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "size": info.size,
        "step": str(info.step),
        "class_map": json.dumps(info.class_map.to_json()),
        "seen_tags": json.dumps(list(info.seen_tags)),
        "license": info.license,
        "loss_networks": json.dumps(list(info.loss_networks)),
        "kind": info.kind,
        "canvas": json.dumps(info.canvas),
    }
    write_tensors(path, tensors, metadata)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], CheckpointInfo]:
    """Tensors as float32, and metadata. Raises CheckpointError if the file cannot be used."""
    if not path.exists():
        raise CheckpointError(f"no weights at {path}: give the path of a .safetensors checkpoint")
    try:
        tensors, metadata = read_tensors(path)
    except UnreadableFileError as error:
        raise CheckpointError(
            f"{path} cannot be used as weights: {error}. Expected a checkpoint of sim2street, such "
            "as the generator.safetensors of a training run; if it is one, copy it again"
        ) from error
    return {name: tensor.float() for name, tensor in tensors.items()}, _parse_info(path, metadata)


def load_generator(path: Path) -> tuple[FrameGenerator, CheckpointInfo]:
    """The generator that a checkpoint describes, in eval mode, and the metadata.

    Raises:
        CheckpointError: the file cannot be read or does not fit exactly.
    """
    tensors, info = read_checkpoint(path)
    generator = build_frame_generator(info.kind, info.size, info.class_map.names, info.canvas)
    try:
        generator.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2]
        raise CheckpointError(
            f"{path} does not fit this version's '{info.size}' generator:{''.join(first)}; "
            "continue training from it with `sim2street train --init-from`, or use weights of this "
            "version"
        ) from error
    return generator.eval(), info


def _parse_info(path: Path, metadata: dict[str, Any]) -> CheckpointInfo:
    """Check the metadata of a checkpoint. Raises CheckpointError where it does not fit."""
    _check_format(path, metadata)
    try:
        return _checked_info(path, metadata)
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: its metadata is damaged or incomplete ({type(error).__name__}: {error}); "
            "copy or export the file again"
        ) from error


def _check_format(path: Path, metadata: dict[str, Any]) -> None:
    found = str(metadata.get("format", ""))
    if found == FORMAT:
        return
    for start, explanation in OTHER_FILES.items():
        if found.startswith(start):
            raise CheckpointError(f"{path} is {explanation}")
    if found.startswith(FORMAT.split("/")[0]):
        raise CheckpointError(
            f"{path}: this version of sim2street reads format {FORMAT}, got {found}: use weights "
            "of this version"
        )
    raise CheckpointError(
        f"{path} is a safetensors file of something else: it has no metadata of sim2street. "
        "Expected a checkpoint, such as the generator.safetensors of a training run"
    )


def _checked_info(path: Path, metadata: dict[str, Any]) -> CheckpointInfo:
    class_map = json.loads(metadata["class_map"])
    if class_map["taxonomy"] != taxonomy_fingerprint():
        raise CheckpointError(
            f"{path} was trained for label taxonomy {class_map['taxonomy']}, this version uses "
            f"{taxonomy_fingerprint()}: use weights trained for it"
        )
    if metadata["size"] not in SIZES:
        raise CheckpointError(
            f"{path}: unknown size '{metadata['size']}', expected one of {', '.join(SIZES)}"
        )
    kind = metadata.get("kind", "few-shot")
    if kind not in KINDS:
        raise CheckpointError(
            f"{path}: unknown kind of generator '{kind}', expected one of {', '.join(KINDS)}"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return CheckpointInfo(
        metadata["size"],
        int(metadata["step"]),
        ClassMap(tuple(class_map["names"]), tuple(class_map["group_of"])),
        tuple(json.loads(metadata["seen_tags"])),
        metadata["license"],
        digest,
        tuple(json.loads(metadata.get("loss_networks", "[]"))),
        kind,
        bool(json.loads(metadata.get("canvas", "false"))),
    )
