"""Computing items ahead of time in worker processes, in order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

Item = TypeVar("Item")

GRACE_S = 60
"""How long workers go on after a SIGTERM, so that their parent can finish a step and save."""


def prefetched(make: Callable[[int], Item], first: int, last: int, workers: int) -> Iterator[Item]:
    """`make(n)` for n from `first` to `last` - 1, in order.

    The result does not depend on `workers`, as long as `make` depends on n only.

    Args:
        make: computes an item.
        first, last: range of n.
        workers: forked processes that work ahead, two items each; they share the parent's memory
            and end with the iterator. 0: items are computed when they are asked for.
    """
    if workers < 1:
        yield from map(make, range(first, last))
        return
    loader = DataLoader(
        _Range(make, first, last),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="fork",
        worker_init_fn=_leave_signals_to_parent,
        timeout=600,
    )
    yield from loader


def _leave_signals_to_parent(_worker: int) -> None:
    """Ctrl-C and SIGTERM often reach all processes of a command; here the parent decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _end_later)


def _end_later(_number: int, _frame: FrameType | None) -> None:
    signal.alarm(GRACE_S)


class _Range(Dataset[Item], Generic[Item]):
    """The range of n as a map-style dataset."""

    def __init__(self, make: Callable[[int], Item], first: int, last: int) -> None:
        self._make, self._first, self._last = make, first, last

    def __len__(self) -> int:
        return self._last - self._first

    def __getitem__(self, index: int) -> Item:
        return self._make(self._first + index)
