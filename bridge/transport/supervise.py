"""Keeps a server process running: restarts it when it dies, and takes it along when it ends itself.

A supervisor that is killed cannot end its server. The server notices by itself: Linux sends it a
SIGTERM (PR_SET_PDEATHSIG), and on every system a thread of the server looks whether its parent is
still there (`end_with_supervisor`).
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
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

_SUPERVISOR_VARIABLE = "SIM2STREET_SUPERVISOR"
"""Environment variable with the process id of the supervisor."""

_PARENT_CHECK_S = 0.2
_PR_SET_PDEATHSIG = 1


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


def end_with_supervisor() -> None:
    """End this process when its supervisor ends, even if that is killed. No effect without one.

    It gets a SIGTERM, and 10 s later a SIGKILL if it still runs. Call this once, at the start.
    """
    supervisor = os.environ.pop(_SUPERVISOR_VARIABLE, "")
    if supervisor:
        watch = threading.Thread(target=_watch_parent, args=(int(supervisor),), daemon=True)
        watch.start()


def _watch_parent(process: int) -> None:
    while os.getppid() == process:
        time.sleep(_PARENT_CHECK_S)
    _LOG.warning("the supervisor is gone: this server ends")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_TERMINATE_TIMEOUT_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _run_once(command: Sequence[str], stop: threading.Event) -> int:
    """Run the process until it ends or `stop` is set, and return its exit code.

    It gets a session of its own: a terminal's Ctrl-C then reaches only the supervisor, which
    passes it on as SIGTERM.
    """
    environment = {**os.environ, _SUPERVISOR_VARIABLE: str(os.getpid())}
    with subprocess.Popen(
        command, start_new_session=True, env=environment, preexec_fn=_end_signal_setter()
    ) as process:
        try:
            while process.poll() is None and not stop.wait(_POLL_S):
                pass
        finally:
            _terminate(process)
        return process.returncode


def _end_signal_setter() -> Callable[[], None] | None:
    """What a new process calls before it runs the command; None where the system has no such call.

    It has the process get a SIGTERM when this one ends.
    """
    if not sys.platform.startswith("linux"):
        return None
    set_option, parent = ctypes.CDLL(None).prctl, os.getpid()

    def set_end_signal() -> None:
        set_option(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it has ended in the meantime
            os._exit(1)

    return set_end_signal


def _terminate(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_TERMINATE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
