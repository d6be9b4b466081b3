"""What the child reports in place of a frame."""

from __future__ import annotations


class ChildError(Exception):
    """A request failed for a reason that the parent turns into an error of its own.

    `kind`: "version", "server", "sensor", "ego", "spawn" or "config".
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
