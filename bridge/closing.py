"""Closing things at the end of a `with` block, or where it fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

ClosingT = TypeVar("ClosingT", bound="Closing")


class Closing(ABC):
    """Holds resources that `close` releases; a `with` block calls it, whatever happens inside."""

    @abstractmethod
    def close(self) -> None:
        """Release everything. Calling it twice is allowed."""

    def __enter__(self: ClosingT) -> ClosingT:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def closed_on_error(resource: Closing | None) -> Iterator[None]:
    """Close a resource if the block fails; None: there is none."""
    try:
        yield
    except BaseException:  # also on Ctrl-C: nobody else knows the resource yet
        if resource is not None:
            resource.close()
        raise
