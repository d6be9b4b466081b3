"""Starting a run from other weights (`--init-from`), and seeds, the small files made for it.

A seed is a folder of safetensors files of at most 15 MiB each: averaged generator and
discriminators in float16, without the state of the optimisers. A run that starts from a seed warms
its learning rates up again and continues the averaging.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sim2street.neural_renderer.checkpoint import CheckpointError, read_checkpoint
from sim2street.neural_renderer.training.state import TrainState, read_state
from sim2street.neural_renderer.weight_files import (
    UnreadableFileError,
    read_tensors,
    write_tensors,
)

FORMAT = "sim2street-seed/1"
SEED_FILES = "seed_*.safetensors"
PART_BYTES = 15 * 2**20 - 2**16
"""Most bytes of tensors in one file of a seed; the file's header takes the rest of 15 MiB."""


@dataclass(frozen=True)
class Weights:
    """Weights that a run can start from.

    Attributes:
        tensors: by name of network and tensor, such as "generator.stem.weight"; the networks are
            those of `TrainState.modules`.
        step: training steps behind them.
    """

    tensors: Mapping[str, Tensor]
    step: int


@dataclass(frozen=True)
class Transfer:
    """What was loaded from other weights.

    Attributes:
        taken: names of the loaded tensors.
        new: names of the run's tensors that keep their initial values.
        dropped: names of the tensors in the file that the run has no use for.
        step: training steps behind the loaded weights.
    """

    taken: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]
    step: int

    def lines(self, most: int = 8) -> list[str]:
        """Text for people: counts, and the first `most` names of what is new or dropped."""
        of_generator = [name.startswith("generator.") for name in (*self.taken, *self.new)]
        fitting = sum(name.startswith("generator.") for name in self.taken)
        lines = [f"taken {len(self.taken)} tensors, from step {self.step}"]
        if fitting < 0.5 * sum(of_generator):
            lines.append(
                f"only {fitting} of the generator's {sum(of_generator)} tensors fit: are these "
                "weights of another size or kind?"
            )
        for what, names in (("new", self.new), ("dropped", self.dropped)):
            shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
            lines.append(f"{what} {len(names)}{': ' + shown if names else ''}")
        return lines


def start_from(state: TrainState, path: Path) -> Transfer:
    """Load every tensor whose name and shape fit from a state, a seed or a checkpoint.

    Raises:
        CheckpointError: unreadable, or no tensor fits the generator.
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
            f"no tensor in {path} fits this run's generator: check that the config's size and kind "
            "are those of the weights"
        )
    state.previous_steps = weights.step
    dropped = sorted(set(weights.tensors) - set(taken))
    return Transfer(tuple(taken), tuple(new), tuple(dropped), weights.step)


def read_weights(path: Path) -> Weights:
    """Read a run's state (.pt), a seed (folder) or a serving checkpoint (.safetensors).

    A checkpoint has one generator, which is taken for both the current and the averaged one.

    Raises:
        CheckpointError: none of these, or damaged.
    """
    if path.is_dir():
        return _read_seed(path)
    if path.suffix == ".safetensors":
        tensors, info = read_checkpoint(path)
        names = "generator", "ema"
        both = {f"{name}.{key}": t for name in names for key, t in tensors.items()}
        return Weights(both, info.step)
    content = _read_state(path)
    tensors = {
        f"{name}.{key}": tensor
        for name, module in content["modules"].items()
        for key, tensor in module.items()
    }
    return Weights(tensors, int(content["step"]) + int(content.get("age", 0)))


def write_seed(source: Path, folder: Path) -> list[Path]:
    """Write a run's state (or any other weights) as a seed; returns its files.

    The folder must be new, empty or a seed, which is replaced; other files in it stay.

    Raises:
        CheckpointError: the source cannot be read, or the folder holds files but no seed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        _read_seed(folder)  # raises for a folder that is no seed
    weights = read_weights(source)
    averaged = any(name.startswith("ema.") for name in weights.tensors)
    kept = {
        name: tensor
        for name, tensor in weights.tensors.items()
        if not (averaged and name.startswith("generator."))
    }
    parts = list(_half_precision_parts(kept))
    parent = folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".seed-") as unfinished:
        names = []
        for index, tensors in enumerate(parts):
            name = f"seed_{index + 1}_of_{len(parts)}.safetensors"
            metadata = {"format": FORMAT, "step": str(weights.step), "parts": str(len(parts))}
            write_tensors(Path(unfinished) / name, tensors, metadata)
            names.append(name)
        folder.mkdir(exist_ok=True)
        for old in folder.glob(SEED_FILES):
            old.unlink()
        for name in names:
            (Path(unfinished) / name).rename(folder / name)
    return [folder / name for name in names]


def _half_precision_parts(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors in float16, in groups of at most `PART_BYTES`."""
    part: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        half = tensor.detach().half() if tensor.is_floating_point() else tensor.detach()
        half = half.cpu().contiguous().clone()
        tensor_bytes = half.numel() * half.element_size()
        if part and size + tensor_bytes > PART_BYTES:
            yield part
            part, size = {}, 0
        part[name] = half
        size += tensor_bytes
    yield part


def _read_seed(folder: Path) -> Weights:
    files = sorted(folder.glob(SEED_FILES)) if folder.is_dir() else []
    if not files:
        raise CheckpointError(
            f"{folder} is no seed: expected files seed_1_of_N.safetensors in it. For a run's "
            "folder, name the state.pt in it"
        )
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            found, metadata = read_tensors(path)
        except UnreadableFileError as error:
            raise CheckpointError(
                f"{path} is no part of a seed: {error}; copy the seed again"
            ) from error
        if metadata.get("format") != FORMAT:
            raise CheckpointError(f"{path}: expected format {FORMAT}, got {json.dumps(metadata)}")
        tensors |= found
    if len(files) != int(metadata["parts"]):
        raise CheckpointError(
            f"{folder} has {len(files)} of a seed's {metadata['parts']} files; copy all of them"
        )
    # A seed holds the averaged generator alone; the run's own one starts from it, too.
    averaged = {name for name in tensors if name.startswith("ema.")}
    of_generator = {name.replace("ema.", "generator.", 1): tensors[name] for name in averaged}
    return Weights(of_generator | tensors, int(metadata["step"]))


def _read_state(path: Path) -> dict[str, Any]:
    try:
        return read_state(path, torch.device("cpu"))
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}: expected a state.pt, the folder of a seed or a .safetensors checkpoint"
        ) from error
