"""Keeps a server process running: starts it again when it dies."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from sim2street.bridge.transport.signals import stop_on_signals

_LOG = logging.getLogger(__name__)
_POLL_S = 0.05
_STABLE_S = 30.0
_TERMINATE_S = 10.0
_FINAL_CODES = (0, 2)  # a clean end; a mistake in the command or its configuration


def supervise(
    command: Sequence[str],
    stop: threading.Event | None = None,
    on_restart: Callable[[int, int, float], None] | None = None,
    first_pause_s: float = 0.5,
    longest_pause_s: float = 30.0,
) -> int:
    """Run `command`, again and again, until it ends well or a signal says stop.

    The pause before a restart doubles with each death, and starts over once the process
    has lived for half a minute. Exit code 2 (wrong options, port in use) is final: the
    same command would fail the same way.

    Args:
        on_restart: called with (exit code, restarts so far, pause in seconds); logged otherwise.

    Returns:
        0 after a stop or a clean end, 2 after a mistake in the command.

    Raises:
        OSError: the command cannot be started at all.
    """
    if stop is None:
        with stop_on_signals() as event:
            return supervise(command, event, on_restart, first_pause_s, longest_pause_s)
    restarts, pause_s = 0, first_pause_s
    while True:
        started_s = time.monotonic()
        code = _run_once(command, stop)
        if stop.is_set():
            return 0
        if code in _FINAL_CODES:
            return code
        if time.monotonic() - started_s > _STABLE_S:
            pause_s = first_pause_s
        restarts += 1
        if on_restart is not None:
            on_restart(code, restarts, pause_s)
        else:
            _LOG.warning("server died with code %d, restart %d in %.1f s", code, restarts, pause_s)
        if stop.wait(pause_s):
            return 0
        pause_s = min(2 * pause_s, longest_pause_s)


def _run_once(command: Sequence[str], stop: threading.Event) -> int:
    """One life of the process; it does not outlive a stop, nor an exception in here.

    Its own session keeps a terminal's Ctrl-C from reaching it twice.
    """
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            while process.poll() is None and not stop.wait(_POLL_S):
                pass
        finally:
            _end(process)
        return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_TERMINATE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
