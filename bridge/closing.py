"""Closing: what `with` blocks close at their end."""

from __future__ import annotations

from abc import ABC, abstractmethod
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
