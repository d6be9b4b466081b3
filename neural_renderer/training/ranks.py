"""Training in several processes, started by `torchrun`.

All ranks start from the same seed and apply the same averaged gradients, so that their weights stay
equal. Each rank draws its own batches; only rank 0 writes files. In a single process the functions
here do nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor, distributed

from sim2street.configs import ConfigError
from sim2street.neural_renderer.runtimes.devices import chosen_device

TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for the others before it fails."""


def rank() -> int:
    """Number of this process; 0 is the one that writes files."""
    return distributed.get_rank() if _is_distributed() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if _is_distributed() else 1


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that `torchrun` started, if it did; yields this rank's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or _is_distributed():
        yield device
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        device = chosen_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=TIMEOUT)
    try:
        yield device
    finally:
        distributed.destroy_process_group()


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Create `folder` and lock it against other training processes.

    The lock ends with the block, or when the process dies. A folder that holds nothing but the lock
    is removed again.

    Raises:
        ConfigError: another process holds the lock.
    """
    if rank() != 0:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.lock"
    try:
        lock = FileLock(path).acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"another process trains in {folder}: stop it, or choose another folder"
        ) from None
    try:
        with lock:
            yield
    finally:
        if all(file == path for file in folder.iterdir()):
            path.unlink(missing_ok=True)
            folder.rmdir()


@contextmanager
def rank_zero_first() -> Iterator[None]:
    """Rank 0 runs the block before the others, which then find the files that it wrote."""
    if rank() > 0:
        barrier()
    yield
    if rank() == 0:
        barrier()


def barrier() -> None:
    """Wait until all ranks have called this."""
    if _is_distributed():
        distributed.barrier()


def on_any_rank(flag: bool) -> bool:
    """Whether `flag` is set on any rank; the same answer on all of them, which all must ask."""
    if not _is_distributed():
        return flag
    # Tensors of NCCL must be on the GPU.
    on_gpu = distributed.get_backend() == "nccl"
    votes = torch.tensor([float(flag)], device="cuda" if on_gpu else "cpu")
    distributed.all_reduce(votes)
    return bool(votes.item() > 0.0)


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace each gradient by its mean over ranks; all ranks must have the same gradients set."""
    if not _is_distributed():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= world_size()
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, mean in zip(gradients, flat.split(sizes), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()
