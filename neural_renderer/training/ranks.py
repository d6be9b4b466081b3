"""Several processes on one run (`torchrun`): who am I, mean gradients, who writes.

Without an initialised process group everything here is the identity. All ranks start from
the same seed and see the same mean gradients, so their weights stay equal; each draws
batches of its own; rank 0 alone writes.
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

DEADLINE = timedelta(minutes=10)
"""How long a rank waits for the others before it gives up."""


def rank() -> int:
    """This process, 0 = the one that writes."""
    return distributed.get_rank() if _is_several() else 0


def ranks() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _is_several() else 1


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that `torchrun` started, if it did; gives this rank's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or _is_several():
        yield device
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=DEADLINE)
    try:
        yield device
    finally:
        distributed.destroy_process_group()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """No other run trains in `folder` meanwhile; the system lets go when a process dies.

    A folder in which nothing was begun is not left behind.

    Raises:
        ConfigError: another one does.
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
            f"another process trains in {folder}: stop it, or give another folder"
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
    """Rank 0 runs the block before the others: what it leaves on disk, they find."""
    if rank() > 0:
        meet()
    yield
    if rank() == 0:
        meet()


def meet() -> None:
    """Wait until all ranks are here."""
    if _is_several():
        distributed.barrier()


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Mean over ranks of the gradients that there are; the same ones on every rank."""
    if not _is_several():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= ranks()
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, mean in zip(gradients, flat.split(sizes), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _is_several() -> bool:
    return distributed.is_available() and distributed.is_initialized()
