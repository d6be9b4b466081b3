"""Serving checkpoints: one safetensors file that carries everything needed to use it.

Strict on purpose: a file that does not fit is refused before the first frame, never loaded
in part. The trainer's own state (optimisers, discriminators) is another file, see
`training/state.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sim2street.bridge.labels import taxonomy_fingerprint
from sim2street.configs import Sim2StreetError
from sim2street.neural_renderer.conditions.generator_input import ClassMap
from sim2street.neural_renderer.networks.baselines import KINDS, build_frame_generator
from sim2street.neural_renderer.networks.generator import SIZES, FrameGenerator

FORMAT = "sim2street-generator/1"


class CheckpointError(Sim2StreetError):
    """A checkpoint is unreadable, truncated, or made for something else."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself.

    Attributes:
        size: key of `generator.SIZES`. step: training steps behind it.
        class_map: tags to groups. seen_tags: tags that training data showed.
        license: printed when the command line loads it.
        loss_networks: sha256 of the files of pretrained networks its losses looked through;
            none of them may score it.
        kind: of generator, see `networks.baselines.build_frame_generator`.
    """

    size: str
    step: int
    class_map: ClassMap
    seen_tags: tuple[int, ...]
    license: str
    sha256: str = ""
    loss_networks: tuple[str, ...] = ()
    kind: str = "few-shot"


def save_generator(path: Path, generator: FrameGenerator, info: CheckpointInfo) -> None:
    """Write weights as float16 (atomically: a temporary name until complete)."""
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
    }
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata=metadata)
    os.replace(part, path)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], CheckpointInfo]:
    """Tensors (float32) and info, or CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); it may be truncated: copy or make it again"
        ) from error
    return tensors, _parse_info(path, metadata)


def load_generator(path: Path) -> tuple[FrameGenerator, CheckpointInfo]:
    """Build the generator a checkpoint describes and fill it, strictly; eval mode."""
    tensors, info = read_checkpoint(path)
    generator = build_frame_generator(info.kind, info.size, len(info.class_map.names))
    try:
        generator.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2]
        raise CheckpointError(
            f"{path} does not fit this version's '{info.size}' generator:{''.join(first)}; "
            "train on from it with `sim2street train --init-from`, or use this version's weights"
        ) from error
    return generator.eval(), info


def _parse_info(path: Path, metadata: dict[str, Any]) -> CheckpointInfo:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: expected format {FORMAT}, got {metadata.get('format', 'none')}"
        )
    class_map = json.loads(metadata["class_map"])
    if class_map["taxonomy"] != taxonomy_fingerprint():
        raise CheckpointError(
            f"{path} was trained for label taxonomy {class_map['taxonomy']}, this version "
            f"speaks {taxonomy_fingerprint()}: use weights made for it"
        )
    if metadata["size"] not in SIZES:
        raise CheckpointError(f"{path}: unknown size '{metadata['size']}'")
    kind = metadata.get("kind", "few-shot")
    if kind not in KINDS:
        raise CheckpointError(f"{path}: unknown kind of generator '{kind}'")
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
    )
