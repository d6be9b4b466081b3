"""Batches made ahead of time by worker processes, in order and the same as without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

Item = TypeVar("Item")


def prefetched(make: Callable[[int], Item], first: int, last: int, workers: int) -> Iterator[Item]:
    """`make(step)` for steps first..last-1, in order.

    With `workers` > 0 that many forked processes work ahead, two steps each; they share the
    photographs in memory and end with the iterator. `make` must depend on the step alone.
    """
    if workers < 1:
        yield from map(make, range(first, last))
        return
    loader = DataLoader(
        _Steps(make, first, last),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="fork",
        timeout=600,
    )
    yield from loader


class _Steps(Dataset[Item], Generic[Item]):
    """Steps as the items of a map-style dataset."""

    def __init__(self, make: Callable[[int], Item], first: int, last: int) -> None:
        self._make, self._first, self._last = make, first, last

    def __len__(self) -> int:
        return self._last - self._first

    def __getitem__(self, index: int) -> Item:
        return self._make(self._first + index)
