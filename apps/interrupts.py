"""Ctrl-C and SIGTERM for commands that have something to save before they end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """A command that was asked to stop has saved its work, said so, and ends."""


class StopRequest:
    """Whether the user asked to stop, and how.

    Attributes:
        has_work: there is something to save. Without it, the first signal already ends the command.
    """

    def __init__(self, saving: str) -> None:
        """`saving` says what happens now, such as "finishing this step, then saving"."""
        self.has_work = False
        self._saving = saving
        self._number: int | None = None
        self._process = os.getpid()

    @property
    def requested(self) -> bool:
        """Whether a signal came; the command should save its work and end."""
        return self._number is not None

    @property
    def exit_code(self) -> int:
        """128 plus the number of the signal, as shells have it: 130 or 143; 0 without one."""
        return 0 if self._number is None else 128 + self._number

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Remember the first signal; end at once on the second, or if there is no work."""
        if os.getpid() != self._process:  # a forked helper: the main process ends it
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.requested or not self.has_work:
            if number == signal.SIGTERM:
                raise SystemExit(128 + number)
            raise KeyboardInterrupt
        self._number = number
        # Not through the console: the signal may have come in the middle of a write to it.
        text = f"\n{self._saving}; press Ctrl-C again to end at once\n"
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())


@contextmanager
def saving_first(saving: str) -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request to stop, inside the block; main thread only."""
    request = StopRequest(saving)
    previous = {number: signal.signal(number, request.on_signal) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
