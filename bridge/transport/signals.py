"""SIGINT and SIGTERM as an event, so that a server stops between two requests."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets. A second SIGINT raises KeyboardInterrupt.

    Python delivers signals to the main thread only: in other threads the event stays unset.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        for number in previous:
            signal.signal(number, on_signal)
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
