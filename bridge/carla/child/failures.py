"""The error that the child sends to the parent instead of a frame."""

from __future__ import annotations


class ChildError(Exception):
    """A request failed. The parent raises the error class that belongs to `kind`.

    `kind`: a key of `_ERRORS` in `bridge/carla/client.py`.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
