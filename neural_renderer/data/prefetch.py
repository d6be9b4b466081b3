"""Computing items ahead of time in worker processes, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

Item = TypeVar("Item")


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
        timeout=600,
    )
    yield from loader


class _Range(Dataset[Item], Generic[Item]):
    """The range of n as a map-style dataset."""

    def __init__(self, make: Callable[[int], Item], first: int, last: int) -> None:
        self._make, self._first, self._last = make, first, last

    def __len__(self) -> int:
        return self._last - self._first

    def __getitem__(self, index: int) -> Item:
        return self._make(self._first + index)
