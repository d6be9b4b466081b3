"""Keeps a server process running: restarts it when it dies."""

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
_LONGEST_PAUSE_S = 30.0
_TERMINATE_TIMEOUT_S = 10.0
_FINAL_EXIT_CODES = (0, 2)  # a clean end; a mistake in the command or its configuration


def supervise(
    command: Sequence[str],
    stop: threading.Event | None = None,
    on_restart: Callable[[int, int, float], None] | None = None,
    first_pause_s: float = 0.5,
) -> int:
    """Run `command` and restart it each time it dies, until it ends well or `stop` is set.

    The pause before a restart doubles with every restart. It returns to `first_pause_s` once
    the process has run for 30 s. Exit code 2 (wrong options, port in use) ends the
    supervision, because the same command would fail the same way.

    Args:
        command: program and arguments.
        stop: ends the supervision; SIGINT and SIGTERM do if None.
        on_restart: called with (exit code, number of the restart, pause in seconds) before
            each restart. If None, a warning is logged.

    Returns:
        0 after a stop or a clean end, 2 after a mistake in the command.

    Raises:
        OSError: the command cannot be started.
    """
    if stop is None:
        with stop_on_signals() as event:
            return supervise(command, event, on_restart, first_pause_s)
    restarts, pause_s = 0, first_pause_s
    while True:
        started_s = time.monotonic()
        code = _run_once(command, stop)
        if stop.is_set():
            return 0
        if code in _FINAL_EXIT_CODES:
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
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _run_once(command: Sequence[str], stop: threading.Event) -> int:
    """Run the process until it ends or `stop` is set, and return its exit code.

    It gets a session of its own: a terminal's Ctrl-C then reaches only the supervisor, which
    passes it on as SIGTERM.
    """
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            while process.poll() is None and not stop.wait(_POLL_S):
                pass
        finally:
            _terminate(process)
        return process.returncode


def _terminate(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_TERMINATE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
