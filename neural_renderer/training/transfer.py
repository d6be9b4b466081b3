"""Starting from other weights: the only partial load there is, and the seeds it reads.

A seed is a folder of safetensors files of at most 15 MiB: generator, average and
discriminators in float16, without the optimisers' state. A run that starts from one warms
its learning rates up and goes on averaging where the seed stopped.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sim2street.neural_renderer.checkpoint import CheckpointError, read_checkpoint
from sim2street.neural_renderer.training.state import TrainState, read_state

FORMAT = "sim2street-seed/1"
SEED_FILES = "seed_*.safetensors"
PART_BYTES = 15 * 2**20 - 2**16
"""Tensors of a part together; its header takes the rest of 15 MiB."""


@dataclass(frozen=True)
class Weights:
    """Tensors by name ("generator.stem.weight", "ema...", "patch...", "semantic...").

    `step`: training steps behind them.
    """

    tensors: Mapping[str, Tensor]
    step: int


@dataclass(frozen=True)
class Transfer:
    """What became of a partial load: tensors taken, left at their start, and not used."""

    taken: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]
    step: int

    def lines(self, most: int = 8) -> list[str]:
        """For people: counts, and the first names of what is new or dropped."""
        told = [f"taken {len(self.taken)} tensors, from step {self.step}"]
        for what, names in (("new", self.new), ("dropped", self.dropped)):
            shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
            told.append(f"{what} {len(names)}{': ' + shown if names else ''}")
        return told


def start_from(state: TrainState, path: Path) -> Transfer:
    """Fill a fresh state with what fits of a state, a seed or a serving checkpoint.

    Raises:
        CheckpointError: unreadable, or nothing of it fits the generator.
    """
    weights = read_weights(path)
    taken: list[str] = []
    new: list[str] = []
    for module_name, module in state.modules().items():
        own = module.state_dict()
        for key, tensor in own.items():
            name = f"{module_name}.{key}"
            given = weights.tensors.get(name)
            if given is not None and given.shape == tensor.shape:
                own[key] = given.to(tensor.dtype)
                taken.append(name)
            else:
                new.append(name)
        module.load_state_dict(own)
    if not any(name.startswith("generator.") for name in taken):
        raise CheckpointError(
            f"nothing of {path} fits this run's generator: is its size or kind another one?"
        )
    state.age = weights.step
    dropped = sorted(set(weights.tensors) - set(taken))
    return Transfer(tuple(taken), tuple(new), tuple(dropped), weights.step)


def read_weights(path: Path) -> Weights:
    """A run's state (.pt), a seed (folder) or a serving checkpoint (.safetensors)."""
    if path.is_dir():
        return _read_seed(path)
    if path.suffix == ".safetensors":
        tensors, info = read_checkpoint(path)
        both = {f"{who}.{key}": t for who in ("generator", "ema") for key, t in tensors.items()}
        return Weights(both, info.step)
    content = _any_state(path)
    tensors = {
        f"{name}.{key}": tensor
        for name, module in content["modules"].items()
        for key, tensor in module.items()
    }
    return Weights(tensors, int(content["step"]) + int(content.get("age", 0)))


def write_seed(source: Path, folder: Path) -> list[Path]:
    """Write a run's state (or any weights) as a seed into an empty folder; its files.

    A seed that is there already is replaced; what else lies beside it stays.

    Raises:
        CheckpointError: the source cannot be read, or the folder holds something else.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        _read_seed(folder)  # refuses to write into what is no seed
    weights = read_weights(source)
    parts = list(_parts(weights.tensors))
    beside = folder.absolute().parent
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside, prefix=".seed-") as unfinished:
        names = []
        for index, tensors in enumerate(parts):
            name = f"seed_{index + 1}_of_{len(parts)}.safetensors"
            metadata = {"format": FORMAT, "step": str(weights.step), "parts": str(len(parts))}
            save_file(tensors, Path(unfinished) / name, metadata=metadata)
            names.append(name)
        folder.mkdir(exist_ok=True)
        for old in folder.glob(SEED_FILES):
            old.unlink()
        for name in names:
            (Path(unfinished) / name).rename(folder / name)
    return [folder / name for name in names]


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    part: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        half = tensor.detach().half() if tensor.is_floating_point() else tensor.detach()
        half = half.cpu().contiguous().clone()
        bytes_each = half.numel() * half.element_size()
        if part and size + bytes_each > PART_BYTES:
            yield part
            part, size = {}, 0
        part[name] = half
        size += bytes_each
    yield part


def _read_seed(folder: Path) -> Weights:
    files = sorted(folder.glob(SEED_FILES)) if folder.is_dir() else []
    if not files:
        raise CheckpointError(f"{folder} is no seed: expected files seed_1_of_N.safetensors in it")
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                metadata: dict[str, str] = file.metadata() or {}
                tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}); copy it again") from error
        if metadata.get("format") != FORMAT:
            raise CheckpointError(f"{path}: expected format {FORMAT}, got {json.dumps(metadata)}")
    if len(files) != int(metadata["parts"]):
        raise CheckpointError(f"{folder} has {len(files)} of {metadata['parts']} parts of a seed")
    return Weights(tensors, int(metadata["step"]))


def _any_state(path: Path) -> dict[str, Any]:
    try:
        return read_state(path, torch.device("cpu"))
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}: give a state.pt, a seed's folder or a .safetensors checkpoint"
        ) from error
